"""`meltano run collect` into a real PostgreSQL, compared row by row with what Segment sent."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from harness import sdks
from harness.deliveries import EMOJI, NESTED, NUMBERS, decode, events
from harness.pipeline import deliver
from harness.rows import OBJECTS, assert_equal, expected, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.deliveries import Event
    from harness.pipeline import Pipeline
    from harness.rows import Row

    MakePipeline = Callable[..., Pipeline]

KEY = "not-a-real-key"

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

    flow.fill()

    tables = flow.tables()
    for row in (row for rows in tables.values() for row in rows):
        for column in row.keys() & {*OBJECTS, "properties", "traits", "extra"}:
            assert row[column] is None or isinstance(row[column], str)
            row[column] = row[column] and decode(row[column])
    rows = [*map(expected, sent[0]), *(expected(event) | other for event, other in sent[1])]
    assert_equal(tables, rows)


def test_every_field_of_every_call_of_an_sdk_is_in_its_row(pipeline: MakePipeline) -> None:
    """What Segment's SDK for Python was told to send is what the tables hold."""
    flow = pipeline(write_key=KEY)
    calls = sdks.told(300)
    since = sdks.now()
    with flow.receiver as receiver:
        given_up = sdks.ANALYTICS_PYTHON.send(receiver.base_url, KEY, calls)

    flow.fill()

    assert given_up == []
    sdks.assert_arrived(flow.tables(), sdks.ANALYTICS_PYTHON, calls, since)


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

    assert unconfirmed == {"confirmed_position": 0, "waiting": 100, "to_be_replayed": False}
    assert confirmed == {"confirmed_position": 100, "waiting": 0, "to_be_replayed": False}
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

    flow.fill()

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
