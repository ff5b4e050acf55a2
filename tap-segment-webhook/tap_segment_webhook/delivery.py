"""One webhook request: which bytes its signature covers, and which events it holds.

Pure. Three body shapes reach a webhook (facts of Segment's open destination
code): one event object; an array of events; and, from the Extensible Webhook,
an array whose elements are wrapped as `{"json": event}`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from tap_segment_webhook.errors import InvalidEvent
from tap_segment_webhook.event import Event, read_event, tokens
from tap_segment_webhook.filter import switched_off
from tap_segment_webhook.spool.model import Received, Reject

_MAX_COMMAS: Final = 1_000_000  # each could be an element: bounds what the fast reader allocates
_MAX_TOKENS: Final = 4_000_000  # about a second of the tolerant reader's time
_WRAPPER: Final = b'{"json":'
_SPACE: Final = b" \t\r\n"

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Delivery(NamedTuple):
    """The parts of one request's body."""

    signed: bytes
    """The bytes that `X-Signature` covers."""
    elements: list[bytes]
    """What should be events, in order, exactly as received."""
    fault: str | None = None
    """Why the body as a whole could not be read, or None."""


class _Unreadable(Exception):
    def __init__(self, reason: str, first: bytes | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.first = first


def read_delivery(body: bytes) -> Delivery:
    """Take *body* apart without changing a byte of it.

    Whether an element is an event is not asked here: one bad element must not
    cost the others.
    """
    start = body[:1]
    if start in _SPACE:
        start = body.lstrip(_SPACE)[:1]
    if start == b"{":
        return Delivery(body, [body])
    if start != b"[":
        return Delivery(body, [], "The body is neither a JSON object nor an array.")
    try:
        elements = [unwrap(element) for element in split(body)]
    except _Unreadable as error:
        return Delivery(unwrap(error.first or body), [], error.reason)
    if not elements:
        return Delivery(body, [], "The array is empty: it holds no event.")
    return Delivery(elements[0], elements)


def split(body: bytes) -> list[bytes]:
    """Cut the JSON array *body* into its elements, each exactly as received."""
    if body.count(b",") < _MAX_COMMAS:
        try:
            return [bytes(element) for element in _decode_array(body)]
        except (msgspec.MsgspecError, RecursionError):
            pass
    return _split_tolerantly(body)


def _split_tolerantly(body: bytes) -> list[bytes]:
    """Cut an array by its brackets alone, whatever stands between them."""
    elements: list[bytes] = []
    level, start = 0, 0
    for count, token in enumerate(tokens(body)):
        place = token.start()
        mark = body[place]
        if count > _MAX_TOKENS:
            raise _Unreadable("The array is not valid JSON.", next(iter(elements), None))
        if mark in b"[{":
            level += 1
            start = start or place + 1
        elif mark in b"]}":
            level -= 1
        if level == 0 or (level == 1 and mark == ord(",")):
            elements.append(body[start:place].strip(_SPACE))
            start = place + 1
        if level == 0:
            break
    if level or body[start:].strip(_SPACE):
        raise _Unreadable("The array is cut off or not valid JSON.", next(iter(elements), None))
    return elements if elements != [b""] else []


def unwrap(element: bytes) -> bytes:
    """Return the event inside an Extensible Webhook's *element*, or the element itself."""
    if element.startswith(_WRAPPER) and element.endswith(b"}"):
        inside = element[len(_WRAPPER) : -1]
        with suppress(_Unreadable):
            if len(_split_tolerantly(b"[%b]" % inside)) == 1:  # else more fields follow
                return inside.strip(_SPACE)
    return element


def sort_events(source: str, elements: list[bytes], integration_name: str | None) -> Received:
    """Put each of *elements* into its lot: events, rejects, or counted as filtered."""
    events: list[Event] = []
    rejects: list[Reject] = []
    filtered = 0
    for element in elements:
        try:
            events.append(read_event(element))
        except InvalidEvent as error:
            rejects.append(Reject(error.reason, element))
    if integration_name is not None:
        meant = [event for event in events if not switched_off(event.body, integration_name)]
        events, filtered = meant, len(events) - len(meant)
    return Received(source, len(elements), events, rejects, filtered)
