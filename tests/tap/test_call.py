"""The events that a request to the Tracking API becomes."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from harness.values import ANY_TEXT, values
from hypothesis import given
from hypothesis import strategies as st
from tap_segment_webhook.call import (
    CALLS,
    MAX_CALL_BYTES,
    Request,
    read_batch,
    read_call,
    read_pixel,
    sort_calls,
)
from tap_segment_webhook.discard import MAX_BATCH_EVENTS
from tap_segment_webhook.errors import DeliveryRefused, InvalidEvent
from tap_segment_webhook.event import NAMES
from tap_segment_webhook.record import to_record

Json = dict[str, Any]

VALUES = values(
    ANY_TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False), ANY_TEXT
)
RECEIVED_AT = 1_772_623_205_400  # 2026-03-04T11:20:05.400Z


def encode(value: Any) -> bytes:
    """Return the JSON text of *value*, as a client writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def call(**fields: Any) -> Json:
    """Return a valid call, with *fields* put over its own."""
    return {"type": "track", "event": "Order Completed", "userId": "usr_1", **fields}


def bodies(request: Request) -> list[Json]:
    """Return the events that *request* becomes, all of which must be good."""
    received = sort_calls("app", request, None)
    assert not received.rejects
    return [json.loads(event.body) for event in received.events]


def body(**fields: Any) -> Json:
    """Return the event that a batch of one call with *fields* becomes."""
    (event,) = bodies(read_batch(encode({"batch": [call(**fields)]})))
    return event


def record(request: Request) -> Json:
    """Return the record of the only event of *request*, received at `RECEIVED_AT`."""
    (event,) = sort_calls("app", request, None).events
    kind = NAMES[event.code]
    return to_record(event.body, kind, position=1, source="app", received_at=RECEIVED_AT)


def reasons(batch: Any) -> list[str]:
    """Return why each call of *batch* is set aside; none of them is stored."""
    received = sort_calls("app", read_batch(encode({"batch": batch})), None)
    assert not received.events
    return [reject.reason for reject in received.rejects]


@pytest.mark.parametrize("kind", CALLS)
def test_path_says_the_type(kind: str) -> None:
    """A single call need not name its type, and cannot be of another."""
    given_type = call(type="delete", name="Home", groupId="g", previousId="p")

    (event,) = bodies(read_call(encode(given_type), kind))

    assert event["type"] == kind


def test_call_of_a_batch_says_its_own_type() -> None:
    """Without one it is set aside."""
    (reason,) = reasons([{"userId": "usr_1", "event": "x"}])

    assert "type is not one of" in reason


def test_values_keep_their_bytes() -> None:
    """Numbers, escapes and order inside a value are those that were sent."""
    sent = (
        b'{"type":"track","event":"x","userId":"u","properties":{"b":1.50,"a":"\\u00e9","b":1e3}}'
    )

    (event,) = sort_calls("app", read_batch(b'{"batch":[%b]}' % sent), None).events

    assert b'{"b":1.50,"a":"\\u00e9","b":1e3}' in event.body


def test_message_id_is_kept() -> None:
    """An SDK's id is what makes its retry a duplicate."""
    assert body(messageId="m-1")["messageId"] == "m-1"


@pytest.mark.parametrize("absent", [{}, {"messageId": None}, {"messageId": ""}])
def test_missing_message_id_is_assigned(absent: Json) -> None:
    """Two equal calls without an id are two events, as at Segment."""
    first, second = bodies(read_batch(encode({"batch": [call(**absent)] * 2})))

    assert first["messageId"] != second["messageId"]
    assert len(first["messageId"]) == 36


def test_write_key_is_not_kept() -> None:
    """It is left out of each event, wherever it stood."""
    batch = {"writeKey": "key-1", "batch": [call(writeKey="key-1")], "context": {}}

    (event,) = sort_calls("app", read_batch(encode(batch)), None).events

    assert b"key-1" not in event.body
    assert read_batch(encode(batch)).write_key == "key-1"
    assert read_call(encode(call(writeKey="key-2")), "track").write_key == "key-2"


def test_shared_context_is_merged_into_each_call() -> None:
    """What a call says itself wins, name by name; the order of calls stays."""
    batch = {
        "context": {"ip": "203.0.113.24", "library": {"name": "shared"}},
        "integrations": {"All": True, "Salesforce": False},
        "batch": [
            call(event="one"),
            call(event="two", context={"library": {"name": "own"}}, integrations={"All": False}),
            call(event="three", context=None),
        ],
    }

    events = bodies(read_batch(encode(batch)))

    assert [event["event"] for event in events] == ["one", "two", "three"]
    assert [event["context"] for event in events] == [
        batch["context"],
        {"ip": "203.0.113.24", "library": {"name": "own"}},
        batch["context"],
    ]
    assert events[1]["integrations"] == {"All": False, "Salesforce": False}


