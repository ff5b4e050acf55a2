"""The fast way makes the events of the careful one, or leaves the record to it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from harness import deliveries, messages
from harness.values import ANYTHING, WRITABLE, values
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.encoding import decode, encode
from target_segment_api.event import CALLS, to_event
from target_segment_api.loop import mark
from target_segment_api.rules import problems
from target_segment_api.verbatim import Verbatim, make_verbatim, read_block, read_message

Json = dict[str, Any]

NAMESPACE = "0123456789abcdef"
MAKERS = {call: make_verbatim(call, NAMESPACE) for call in CALLS}
TEXTS = st.none() | WRITABLE | st.integers(0, 9) | st.booleans()
OBJECTS = (
    st.none()
    | st.dictionaries(WRITABLE | st.just("sentThrough"), ANYTHING, max_size=3)
    | st.sampled_from(["", "{}", '{"a": 1}', "text", 5, [], {}])
)
MOMENTS = st.none() | st.sampled_from(
    ["", "2026-11-22T05:00:00.123Z", "2026-11-22 05:00:00", "2026-02-30T00:00:00.000Z", 1.5]
)
TEXT_COLUMNS = (
    *("user_id", "anonymous_id", "group_id", "previous_id", "channel"),
    *("event", "name", "category"),
)
OBJECT_COLUMNS = ("context", "integrations", "properties", "traits", "extra")
RECORDS = st.fixed_dictionaries(
    {"message_id": TEXTS},
    optional={
        **dict.fromkeys(TEXT_COLUMNS, TEXTS),
        **dict.fromkeys(OBJECT_COLUMNS, OBJECTS),
        "timestamp": MOMENTS,
        "sent_at": MOMENTS,
    },
)
PLAIN = st.text('aé😀"\\/ ', max_size=4)
PLAIN_OBJECTS = st.dictionaries(PLAIN, values(PLAIN | st.integers(), PLAIN), max_size=3)
USUAL = st.fixed_dictionaries(
    {
        "message_id": st.just("m"),
        "user_id": st.sampled_from(["u", "", None]),
        "anonymous_id": st.just("a"),
        "group_id": st.just("g"),
        "previous_id": st.just("p"),
        "properties": PLAIN_OBJECTS,
        "traits": PLAIN_OBJECTS,
    },
    optional={
        **dict.fromkeys(("channel", "event", "name", "category"), st.none() | PLAIN),
        **dict.fromkeys(("context", "integrations"), PLAIN_OBJECTS),
        "extra": st.none() | st.just({}),
        "timestamp": st.sampled_from([None, "2026-11-22T05:00:00.123Z", "2026-11-22 05:00"]),
    },
)


def fast(call: str, line: bytes) -> Verbatim | None:
    """Return what the fast way makes of *line*; None if it leaves it to the careful one."""
    message = read_message(line)
    with suppress(ValueError):
        return MAKERS[call](message.record) if message else None
    return None


def careful(call: str, line: bytes) -> Json:
    """Return what the careful way makes of *line*."""
    event = to_event(call, decode(line)["record"])
    mark(event, NAMESPACE)
    return event


@given(
    call=st.sampled_from(CALLS),
    record=RECORDS | USUAL,
    compact=st.booleans(),
    ascii_only=st.booleans(),
)
def test_what_passes_is_what_the_careful_way_makes(
    *, call: str, record: Json, compact: bool, ascii_only: bool
) -> None:
    """However the tap writes a record, both ways come to the same bytes, of a valid event."""
    message = {"type": "RECORD", "stream": call, "record": decode(encode(record))}
    separators = (",", ":") if compact else (", ", ": ")
    text = json.dumps(message, separators=separators, ensure_ascii=ascii_only, default=float)
    line = text.encode(errors="surrogatepass")

    ready = fast(call, line)

    if ready is not None:
        event = careful(call, line)
        assert ready.content == encode(event)
        assert problems(event) == []
        assert ready.user in (
            event.get("previousId"),
            event.get("userId"),
            event.get("anonymousId"),
        )


def test_usual_records_take_the_fast_way() -> None:
    """What the tap usually writes is not left to the careful way, which would be half as fast."""
    events = [event for event in deliveries.events(500) if event["type"] in CALLS]

    taken = [fast(event["type"], messages.line(messages.record(event))) for event in events]

    assert {event["type"] for event in events} == {*CALLS}
    assert sum(ready is not None for ready in taken) > 0.8 * len(taken)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"RECORD","stream":"track","record":{"message_id":"m","user_id":"\\ud83d"}}',
        b'{"type":"RECORD","stream":"track","record":{"message_id":"m","user_id":"\xff"}}',
        b'{"type":"RECORD","stream":"track","record":{"message_id":"m","properties":{"a":NaN}}}',
        b'{"type":"RECORD","stream":"track","record":',
        b'{"type":"RECORD","stream":"track","record":[]}',
        b'{"type":"RECORD","stream":"track","record":{"message_id":"m","user_id":"\\u00e9"}}',
        b'{"type": "RECORD", "stream": "track", "record": {"message_id": "m"}}',
    ],
)
def test_line_in_another_spelling_is_left_to_the_careful_way(line: bytes) -> None:
    """Bytes that pass unread must be right ones, and those that the message id is made of."""
    assert read_message(line) is None


@pytest.mark.parametrize(
    ("text", "is_taken"), [("\u00e9".encode(), True), (b"\xff", False), (b"\xed\xa0\xbd", False)]
)
@pytest.mark.parametrize("place", ["properties", "context", "integrations"])
def test_bytes_that_pass_unread_are_utf_8(*, place: str, text: bytes, is_taken: bool) -> None:
    """Segment refuses a whole batch that is not; half of a surrogate pair is none either."""
    given = {"properties": b"{}", place: b'{"a":{"b":"%b"}}' % text}
    columns = b",".join(b'"%b":%b' % (name.encode(), value) for name, value in given.items())
    line = b'{"type":"RECORD","stream":"track","record":{"message_id":"m","user_id":"u",'

    ready = fast("track", line + b'"event":"E",%b}}' % columns)

    assert (ready is not None) == is_taken


RECORD = b'{"type":"RECORD","stream":"track","record":{"message_id":"m"}}'


def test_block_is_what_its_lines_are() -> None:
    """Read together, RECORDs are as each is alone, whether or not the last line has its end."""
    events = [event for event in deliveries.events(500) if event["type"] in CALLS]
    lines = [messages.line(messages.record(event)) for event in events]
    lines = [line for line in lines if read_message(line)]

    together = read_block(b"".join(lines))

    assert together == [read_message(line) for line in lines]
    assert read_block(b"".join(lines).removesuffix(b"\n")) == together


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"STATE","value":{}}',
        b'{"type": "RECORD", "stream": "track", "record": {"message_id": "m"}}',
        b'{"type":"RECORD","stream":"track","record":{"message_id":1}}',
        b'{"type":"RECORD","stream":"track","record":{"message_id":"\\u00e9"}}',
        b'{"type":"RECORD","stream":"track","record":{"message_id":"\xff"}}',
        b"no JSON",
        RECORD + RECORD,
        b'{"type":"RECORD","stream":"track","record":\n' + RECORD + b"}",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_block_with_anything_else_is_read_line_by_line(line: bytes, place: int) -> None:
    """Which line a message came in is certain, and no other keeps an unusual one company."""
    lines = [RECORD, RECORD]
    lines.insert(place, line)

    assert read_block(b"\n".join(lines) + b"\n") is None
