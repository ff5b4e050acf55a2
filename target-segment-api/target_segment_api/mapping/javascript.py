"""What JavaScript makes of a value, where Segment's mappings lean on it. Pure.

Only in one thing numbers differ: they keep their digits. JavaScript reads them
as doubles, so that an id of 19 digits would end in zeros.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from target_segment_api.mapping.value import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN: Final = 10**21  # from here on JavaScript writes exponents
_DIGITS: Final = 21
_ZEROS: Final = 6  # after the point, before JavaScript writes an exponent
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_OTHER_BASE = re.compile(r"0(?:[xX][\da-fA-F]+|[oO][0-7]+|[bB][01]+)", re.ASCII)
_BASES: Final = {"x": 16, "o": 8, "b": 2}


def is_truthy(value: Any) -> bool:
    """Tell whether *value* counts as true in a condition; empty lists and objects do."""
    if value is None or value is MISSING:
        return False
    if isinstance(value, float | Decimal):
        return not (_is_nan(value) or value == 0)
    return isinstance(value, list | dict) or bool(value)


def is_blank(value: Any) -> bool:
    """Tell whether *value* is null, missing, or loosely equal to empty text: 0, false and []."""
    if value is None or value is MISSING:
        return True
    if isinstance(value, list):
        return to_text(value) == ""
    if isinstance(value, bool | int | float | Decimal):
        return not is_truthy(value) and not _is_nan(value)
    return bool(value == "")


def to_text(value: Any) -> str:
    """Return *value* as text, as it would stand in a list that is joined: null is empty."""
    if isinstance(value, str):
        return value
    if value is None or value is MISSING:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return _write(value)
    if isinstance(value, list):
        return ",".join(leaves(value))
    return "[object Object]" if isinstance(value, dict) else str(value)


def leaves(items: list[Any]) -> Iterator[str]:
    """Yield the texts in *items* and the lists in it; an empty list is an empty text.

    Without recursion, for lists nest deeper than Python calls.
    """
    if not items:
        yield ""
    stack = [iter(items)]
    while stack:
        for item in stack[-1]:
            if isinstance(item, list) and item:
                stack.append(iter(item))
                break
            yield to_text(item)
        else:
            stack.pop()


def to_number(text: str) -> int | Decimal | None:
    """Return the number that *text* is, with all digits; None if it is none, or infinite.

    Blank text is none, though JavaScript reads it as 0.
    """
    text = text.strip()
    if _OTHER_BASE.fullmatch(text):
        number = int(text[2:], _BASES[text[1].lower()])
        return number if number.bit_length() <= 1024 else None  # noqa: PLR2004 - a double's
    if not _DECIMAL.fullmatch(text) or math.isinf(float(text)):
        return None
    if text.lstrip("+-").isdigit():
        return int(text)
    return Decimal(text) if float(text) else Decimal(0)


def length(text: str) -> int:
    """Return the length of *text* as JavaScript counts: an emoji has two."""
    return len(text) + sum(character > "\uffff" for character in text)


def _is_nan(value: Any) -> bool:
    return value.is_nan() if isinstance(value, Decimal) else value != value  # noqa: PLR0124 - NaN alone


def _write(number: float | Decimal) -> str:
    if isinstance(number, int):
        if -_PLAIN < number < _PLAIN:
            return str(number)
        number = Decimal(number)
    elif isinstance(number, float):
        number = Decimal(repr(number))
    if not number.is_finite():
        return "NaN" if number.is_nan() else f"{'-' if number < 0 else ''}Infinity"
    sign, numerals, exponent = number.as_tuple()
    all_digits = "".join(map(str, numerals)).lstrip("0")
    digits = all_digits.rstrip("0")
    if not digits:
        return "0"
    point = len(all_digits) + int(exponent)
    return ("-" if sign else "") + _place_point(digits, point)


def _place_point(digits: str, point: int) -> str:
    """Return the number 0.*digits* · 10^*point* (ECMA-262, Number::toString)."""
    if len(digits) <= point <= _DIGITS:
        return digits.ljust(point, "0")
    if 0 < point <= _DIGITS:
        return f"{digits[:point]}.{digits[point:]}"
    if -_ZEROS < point <= 0:
        return f"0.{'0' * -point}{digits}"
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{mantissa}e{point - 1:+d}"