def test_own_context_that_is_no_object_is_left_as_it_is() -> None:
    """It cannot be merged; the record keeps it in `extra`."""
    (event,) = bodies(read_batch(encode({"context": {"a": 1}, "batch": [call(context=[1])]})))

    assert event["context"] == [1]


def test_timestamp_is_corrected_by_the_clients_clock() -> None:
    """Segment's example: 10:00:00.000, sent at 10:00:05.000, received 10:00:05.400."""
    made = record(
        read_batch(
            encode(
                {
                    "sentAt": "2026-03-04T10:00:05.000Z",
                    "batch": [
                        call(timestamp="2026-03-04T10:00:00.000Z", sentAt="2020-01-01T00:00:00Z")
                    ],
                }
            )
        )
    )

    assert made["original_timestamp"] == "2026-03-04T10:00:00.000Z"
    assert made["sent_at"] == "2026-03-04T10:00:05.000Z"
    assert made["received_at"] == "2026-03-04T11:20:05.400Z"
    assert made["timestamp"] == "2026-03-04T11:20:00.400Z"
    assert made["extra"] is None


def test_timestamp_without_sent_at_is_the_clients() -> None:
    """Nothing is known of its clock; history keeps its dates."""
    made = record(read_call(encode(call(timestamp="2019-05-06T07:08:09.123Z")), "track"))

    assert made["timestamp"] == made["original_timestamp"] == "2019-05-06T07:08:09.123Z"


@pytest.mark.parametrize("missing", [{}, {"timestamp": None}, {"timestamp": ""}])
def test_missing_timestamp_is_the_time_of_receipt(missing: Json) -> None:
    """It happened when it came."""
    made = record(read_call(encode(call(**missing)), "track"))

    assert made["timestamp"] == made["received_at"] == "2026-03-04T11:20:05.400Z"
    assert made["original_timestamp"] is None


def test_broken_timestamp_is_kept_and_replaced_by_the_time_of_receipt() -> None:
    """What was sent stays in `extra`."""
    made = record(read_call(encode(call(timestamp="yesterday")), "track"))

    assert made["timestamp"] == made["received_at"]
    assert made["extra"] == {"originalTimestamp": "yesterday"}


def test_unknown_fields_stay() -> None:
    """What only newer SDKs send is kept, in `extra`."""
    made = record(read_call(encode(call(_metadata={"retryCount": 1})), "track"))

    assert made["extra"] == {"_metadata": {"retryCount": 1}}


def test_half_an_emoji_is_no_reason_to_lose_a_batch() -> None:
    r"""JavaScript cuts strings in the middle of a pair: `"\ud83d"`, also in names."""
    text = (
        rb'{"batch":[{"type":"track","userId":"u","event":"x","properties":{"\ud83d":"\ude00 a"}}]}'
    )

    (event,) = sort_calls("app", read_batch(text), None).events

    assert rb'{"\ud83d": "\ude00 a"}' in event.body


def test_half_an_emoji_in_a_field_name_is_kept() -> None:
    """Also where our own fields stand."""
    text = rb'{"type":"track","userId":"u","event":"x","\ud83d":1}'

    (event,) = sort_calls("app", read_call(text, "track"), None).events

    assert json.loads(event.body)["\ud83d"] == 1


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'"x"', b'{"batch":[', b"\xff", b"[" * 5000])
def test_body_that_is_no_object_is_an_error(text: bytes) -> None:
    """Segment answers 400 to it."""
    with pytest.raises(InvalidEvent):
        read_batch(text)


@pytest.mark.parametrize("batch", [None, {}, "x", 1])
def test_batch_without_an_array_is_set_aside_whole(batch: Any) -> None:
    """Segment answers 200 to it and drops it."""
    received = sort_calls("app", read_batch(encode({"batch": batch})), None)

    assert received.elements == 1
    assert [reject.reason for reject in received.rejects] == [
        "It has no array `batch` (empty_batch)."
    ]


def test_empty_batch_holds_nothing() -> None:
    """There is nothing to keep."""
    assert sort_calls("app", read_batch(b'{"batch":[]}'), None).elements == 0


@pytest.mark.parametrize("element", [1, "x", None, [], [{}]])
def test_element_that_is_no_object_does_not_cost_the_others(element: Any) -> None:
    """It is set aside exactly as it came."""
    received = sort_calls("app", read_batch(encode({"batch": [element, call()]})), None)

    assert [reject.body for reject in received.rejects] == [encode(element)]
    assert len(received.events) == 1


def test_what_segment_drops_is_set_aside_with_what_it_would_have_become() -> None:
    """So that a retry of the rejects finds an event with an id."""
    (reject,) = sort_calls("app", read_batch(encode({"batch": [call(userId=17)]})), None).rejects

    assert "id_not_string" in reject.reason
    assert json.loads(reject.body)["messageId"]


