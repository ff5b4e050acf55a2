"""Events as finished RECORD lines, many at a time, without making Python objects of them.

Open objects pass through as the bytes that Segment sent. An event that holds
anything unusual (an unknown field, a NUL) is read by `record` instead; both
give the same records, and a property test holds them to that.
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import chain, repeat
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Raw

from tap_segment_webhook import timestamp
from tap_segment_webhook.record import (
    OBJECTS,
    SAFE_DIGITS,
    SECRET,
    columns,
    encode_json,
    objects_as_text,
    segment_name,
    to_record,
)
from tap_segment_webhook.schema import REPLICATION_KEY, TIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tap_segment_webhook.event import Row

    Columns = dict[str, Sequence[Any]]
    """The values of some events, by the name of the column."""
    Extras = list[Any]
    """The `extra` of each event, or None."""

_NULL: Final = Raw(b"null")
_METADATA: Final = "_metadata"  # browsers send it: the one unknown field that is usual

# Numbers that may be beyond every database: with an exponent of three digits, or of so many digits
# that one of two could make it so. An expression for each letter, which the engine finds with
# memchr, and in a form that fails in one step at most of them: each costs several times as much
# otherwise. The sign, if any, is no digit, so three of them have to stand at the end.
_EXPONENTS: Final = tuple(
    re.compile(letter + rb"[+\-\d]\d\d+(?<=\d{3})[\s,\]}]") for letter in (b"e", b"E")
)
# So many digits show in every 25th byte as eight digits in a row.
_STEP: Final = SAFE_DIGITS // 8
_LONG: Final = b"00000000"
_DIGITS: Final = bytes(ord("0" if byte in b"0123456789" else " ") for byte in range(256))

_FORM_LENGTH: Final = len("2026-03-04T11:20:31.402Z")
_as_moments = msgspec.json.Decoder(list[Annotated[datetime, msgspec.Meta(tz=True)]]).decode
_astuple = msgspec.structs.astuple
_write_lines = msgspec.json.Encoder(decimal_format="number").encode_lines


class _Message(msgspec.Struct, gc=False):
    type: str
    stream: str
    record: Any
    time_extracted: str


class _Unusual(Exception):
    """Something in these events needs the careful reading."""


class Lines:
    """Makes RECORD lines of the events of one *stream*."""

    def __init__(self, stream: str, payload_format: str) -> None:
        self._stream = stream
        self._as_text = payload_format == "json_string"
        event, self._record = _structs(stream)
        self._decode = msgspec.json.Decoder(GenericAlias(list, (event,))).decode
        self._fields = event.__struct_fields__
        self._kept = self._fields[: self._fields.index("metadata")]
        self._objects = [column for column in columns(stream) if column in OBJECTS]

    def encode(self, rows: Sequence[Row], time_extracted: str) -> bytes:
        """Return one RECORD line for each of *rows*, in their order."""
        if not rows:
            return b""
        try:
            return self._encode_plain(rows, time_extracted)
        except (_Unusual, msgspec.MsgspecError, UnicodeDecodeError):
            if len(rows) > 1:
                return b"".join([self.encode([row], time_extracted) for row in rows])
        message = _Message("RECORD", self._stream, self.read(rows[0]), time_extracted)
        return encode_json(message) + b"\n"

    def read(self, row: Row) -> dict[str, Any]:
        """Return the record of *row* as a dictionary, by the careful reading."""
        body, position, source, received_at = row
        record = to_record(
            body, self._stream, position=position, source=source, received_at=received_at
        )
        return objects_as_text(record) if self._as_text else record

    def _encode_plain(self, rows: Sequence[Row], time_extracted: str) -> bytes:
        bodies, positions, sources, stored_at = zip(*rows, strict=True)
        page = b"[%b]" % b",".join(bodies)
        if _suspicious(page, bodies):
            raise _Unusual
        events = self._decode(page)
        if len(events) != len(rows):
            raise _Unusual
        # By columns from here on, so that most of the work is not the interpreter's.
        values: Columns = dict(
            zip(self._fields, zip(*map(_astuple, events), strict=True), strict=True)
        )
        self._check_objects(values)
        extras = _mend_times(values)
        _complete_times(values, extras, stored_at)
        if any(metadata is not _NULL for metadata in values["metadata"]):
            extras = _with_metadata(extras, values["metadata"])
        if self._as_text:
            extras = [extra and encode_json(extra).decode() for extra in extras]
            for column in self._objects:
                values[column] = [_as_text(value) for value in values[column]]
        values["version"] = [None if given is None else str(given) for given in values["version"]]
        records = map(
            self._record,
            *(values[column] for column in self._kept),
            repeat(self._stream),
            sources,
            extras,
            positions,
        )
        messages = map(
            _Message, repeat("RECORD"), repeat(self._stream), records, repeat(time_extracted)
        )
        return _write_lines(list(messages))

    def _check_objects(self, values: Columns) -> None:
        """Make sure that objects are objects, which the decoder leaves open."""
        for column in self._objects:
            if not {bytes(value)[:1] for value in values[column]} <= {b"{", b"n"}:
                raise _Unusual


def _as_text(value: Raw) -> str | None:
    text = bytes(value).decode()
    return None if text == "null" else text


def _with_metadata(extras: Extras, metadata: Sequence[Raw]) -> Extras:
    """Return *extras* with what browsers send."""
    return [
        extra if value is _NULL else {_METADATA: value, **(extra or {})}
        for value, extra in zip(metadata, extras, strict=True)
    ]


def _mend_times(values: Columns) -> Extras:
    """Bring the times of *values* into form; return what cannot be said in it, for each event."""
    extras: Extras = [None] * len(values["message_id"])
    if _all_canonical([values[column] for column in TIMES]):
        return extras
    for column in TIMES:
        if _all_canonical([values[column]]):
            continue
        mended: list[str | None] = []
        for place, given in enumerate(values[column]):
            reading = None if given is None else timestamp.read(given)
            mended.append(reading and reading.text)
            if given is not None and not (reading and reading.exact):
                extras[place] = {**(extras[place] or {}), segment_name(column): given}
        values[column] = mended
    return extras


def _all_canonical(columns: Sequence[Sequence[str | None]]) -> bool:
    """Tell whether every time of *columns* already has the form of a record."""
    times = [time for time in chain.from_iterable(columns) if time is not None]
    if {*map(len, times)} - {_FORM_LENGTH}:
        return False
    text = '["' + '","'.join(times) + '"]' if times else "[]"
    try:
        moments = _as_moments(text)
    except msgspec.MsgspecError:
        return False
    # Of this length, with one T and one Z each, a valid RFC 3339 time has exactly our form.
    return len(moments) == len(times) == text.count("T") == text.count("Z")


def _complete_times(values: Columns, extras: Extras, stored_at: Sequence[int]) -> None:
    """Put in what `received_at` and `timestamp` have to be where Segment does not say it."""
    if None in values["received_at"]:
        values["received_at"] = [
            given or timestamp.from_ms(moment)
            for given, moment in zip(values["received_at"], stored_at, strict=True)
        ]
    if None in values["timestamp"]:
        values["timestamp"] = [
            given
            if given is not None or (extra and "timestamp" in extra)
            else timestamp.corrected(original, sent, received)
            for given, extra, original, sent, received in zip(
                values["timestamp"],
                extras,
                *(values[column] for column in ("original_timestamp", "sent_at", "received_at")),
                strict=True,
            )
        ]


def _structs(stream: str) -> tuple[type[msgspec.Struct], type[msgspec.Struct]]:
    """Return the type of an event of *stream*, to be decoded, and of a record, to be encoded.

    The fields of both are the same up to `metadata`, in the same order. A field
    that is not named here makes the event unusual.
    """
    late = ("type", "received_at", "version", "message_id")
    early = [column for column in columns(stream) if column not in late]
    fields: list[tuple[str, Any, Any]] = [
        (column, Raw, _NULL) if column in OBJECTS else (column, str | None, None)
        for column in early
    ]
    event = msgspec.defstruct(
        f"_{stream.capitalize()}Event",
        [
            ("message_id", Annotated[str, msgspec.Meta(min_length=1)]),
            *fields,
            ("received_at", str | None, None),
            ("version", int | str | None, None),
            ("metadata", Raw, _NULL),
            ("type", str | None, None),
            ("secret", Raw, _NULL),
        ],
        rename={
            **{column: segment_name(column) for column in columns(stream)},
            "metadata": _METADATA,
            "secret": SECRET,
        },
        forbid_unknown_fields=True,
        gc=False,
    )
    names = ("message_id", *early, "received_at", "version", "type", "source", "extra")
    record = msgspec.defstruct(
        f"_{stream.capitalize()}Record",
        [*((name, Any) for name in names), (REPLICATION_KEY, int)],
        gc=False,
    )
    return event, record


def _suspicious(page: bytes, bodies: Sequence[bytes]) -> bool:
    """Tell whether *page*, made of *bodies*, may hold what only the careful reading handles.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    b",".join([body for body in bodies if not body.isascii()]).decode()
    return (
        b"\n" in page  # between the parts of a pretty-printed event: it would end our line
        or b"\r" in page
        or (b"\\" in page and b"\\u0000" in page)
        or any(exponent.search(page) for exponent in _EXPONENTS)
        or _LONG in page[::_STEP].translate(_DIGITS)
    )
