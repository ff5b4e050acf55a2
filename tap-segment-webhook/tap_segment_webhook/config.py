"""The settings as users see them: the one place with their names, defaults and descriptions.

The SDK checks a configuration against this schema and fills in its defaults;
`settings.Settings` is what the program then works with.
"""

from __future__ import annotations

from typing import Any, Final

from singer_sdk import typing as th

from tap_segment_webhook.settings import SOURCE_NAME

_WRITE_KEY: Final = r"^[A-Za-z0-9._~-]+$"  # it stands in addresses and in Basic

SCHEMA: Final[dict[str, Any]] = th.PropertiesList(
    th.Property(
        "spool_url",
        th.StringType,
        default="sqlite:///segment-spool.db",
        title="Spool URL",
        description=(
            "Where events wait: `sqlite:///PATH`, relative to where the command runs, or "
            "`sqlite:////PATH`, absolute; or `nats://HOST:PORT/STREAM`, on NATS JetStream, for "
            "several receivers on several machines."
        ),
    ),
    th.Property(
        "host",
        th.StringType,
        default="127.0.0.1",
        title="Host",
        description=(
            "The address that the receiver listens on. The default is reached only from this "
            "machine; put a proxy with TLS in front, or set `0.0.0.0`."
        ),
    ),
    th.Property(
        "port",
        th.IntegerType(minimum=0, maximum=65535),
        default=8765,
        title="Port",
        description="The port that the receiver listens on; 0 takes a free one.",
    ),
    th.Property(
        "shared_secret",
        th.StringType(min_length=1),
        secret=True,
        title="Shared Secret",
        description=(
            "The shared secret of the webhook destination in Segment, which signs what is "
            "posted to `/webhook`."
        ),
    ),
    th.Property(
        "write_key",
        th.StringType(pattern=_WRITE_KEY),
        secret=True,
        title="Write Key",
        description=(
            "The write key that Segment's SDKs are given when they send to this receiver instead "
            "of Segment. You choose it: letters, digits and `. _ ~ -`."
        ),
    ),
    th.Property(
        "sources",
        th.ArrayType(
            th.ObjectType(
                th.Property(
                    "name",
                    th.StringType(pattern=SOURCE_NAME),
                    required=True,
                    description="What `/webhook/NAME` and the column `source` say.",
                ),
                th.Property(
                    "shared_secrets",
                    th.ArrayType(th.StringType(min_length=1)),
                    description="Any of them may sign: two allow rotation without a gap.",
                ),
                th.Property(
                    "write_keys",
                    th.ArrayType(th.StringType(pattern=_WRITE_KEY)),
                    description="Any of them names this source to the Tracking API.",
                ),
                th.Property(
                    "allow_unsigned",
                    th.BooleanType,
                    description="Accept deliveries without a valid signature.",
                ),
                additional_properties=False,
            )
        ),
        secret=True,
        title="Sources",
        description=(
            "More sources, each posting to `/webhook/NAME` or with a write key of its own: a list "
            "of objects with `name`, `shared_secrets`, `write_keys` and `allow_unsigned`."
        ),
    ),
    th.Property(
        "allow_unsigned",
        th.BooleanType,
        default=False,
        title="Allow Unsigned",
        description=(
            "Accept deliveries to `/webhook` without a valid signature, from anybody who can "
            "reach the port."
        ),
    ),
    th.Property(
        "integration_name",
        th.StringType,
        title="Integration Name",
        description=(
            "If set, events whose `integrations` object switches this name (or `All`) off are "
            "counted as filtered and not stored."
        ),
    ),
    th.Property(
        "listen_seconds",
        th.IntegerType(minimum=0),
        default=0,
        title="Listen Seconds",
        description=(
            "Let the tap itself run the receiver for so long while it emits; 0 only drains "
            "what waits."
        ),
    ),
    th.Property(
        "dedup_window_events",
        th.IntegerType(minimum=0),
        default=1_000_000,
        title="Dedup Window Events",
        description=(
            "How many of the latest message ids are remembered, also across restarts, at "
            "about 100 bytes of memory each. Older duplicates are left to the target's upsert."
        ),
    ),
    th.Property(
        "retention_days",
        th.IntegerType(minimum=0),
        default=7,
        title="Retention Days",
        description=(
            "How long an event stays for replay after every consumer has confirmed it. An "
            "unconfirmed event is never deleted."
        ),
    ),
    th.Property(
        "max_spool_bytes",
        th.IntegerType(minimum=1),
        title="Max Spool Bytes",
        description="Over it the receiver answers 503 until there is room; unset, no limit.",
    ),
    th.Property(
        "max_body_bytes",
        th.IntegerType(minimum=1024, maximum=1 << 30),
        default=16 << 20,
        title="Max Body Bytes",
        description="The largest delivery, after decompression; over it the answer is 413.",
    ),
    th.Property(
        "payload_format",
        th.StringType,
        default="object",
        allowed_values=["object", "json_string"],
        title="Payload Format",
        description=(
            "`object`: context, properties, traits, integrations and extra are open objects. "
            "`json_string`: they are JSON text, for targets that drop or garble open objects."
        ),
    ),
    th.Property(
        "consumer",
        th.StringType(min_length=1),
        default="default",
        title="Consumer",
        description=(
            "The name of this pipeline. Several may drain one spool; an event is pruned only "
            "when every known consumer has confirmed it."
        ),
    ),
    th.Property(
        "nats_replicas",
        th.IntegerType(minimum=1, maximum=5),
        default=3,
        title="NATS Replicas",
        description=(
            "On JetStream: how many servers keep each event before it is acknowledged. With 1, a "
            "power cut loses what a server has not synced: set its `sync_interval: always`."
        ),
    ),
    th.Property(
        "nats_dedup_seconds",
        th.IntegerType(minimum=120),
        default=14_400,
        title="NATS Dedup Seconds",
        description=(
            "On JetStream: for how long message ids are remembered, instead of "
            "`dedup_window_events`; about 200 bytes of the servers' memory each. Segment tries "
            "again for 4 hours."
        ),
    ),
    th.Property(
        "nats_user",
        th.StringType,
        title="NATS User",
        description="On JetStream: the user's name, with `nats_password`.",
    ),
    th.Property(
        "nats_password",
        th.StringType,
        secret=True,
        title="NATS Password",
        description="On JetStream: the password of `nats_user`; without a user, a token.",
    ),
    th.Property(
        "nats_credentials",
        th.StringType,
        title="NATS Credentials",
        description="On JetStream: the path of a `.creds` file, instead of user and password.",
    ),
).to_dict()

_QUOTE_NO_SECRET: Final = ("is a required property", "Additional properties", "['name']")


def without_secret(reason: str) -> str:
    """Return the SDK's *reason*, which may quote the value, without the value of a secret."""
    _, place, path = reason.partition("config[")
    name = path.partition("]")[0].strip("'")
    schema = SCHEMA["properties"].get(name, {})
    if not schema.get("secret") or any(word in reason for word in _QUOTE_NO_SECRET):
        return reason
    return f"{place}{path} has the wrong type or form. Its value is secret and not shown."
