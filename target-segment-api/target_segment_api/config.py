"""The settings as users see them: the one place with their names, defaults and descriptions.

The SDK checks a configuration against this schema and fills in its defaults;
`settings.Settings` is what the program then works with.
"""

from __future__ import annotations

from typing import Any, Final

from singer_sdk import typing as th

SCHEMA: Final[dict[str, Any]] = th.PropertiesList(
    th.Property(
        "write_key",
        th.StringType(min_length=1),
        required=True,
        secret=True,
        title="Write Key",
        description="The write key of the source in Segment that the events are to appear in.",
    ),
    th.Property(
        "region",
        th.StringType,
        default="us",
        allowed_values=["us", "eu"],
        title="Region",
        description="The region of the Segment workspace: `us` or `eu`.",
    ),
    th.Property(
        "endpoint",
        th.StringType(pattern=r"^https?://\S+/v1/?$(?!\n)"),
        title="Endpoint",
        description="Instead of the region's: any base URL that ends in `/v1`.",
    ),
    th.Property(
        "mappings",
        th.ObjectType(
            additional_properties=th.ArrayType(th.ObjectType(additional_properties=True))
        ),
        title="Mappings",
        description=(
            "Which calls the rows of a stream become: stream, or glob of streams, to a list of "
            "calls. A stream named after a call, with the tap's columns, needs none."
        ),
    ),
    th.Property(
        "strict_parity",
        th.BooleanType,
        default=False,
        title="Strict Parity",
        description=(
            "Send what Segment Connections sends, also where that is not what Segment's spec says."
        ),
    ),
    th.Property(
        "changed_only",
        th.BooleanType,
        default=False,
        title="Changed Only",
        description=(
            "Remember what was sent of each row of a mapped stream, send only rows that are new, "
            "changed or deleted, and tell mappings which (`row_state`)."
        ),
    ),
    th.Property(
        "changes_path",
        th.StringType(min_length=1),
        default="segment-changes.db",
        title="Changes Path",
        description="The file that `changed_only` remembers rows in.",
    ),
    th.Property(
        "max_batch_events",
        th.IntegerType(minimum=1, maximum=2500),
        default=225,
        title="Max Batch Events",
        description="How many events one request holds. Segment drops a batch of more than 2,500.",
    ),
    th.Property(
        "max_batch_bytes",
        th.IntegerType(minimum=1000, maximum=500_000),
        default=475_000,
        title="Max Batch Bytes",
        description="How large one request is, before compression. Segment takes 500 KB.",
    ),
    th.Property(
        "max_event_bytes",
        th.IntegerType(minimum=100, maximum=32_768),
        default=32_000,
        title="Max Event Bytes",
        description="How large one event is. Segment takes 32 KB; a larger one is set aside.",
    ),
    th.Property(
        "concurrency",
        th.IntegerType(minimum=1, maximum=64),
        default=8,
        title="Concurrency",
        description=(
            "How many lanes send at once, one request in flight each. The events of a user "
            "share a lane and stay in order."
        ),
    ),
    th.Property(
        "max_events_per_second",
        th.IntegerType(minimum=0),
        default=1000,
        title="Max Events Per Second",
        description=(
            "Segment's limit for a workspace without prior arrangement is 1,000; 0 sends as "
            "fast as it is answered."
        ),
    ),
    th.Property(
        "on_unmapped",
        th.StringType,
        default="warn",
        allowed_values=["warn", "fail"],
        title="On Unmapped",
        description=(
            "What becomes of a stream that no call is known for: `warn` skips it, says so and "
            "counts it; `fail` stops at its SCHEMA."
        ),
    ),
    th.Property(
        "on_invalid",
        th.StringType,
        default="reject",
        allowed_values=["reject", "fail"],
        title="On Invalid",
        description=(
            "What becomes of an event that Segment would not take: `reject` sets it aside and "
            "goes on; `fail` stops before it."
        ),
    ),
    th.Property(
        "max_rejects",
        th.IntegerType(minimum=0),
        default=1000,
        title="Max Rejects",
        description=(
            "Stop when a run has set more aside, or all of its first 100 events: a wrong "
            "endpoint must not turn a table into rejects."
        ),
    ),
    th.Property(
        "check_write_key",
        th.StringType,
        default="fail",
        allowed_values=["fail", "warn", "off"],
        title="Check Write Key",
        description=(
            "Segment answers 200 to a wrong write key and drops the events, so it is asked "
            "about the key before the first batch: `fail` stops if it is unknown, `warn` says so."
        ),
    ),
    th.Property(
        "rejects_path",
        th.StringType(min_length=1),
        default="segment-rejects.jsonl",
        title="Rejects Path",
        description="Where events that Segment would not take are set aside, as JSON lines.",
    ),
    th.Property(
        "receipts_path",
        th.StringType(min_length=1),
        title="Receipts Path",
        description=(
            "If set, each accepted event is noted there as a JSON line: message id, stream, "
            "key, time, batch."
        ),
    ),
    th.Property(
        "message_id",
        th.StringType,
        default="derive",
        allowed_values=["derive", "keep"],
        title="Message ID",
        description=(
            "`derive`: from stream, key and content, the same in every run. `keep`: the "
            "record's own `message_id`, which Segment drops without a word if anybody has "
            "sent it in the last 24 hours."
        ),
    ),
    th.Property(
        "message_id_namespace",
        th.StringType(min_length=1),
        title="Message ID Namespace",
        description=(
            "Keeps the message ids of one source from those of another, since Segment compares "
            "them across all its customers; unset, a hash of the write key. Setting it keeps "
            "ids the same when the key is rotated."
        ),
    ),
    th.Property(
        "compression",
        th.BooleanType,
        default=True,
        title="Compression",
        description="Compress requests with gzip, at level 1.",
    ),
    th.Property(
        "retry_for_seconds",
        th.IntegerType(minimum=0),
        default=900,
        title="Retry For Seconds",
        description="How long a batch is tried, in all, before the run stops with exit code 1.",
    ),
    th.Property(
        "timeout_seconds",
        th.IntegerType(minimum=1),
        default=15,
        title="Timeout Seconds",
        description="How long one request waits for a connection, and for an answer.",
    ),
    th.Property(
        "max_events",
        th.IntegerType(minimum=1),
        title="Max Events",
        description="Budget: stop before one event more is sent, cleanly and with exit code 0.",
    ),
    th.Property(
        "max_new_users",
        th.IntegerType(minimum=1),
        title="Max New Users",
        description=(
            "Budget: stop before an event of one user more is sent. Counts the different "
            "`userId`s of the run, and `anonymousId`s without one, as Segment bills them."
        ),
    ),
    th.Property(
        "dry_run",
        th.BooleanType,
        default=False,
        title="Dry Run",
        description="Do all but send. No state is printed, so nothing counts as delivered.",
    ),
).to_dict()


def without_secret(reason: str) -> str:
    """Return the SDK's *reason*, which may quote the value, without the value of a secret."""
    if "config['write_key']" not in reason:
        return reason
    return "config['write_key'] has the wrong type or form. Its value is secret and not shown."
