"""A record holds what the event says, in values that every target can take."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from operator import itemgetter
from typing import Any

import pytest
from harness import deliveries
from tap_segment_webhook.event import TYPES
from tap_segment_webhook.record import columns, encode_json, objects_as_text, to_record
from tap_segment_webhook.schema import stream_schema

BASE = {"type": "track", "messageId": "m-1"}
RECEIVED_AT = 1_772_623_530_402  # 2026-03-04T11:25:30.402Z


def record(body: bytes, stream: str = "track") -> dict[str, Any]:
    """Return the record of *body*, as a target reads it."""
    made = to_record(body, stream, position=7, source="default", received_at=RECEIVED_AT)
    read: dict[str, Any] = json.loads(encode_json(made), parse_float=Decimal)
    return read


def snake_case(name: str) -> str:
    """Return the column of Segment's field *name*."""
    return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


def record_of(**fields: Any) -> dict[str, Any]:
    """Return the record of a track event with *fields*."""
    return record(deliveries.encode({**BASE, **fields}))


def record_with(**values: str) -> dict[str, Any]:
    """Return the record of a track event with fields whose *values* are JSON text."""
    fields = "".join(f',"{name}":{value}' for name, value in values.items())
    return record(('{"type":"track","messageId":"m-1"' + fields + "}").encode())


@pytest.mark.parametrize("stream", TYPES)
def test_record_has_every_column_of_its_schema(stream: str) -> None:
    """Schema and records never disagree about a name."""
    made = record(b'{"type":"%b"}' % stream.encode(), stream)

    assert set(made) == set(stream_schema(stream, "object")["properties"])
    assert made["type"] == stream


@pytest.mark.parametrize("event", list(deliveries.events(20)), ids=itemgetter("type"))
def test_ordinary_event_is_all_there(event: dict[str, Any]) -> None:
    """What Segment's libraries send comes out under snake case names, and nothing is left over."""
    texts = {
        *("messageId", "userId", "anonymousId", "channel", "projectId", "type"),
        *("event", "name", "category", "groupId", "previousId", "properties", "traits"),
    }

    made = record(deliveries.encode(event), event["type"])

    sent = json.loads(deliveries.encode(event), parse_float=Decimal)
    assert {name: made[snake_case(name)] for name in texts & sent.keys()} == {
        name: sent[name] for name in texts & sent.keys()
    }
    assert made["version"] == "2"
    assert made["extra"] == ({"_metadata": event["_metadata"]} if "_metadata" in event else None)


@pytest.mark.parametrize("name", ["context", "integrations", "properties"])
def test_open_object_is_kept_as_it_is(name: str) -> None:
    """Names, nesting and numbers inside an open object are the sender's."""
    value = {"Total Billed": 64.9, "a.b": [{"x": None}, []], "": {"é": "☕"}, "n": 2**53 + 1}

    made = record_of(**{name: value})

    assert made[name] == json.loads(json.dumps(value), parse_float=Decimal)
    assert made["extra"] is None


@pytest.mark.parametrize("value", [[], [1], "text", 5, True, 0, ""])
def test_object_column_that_is_no_object_goes_to_extra(value: Any) -> None:
    """`context: []`, as Segment's own deletions send, is null, and kept."""
    made = record_of(context=value)

    assert made["context"] is None
    assert made["extra"] == {"context": value}


def test_null_is_null_and_nothing_extra() -> None:
    """An absent field and a null are the same."""
    made = record_of(context=None, userId=None, sentAt=None, version=None)

    assert made["context"] is made["user_id"] is made["sent_at"] is made["version"] is None
    assert made["extra"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("17", "17"), ("-0", "0"), ("12.5", "12.5"), ("2.0", "2.0")),
        *(("12345678901234567890123", "12345678901234567890123"), ("1" * 400, "1" * 400)),
    ],
)
def test_numeric_id_becomes_text(value: str, text: str) -> None:
    """Numbers where Segment sends text are taken digit by digit."""
    made = record_with(userId=value, version=value)

    assert made["user_id"] == made["version"] == text
    assert made["extra"] is None


@pytest.mark.parametrize("value", [True, False, [], ["a"], {}, {"id": 5}])
def test_id_of_another_kind_goes_to_extra(value: Any) -> None:
    """What cannot be an id is kept under the sender's name."""
    made = record_of(userId=value, event=value)

    assert made["user_id"] is made["event"] is None
    assert made["extra"] == {"userId": value, "event": value}


