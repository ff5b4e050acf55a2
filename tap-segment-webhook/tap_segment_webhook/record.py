"""An event as the record that targets receive: every value representable, nothing lost.

Pure. A NUL character, half an emoji, a broken date or a number beyond every
database aborts real targets in mid-run. Such a value is replaced, and what was
sent is kept in `extra`: whole fields under Segment's name for them, parts of
them as JSON text under `_originals`.

This is the reading that defines a record; `lines` does the same faster for
events that hold nothing unusual.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from functools import cache
from typing import Any, Final

import msgspec

from tap_segment_webhook import timestamp
from tap_segment_webhook.event import read_identity, read_tolerantly, writable
from tap_segment_webhook.schema import REPLICATION_KEY, TIMES, own_columns

OBJECTS: Final = frozenset({"context", "integrations", "properties", "traits"})
SECRET: Final = "writeKey"  # noqa: S105 - the field's name; its value is never emitted
ORIGINALS: Final = "_originals"

MAX_DIGITS: Final = 308
"""A number of more digits, or a larger exponent, may be infinite as a float."""

MAX_SCALE: Final = 16_383
"""More digits after the point than this do not go into PostgreSQL's numeric, nor into jsonb."""

SAFE_DIGITS: Final = 200
"""A number of fewer digits is finite, if its exponent has no more than two."""

# What an event must contain for any of it to be unwritable or unholdable.
_SIGNS: Final = re.compile(
    rb"\\u0000|\\u[dD][89a-fA-F]|\d[eE][+-]?\d{3}|\d{%d}|NaN|Infinity" % SAFE_DIGITS
)
_INT64: Final = 1 << 63

encode_json = msgspec.json.Encoder(decimal_format="number").encode


@cache
def columns(stream: str) -> tuple[str, ...]:
    """Return the columns of *stream* that come from the event itself."""
    return (
        "message_id",
        "type",
        "user_id",
        "anonymous_id",
        "channel",
        *own_columns(stream),
        "context",
        "integrations",
        *TIMES,
        "version",
        "project_id",
    )


@cache
def segment_name(column: str) -> str:
    """Return Segment's name of *column*: `user_id` is `userId`."""
    first, *rest = column.split("_")
    return first + "".join(map(str.capitalize, rest))


def to_record(
    body: bytes, stream: str, *, position: int, source: str, received_at: int
) -> dict[str, Any]:
    """Return the event in *body* as a record of *stream*, with open objects as such.

    Every column is there; what the event lacks is None. *received_at*, in
    milliseconds, stands in for a time of receipt that Segment did not give, and a
    missing `timestamp` is computed as Segment does; a broken one stays None.
    """
    reading = _Reading(read_tolerantly(body, **_HOOKS), body)
    record = {column: reading.take(column) for column in columns(stream)}
    record["type"] = stream
    record["received_at"] = record["received_at"] or timestamp.from_ms(received_at)
    record["source"] = source
    record["extra"] = extra = reading.rest()
    if record["timestamp"] is None and "timestamp" not in (extra or {}):
        record["timestamp"] = timestamp.corrected(
            record["original_timestamp"], record["sent_at"], record["received_at"]
        )
    record[REPLICATION_KEY] = position
    return record


def objects_as_text(record: dict[str, Any]) -> dict[str, Any]:
    """Return *record* with its open objects as JSON text (`payload_format: json_string`)."""
    return {
        column: encode_json(value).decode() if isinstance(value, dict) else value
        for column, value in record.items()
    }


class _Unholdable(str):
    """A number that is kept as it was written."""

    __slots__ = ()


def _number(text: str) -> float | Decimal | _Unholdable:
    number = float(text)
    exact = Decimal(text)
    exponent = exact.as_tuple().exponent
    if not math.isfinite(number) or not isinstance(exponent, int) or -exponent > MAX_SCALE:
        return _Unholdable(text)
    return number if exact == Decimal(repr(number)) else exact


def _integer(text: str) -> int | Decimal | _Unholdable:
    if len(text.lstrip("-")) > MAX_DIGITS:
        return _Unholdable(text)
    number = int(text)
    # msgspec, and many a reader, takes integers of 64 bits; a Decimal writes the same digits.
    return number if -_INT64 <= number < _INT64 else Decimal(text)


_HOOKS: Final = {"parse_float": _number, "parse_int": _integer, "parse_constant": _Unholdable}


def _keep(value: Any, path: str) -> Any:
    """Stand in for `_Reading._replace` where nothing can need it."""
    del path
    return value


class _Reading:
    """Takes the fields of one event one after the other; what is left over is `extra`."""

    def __init__(self, fields: dict[str, Any], body: bytes) -> None:
        self._fields = fields
        self._body = body
        self._clean = self._replace if _SIGNS.search(body) else _keep
        self._extra: dict[str, Any] = {}
        self._originals: dict[str, str] = {}
        fields.pop(SECRET, None)
        fields.pop("type", None)

    def take(self, column: str) -> Any:
        name = segment_name(column)
        given = self._fields.pop(name, None)
        if column in OBJECTS:
            value = self._clean(given, name) if isinstance(given, dict) else None
        elif column in TIMES:
            value = self._time(given, name)
        elif column == "message_id":
            return self._identity(given, name)
        else:
            value = self._text(given, name)
        if value is None and given is not None:
            self._extra[name] = self._clean(given, name)
        return value

    def rest(self) -> dict[str, Any] | None:
        for name, given in self._fields.items():
            word = _free(writable(name), self._extra)
            self._extra[word] = self._clean(given, word)
        if self._originals:
            self._extra[_free(ORIGINALS, self._extra)] = self._originals
        return self._extra or None

    def _identity(self, given: Any, name: str) -> str:
        """Return the id, which is never None; keep what was given if it is another."""
        value = read_identity(self._body)
        if given is not None and str(given) != value:
            self._extra[name] = self._clean(given, name)
        return value

    def _time(self, given: Any, name: str) -> str | None:
        reading = timestamp.read(given) if isinstance(given, str) else None
        if reading is None:
            return None
        if not reading.exact:
            self._extra[name] = given
        return reading.text

    def _text(self, given: Any, name: str) -> str | None:
        if isinstance(given, _Unholdable):
            return str(given)
        if isinstance(given, str):
            return str(self._clean(given, name))
        if isinstance(given, int | float | Decimal) and not isinstance(given, bool):
            return str(given)
        return None

    def _replace(self, value: Any, path: str) -> Any:
        """Return *value* with everything replaced that cannot be represented."""
        if isinstance(value, _Unholdable):
            self._originals[writable(path)] = str(value)
            return None
        if isinstance(value, str):
            return self._writable(value, path)
        if isinstance(value, dict):
            replaced: dict[str, Any] = {}
            for key, item in value.items():
                place = f"{path}.{key}"
                name = _free(self._writable(key, place), replaced)
                replaced[name] = self._replace(item, place)
            return replaced
        if isinstance(value, list):
            return [self._replace(item, f"{path}[{i}]") for i, item in enumerate(value)]
        return value

    def _writable(self, text: str, path: str) -> str:
        """Return *text* as it can be written; keep what was sent if it is another."""
        replaced = writable(text)
        if replaced != text:
            self._originals[writable(path)] = json.dumps(text)
        return replaced


def _free(name: str, taken: dict[str, Any]) -> str:
    """Return *name*, lengthened until it is not among *taken*."""
    while name in taken:
        name += "_"
    return name
