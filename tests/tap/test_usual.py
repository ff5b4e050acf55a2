"""Usual calls, which are taken in faster, and what is none."""

from __future__ import annotations

import json
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import pytest
from harness import sdks
from harness.values import ANY_TEXT, values
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from tap_segment_webhook.call import CALLS, Request, sort_calls
from tap_segment_webhook.discard import CONSENT_EVENT
from tap_segment_webhook.usual import take_in

if TYPE_CHECKING:
    from tap_segment_webhook.event import Event

Json = dict[str, Any]

SENT = b'"2026-03-04T11:20:31.640Z"'
START = b'{"sentAt":%b,' % SENT
TIME = "2026-03-04T11:20:30.402Z"
CALL: Json = {
    "type": "track",
    "event": "Order Completed",
    "userId": "usr_1",
    "messageId": "m-1",
    "timestamp": TIME,
}
TEXTS = st.sampled_from(["usr_1", "Größe", "", "timestamp", '"timestamp":', CONSENT_EVENT])
SIMPLE = TEXTS | ANY_TEXT | st.none() | st.integers() | st.booleans()
OBJECTS = st.dictionaries(TEXTS, TEXTS) | values(SIMPLE, ANY_TEXT)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(CALLS),
    **dict.fromkeys(("messageId", "userId", "anonymousId", "event"), TEXTS | SIMPLE),
    **dict.fromkeys(("name", "category", "groupId", "previousId"), SIMPLE),
    **dict.fromkeys(("properties", "traits", "context", "integrations"), OBJECTS | SIMPLE),
    **dict.fromkeys(("timestamp", "originalTimestamp", "sentAt", "writeKey"), SIMPLE),
}
PARTS = st.one_of(*(st.fixed_dictionaries({name: drawn}) for name, drawn in FIELDS.items()))
CALLS_DRAWN = st.lists(PARTS, max_size=3).map(lambda parts: reduce(or_, parts, CALL))

STYLES = (
    {"separators": (",", ":"), "ensure_ascii": False},  # JavaScript's
    {"separators": (", ", ": "), "ensure_ascii": True},  # Python's
)
SPELLINGS = ('"timestamp":', '"time\\u0073tamp":', '"\\u0074imestamp" :')


@given(CALLS_DRAWN, st.sampled_from(STYLES), st.sampled_from(SPELLINGS))
def test_usual_call_becomes_what_it_would_become_anyway(
    fields: Json, style: Json, spelling: str
) -> None:
    """Whatever is taken for usual becomes the same event as if it were taken apart."""
    text = json.dumps(fields, **style).replace('"timestamp":', spelling, 1)
    call = text.encode(errors="backslashreplace")

    usual = take_in(call, START)

    assert usual is None or read(usual) == read(anyway(call, fields["type"]))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_calls_of_sdks_are_usual(separators: tuple[str, str]) -> None:
    """Or nothing would be gained."""
    calls = [{**call, "timestamp": TIME} for call in sdks.ordinary(50)]
    encoded = [json.dumps(call, separators=separators).encode() for call in calls]

    assert [take_in(call, START) is not None for call in encoded] == [True] * 50


@pytest.mark.parametrize(
    "fields",
    [
        {"messageId": None},
        {"timestamp": None},
        {"userId": None},
        {"event": None},
        {"event": CONSENT_EVENT},
        {"properties": []},
        {"sentAt": TIME},
        {"writeKey": "key-1"},
        {"originalTimestamp": TIME},
        {"properties": {"timestamp": TIME}},
        {"properties": {"in": json.loads("[" * 99 + "]" * 99)}},
        {"type": "delete"},
    ],
)
def test_what_is_not_usual_is_left_to_others(fields: Json) -> None:
    """A call with anything to be decided or moved is none of the usual."""
    assert take_in(json.dumps(CALL).encode(), START) is not None
    assert take_in(json.dumps(CALL | fields).encode(), START) is None


def test_name_written_with_an_escape_is_not_mistaken_for_another() -> None:
    """A timestamp that is not found as it is must not move another field of that name."""
    call = json.dumps(CALL | {"properties": {"timestamp": 1}})
    escaped = call.replace('"timestamp"', '"time\\u0073tamp"', 1).encode()

    assert take_in(escaped, START) is None


def anyway(call: bytes, kind: str) -> Event:
    """Return the event that *call* becomes where it is taken apart: under a path with its type."""
    request = Request(None, [call], kind, {"sentAt": Raw(SENT)})
    (event,) = sort_calls("app", request, None).events
    return event


def read(event: Event) -> tuple[str, bytes, Json]:
    """Return all that is known of *event*, whatever the order of its fields."""
    return event.code, event.digest, json.loads(event.body)
