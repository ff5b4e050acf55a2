"""What Liquid makes of a value before a filter takes it: text, a number, a list. Pure."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

from liquid.undefined import Undefined

from target_segment_api.mapping.javascript import leaves, to_number, to_text
from target_segment_api.mapping.value import MAX_CHARACTERS, MISSING

_EXACT: Final = 2**53


class TooLong(Exception):
    """A filter would make more than there may be."""


def write(value: Any) -> str:
    """Return *value* as Liquid writes it: lists without commas, nothing for nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, range):
        value = list(to_items(value))
    if isinstance(value, list):
        return "".join(leaves(value))
    return "" if isinstance(value, Undefined) else to_text(value)


def to_double(value: Any) -> float:
    """Return *value* as JavaScript counts with it, and 0 for what is no number."""
    if isinstance(value, str):
        value = to_number(value) or 0
    if not isinstance(value, bool | int | float | Decimal):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return 0.0 if math.isnan(number) else number


def plain(number: float) -> float:
    """Return a whole *number* as int, which can be an index."""
    return int(number) if abs(number) < _EXACT and number == int(number) else number


def to_whole(value: Any, default: int) -> int:
    """Return *value* as a whole number, and *default* for nothing."""
    if is_nothing(value):
        return default
    number = to_double(value)
    return int(max(-_EXACT, min(_EXACT, number)))


def is_nothing(value: Any) -> bool:
    """Tell whether *value* is null, or there is none."""
    return value is None or value is MISSING or isinstance(value, Undefined)


def to_items(value: Any) -> list[Any]:
    """Return *value* as a list: of itself, unless it is one."""
    if is_nothing(value):
        return []
    if isinstance(value, range):
        check_size(len(value[: MAX_CHARACTERS + 1]))
        return list(value)
    return value if isinstance(value, list) else [value]


def check_size(size: int) -> None:
    """Raise `TooLong` if a text or a list of *size* would be."""
    if size > MAX_CHARACTERS:
        raise TooLong
