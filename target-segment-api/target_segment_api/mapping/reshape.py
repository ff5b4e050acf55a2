"""What directives do to values that are found: replace, flatten, merge, drop nulls. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from target_segment_api.mapping.value import MAX_CHARACTERS, MAX_DEPTH, MISSING, ValueFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DOLLAR = re.compile(r"(\$[$&`'])")


def compile_replace(
    pattern: str, replacement: str, *, ignore_case: bool, everywhere: bool
) -> Callable[[str], str]:
    """Return what replaces the text *pattern* in a text; a `$` means what it does in JavaScript.

    That is: `$&` is what was found, `` $` `` and `$'` what is before and after it, `$$` is `$`.
    """
    parts = _DOLLAR.split(replacement)
    find = re.compile("".join(_case(character) if ignore_case else re.escape(character)
                              for character in pattern))  # fmt: skip
    count = 0 if everywhere else 1
    if "$`" not in parts and "$'" not in parts:
        texts = ["$" if part == "$$" else part for part in parts]
        return lambda text: find.sub(
            lambda match: "".join(match[0] if part == "$&" else part for part in texts), text, count
        )

    def replace(text: str) -> str:
        size = 0

        def expand(match: re.Match[str]) -> str:
            nonlocal size
            known = {"$$": "$", "$&": match[0], "$`": text[: match.start()],
                     "$'": text[match.end() :]}  # fmt: skip
            piece = "".join([known.get(part, part) for part in parts])
            size += len(piece)
            if size > MAX_CHARACTERS:
                raise ValueFailed(f"@replace makes more than {MAX_CHARACTERS:,} characters of it.")
            return piece

        return find.sub(expand, text, count)

    return replace


def _case(character: str) -> str:
    """Return the pattern of *character* in both cases; JavaScript has no `K` (Kelvin) for a k."""
    return f"(?{'a' if character.isascii() else ''}i:{re.escape(character)})"


def flatten(value: Any, separator: str, *, omit_arrays: bool) -> dict[str, Any]:
    """Return an object without nesting, of the joined keys of *value*; a scalar's key is "".

    Raises:
        ValueFailed: it is nested too deeply, or its keys become too long.
    """
    found: dict[str, Any] = {}
    size = 0

    def add(prefix: str, value: Any, depth: int) -> None:
        nonlocal size
        if isinstance(value, dict):
            members: Iterable[tuple[Any, Any]] = value.items()
        elif isinstance(value, list) and not omit_arrays:
            members = enumerate(value)
        else:
            if value is not MISSING:
                found[prefix] = value
            return
        _check_depth("@flatten", depth)
        for key, member in members:
            name = f"{prefix}{separator}{key}" if prefix else str(key)
            size += len(name)
            if size > MAX_CHARACTERS:
                raise ValueFailed(f"@flatten makes more than {MAX_CHARACTERS:,} characters of it.")
            add(name, member, depth + 1)

    add("", value, 0)
    return found


def merge(values: Iterable[Any]) -> dict[str, Any]:
    """Return one object of *values*, in which later ones win.

    Nothing, null, numbers, true and false add nothing, as in JavaScript's `Object.assign`.

    Raises:
        ValueFailed: one is text or a list, of which that would take the characters.
    """
    merged: dict[str, Any] = {}
    for value in values:
        if isinstance(value, dict):
            merged |= value
        elif isinstance(value, str | list) and value:
            raise ValueFailed("@merge needs objects, and got text or a list.")
    return {key: value for key, value in merged.items() if value is not MISSING}


def drop_nulls(value: Any, depth: int = 0) -> Any:
    """Return *value* without the nulls in its objects; those in lists stay, and null is `MISSING`.

    Raises:
        ValueFailed: it is nested too deeply.
    """
    if value is None:
        return MISSING
    if not isinstance(value, dict):
        return value
    _check_depth("@excludeWhenNull", depth)
    return {
        key: drop_nulls(member, depth + 1) for key, member in value.items() if member is not None
    }


def _check_depth(directive: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise ValueFailed(f"{directive} got an object that nests deeper than {MAX_DEPTH}.")
