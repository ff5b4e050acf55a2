"""Templates: text with `{{ path }}` in it, as Segment's mapping kit fills it. Pure.

`{{{ path }}}` is filled first and `{{ path }}` then, so that what a triple one put
in is filled again. A path is bare here: `{{ $.a }}` is the key `a` of a key `$`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from target_segment_api.mapping.javascript import to_text
from target_segment_api.mapping.path import compile_keys, find, split
from target_segment_api.mapping.value import MAX_CHARACTERS, Mistake, ValueFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_api.mapping.value import Place, Resolve

_BRACES: Final = (3, 2)


def is_template(text: str) -> bool:
    """Tell whether *text* has anything to be filled in."""
    return "{{" in text and any(path is not None for _, path in _parts(text, 2))


def paths_of(text: str) -> Iterator[str]:
    """Yield the paths that the template *text* names; not those that a record may put in."""
    for literal, path in _parts(text, 3):
        yield from (inner for _, inner in _parts(literal, 2) if inner is not None)
        if path is not None:
            yield path


def compile_template(text: str, place: Place, mistakes: list[Mistake], *, strict: bool) -> Resolve:
    """Return what fills the template *text*; *strict* tells of what is always empty in Segment."""
    if any(path is not None for _, path in _parts(text, 3)):
        fill = _compile(text, 3, place, mistakes, strict=strict)
        return lambda root: _fill(fill(root), root, 2)
    return _compile(text, 2, place, mistakes, strict=strict)


def fill_template(text: str, root: Any) -> str:
    """Return the template *text*, which a record gave, filled from *root*.

    Raises:
        ValueFailed: it becomes too long.
    """
    for braces in _BRACES:
        text = _fill(text, root, braces)
    return text


def _compile(
    text: str, braces: int, place: Place, mistakes: list[Mistake], *, strict: bool
) -> Resolve:
    parts = list(_parts(text, braces))
    paths = [path for _, path in parts if path is not None]
    if strict:
        mistakes.extend(Mistake(place, reason) for path in paths for reason in _faults(path))
    resolves = [compile_keys(path, place, mistakes) for path in paths]
    form = "%s".join(literal.replace("%", "%%") for literal, _ in parts)
    columns = [keys[0] for path in paths if len(keys := split(path)) == 1]

    def fill(root: Any) -> str:
        values = [resolve(root) for resolve in resolves]
        return form % tuple([x if type(x) is str else to_text(x) for x in values])

    if len(columns) < len(paths):
        return fill

    def fill_columns(root: Any) -> str:  # as most do, and three times as fast
        if type(root) is not dict:
            return fill(root)
        get = root.get
        return form % tuple(
            [x if type(x := get(column)) is str else to_text(x) for column in columns]
        )

    return fill_columns


def _faults(path: str) -> Iterator[str]:
    if path.startswith("$.") and path != "$.":
        yield f"In braces a path has no $. before it. Write {{{{{path[2:]}}}}}."
    elif path in ("", ".", "$."):
        yield "The braces name no column. Write its name in them."


def _parts(text: str, braces: int) -> Iterator[tuple[str, str | None]]:
    """Yield each literal of *text* and the path after it, None after the last.

    As the expression `{{([^}]+)}}` finds them, but in one pass: that one takes a
    minute for a megabyte of `{`.
    """
    opening, closing = "{" * braces, "}" * braces
    done = at = 0
    while (start := text.find(opening, at)) >= 0:
        end = text.find("}", start + braces)
        if end < 0:
            break
        at = end + 1
        if end > start + braces and text.startswith(closing, end):
            yield text[done:start], text[start + braces : end].strip()
            done = at = end + braces
    yield text[done:], None


def _fill(text: str, root: Any, braces: int) -> str:
    if "{{" not in text:
        return text
    pieces: list[str] = []
    size = 0
    for literal, path in _parts(text, braces):
        value = "" if path is None else to_text(find(root, path))
        size += len(literal) + len(value)
        if size > MAX_CHARACTERS:
            raise ValueFailed(f"@template makes more than {MAX_CHARACTERS:,} characters of it.")
        pieces += (literal, value)
    return "".join(pieces)
