"""`meltano run collect` into a real PostgreSQL, compared row by row with what Segment sent."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

from harness.deliveries import EMOJI, NESTED, NUMBERS, decode, encode, events
from harness.pipeline import deliver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.deliveries import Event
    from harness.pipeline import Pipeline, Row

    MakePipeline = Callable[..., Pipeline]

TEXTS = {
    "message_id": "messageId",
    "type": "type",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "channel": "channel",
    "version": "version",
    "project_id": "projectId",
}
TIMES = {
    "timestamp": "timestamp",
    "original_timestamp": "originalTimestamp",
    "sent_at": "sentAt",
    "received_at": "receivedAt",
}
OWN_TEXTS = {
    "alias": {"previous_id": "previousId"},
    "group": {"group_id": "groupId"},
    "page": {"name": "name", "category": "category"},
    "screen": {"name": "name", "category": "category"},
    "track": {"event": "event"},
}
OBJECTS = ("context", "integrations")
OWN_OBJECTS = {
    "group": ("traits",),
    "identify": ("traits",),
    "page": ("properties",),
    "screen": ("properties",),
    "track": ("properties",),
}

UTC = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d\.\d{3})(?:Z| \+0000 UTC m=.+)")

# Fields of an event that are not the usual ones, and the columns that do not simply repeat them.
UNUSUAL: tuple[tuple[str, Event, Row], ...] = (
    ("track", {"properties": NUMBERS}, {}),
    ("identify", {"traits": NESTED, "context": NESTED}, {}),
    ("page", {"name": None, "category": "", "properties": None}, {}),
    ("screen", {"userId": 42, "anonymousId": None}, {}),
    ("group", {"traits": {"note": "x" * 100_000}}, {}),
    ("alias", {"shopId": 7, "tags": ["a", {"b": None}]}, {}),
    ("delete", {"integrations": "all", "context": [1]}, {}),
    (
        "track",
        {"timestamp": "2026-03-04T23:30:00+02:00", "sentAt": "9999-12-31T23:59:59.999Z"},
        {"timestamp": datetime(2026, 3, 4, 21, 30)},  # noqa: DTZ001 - as PostgreSQL returns it
    ),
    (
        "track",
        {"timestamp": "yesterday", "sentAt": "2026-03-04T11:20:31.402999Z"},
        {
            "timestamp": None,
            "sent_at": datetime(2026, 3, 4, 11, 20, 31, 402_000),  # noqa: DTZ001
            "extra": {"timestamp": "yesterday", "sentAt": "2026-03-04T11:20:31.402999Z"},
        },
    ),
    (
        "track",
        {"event": "a\0b", "properties": {"half": "\ud83d", "whole": EMOJI}},
        {
            "event": "a\ufffdb",
            "properties": {"half": "\ufffd", "whole": EMOJI},
            "extra": {"_originals": {"event": r'"a\u0000b"', "properties.half": r'"\ud83d"'}},
        },
    ),
)


def test_every_field_of_every_event_is_in_its_row(pipeline: MakePipeline) -> None:
    """What Segment sent is what the tables hold: all types, nulls, numbers, any script."""
    flow = pipeline(sources=[{"name": "shop", "allow_unsigned": True}])
    ordinary, unusual = list(events(400)), unusual_events()
    with flow.receiver as receiver:
        deliver(receiver, ordinary[:300], of=100)
        deliver(receiver, [event for event, _ in unusual], of=1)
        deliver(receiver, ordinary[300:], of=50, path="/webhook/shop")

    flow.collect()

    rows = [
        *map(expected, ordinary[:300]),
        *(expected(event) | other for event, other in unusual),
        *(expected(event) | {"source": "shop"} for event in ordinary[300:]),
    ]
    assert_equal(flow.tables(), rows)


def test_objects_can_arrive_as_json_text(pipeline: MakePipeline) -> None:
    """With `payload_format: json_string` every object is text, and nothing else differs."""
    flow = pipeline(payload_format="json_string")
    sent = list(events(60)), unusual_events()
    flow.load([*sent[0], *(event for event, _ in sent[1])])

    flow.collect()

    tables = flow.tables()
    for row in (row for rows in tables.values() for row in rows):
        for column in row.keys() & {*OBJECTS, "properties", "traits", "extra"}:
            assert row[column] is None or isinstance(row[column], str)
            row[column] = row[column] and decode(row[column])
    rows = [*map(expected, sent[0]), *(expected(event) | other for event, other in sent[1])]
    assert_equal(tables, rows)


def test_running_again_changes_nothing(pipeline: MakePipeline) -> None:
    """A second run confirms the first and sends nothing; a full refresh writes the same rows."""
    flow = pipeline()
    flow.load(events(100))

    flow.collect()
    first, unconfirmed = flow.tables(), consumer(flow)
    flow.collect()
    second, confirmed = flow.tables(), consumer(flow)
    flow.collect("--full-refresh")
    refreshed = flow.tables()

    assert unconfirmed == {"confirmed_position": 0, "waiting": 100}
    assert confirmed == {"confirmed_position": 100, "waiting": 0}
    assert second == first
    assert refreshed != second  # the target's own columns say that every row was written again
    assert plain(refreshed) == plain(second)
    assert consumer(flow) == confirmed


def test_duplicates_of_any_age_become_one_row(pipeline: MakePipeline) -> None:
    """What the window of recent ids has forgotten, the target's primary key still knows."""
    flow = pipeline(dedup_window_events=10)
    sent = list(events(50))
    with flow.receiver as receiver:
        deliver(receiver, [*sent, *sent], of=1)

    flow.collect()

    assert flow.receiver.status()["books"]["default"]["stored"] == 100
    rows = [{**expected(event), "spool_position": 50 + n} for n, event in enumerate(sent, 1)]
    assert_equal(flow.tables(), rows)


