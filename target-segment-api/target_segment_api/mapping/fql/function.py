"""The conversions of Segment's query language. Pure.

Null stays null, except that its length is 0 and its type has a name; so does
what a function cannot convert, for nothing compares as true with null.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from target_segment_api.mapping.condition import is_number
from target_segment_api.mapping.javascript import to_number, to_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from decimal import Decimal

TYPE_NAMES: Final = ("null", "bool", "number", "string", "list", "object")
"""What `typeof` returns."""

_WORD_START: Final = re.compile(r"(?<!\S)\S")


class Function(NamedTuple):
    """A function of one value."""

    takes: frozenset[str]
    """The kinds of values; none if it takes all."""
    gives: str
    convert: Callable[[Any], Any]


def _length(value: Any) -> int | None:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
    if isinstance(value, list):
        return len(value)
    return 0 if value is None else None


def _of_text(convert: Callable[[str], str]) -> Callable[[Any], str | None]:
    return lambda value: convert(value) if isinstance(value, str) else None


def _titlecase(text: str) -> str:
    return _WORD_START.sub(lambda match: match[0].upper(), text)


def _typeof(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if is_number(value):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "object"


def _bool(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if is_number(value):
        return bool(value != 0)
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value)
    return None


def _string(value: Any) -> str | None:
    return to_text(value) if isinstance(value, str | bool) or is_number(value) else None


def _number(value: Any) -> int | float | Decimal | None:
    if isinstance(value, str):
        return to_number(value)
    return value if is_number(value) else None


_TEXT: Final = frozenset({"text"})
_ALL: Final[frozenset[str]] = frozenset()

FUNCTIONS: Final[dict[str, Function]] = {
    "bool": Function(_ALL, "boolean", _bool),
    "kebabcase": Function(_TEXT, "text", _of_text(lambda text: text.replace(" ", "-"))),
    "length": Function(frozenset({"text", "list"}), "number", _length),
    "lowercase": Function(_TEXT, "text", _of_text(str.lower)),
    "number": Function(_ALL, "number", _number),
    "snakecase": Function(_TEXT, "text", _of_text(lambda text: text.replace(" ", "_"))),
    "string": Function(_ALL, "text", _string),
    "titlecase": Function(_TEXT, "text", _of_text(_titlecase)),
    "typeof": Function(_ALL, "type name", _typeof),
    "uppercase": Function(_TEXT, "text", _of_text(str.upper)),
}
