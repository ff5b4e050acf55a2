"""Paths into a record, as Segment's mapping kit reads them. Pure.

`$.a.b[0]["c d"]`: dots, numbers in brackets, and quoted keys. The first `$.` is
dropped wherever it stands, and `""`, `$.` and `.` are the whole record. There are
no wildcards, and a key with a dot cannot be named.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from target_segment_api.mapping.javascript import is_truthy, length
from target_segment_api.mapping.value import MISSING, Mistake, ValueFailed

if TYPE_CHECKING:
    from target_segment_api.mapping.value import Place, Resolve

MAX_KEYS: Final = 100
"""Of one path."""

_BREAKS = re.compile(r"""\[(?=["'0-9])|\.|(?<=["'0-9])\]+""")
_QUOTES = str.maketrans("", "", "\"'")
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_UNKNOWN: Final = (
    (re.compile(r"\*|\[\?"), "A path has no wildcards. Use for_each or @arrayPath."),
    (re.compile(r"\.\."), "A path has a key between two dots. Write the key, or one dot."),
    (
        re.compile(r"""\["[^"]*\.[^"]*"\]|\['[^']*\.[^']*'\]"""),
        "A key with a dot cannot be named in a path. Rename the column, or map its parent.",
    ),
)


def compile_path(text: str, place: Place, mistakes: list[Mistake], *, strict: bool) -> Resolve:
    """Return what finds the path *text* in a root.

    Args:
        text: with or without `$.`.
        place: where it stands, for *mistakes*.
        mistakes: what is wrong is added to them.
        strict: tell, too, what Segment would take for the name of a key.
    """
    path = text.replace("$.", "", 1)
    if strict:
        wrong = (reason for pattern, reason in _UNKNOWN if pattern.search(path))
        mistakes.extend(Mistake(place, reason) for reason in wrong)
    return compile_keys(path, place, mistakes)


def compile_keys(path: str, place: Place, mistakes: list[Mistake]) -> Resolve:
    """Return what finds *path*, which has no `$.` to be dropped."""
    keys = split(path)
    if len(keys) > MAX_KEYS:
        mistakes.append(
            Mistake(place, f"The path has {len(keys)} keys. Use no more than {MAX_KEYS}.")
        )
    if not keys:
        return _whole
    if len(keys) == 1:
        return _column(keys[0])

    def walk(root: Any) -> Any:
        value = root
        for key in keys:
            value = value.get(key, MISSING) if type(value) is dict else _step(value, key)
        return value

    return walk


def find(root: Any, path: str) -> Any:
    """Return what is at *path*, which a record gave, without `$.`, in *root*.

    Raises:
        ValueFailed: the path is too long.
    """
    return follow(root, split(path))


def follow(root: Any, keys: list[str]) -> Any:
    """Return what *keys* lead to in *root*.

    Raises:
        ValueFailed: they are too many.
    """
    if len(keys) > MAX_KEYS:
        raise ValueFailed(f"A path has {len(keys)} keys; {MAX_KEYS} are the most.")
    for key in keys:
        root = _step(root, key)
    return root


def split(path: str) -> list[str]:
    """Return the keys of *path*; none for the whole root."""
    return [part.translate(_QUOTES) for part in _BREAKS.split(path) if part]


def _whole(root: Any) -> Any:
    return root


def _column(key: str) -> Resolve:
    def look_up(root: Any) -> Any:
        return root.get(key, MISSING) if type(root) is dict else _step(root, key)

    return look_up


def _step(value: Any, key: str) -> Any:
    """Return the member *key* of *value*; of nothing, null, 0 or "" itself, as in JavaScript."""
    if isinstance(value, dict):
        return value.get(key, MISSING)
    if not is_truthy(value):
        return value
    if isinstance(value, list | str):
        if key == "length":
            return length(value) if isinstance(value, str) else len(value)
        if _INDEX.fullmatch(key) and int(key) < len(value):
            return value[int(key)]
    return MISSING
