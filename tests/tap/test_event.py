"""An event is what has one of Segment's types; its bytes stay as they came."""

from __future__ import annotations

import json
import re

import pytest
from harness import deliveries
from hypothesis import given
from hypothesis import strategies as st
from tap_segment_webhook.errors import InvalidEvent
from tap_segment_webhook.event import MAX_DEPTH, TYPES, digest, identity, read_event
from tap_segment_webhook.record import to_record


def test_types_are_the_seven_of_segment() -> None:
    """Each call is an event, under its letter."""
    codes = {kind: read_event(b'{"type":"%b"}' % kind.encode()).code for kind in deliveries.MIX}

    assert set(codes) == set(TYPES)
    assert len(set(codes.values())) == 7


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"type":"Track"}', "Its type is not one of"),
        (b'{"type":"order"}', "Its type is not one of"),
        (b'{"type":["track"]}', "Its type is not one of"),
        (b'{"type":null}', "Its type is not one of"),
        (b"{}", "Its type is not one of"),
        (b"17", "It is not a JSON object."),
        (b'["track"]', "It is not a JSON object."),
        (b'{"type":"track"', "It is not valid JSON."),
        (b'{"type":"track"}}', "It is not valid JSON."),
        (b'{"type":"track","a":01}', "It is not valid JSON."),
        (b'{"type":"track","a":"\x01"}', "It is not valid JSON."),
        (b"", "It is not valid JSON."),
        (b"\x00", "It is not valid JSON."),
    ],
)
def test_anything_else_is_invalid_with_a_reason(body: bytes, reason: str) -> None:
    """What is no event is set aside for a reason that somebody can act on."""
    with pytest.raises(InvalidEvent, match=re.escape(reason)):
        read_event(body)


def test_body_is_kept_byte_for_byte() -> None:
    """Nothing is normalised before it is stored."""
    body = b' {"type" : "track",\n"messageId":"m-1", "b":1.0, "a":"\\u00e9"}\r\n'

    assert read_event(body).body == body


def test_last_of_duplicate_keys_counts() -> None:
    """Where a key comes twice, the last value is taken, as JavaScript does."""
    event = read_event(b'{"type":"order","type":"page","messageId":"a","messageId":"b"}')

    assert event.code == "p"
    assert event.digest == digest("b")


@pytest.mark.parametrize(
    ("given_id", "meant"),
    [('"m-1"', "m-1"), ("17", "17"), ("-0", "0"), ('"\\u006d-1"', "m-1"), ("1" * 400, "1" * 400)],
)
def test_message_id_is_text_or_an_integer(given_id: str, meant: str) -> None:
    """Numeric ids are ids."""
    event = read_event(b'{"type":"track","messageId":%b}' % given_id.encode())

    assert event.digest == digest(meant)


@pytest.mark.parametrize(
    "given_id", ["", ',"messageId":""', ',"messageId":null', ',"messageId":1.5']
)
def test_missing_id_is_derived_from_the_bytes(given_id: str) -> None:
    """An event without an id gets one that is the same each time it comes, and its own."""
    body = b'{"type":"track"%b}' % given_id.encode()
    other = b'{"type":"track","event":"x"%b}' % given_id.encode()

    assert read_event(body).digest == read_event(body).digest
    assert read_event(body).digest != read_event(other).digest
    assert re.fullmatch("derived-[0-9a-f]{32}", identity(None, body))


def test_derived_id_never_changes() -> None:
    """Ids derived by an earlier version stay what they were."""
    assert identity("", b'{"type":"track"}') == "derived-400e98318bae93fbbdc870304c449f80"


@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "L"]), max_size=3)
    | st.lists(st.integers())
)
def test_recognised_id_is_the_emitted_one(message_id: object) -> None:
    """Duplicates are looked for by the same id that the target's key has."""
    body = json.dumps({"type": "track", "messageId": message_id}).encode()

    record = to_record(body, "track", position=1, source="default", received_at=0)

    assert read_event(body).digest == digest(record["message_id"])


def test_depth_is_limited() -> None:
    """As deep as the limit is good; a level more is no event."""
    deepest = b'{"type":"track","a":%b%b}' % (b"[" * (MAX_DEPTH - 1), b"]" * (MAX_DEPTH - 1))
    deeper = b'{"type":"track","a":%b%b}' % (b"[" * MAX_DEPTH, b"]" * MAX_DEPTH)

    assert read_event(deepest).code == "t"
    with pytest.raises(InvalidEvent, match="nested deeper than 100"):
        read_event(deeper)


def test_a_million_levels_are_refused_at_once() -> None:
    """The deepest event that fits a body costs no stack."""
    with pytest.raises(InvalidEvent, match="nested deeper"):
        read_event(b'{"type":"track","a":' + b"[" * 1_000_000)


@pytest.mark.parametrize("text", ["[" * 500, '\\"' + "[" * 500, "\\\\", "{" * 500 + '\\\\\\"'])
def test_brackets_in_text_are_no_depth(text: str) -> None:
    """Only structure is depth, whatever the texts hold."""
    wide = b"[" + b",".join([b"{}"] * 200) + b"]"

    assert read_event(b'{"a":"%b","b":%b,"type":"track"}' % (text.encode(), wide)).code == "t"


@pytest.mark.parametrize(
    "value", [r'"\ud83d"', "NaN", "1e400", "1" * 5000, '"\u2028"', r'"\u0000"']
)
def test_what_strict_readers_refuse_is_an_event(value: str) -> None:
    """What JavaScript may send is stored, however odd a value is."""
    assert read_event(b'{"type":"track","properties":{"a":%b}}' % value.encode()).code == "t"


def test_bytes_that_are_no_utf8_are_an_event() -> None:
    """A wrong encoding in one value does not cost the event."""
    assert read_event(b'{"type":"track","properties":{"a":"\xff\xe9"}}').code == "t"
