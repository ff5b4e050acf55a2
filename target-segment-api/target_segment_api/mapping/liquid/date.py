"""Liquid's dates: a moment in a format such as `%d %B %Y`. Pure.

What is no moment stays as it is. There is no `now`: a text that differs in each
run would make another event of each row.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from liquid.undefined import Undefined

from target_segment_api import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

_CODE = re.compile(r"%([-_0^#:]*)(\d*)[EO]?(.)", re.DOTALL)
_MAX_WIDTH: Final = 100
_MAX_FORMAT: Final = 1000
_USUAL: Final = "%A, %B %e, %Y at %l:%M %P %z"
_DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_WIDTHS: Final = dict.fromkeys("deHIklmMSUW", 2) | {"j": 3, "L": 3}
_SPACED: Final = "aAbBceklpP"


def format_date(value: Any, form: Any = None, zone: Any = None) -> Any:
    """Return the moment *value* in the format *form*, or *value* itself if it is none.

    Args:
        value: ISO 8601, or seconds since 1970.
        form: as of strftime, with `%q` for the end of an ordinal number.
        zone: the name of a zone, or minutes west of UTC as JavaScript counts them.
    """
    moment = _read(value, zone)
    if moment is None:
        return value
    text = form if isinstance(form, str) else _USUAL
    if len(text) > _MAX_FORMAT:
        raise ValueError("a format too long")
    return _CODE.sub(lambda match: _write(moment, match), text)


def format_day(value: Any, month: str, kind: Any = None, style: Any = None) -> Any:
    """Return the day *value* as `07 Nov 2008`, or with its ordinal number."""
    if kind == "ordinal":
        return format_date(value, f"{month} %-d%q, %Y" if style == "US" else f"%-d%q {month} %Y")
    return format_date(value, f"%d {month} %Y")


def _read(value: Any, zone: Any) -> datetime | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = Decimal(value)
    try:
        moment = datetime.fromisoformat(timestamp.write(value)[:-1] + "+00:00")
        if zone is None or isinstance(zone, Undefined):
            return moment
        if isinstance(zone, str):
            return moment.astimezone(ZoneInfo(zone))
        return moment.astimezone(timezone(timedelta(minutes=-int(zone))))
    except (ValueError, OverflowError):
        return None


def _write(moment: datetime, match: re.Match[str]) -> str:
    flags, width, code = match.groups()
    write = _CODES.get(code)
    if write is None:
        return match[0]
    text = _offset(moment, ":") if code == "z" and ":" in flags else str(write(moment))
    if "^" in flags:
        text = text.upper()
    elif "#" in flags:
        text = text.upper() if any("a" <= character <= "z" for character in text) else text.lower()
    if "-" in flags:
        return text
    fill = " " if "_" in flags or (code in _SPACED and "0" not in flags) else "0"
    size = min(int(width[:9]), _MAX_WIDTH) if width else _WIDTHS.get(code, 0)
    return text.ljust(size, "0") if code == "N" else text.rjust(size, fill)


def _offset(moment: datetime, between: str = "") -> str:
    minutes = round((moment.utcoffset() or timedelta()).total_seconds() / 60)
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02}{between}{abs(minutes) % 60:02}"


def _ordinal(moment: datetime) -> str:
    if moment.day in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(moment.day % 10, "th")


def _weekday(moment: datetime) -> int:
    return moment.isoweekday() % 7


def _day_of_year(moment: datetime) -> int:
    return moment.timetuple().tm_yday


_CODES: Final[dict[str, Callable[[datetime], str | int]]] = {
    "a": lambda moment: _DAYS[_weekday(moment)][:3],
    "A": lambda moment: _DAYS[_weekday(moment)],
    "b": lambda moment: _MONTHS[moment.month - 1][:3],
    "B": lambda moment: _MONTHS[moment.month - 1],
    "c": lambda m: f"{m.month}/{m.day}/{m.year}, {m.hour % 12 or 12}:{m:%M:%S %p}",
    "C": lambda moment: moment.year // 100,
    "d": lambda moment: moment.day,
    "e": lambda moment: moment.day,
    "h": lambda moment: _MONTHS[moment.month - 1][:3],
    "H": lambda moment: moment.hour,
    "I": lambda moment: moment.hour % 12 or 12,
    "j": _day_of_year,
    "k": lambda moment: moment.hour,
    "l": lambda moment: moment.hour % 12 or 12,
    "L": lambda moment: moment.microsecond // 1000,
    "m": lambda moment: moment.month,
    "M": lambda moment: moment.minute,
    "n": lambda _: "\n",
    "N": lambda moment: f"{moment.microsecond:06}000",
    "p": lambda moment: "AM" if moment.hour < 12 else "PM",  # noqa: PLR2004 - noon
    "P": lambda moment: "am" if moment.hour < 12 else "pm",  # noqa: PLR2004 - noon
    "q": _ordinal,
    "s": lambda moment: int(moment.timestamp() // 1),
    "S": lambda moment: moment.second,
    "t": lambda _: "\t",
    "u": lambda moment: moment.isoweekday(),
    "U": lambda moment: (_day_of_year(moment) + 6 - _weekday(moment)) // 7,
    "w": _weekday,
    "W": lambda moment: (_day_of_year(moment) + 6 - (_weekday(moment) - 1) % 7) // 7,
    "x": lambda moment: f"{moment.month}/{moment.day}/{moment.year}",
    "X": lambda m: f"{m.hour % 12 or 12}:{m:%M:%S %p}",
    "y": lambda moment: f"{moment.year % 100:02}",
    "Y": lambda moment: moment.year,
    "z": _offset,
    "Z": lambda moment: moment.tzname() or _offset(moment),
    "%": lambda _: "%",
}