def test_delete_is_no_call() -> None:
    """A write key stands in every page: nobody may have a user erased with it."""
    (reason,) = reasons([{"type": "delete", "userId": "usr_1"}])

    assert "no call `delete`" in reason


def test_too_large_a_batch_is_set_aside_call_by_call() -> None:
    """Segment answers 200 to 2,501 calls and drops them all."""
    found = reasons([call()] * (MAX_BATCH_EVENTS + 1))

    assert len(found) == MAX_BATCH_EVENTS + 1
    assert set(found) == {"Its batch has 2,501 calls; Segment takes 2,500."}


def test_largest_batch_is_taken() -> None:
    """2,500 calls are not too many."""
    batch = encode({"batch": [call()] * MAX_BATCH_EVENTS})

    assert len(sort_calls("app", read_batch(batch), None).events) == MAX_BATCH_EVENTS


def test_too_large_a_call_is_refused() -> None:
    """Segment answers 400 above 32 KB; exactly as much is taken."""
    room = MAX_CALL_BYTES - len(encode(call(event="")))
    fits, over = (encode(call(event="x" * size)) for size in (room, room + 1))

    assert len(sort_calls("app", read_call(fits, "track"), None).events) == 1
    with pytest.raises(DeliveryRefused, match=r"32,769 bytes; Segment takes 32,768"):
        sort_calls("app", read_batch(b'{"batch":[%b,%b]}' % (fits, over)), None)


def test_switched_off_call_is_filtered() -> None:
    """What the batch shares counts too."""
    batch = {"integrations": {"Warehouse": False}, "batch": [call(), call(integrations={})]}

    received = sort_calls("app", read_batch(encode(batch)), "Warehouse")

    assert (received.elements, received.filtered, received.events) == (2, 2, [])


PIXEL = call(event="Mail Opened", writeKey="key-1", properties={"título": "Café ☕", "n": 1})


@pytest.mark.parametrize(
    "data",
    [
        quote(b64encode(encode(PIXEL))),
        b64encode(encode(PIXEL)).decode(),  # its + arrives as a space
        b64encode(encode(PIXEL)).decode().rstrip("="),
        urlsafe_b64encode(encode(PIXEL)).decode(),
    ],
)
def test_pixel_carries_a_call_as_base64(data: str) -> None:
    """In any form of base64, with and without its padding."""
    request = read_pixel(f"data={data}".encode(), "track")

    (event,) = bodies(request)
    assert request.write_key == "key-1"
    assert {**event, "writeKey": "key-1"} == {**PIXEL, "messageId": event["messageId"]}


def test_pixel_carries_a_call_as_parameters() -> None:
    """Dots lead into objects."""
    query = urlencode(
        {
            "writeKey": "key-1",
            "userId": "usr_1",
            "event": "Mail Opened",
            "properties.campaign.name": "März",
            "properties.n": "1",
        }
    )

    request = read_pixel(query.encode(), "track")

    (event,) = bodies(request)
    assert request.write_key == "key-1"
    assert event["properties"] == {"campaign": {"name": "März"}, "n": "1"}


def test_pixel_whose_parameters_contradict_each_other_is_still_a_call() -> None:
    """`a=1&a.b=2` cannot both be."""
    (event,) = bodies(read_pixel(b"userId=u&event=x&properties.a=1&properties.a.b=2", "track"))

    assert event["properties"] == {"a": "1"}


@pytest.mark.parametrize("query", [b"data=%25", b"data=e30", b"data=bnVsbA=="])
def test_pixel_without_a_call_is_an_error_or_set_aside(query: bytes) -> None:
    """Neither text that is no base64 nor a call without an id is stored."""
    try:
        received = sort_calls("app", read_pixel(query, "track"), None)
    except InvalidEvent:
        return
    assert not received.events
    assert len(received.rejects) == 1


@given(st.lists(VALUES | st.fixed_dictionaries({"type": st.sampled_from(CALLS)}), max_size=5))
def test_every_call_ends_in_exactly_one_lot(batch: list[Any]) -> None:
    """Whatever is in a batch is stored, filtered or set aside, and counted."""
    received = sort_calls("app", read_batch(encode_any({"batch": batch})), "Warehouse")

    lots = len(received.events) + len(received.rejects) + received.filtered
    assert received.elements == len(batch) == lots


@given(VALUES)
def test_any_property_arrives(value: Any) -> None:
    """What stands in properties is not touched."""
    request = read_batch(encode_any({"batch": [call(properties={"p": value})]}))

    (event,) = sort_calls("app", request, None).events

    assert json.loads(event.body)["properties"] == json.loads(encode_any({"p": value}))


def encode_any(value: Any) -> bytes:
    """Return the JSON text of *value*, whose strings may hold half an emoji."""
    return json.dumps(value).encode()
