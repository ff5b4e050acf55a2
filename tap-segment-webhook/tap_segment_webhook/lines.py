"""Events as finished RECORD lines, many at a time, without making Python objects of them.

Open objects pass through as the bytes that Segment sent. An event that holds
anything unusual (an unknown field, a NUL) is read by `record` instead; both
give the same records, and a property test holds them to that.
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import chain
from operator import attrgetter
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

_NULL: Final = Raw(b"null")
_METADATA: Final = "_metadata"  # browsers send it: the one unknown field that is usual

# Numbers that may be beyond every database: with an exponent of three digits, or of so many digits
# that one of two could make it so. An expression for each letter, which the engine finds with
# memchr; at most of them it fails in one step, the look ahead. One for both costs several times
# as much.
_EXPONENTS: Final = tuple(
    re.compile(letter + rb"(?=[+\-\d])[+-]?\d{3,}[\s,\]}]") for letter in (b"e", b"E")
)
# So many digits show in every 25th byte as eight digits in a row.
_STEP: Final = SAFE_DIGITS // 8
_LONG: Final = re.compile(rb"\d{8}")

_FORM_LENGTH: Final = len("2026-03-04T11:20:31.402Z")
_as_moments = msgspec.json.Decoder(list[Annotated[datetime, msgspec.Meta(tz=True)]]).decode
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
        page, self._record = _structs(stream)
        self._decode = msgspec.json.Decoder(page).decode
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
        page = b"[%b]" % b",".join([row[0] for row in rows])
        if _suspicious(page):
            raise _Unusual
        events = self._decode(page)
        if len(events) != len(rows):
            raise _Unusual
        self._check_objects(events)
        broken = {} if _all_canonical(events) else _mend_times(events)
        stream, record, astuple = self._stream, self._record, msgspec.structs.astuple
        messages = []
        for event, (_, position, source, received_at) in zip(events, rows, strict=True):
            extra: Any = broken.get(id(event)) if broken else None
            if event.metadata is not _NULL:
                extra = {_METADATA: event.metadata, **(extra or {})}
            received = event.received_at or timestamp.from_ms(received_at)
            if event.timestamp is None and not (extra and "timestamp" in extra):
                event.timestamp = timestamp.corrected(
                    event.original_timestamp, event.sent_at, received
                )
            if self._as_text:
                self._make_text(event)
                extra = extra and encode_json(extra).decode()
            *values, _, version, _, _, _ = astuple(event)
            made = record(
                *values,
                received,
                None if version is None else str(version),
                stream,
                source,
                extra,
                position,
            )
            messages.append(_Message("RECORD", stream, made, time_extracted))
        return _write_lines(messages)

    def _check_objects(self, events: list[Any]) -> None:
        """Make sure that objects are objects, which the decoder leaves open."""
        for column in self._objects:
            if not {bytes(getattr(event, column))[:1] for event in events} <= {b"{", b"n"}:
                raise _Unusual

    def _make_text(self, event: Any) -> None:
        for column in self._objects:
            text = bytes(getattr(event, column)).decode()
            setattr(event, column, None if text == "null" else text)


_times = attrgetter(*TIMES)


def _all_canonical(events: list[Any]) -> bool:
    """Tell whether every time of *events* already has the form of a record."""
    times = [time for time in chain.from_iterable(map(_times, events)) if time is not None]
    if {*map(len, times)} - {_FORM_LENGTH}:
        return False
    text = '["' + '","'.join(times) + '"]' if times else "[]"
    try:
        moments = _as_moments(text)
    except msgspec.MsgspecError:
        return False
    # Of this length, with one T and one Z each, a valid RFC 3339 time has exactly our form.
    return len(moments) == len(times) == text.count("T") == text.count("Z")


def _mend_times(events: list[Any]) -> dict[int, dict[str, str]]:
    """Bring the times of *events* into form; return what cannot be said in it, by `id`."""
    broken: dict[int, dict[str, str]] = {}
    for event in events:
        for column in TIMES:
            given = getattr(event, column)
            if given is None:
                continue
            reading = timestamp.read(given)
            setattr(event, column, reading and reading.text)
            if reading is None or not reading.exact:
                broken.setdefault(id(event), {})[segment_name(column)] = given
    return broken


def _structs(stream: str) -> tuple[Any, type[msgspec.Struct]]:
    """Return the type of a page of *stream*, to be decoded, and that of a record, to be encoded.

    The first fields of both are the same, in the same order. A field that is
    not named here makes the event unusual.
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
    return GenericAlias(list, (event,)), record


def _suspicious(page: bytes) -> bool:
    """Tell whether *page* may hold what only the careful reading handles.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    if not page.isascii():
        page.decode()
    return (
        b"\n" in page  # between the parts of a pretty-printed event: it would end our line
        or b"\r" in page
        or (b"\\" in page and b"\\u0000" in page)
        or any(exponent.search(page) for exponent in _EXPONENTS)
        or _LONG.search(page[::_STEP]) is not None
    )
