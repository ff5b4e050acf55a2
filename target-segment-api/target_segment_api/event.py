"""From a record with the columns of tap-segment-webhook to the Segment call that it was. Pure.

Only what the Tracking API takes travels. An old `sentAt` would re-date history
to today (Segment computes `timestamp = receivedAt - (sentAt - originalTimestamp)`),
and `receivedAt`, `projectId` and `writeKey` belong to the source that it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from target_segment_api import timestamp

Event: TypeAlias = dict[str, Any]
"""One call of Segment's Tracking API, as the JSON object that is sent."""

CALLS: Final = ("alias", "group", "identify", "page", "screen", "track")
"""The calls that the Tracking API has; `delete` is not among them."""

_NEVER: Final = frozenset(
    {
        "messageId",
        "originalTimestamp",
        "projectId",
        "receivedAt",
        "sentAt",
        "type",
        "writeKey",
        "_originals",  # the tap's own: what no target could have taken
    }
)

_ESSENTIAL: Final = {
    "alias": {"user_id", "previous_id"},
    "group": {"group_id"},
    "identify": {"traits"},
    "page": {"properties"},
    "screen": {"properties"},
    "track": {"event"},
}


def call_of(stream: str, columns: Collection[str]) -> str | None:
    """Return the call that *stream* holds by its name and *columns*, or None.

    Its name is that of a call, or ends in one as tap-postgres names a table
    (`schema-track`); its columns are those of tap-segment-webhook.
    """
    call = stream.rpartition("-")[2]
    if call not in CALLS or "message_id" not in columns or not _ESSENTIAL[call] <= {*columns}:
        return None
    return call


def to_event(call: str, record: dict[str, Any]) -> Event:
    """Return the event that *record* holds, without its message id.

    What cannot be right (an id that is true or false, say) stays as it is, so
    that `rules.problems` can name it.
    """
    event: Event = {"type": call}
    for column, field, read in _FIELDS[call]:
        value = record.get(column)
        if value is not None and value != "":
            event[field] = read(value)
    extra = _object(record.get("extra"))
    if isinstance(extra, dict):
        for field, value in extra.items():
            if field not in _NEVER:
                event.setdefault(field, value)
    return event


def text_id(value: Any) -> Any:
    """Return the id *value* as text if it is a whole number, for Segment drops other ids."""
    if isinstance(value, float | Decimal) and value == value // 1:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _as_it_is(value: Any) -> Any:
    return value


def _object(value: Any) -> Any:
    """Read an object that came as JSON text: from `payload_format: json_string`, or a column."""
    if isinstance(value, str):
        with suppress(msgspec.DecodeError):
            return _decode(value)
    return value


def _moment(value: Any) -> Any:
    with suppress(ValueError):
        return timestamp.write(value)
    return value


_decode = msgspec.json.Decoder(float_hook=Decimal).decode

_Field: TypeAlias = tuple[str, str, Callable[[Any], Any]]

_COMMON: Final[tuple[_Field, ...]] = (
    ("user_id", "userId", text_id),
    ("anonymous_id", "anonymousId", text_id),
    ("timestamp", "timestamp", _moment),
    ("channel", "channel", _as_it_is),
    ("context", "context", _object),
    ("integrations", "integrations", _object),
)
_NAMED: Final[tuple[_Field, ...]] = (
    ("name", "name", _as_it_is),
    ("category", "category", _as_it_is),
    ("properties", "properties", _object),
)
_FIELDS: Final[dict[str, tuple[_Field, ...]]] = {
    "alias": (*_COMMON, ("previous_id", "previousId", text_id)),
    "group": (*_COMMON, ("group_id", "groupId", text_id), ("traits", "traits", _object)),
    "identify": (*_COMMON, ("traits", "traits", _object)),
    "page": (*_COMMON, *_NAMED),
    "screen": (*_COMMON, *_NAMED),
    "track": (
        *_COMMON,
        ("event", "event", _as_it_is),
        ("properties", "properties", _object),
    ),
}