def test_message_id_of_another_kind_is_derived_and_kept() -> None:
    """A key is never null."""
    made = record_of(messageId={"id": 5})

    assert made["message_id"].startswith("derived-")
    assert made["extra"] == {"messageId": {"id": 5}}


def test_unknown_field_of_our_own_name_is_kept() -> None:
    """A field called `_originals` is as good as any other."""
    made = record_with(_originals='"theirs"', event=r'"\u0000"')

    assert "theirs" in json.dumps(made)


def test_unknown_field_goes_to_extra() -> None:
    """A field that the spec does not know is not lost."""
    made = record_of(email="ada@harbor.example", _metadata={"bundled": []}, traits={"a": 1})

    assert made["extra"] == {
        "email": "ada@harbor.example",
        "_metadata": {"bundled": []},
        "traits": {"a": 1},
    }


def test_write_key_is_never_emitted() -> None:
    """A write key is a secret, whatever it is."""
    made = record_of(writeKey="wk-secret", type="track")

    assert "wk-secret" not in json.dumps(made, default=str)
    assert "writeKey" not in json.dumps(made, default=str)


def test_timestamps_become_utc() -> None:
    """Each time is in UTC, whatever offset it came with."""
    made = record_of(
        timestamp="2026-03-04T12:20:31.402+01:00",
        originalTimestamp="2026-03-04 11:40:10.208 +0000 UTC m=+70366.298768264",
        sentAt="2026-03-04T11:20:31Z",
    )

    assert made["timestamp"] == "2026-03-04T11:20:31.402Z"
    assert made["original_timestamp"] == "2026-03-04T11:40:10.208Z"
    assert made["sent_at"] == "2026-03-04T11:20:31.000Z"
    assert made["extra"] is None


@pytest.mark.parametrize("value", ["", "soon", "10000-01-01T00:00:00Z", 1772623530, [], True])
def test_broken_timestamp_is_null_and_kept(value: Any) -> None:
    """A time that no target takes stays readable in extra."""
    made = record_of(timestamp=value)

    assert made["timestamp"] is None
    assert made["extra"] == {"timestamp": value}


def test_inexact_timestamp_is_kept_too() -> None:
    """What lies below a millisecond is not lost."""
    made = record_of(sentAt="2026-03-04T11:20:31.402123Z")

    assert made["sent_at"] == "2026-03-04T11:20:31.402Z"
    assert made["extra"] == {"sentAt": "2026-03-04T11:20:31.402123Z"}


def test_time_of_receipt_stands_in() -> None:
    """`received_at` is never null: else it is the receiver's own."""
    assert record_of()["received_at"] == "2026-03-04T11:25:30.402Z"
    assert record_of(receivedAt="2026-01-01T00:00:00Z")["received_at"] == "2026-01-01T00:00:00.000Z"

    broken = record_of(receivedAt="soon")
    assert broken["received_at"] == "2026-03-04T11:25:30.402Z"
    assert broken["extra"] == {"receivedAt": "soon"}


@pytest.mark.parametrize(
    ("text", "replaced"),
    [(r"a\u0000b", "a\ufffdb"), (r"\ud83d", "\ufffd"), (r"\udc00\ud800", "\ufffd\ufffd")],
)
def test_unwritable_character_is_replaced_and_kept(text: str, replaced: str) -> None:
    """NUL and half an emoji abort targets: they are replaced, the original is kept."""
    made = record_with(properties=f'{{"a":["{text}"]}}', event=f'"{text}"')

    assert made["properties"] == {"a": [replaced]}
    assert made["event"] == replaced
    originals = made["extra"]["_originals"]
    assert {path: json.loads(value) for path, value in originals.items()} == {
        "properties.a[0]": json.loads(f'"{text}"'),
        "event": json.loads(f'"{text}"'),
    }


def test_unwritable_key_is_replaced_and_kept() -> None:
    """Names of fields are texts too."""
    made = record_with(properties=r'{"k\u0000":1}')

    assert made["properties"] == {"k\ufffd": 1}
    assert made["extra"] == {"_originals": {"properties.k\ufffd": json.dumps("k\0")}}


