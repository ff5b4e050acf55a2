"""Moments as Segment wants them: UTC, ISO 8601 with milliseconds and `Z`. Pure.

Segment takes any ISO 8601 with a zone; Engage drops a value without one
(Segment's specification of the common field `timestamp`). Other taps write
dates in many ways, so they are read here and written in one.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

_WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_ANY = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r"\s?(Z|z|[+-]\d\d(?::?[0-5]\d(?::?[0-5]\d)?)?)?)?",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECONDS: Final = 100_000_000_000  # a larger number of seconds would lie past the year 5138
_PAST: Final = 1_000_000_000_000_000  # milliseconds after which no calendar has a year


def written(value: Any) -> bool:
    """Tell whether *value* is a real moment, written as `write` writes it."""
    return isinstance(value, str) and _is_written(value)


@lru_cache(maxsize=1024)  # an event's is asked for when it is written, and when it is checked
def _is_written(text: str) -> bool:
    if not _WRITTEN.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text[:-1])
    except ValueError:
        return False
    return True


def write(value: Any) -> str:
    """Return the moment *value*, in whatever form a tap gave it, as Segment wants it.

    Takes ISO 8601 and what databases print for it, `date` and `datetime`, and
    numbers of seconds or milliseconds since 1970. What has no zone is UTC, as
    warehouses keep it; a day is its midnight. Digits past the milliseconds are cut.

    Raises:
        ValueError: it is no moment between the years 1 and 9999.
    """
    if isinstance(value, str):
        return value if written(value) else _format(_parse(value.strip()))
    if isinstance(value, datetime):
        return _format(value if value.tzinfo else value.replace(tzinfo=timezone.utc))
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00.000Z"
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        # By its digits: 1772623231.402 as a float is less than .402, and would be cut to .401.
        return _format(_since_epoch(Decimal(str(value))))
    raise ValueError("not a moment")


@lru_cache(maxsize=1024)  # the events of a batch have one
def to_ms(value: str | float | Decimal) -> int:
    """Return the moment *value*, which is read as by `write`, in milliseconds since 1970.

    Raises:
        ValueError: it is no moment between the years 1 and 9999.
    """
    moment = datetime.fromisoformat(write(value)[:-1]).replace(tzinfo=timezone.utc)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> str:
    """Return the moment *milliseconds* after 1970 as Segment wants it."""
    return _format(_EPOCH + timedelta(milliseconds=milliseconds))


def _parse(text: str) -> datetime:
    match = _ANY.fullmatch(text)
    if match is None:
        raise ValueError("not ISO 8601")
    day, minute, second, fraction, zone = match.groups()
    moment = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}")
    milliseconds = int((fraction or "0")[:3].ljust(3, "0"))
    return moment.replace(microsecond=milliseconds * 1000, tzinfo=_zone(zone))


def _zone(text: str | None) -> timezone:
    if text is None or text in "Zz":
        return timezone.utc
    digits = text[1:].replace(":", "").ljust(6, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:]))
    return timezone(-offset if text[0] == "-" else offset)


def _since_epoch(number: Decimal) -> datetime:
    try:
        if abs(number) < _MILLISECONDS:
            number *= 1000
        if abs(number) >= _PAST:  # `int` takes a minute for 1e999999
            raise ValueError("not a moment")
        return _EPOCH + timedelta(milliseconds=int(number))
    except ArithmeticError as error:  # infinite, or a year that no calendar has
        raise ValueError("not a moment") from error


def _format(moment: datetime) -> str:
    try:
        utc = moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError("not a moment between the years 1 and 9999") from error
    return f"{utc.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
