r"""Patterns like `Order*`, as Segment's `match` has them. Pure.

`*` is any text, `?` one character, `[abc]` and `[a-z]` one of a set; a backslash
takes the meaning from the next character. The whole text has to match, in its case.

A pattern is split at its stars into parts of fixed length, each of which is looked
for once, from left to right: that takes no longer than the text's length times the
pattern's, while one regular expression could try every way to place the stars.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class _Part(NamedTuple):
    """What stands between two stars."""

    expression: str
    width: int
    plain: str | None
    """The text itself, if it is nothing else."""


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a text matches *pattern*.

    Raises:
        ValueError: it is no pattern; the message is the reason.
    """
    parts = _split(pattern)
    plain = [part.plain for part in parts if part.plain is not None]
    if len(plain) == len(parts):
        simple = _simple(plain)
        if simple is not None:
            return simple
    return _general(parts)


def _simple(texts: list[str]) -> Callable[[str], bool] | None:
    if len(texts) == 1:
        return lambda text: text == texts[0]
    start, end = texts[0], texts[-1]
    if len(texts) == 2:  # noqa: PLR2004 - one star
        if not end:
            return lambda text: text.startswith(start)
        if not start:
            return lambda text: text.endswith(end)
    if len(texts) == 3 and not start and not end:  # noqa: PLR2004 - two stars
        return lambda text: texts[1] in text
    return None


def _general(parts: list[_Part]) -> Callable[[str], bool]:
    expressions = [re.compile(part.expression, re.DOTALL) for part in parts]
    first, last = expressions[0], expressions[-1]
    if len(parts) == 1:
        return lambda text: first.fullmatch(text) is not None
    middle = expressions[1:-1]
    width = parts[-1].width

    def matches(text: str) -> bool:
        found = first.match(text)
        end = len(text) - width
        if found is None or found.end() > end or last.match(text, end) is None:
            return False
        for part in middle:
            found = part.search(text, found.end(), end)
            if found is None:
                return False
        return True

    return matches


def _split(pattern: str) -> list[_Part]:
    parts: list[_Part] = []
    expressions: list[str] = []
    plain: str | None = ""
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "*":
            parts.append(_Part("".join(expressions), len(expressions), plain))
            expressions, plain = [], ""
        elif character == "?":
            expressions.append(".")
            plain = None
        elif character == "[":
            expression, at = _read_set(pattern, at + 1)
            expressions.append(expression)
            plain = None
        else:
            character, at = _read_character(pattern, at)
            expressions.append(re.escape(character))
            plain = None if plain is None else plain + character
        at += 1
    parts.append(_Part("".join(expressions), len(expressions), plain))
    return parts


def _read_set(pattern: str, at: int) -> tuple[str, int]:
    """Return the set that begins *at*, as a regular expression, with the place of its end."""
    if pattern[at : at + 1] in ("^", "!"):
        raise ValueError(f"a set cannot begin with {pattern[at]}; negate the whole match instead")
    ranges: list[str] = []
    while at < len(pattern) and pattern[at] != "]":
        first, at = _read_character(pattern, at)
        at += 1
        last = first
        if pattern[at : at + 1] == "-" and pattern[at + 1 : at + 2] not in ("", "]"):
            last, at = _read_character(pattern, at + 1)
            at += 1
        if last < first:
            raise ValueError(f"the range {first}-{last} is empty")
        ranges.append(f"{re.escape(first)}-{re.escape(last)}")
    if at >= len(pattern):
        raise ValueError(r"a set needs its ]; write \[ for the character itself")
    if not ranges:
        raise ValueError("a set is empty")
    return f"[{''.join(ranges)}]", at


def _read_character(pattern: str, at: int) -> tuple[str, int]:
    """Return the character *at*, or the one that is escaped there, with its place."""
    if pattern[at] != "\\":
        return pattern[at], at
    if at + 1 == len(pattern):
        raise ValueError("the backslash at its end escapes nothing")
    return pattern[at + 1], at + 1
