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

from target_segment_api import timestamp
from target_segment_api.encoding import decode

Event: TypeAlias = dict[str, Any]
"""One call of Segment's Tracking API, as the JSON object that is sent."""

CALLS: Final = ("alias", "group", "identify", "page", "screen", "track")
"""The calls that the Tracking API has; `delete` is not among them."""

_ID_DIGITS: Final = 4000  # `1e999999999` is a whole number, too, and Python writes none of 4,301

_NEVER: Final = frozenset(
    {
        "messageId",
        "originalTimestamp",
        "projectId",
        "receivedAt",
        "sentAt",
        "type",
        "version",
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
    for column, field, usual, read in _FIELDS[call]:
        value = record.get(column)
        if value is not None and value != "":
            found = value if type(value) is usual else read(value)
            if found is not None:  # the text `null` is none either
                event[field] = found
    if extra := record.get("extra"):
        _restore(event, _object(extra))
    return event


def _restore(event: Event, extra: Any) -> None:
    """Put the top-level fields that the tap has no column for back where they were."""
    if isinstance(extra, dict):
        for field, value in extra.items():
            if field not in _NEVER:
                event.setdefault(field, value)


def user_of(event: Event) -> Any:
    """Return whose *event* it is, with whose others it stays in order; for alias the earlier id."""
    return event.get("previousId") or event.get("userId") or event.get("anonymousId")


def text_id(value: Any) -> Any:
    """Return the id *value* as text if it is a whole number, for Segment drops other ids."""
    if isinstance(value, float | Decimal):
        number = Decimal(value)
        is_whole = (
            number.is_finite()
            and number.adjusted() < _ID_DIGITS
            and number == number.to_integral_value()
        )
        return str(int(number)) if is_whole else value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _as_it_is(value: Any) -> Any:
    return value


def _object(value: Any) -> Any:
    """Read an object that came as JSON text: from `payload_format: json_string`, or a column."""
    if isinstance(value, str):
        with suppress(ValueError):
            return decode(value)
    return value


def _moment(value: Any) -> Any:
    with suppress(ValueError):
        return timestamp.write(value)
    return value


_Field: TypeAlias = tuple[str, str, type, Callable[[Any], Any]]
"""A column, its field in the event, the type that it usually has and needs no reading, and how
any other is read."""

_COMMON: Final[tuple[_Field, ...]] = (
    ("user_id", "userId", str, text_id),
    ("anonymous_id", "anonymousId", str, text_id),
    ("timestamp", "timestamp", type(None), _moment),
    ("channel", "channel", str, _as_it_is),
    ("context", "context", dict, _object),
    ("integrations", "integrations", dict, _object),
)
_NAMED: Final[tuple[_Field, ...]] = (
    ("name", "name", str, _as_it_is),
    ("category", "category", str, _as_it_is),
    ("properties", "properties", dict, _object),
)
_FIELDS: Final[dict[str, tuple[_Field, ...]]] = {
    "alias": (*_COMMON, ("previous_id", "previousId", str, text_id)),
    "group": (*_COMMON, ("group_id", "groupId", str, text_id), ("traits", "traits", dict, _object)),
    "identify": (*_COMMON, ("traits", "traits", dict, _object)),
    "page": (*_COMMON, *_NAMED),
    "screen": (*_COMMON, *_NAMED),
    "track": (
        *_COMMON,
        ("event", "event", str, _as_it_is),
        ("properties", "properties", dict, _object),
    ),
}
