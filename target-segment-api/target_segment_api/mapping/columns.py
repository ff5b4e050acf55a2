"""Columns that a mapping names and a stream has not: slips, most of the time. Pure.

It is no mistake, for a record may have more than its SCHEMA says. Nothing is
said of what a schema leaves open: an object without `properties`, or one that
allows others, or a choice of schemas.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from target_segment_api.mapping.value import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from target_segment_api.mapping.value import Read

_PROPERTIES: Final = "properties"
_OURS: Final = frozenset({"$each", "row_state", "__segment_id", "event", "type"})
_METADATA: Final = "_sdc_"
_OPEN: Final = ("$ref", "allOf", "anyOf", "oneOf", "patternProperties")
_FLATTENED: Final = "__"  # between the names of what the SDK flattens


def missing(
    reads: Iterable[Read], stream: str, schema: Mapping[str, Any], *, is_exported: bool
) -> Iterator[Mistake]:
    """Yield which of *reads* read a column that *schema* does not have, with the nearest one.

    Args:
        reads: the paths of one call.
        stream: whose rows they are.
        schema: of a row, after stream maps and flattening.
        is_exported: whether the call is one of Segment's own, for which `properties`
            is the row, also if there is a column of that name.
    """
    for read in reads:
        keys = _column(read.keys, schema, is_exported=is_exported)
        gap = _find_gap(schema, keys)
        if gap is not None:
            yield Mistake(read.place, _tell(stream, keys, *gap))


def _column(
    keys: tuple[str, ...], schema: Mapping[str, Any], *, is_exported: bool
) -> tuple[str, ...]:
    """Return the path of *keys* in a row; nothing if it is no column, but of our making."""
    columns = schema.get(_PROPERTIES) or {}
    if keys[0] == _PROPERTIES and (is_exported or _PROPERTIES not in columns):
        return () if _FLATTENED.join(keys) in columns else keys[1:]
    if keys[0].startswith(_METADATA) or (keys[0] in _OURS and keys[0] not in columns):
        return ()
    return keys


def _find_gap(schema: Any, keys: tuple[str, ...]) -> tuple[int, list[str]] | None:
    """Return which of *keys* is not there, and what is; None if all are, or may be."""
    for depth, key in enumerate(keys):
        members = schema.get(_PROPERTIES) if isinstance(schema, dict) else None
        if not members or not isinstance(members, dict) or any(name in schema for name in _OPEN):
            return None
        if key not in members:
            # Taps say of hardly any table that it has no other columns.
            is_open = depth > 0 and bool(schema.get("additionalProperties"))
            return None if is_open else (depth, [*members])
        schema = members[key]
    return None


def _tell(stream: str, keys: tuple[str, ...], depth: int, known: list[str]) -> str:
    flattened = _FLATTENED.join(keys)
    near = [flattened] if flattened in known else difflib.get_close_matches(keys[depth], known, n=1)
    where = f"Column {'.'.join(keys[:depth])} of stream" if depth else "Stream"
    what = "member" if depth else "column"
    hint = f" Do you mean {near[0]}?" if near else ""
    return f"{where} {stream!r} has no {what} {keys[depth]}.{hint}"
