"""What the tap has read comes back as the call that it was."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from harness import deliveries
from harness.values import WRITABLE, values
from hypothesis import assume, given
from hypothesis import strategies as st
from tap_segment_webhook.lines import Lines
from tap_segment_webhook.schema import stream_schema
from target_segment_api.encoding import decode
from target_segment_api.event import CALLS, call_of, text_id, to_event
from target_segment_api.rules import problems

Json = dict[str, Any]

FORMATS = ("object", "json_string")
RECEIVED_AT = 1_772_623_530_402
MOMENT = "2026-03-04T11:20:31.402Z"
LINES = {(call, form): Lines(call, form) for call in CALLS for form in FORMATS}
GONE = {
    *("messageId", "originalTimestamp", "projectId", "receivedAt", "sentAt", "version", "writeKey")
}

# What Segment's libraries and people send: whole floats are integers in JavaScript.
FINITE = st.integers(-(2**70), 2**70) | st.floats(-1e300, 1e300)
OBJECTS = st.dictionaries(WRITABLE, values(WRITABLE | FINITE, WRITABLE), max_size=4)
TEXTS = WRITABLE.filter(bool)
MOMENTS = st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='milliseconds')}Z")
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("userId", "anonymousId", "previousId", "groupId"), TEXTS),
    **dict.fromkeys(("event", "name", "category", "channel"), TEXTS),
    **dict.fromkeys(("context", "integrations", "properties", "traits"), OBJECTS),
    **dict.fromkeys(("timestamp", "originalTimestamp", "sentAt", "receivedAt"), MOMENTS),
    **dict.fromkeys(("messageId", "projectId", "writeKey"), TEXTS),
    "version": st.integers(0, 9) | st.lists(st.integers(), max_size=1),
    **dict.fromkeys(("_metadata", "email", "é.x"), OBJECTS | FINITE | WRITABLE),
}
NEEDED = {
    "alias": ("userId", "previousId"),
    "group": ("userId", "groupId"),
    "identify": ("anonymousId",),
    "page": ("userId",),
    "screen": ("anonymousId",),
    "track": ("userId", "event"),
}
EVENTS = st.one_of(
    [
        st.fixed_dictionaries(
            {"type": st.just(call), **{name: FIELDS[name] for name in needed}},
            optional={name: st.none() | FIELDS[name] for name in FIELDS if name not in needed},
        )
        for call, needed in NEEDED.items()
    ]
)


def record(event: Json, payload_format: str = "object") -> Json:
    """Return the record of *event* as the target reads it in a line of the tap."""
    row = (deliveries.encode(event), 7, "default", RECEIVED_AT)
    line = LINES[event["type"], payload_format].encode([row], "2026-03-04T11:25:31.000Z")
    found: Json = decode(line)["record"]
    return found


def as_sent(event: Json) -> Json:
    """Return what is to come back of *event*: all but nulls, and what Segment sets itself."""
    read = json.loads(deliveries.encode(event), parse_float=Decimal)
    return without_nulls({name: value for name, value in read.items() if name not in GONE})


def without_nulls(event: Json) -> Json:
    """Return *event* without fields that are null, which are as good as absent."""
    return {name: value for name, value in event.items() if value is not None}


@given(EVENTS, st.sampled_from(FORMATS))
def test_event_comes_back_through_the_tap(event: Json, payload_format: str) -> None:
    """Any event that Segment would take has the same fields after tap and target, and a time."""
    sent = as_sent(event)
    assume(not problems(sent))
    emitted = record(event, payload_format)

    back = to_event(event["type"], emitted)

    assert without_nulls(back) == {"timestamp": emitted["timestamp"], **sent}


@pytest.mark.parametrize("payload_format", FORMATS)
def test_ordinary_events_come_back_and_are_valid(payload_format: str) -> None:
    """What Segment's libraries send is sent again, every field of it."""
    for event in deliveries.events(300):
        if event["type"] != "delete":
            back = to_event(event["type"], record(event, payload_format))

            assert without_nulls(back) == as_sent(event)
            assert problems(back) == []


def test_what_segment_sets_itself_does_not_travel() -> None:
    """An old `sentAt` would date the event anew; a write key is that of another source."""
    times = dict.fromkeys(("originalTimestamp", "sentAt", "receivedAt"), "2019-03-04T11:20:31.402Z")
    meant = {"type": "identify", "userId": "u", "traits": {}, "timestamp": MOMENT}
    event = {**meant, "messageId": "m", **times}
    broken = {**meant, "version": [], "sentAt": "then"}

    for given_event in (event, {**event, "writeKey": "k", "projectId": "p", "version": 2}, broken):
        assert to_event("identify", record(given_event)) == meant