def unusual_events() -> list[tuple[Event, Row]]:
    """Return the unusual events, whole ones, and the columns that differ from `expected`."""
    usual = {event["type"]: event for event in events(20, seed=1)}
    return [
        (encodable | {"messageId": f"unusual-{number}"}, other)
        for number, (kind, fields, other) in enumerate(UNUSUAL)
        if (encodable := {**usual[kind], **fields})
    ]


def consumer(flow: Pipeline) -> dict[str, int]:
    """Return what the only pipeline of the spool has confirmed, and what waits for it."""
    found: dict[str, int] = flow.receiver.status()["consumers"]["default"]
    return found


def expected(event: Event) -> Row:
    """Return the row of *event*, as the README describes it, without its position."""
    kind = event["type"]
    fields = decode(encode(event))
    texts = {**TEXTS, **OWN_TEXTS.get(kind, {})}
    row: Row = {column: text(fields.pop(name, None)) for column, name in texts.items()}
    row |= {column: moment(fields.pop(name, None)) for column, name in TIMES.items()}
    for column in (*OBJECTS, *OWN_OBJECTS.get(kind, ())):
        value = fields.pop(column, None)
        row[column] = value if isinstance(value, dict) else None
        if value is not row[column]:
            fields[column] = value
    return {**row, "source": "default", "extra": fields or None}


def text(value: object) -> str | None:
    """Return *value* as a column of text holds it."""
    return None if value is None else str(value)


def moment(value: str | None) -> datetime | None:
    """Return the UTC time that *value* says to the millisecond, in Segment's form or Go's."""
    match = UTC.fullmatch(value or "")
    return datetime.fromisoformat(f"{match[1]} {match[2]}") if match else None


def plain(tables: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Return *tables* without the columns that the target adds."""
    return {
        stream: [
            {column: value for column, value in row.items() if not column.startswith("_sdc_")}
            for row in rows
        ]
        for stream, rows in tables.items()
    }


def assert_equal(tables: Mapping[str, list[Row]], rows: Iterable[Row]) -> None:
    """Check that *tables* hold exactly *rows*, at the positions of their order."""
    wanted: defaultdict[str, list[Row]] = defaultdict(list)
    for position, row in enumerate(rows, 1):
        wanted[row["type"]].append({"spool_position": position, **row})
    for stream, found in plain(tables).items():
        assert len(found) == len(wanted[stream])
        for ours, theirs in zip(found, wanted[stream], strict=True):
            assert ours == theirs
