"""Singer messages as the tap writes them, for a target that is to send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness import deliveries
from tap_segment_webhook.record import encode_json, objects_as_text, to_record
from tap_segment_webhook.schema import PRIMARY_KEYS, REPLICATION_KEY, stream_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json = dict[str, Any]
Message = Json | bytes
"""A Singer message, or a line of input that need be none."""

STREAMS = ("track", "identify", "page", "screen", "group", "alias", "delete")
RECEIVED_AT = 1_772_623_530_000


def schema(call: str, *, stream: str | None = None, payload_format: str = "object") -> Json:
    """Return the SCHEMA of the stream of *call*, under the name *stream*."""
    return {
        "type": "SCHEMA",
        "stream": stream or call,
        "schema": stream_schema(call, payload_format),
        "key_properties": list(PRIMARY_KEYS),
        "bookmark_properties": [REPLICATION_KEY],
    }


def record(
    event: Json, position: int = 1, *, stream: str | None = None, payload_format: str = "object"
) -> Json:
    """Return the RECORD that the tap makes of *event*."""
    call = event["type"]
    body = deliveries.encode(event)
    found = to_record(body, call, position=position, source="default", received_at=RECEIVED_AT)
    if payload_format == "json_string":
        found = objects_as_text(found)
    return {"type": "RECORD", "stream": stream or call, "record": found}


def state(position: int) -> Json:
    """Return a STATE that says that all events up to *position* were emitted."""
    return {"type": "STATE", "value": {"position": position}}


def small(number: int, **fields: Any) -> Json:
    """Return a small track event with *number* in it, of one of many users."""
    return {
        "type": "track",
        "messageId": f"small-{number}",
        "userId": f"usr_{number % 97}",
        "event": "Lesson Started",
        "timestamp": "2026-03-04T11:20:31.402Z",
        "properties": {"n": number},
        **fields,
    }


def conversation(
    events: Iterable[Json], *, first: int = 1, every: int | None = None
) -> Iterator[Message]:
    """Yield what the tap writes of *events*: schemas, records, a state after *every* so many.

    The events have the positions from *first* on; the last message is a state.
    """
    yield from map(schema, STREAMS)
    position = first - 1
    for position, event in enumerate(events, first):
        yield record(event, position)
        if every and position % every == 0:
            yield state(position)
    yield state(position)


def encode(messages: Iterable[Message]) -> bytes:
    """Return *messages* as they stand in the input."""
    return b"".join(line(message) for message in messages)


def line(message: Message) -> bytes:
    """Return one message with its newline."""
    return (message if isinstance(message, bytes) else encode_json(message)) + b"\n"


def numbers(events: Iterable[Json]) -> list[int]:
    """Return the numbers in *events* that `small` has made."""
    return [event["properties"]["n"] for event in events]