def test_keys_that_become_the_same_are_both_kept() -> None:
    """Replacing a character in a name does not cost the other value of the same name."""
    made = record_with(properties=r'{"k\u0000":1,"k\ud800":2}')

    assert sorted(made["properties"].values()) == [1, 2]


def test_whole_emoji_is_left_alone() -> None:
    """Two halves that belong together are one character."""
    made = record_with(event=r'"\ud83d\ude00"', properties=r'{"a\ud83d\ude00":"\u0041"}')

    assert made["event"] == "😀"
    assert made["properties"] == {"a😀": "A"}
    assert made["extra"] is None


@pytest.mark.parametrize("number", ["1e400", "-1E+400", "NaN", "-Infinity", "9" * 400])
def test_number_that_nothing_holds_is_null_and_kept(number: str) -> None:
    """Infinity is no number in a database."""
    made = record_with(properties=f'{{"a":{{"b":{number}}}}}')

    assert made["properties"] == {"a": {"b": None}}
    assert made["extra"] == {"_originals": {"properties.a.b": number}}


@pytest.mark.parametrize("number", ["1" + "0" * 250 + "e90", "1" + "0" * 250 + ".5e90"])
def test_number_of_many_digits_and_an_exponent_is_null_and_kept(number: str) -> None:
    """Neither its digits nor its exponent alone make a number too large."""
    made = record_with(properties=f'{{"a":{number}}}')

    assert made["properties"] == {"a": None}
    assert made["extra"] == {"_originals": {"properties.a": number}}


@pytest.mark.parametrize("number", ["1e-20000", "1E-999999999", "0." + "3" * 20_000])
def test_number_that_is_too_fine_is_null_and_kept(number: str) -> None:
    """More digits after the point than PostgreSQL's jsonb takes abort a run as well."""
    made = record_with(properties=f'{{"a":{number}}}')

    assert made["properties"] == {"a": None}
    assert made["extra"] == {"_originals": {"properties.a": number}}


@pytest.mark.parametrize(
    "number",
    [
        *(
            "0.1",
            "1e-7",
            "-0.0",
            "5e-324",
            "1.7976931348623157e308",
            "123456789.123456789123456789",
        ),
        *(str(2**63), str(-(2**63) - 1), "1" * 308, "1e22", "0." + "3" * 300),
    ],
)
def test_number_comes_out_exactly(number: str) -> None:
    """No digit is lost, also where a float would lose it."""
    made = record_with(properties=f'{{"a":{number}}}')

    assert Decimal(made["properties"]["a"]) == Decimal(number)
    assert made["extra"] is None


def test_last_of_duplicate_keys_counts() -> None:
    """A key that comes twice is what JavaScript makes of it."""
    made = record(b'{"type":"track","userId":"a","userId":"b","properties":{"a":1,"a":2}}')

    assert made["user_id"] == "b"
    assert made["properties"] == {"a": 2}


def test_wrong_encoding_is_replaced() -> None:
    """Bytes that are no UTF-8 do not cost the event."""
    made = record(b'{"type":"track","properties":{"a":"\xff"}}')

    assert made["properties"] == {"a": "\ufffd"}


def test_objects_as_text_are_json() -> None:
    """With `json_string` every open object is a JSON text, and null stays null."""
    made = objects_as_text(record_of(properties={"a": [1, "é"]}, context={}, _metadata={}))

    assert json.loads(made["properties"]) == {"a": [1, "é"]}
    assert made["context"] == "{}"
    assert made["integrations"] is None
    assert json.loads(made["extra"]) == {"_metadata": {}}


@pytest.mark.parametrize("stream", TYPES)
def test_columns_are_those_that_segment_documents(stream: str) -> None:
    """The envelope is the same for each stream; its own columns stand in the middle."""
    own = {
        "alias": ["previous_id"],
        "delete": [],
        "group": ["group_id", "traits"],
        "identify": ["traits"],
        "page": ["name", "category", "properties"],
        "screen": ["name", "category", "properties"],
        "track": ["event", "properties"],
    }

    assert [
        *("message_id", "type", "user_id", "anonymous_id", "channel", *own[stream]),
        *("context", "integrations", "timestamp", "original_timestamp", "sent_at", "received_at"),
        *("version", "project_id"),
    ] == list(columns(stream))
