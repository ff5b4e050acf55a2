"""The filters of Liquid that Segment documents for `@liquid`, as LiquidJS has them. Pure.

Numbers are doubles, text is JavaScript's, and whatever a filter does not know it
takes for empty. Each takes time in proportion to what it is given, tells how much
that is, and makes no more than `MAX_CHARACTERS` or as many items; lists do not go
into lists, for twenty of them would be a million.
"""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from liquid.filter import with_context
from liquid.undefined import Undefined

from target_segment_api.encoding import encode
from target_segment_api.mapping import path
from target_segment_api.mapping.javascript import to_text
from target_segment_api.mapping.liquid import date, text
from target_segment_api.mapping.liquid.coercion import (
    check_size,
    is_nothing,
    plain,
    to_double,
    to_items,
    to_whole,
    write,
)
from target_segment_api.mapping.value import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable

_ITEM: Final = 5  # what an item costs, in characters

_NEWLINE = re.compile(r"\r?\n")


def _counting(calculate: Callable[..., float]) -> Callable[..., Any]:
    def calculated(*values: Any) -> float:
        try:
            return plain(calculate(*map(to_double, values)))
        except (OverflowError, ValueError):  # which is what Python makes of infinity
            return math.nan

    return calculated


def _on_text(change: Callable[..., Any]) -> Callable[..., Any]:
    """Make a filter of what takes texts."""
    return lambda *values: change(*map(write, values))


def _divide(dividend: float, divisor: float, whole: float = 0) -> float:
    if divisor == 0:
        sign = math.copysign(1, divisor)
        return math.nan if dividend == 0 else math.copysign(math.inf, dividend) * sign
    return math.floor(dividend / divisor) if whole else dividend / divisor


def _modulo(dividend: float, divisor: float) -> float:
    if not divisor:
        return math.nan
    return math.fmod(math.fmod(dividend, divisor) + divisor, divisor)


def _round(number: float, places: float = 0) -> float:
    power: float = 10.0**places
    return math.floor(number * power * (1 + 2**-52) + 0.5) / power


def _sum(value: Any, name: Any = None) -> float:
    items = to_items(value)
    if not is_nothing(name):
        keys = path.split(write(name))
        items = [path.follow(item, keys) for item in items]
    return plain(math.fsum(to_double(item) for item in items))


def _strip(side: Callable[..., str]) -> Callable[..., str]:
    return lambda value, characters=None: side(write(value), write(characters) or None)


def _slice(value: Any, begin: Any = None, size: Any = None) -> Any:
    if is_nothing(value):
        return []
    sequence = value if isinstance(value, list) else write(value)
    start, count = to_whole(begin, 0), max(0, to_whole(size, 1))
    start = len(sequence) + start if start < 0 else start
    return sequence[start : start + count] if start >= 0 else sequence[:0]


def _join(value: Any, separator: Any = None) -> str:
    items = [to_text(item) for item in to_items(value)]
    between = " " if is_nothing(separator) else write(separator)
    check_size(sum(map(len, items)) + len(between) * len(items))
    return between.join(items)


def _end(index: int) -> Callable[[Any], Any]:
    def end(value: Any) -> Any:
        if not isinstance(value, list | str):
            return ""
        return value[index] if value else None

    return end


def _added(item: Any) -> Any:
    if isinstance(item, list | range):
        raise TypeError("a list in a list")
    return item


def _push(value: Any, item: Any = None) -> list[Any]:
    return [*to_items(value), _added(item)]


def _unshift(value: Any, item: Any = None) -> list[Any]:
    return [_added(item), *to_items(value)]


def _where(value: Any, name: Any = None, expected: Any = MISSING) -> list[Any]:
    keys = path.split(write(name))

    def fits(item: Any) -> bool:
        found = path.follow(item, keys)
        if is_nothing(expected):
            return not (is_nothing(found) or found is False)
        same_kind = isinstance(found, bool) is isinstance(expected, bool)
        return same_kind and bool(found == expected)

    return [item for item in to_items(value) if fits(item)]


def _default(value: Any, other: Any = None, *, allow_false: Any = False) -> Any:
    if isinstance(value, list | str):
        return value or other
    if is_nothing(value) or (value is False and allow_false is not True):
        return other
    return value


def _json(value: Any, _indent: Any = None) -> str:
    if isinstance(value, Undefined) or value is MISSING:
        return ""
    return encode(list(to_items(value)) if isinstance(value, range) else value).decode()