def test_what_the_tap_had_to_replace_does_not_travel() -> None:
    """The tap's own note of a NUL character is no field of the event."""
    event = {"type": "track", "userId": "u", "event": "a\0b", "timestamp": MOMENT}

    assert to_event("track", record(event)) == {**event, "event": "a\ufffdb"}


@pytest.mark.parametrize("value", [True, [], ["u"], {"id": 5}])
def test_what_cannot_be_right_stays_and_is_named(value: Any) -> None:
    """An id of another kind is not guessed at: the event is set aside with that reason."""
    back = to_event("track", record({"type": "track", "event": "x", "userId": value}))

    assert back["userId"] == value
    assert [reason for reason in problems(back) if reason.startswith("userId is ")]


@pytest.mark.parametrize(
    ("given_id", "meant"),
    [
        *((17, "17"), (Decimal("17.0"), "17"), (17.0, "17"), (Decimal("-0.0"), "0"), ("", "")),
        *((2**70, str(2**70)), (Decimal("1e30"), "1" + "0" * 30), ("017", "017")),
        *((Decimal("12345678901234567890123456789012.0"), "12345678901234567890123456789012"),),
        *((Decimal("17.5"), Decimal("17.5")), (True, True), (None, None), ([], [])),
        *((float("inf"), float("inf")), (Decimal("1e999999999"), Decimal("1e999999999"))),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_whole_number_is_an_id(given_id: Any, meant: Any) -> None:
    """A key that a warehouse keeps as a number is the text that Segment wants, digit by digit."""
    assert text_id(given_id) == meant
    assert type(text_id(given_id)) is type(meant)


def test_column_of_another_tap_is_read_as_it_is_meant() -> None:
    """A warehouse gives numbers for ids, dates without a zone, and objects as text."""
    columns = {
        "user_id": Decimal("17.0"),
        "anonymous_id": "",
        "event": "Order Completed",
        "timestamp": "2026-03-04 11:20:31.402",
        "properties": '{"total": 64.90}',
        "context": "null",
        "integrations": None,
        "extra": '{"email": "ada@harbor.example"}',
        "spool_position": 3,
        "_sdc_batched_at": "2026-03-04",
    }

    assert to_event("track", columns) == {
        "type": "track",
        "userId": "17",
        "event": "Order Completed",
        "timestamp": "2026-03-04T11:20:31.402Z",
        "properties": {"total": Decimal("64.90")},
        "email": "ada@harbor.example",
    }


@pytest.mark.parametrize(
    "text", ["", "x", "[" * 100_000, "[" * 5_000 + "]" * 5_000, "a\ud83d", '"x"', "17", "{"]
)
def test_text_that_is_no_object_is_named(text: str) -> None:
    """Whatever stands in a column of objects costs its event, and not the run."""
    back = to_event("identify", {"user_id": "u", "traits": text, "extra": text})

    assert problems(back) == [] if text == "" else problems(back)[0].startswith("traits is ")


def test_sloppy_text_of_an_object_is_read() -> None:
    """JSON text is read as generously as the input itself."""
    back = to_event("identify", {"user_id": "u", "traits": r'{"a": NaN, "b": "\ud83d"}'})

    assert back["traits"] == {"a": None, "b": "\ud83d"}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("prefix", ["", "public-", "raw-segment-"])
def test_stream_of_the_tap_is_known_by_name_and_columns(call: str, prefix: str) -> None:
    """Straight from the tap, or from the table it was loaded into, a stream needs no mapping."""
    columns = stream_schema(call, "object")["properties"]

    assert call_of(f"{prefix}{call}", columns) == call


@pytest.mark.parametrize(
    ("stream", "columns"),
    [
        ("delete", {"message_id", "user_id"}),
        ("users", {"message_id", "traits"}),
        ("track", {"message_id", "properties"}),
        ("page", {"id", "properties"}),
        ("tracks", {"message_id", "event"}),
        ("my_track", {"message_id", "event"}),
        ("track-old", {"message_id", "event"}),
        ("", set()),
    ],
)
def test_other_stream_is_no_call(stream: str, columns: set[str]) -> None:
    """A table that only happens to have the name of a call is not sent."""
    assert call_of(stream, columns) is None
