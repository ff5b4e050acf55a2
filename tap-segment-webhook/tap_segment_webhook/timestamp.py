"""Timestamps as records carry them: RFC 3339, UTC, milliseconds, `Z`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, NamedTuple

# ISO 8601, and Go's time.String(), which Segment sends in delete events:
# 2026-03-04 11:40:10.208 +0000 UTC m=+70366.298768264
_FORM: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
    r" ?(?:([Zz])|([+-])(\d\d):?(\d\d)?(?: [A-Z]{1,5})?(?: m=[+-][\d.]+)?)?",
    re.ASCII,
)
# What most clocks write, in our form but for the digits after the milliseconds.
_USUAL: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d)(\.\d{3})(\d*)(?:Z|\+00:00)", re.ASCII
)
_DIGITS: Final = 3
_HOURS: Final = 24
_MINUTES: Final = 60


class Reading(NamedTuple):
    """A timestamp that could be read."""

    text: str
    """In the form of a record."""
    exact: bool
    """Whether *text* says all that was given: zone known, nothing below a millisecond."""


def read(given: str) -> Reading | None:
    """Read the timestamp *given*; None if it is none or lies outside the years 1 to 9999.

    Without a zone it is taken as UTC.
    """
    if usual := _USUAL.fullmatch(given):
        return _read_usual(*usual.groups())
    match = _FORM.fullmatch(given)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes = match.groups()
    if int(hours or 0) >= _HOURS or int(minutes or 0) >= _MINUTES:
        return None
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        moment = datetime(  # noqa: DTZ001 - the zone is taken off by hand, in the next line
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            int(second or 0),
            int((fraction or "")[:_DIGITS].ljust(_DIGITS, "0")) * 1000,
        )
        moment += offset if sign == "-" else -offset
    except (ValueError, OverflowError):
        return None
    precise = not (fraction or "")[_DIGITS:].strip("0")
    return Reading(_write(moment), precise and bool(zulu or sign))


def _read_usual(second: str, milliseconds: str, rest: str) -> Reading | None:
    try:
        datetime.fromisoformat(second)
    except ValueError:
        return None
    return Reading(f"{second}{milliseconds}Z", not rest.strip("0"))


def corrected(original: str | None, sent: str | None, received: str) -> str:
    """Return when it happened by the receiver's clock, all three and the answer in our form.

    Segment's rule: received - (sent - original), so that a client whose clock
    is wrong is corrected by how wrong it was when it sent. Without *sent*
    nothing is known of its clock; without *original* it happened when received.
    """
    if original is None:
        return received
    if sent is None:
        return original
    try:
        return _write(_moment(received) - (_moment(sent) - datetime.fromisoformat(original[:-1])))
    except OverflowError:
        return original


@lru_cache(maxsize=64)  # the calls of a batch share both
def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text[:-1])


@lru_cache(maxsize=64)
def from_ms(milliseconds: int) -> str:
    """Return the moment *milliseconds* after 1970 in the form of a record."""
    moment = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return _write(moment.replace(tzinfo=None))


def to_ms(text: str) -> int:
    """Return how many milliseconds after 1970 the moment *text* is, in the form of a record."""
    moment = datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000)


def _write(moment: datetime) -> str:
    return f"{moment.isoformat(timespec='milliseconds')}Z"