def _bounded(run: Callable[..., Any]) -> Callable[..., Any]:
    @with_context
    @functools.wraps(run)
    def bounded(value: Any, *values: Any, context: Spends, **options: Any) -> Any:
        if run not in _AT_ONCE:
            context.spend(_work(value))
        result = run(value, *values, **options)
        if isinstance(result, str | list):
            check_size(len(result))
            if result is not value:
                context.spend(_work(result))
        return result

    return bounded


def _work(value: Any) -> int:
    """Return how much there is to go through in *value*, in characters."""
    if isinstance(value, str):
        return len(value)
    return _ITEM * len(value) if isinstance(value, list | range) else 1


class Spends(Protocol):
    """What a filter tells how much it does."""

    def spend(self, work: int) -> None:
        """Count *work* characters, or refuse."""


_FIRST, _LAST = _end(0), _end(-1)


def _raw(value: Any) -> Any:
    return value


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | range) else 0


_AT_ONCE: Final = (_FIRST, _LAST, _raw, _size, _default)  # however much there is

FILTERS: Final[dict[str, Callable[..., Any]]] = {
    name: _bounded(run)
    for name, run in {
        "abs": _counting(abs),
        "append": _on_text(lambda value, more="": value + more),
        "at_least": _counting(max),
        "at_most": _counting(min),
        "capitalize": _on_text(lambda value: value[:1].upper() + value[1:].lower()),
        "ceil": _counting(math.ceil),
        "cgi_escape": _on_text(text.encode_strictly),
        "compact": lambda value: [item for item in to_items(value) if not is_nothing(item)],
        "date": date.format_date,
        "date_to_long_string": lambda value, *style: date.format_day(value, "%B", *style),
        "date_to_rfc822": lambda value: date.format_date(value, "%a, %d %b %Y %H:%M:%S %z"),
        "date_to_string": lambda value, *style: date.format_day(value, "%b", *style),
        "date_to_xmlschema": lambda value: date.format_date(value, "%Y-%m-%dT%H:%M:%S%:z"),
        "default": _default,
        "divided_by": _counting(_divide),
        "downcase": _on_text(str.lower),
        "escape": _on_text(text.escape),
        "escape_once": _on_text(text.escape_once),
        "first": _FIRST,
        "floor": _counting(math.floor),
        "inspect": _json,
        "join": _join,
        "json": _json,
        "jsonify": _json,
        "last": _LAST,
        "lstrip": _strip(str.lstrip),
        "minus": _counting(lambda number, other=0.0: number - other),
        "modulo": _counting(_modulo),
        "normalize_whitespace": _on_text(text.normalize),
        "number_of_words": _on_text(text.number_of_words),
        "plus": _counting(lambda number, other=0.0: number + other),
        "pop": lambda value: to_items(value)[:-1],
        "prepend": _on_text(lambda value, more="": more + value),
        "push": _push,
        "raw": _raw,
        "remove": _on_text(text.replace),
        "remove_first": _on_text(lambda value, old="": value.replace(old, "", 1)),
        "remove_last": _on_text(text.replace_last),
        "replace": _on_text(text.replace),
        "replace_first": _on_text(lambda value, old="", new="": value.replace(old, new, 1)),
        "replace_last": _on_text(text.replace_last),
        "round": _counting(_round),
        "rstrip": _strip(str.rstrip),
        "shift": lambda value: to_items(value)[1:],
        "size": _size,
        "slice": _slice,
        "slugify": text.slugify,
        "split": _on_text(text.split),
        "strip": _strip(str.strip),
        "strip_html": _on_text(text.strip_html),
        "strip_newlines": _on_text(lambda value: _NEWLINE.sub("", value)),
        "sum": _sum,
        "times": _counting(lambda number, other=0.0: number * other),
        "to_integer": _counting(lambda number: number),
        "truncate": text.truncate,
        "truncatewords": text.truncate_words,
        "unshift": _unshift,
        "upcase": _on_text(str.upper),
        "uri_escape": _on_text(text.encode_uri),
        "url_decode": _on_text(lambda value: unquote(value).replace("+", " ")),
        "url_encode": _on_text(text.encode_component),
        "where": _where,
        "xml_escape": _on_text(text.escape),
    }.items()
}
"""By name; all that Segment documents."""
