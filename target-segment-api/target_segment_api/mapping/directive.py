"""One value of a mapping, compiled once into what makes it of each record.

The directives are those of Segment's mapping kit (`packages/core/src/mapping-kit`
in `segmentio/action-destinations`), with its edges. It checks a mapping with
each event; here every mistake is found at the start. What depends on a record
and cannot be is `ValueFailed`, which costs that one event.

What a compiled value returns shares its lists and objects with the record: read them only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from target_segment_api.mapping import operation
from target_segment_api.mapping.javascript import is_blank, is_truthy
from target_segment_api.mapping.path import compile_path, find
from target_segment_api.mapping.scope import Scope, is_directive, nothing, suggest
from target_segment_api.mapping.template import (
    compile_template,
    fill_template,
    is_template,
    paths_of,
)
from target_segment_api.mapping.value import MISSING, Mistake, ValueFailed

if TYPE_CHECKING:
    from target_segment_api.mapping.value import Place, Read, Resolve

MAX_LEVELS: Final = 50
"""How deep a mapping may nest."""

_METADATA: Final = "_metadata"  # what Segment's user interface notes beside a directive
_INTERNAL: Final = "__segment_internal_"
_ROOT_DIRECTIVE: Final = "__segment_internal_directive"
_EACH = re.compile(r"\$each(?:[.\[]|$)")

_Directive: TypeAlias = Callable[[Any, Scope], "Resolve"]


def compile_value(
    value: Any,
    place: Place,
    mistakes: list[Mistake],
    *,
    shorthand: bool,
    reads: list[Read] | None = None,
) -> Resolve:
    """Return what makes *value*, as it stands in a mapping, of a record.

    What it returns raises `ValueFailed` for a record of which it cannot be made.

    Args:
        value: any JSON. At its root, `__segment_internal_directive` is Segment's own:
            its `@transform` is applied before the other members are made.
        place: where it stands, for *mistakes*.
        mistakes: what is wrong is added to them, all of it.
        shorthand: read a text that starts with `$.` or `$each` as a path, and one with
            `{{ }}` as a template, except in `@literal`; and be strict with paths.
        reads: which paths of the record it reads is added to them.
    """
    return _root(value, Scope(place, mistakes, shorthand, 0, _compile, reads))


def _root(value: Any, at: Scope) -> Resolve:
    if not isinstance(value, dict) or not any(name.startswith(_INTERNAL) for name in value):
        return _compile(value, at)
    fields = {name: item for name, item in value.items() if not name.startswith(_INTERNAL)}
    if _ROOT_DIRECTIVE not in value:
        return _compile(fields, at)
    at, directive = at.inner(_ROOT_DIRECTIVE), value[_ROOT_DIRECTIVE]
    if not is_directive(directive):
        return at.blame("It must be an object with one @directive.")
    transform = directive.get("@transform")
    if isinstance(transform, dict):
        directive = {**directive, "@transform": {**transform, "mapping": fields}}
    return _compile(directive, at)


def _compile(value: Any, at: Scope) -> Resolve:
    if at.level > MAX_LEVELS:
        return at.blame(f"The mapping nests deeper than {MAX_LEVELS}. Make it flatter.")
    if isinstance(value, str):
        return _compile_text(value, at)
    if isinstance(value, list):
        return _compile_list([at.inner(n).compile(item) for n, item in enumerate(value)])
    if is_directive(value):
        return _compile_directive(value, at)
    if isinstance(value, dict):
        return _compile_object(
            [(name, at.inner(name).compile(item)) for name, item in value.items()]
        )
    return _constant(value)


def _compile_text(text: str, at: Scope) -> Resolve:
    if at.shorthand:
        if text.startswith("$.") or _EACH.match(text):
            at.note(text.replace("$.", "", 1))
            return compile_path(text, at.place, at.mistakes, strict=True)
        if is_template(text):
            at.note(*paths_of(text))
            return compile_template(text, at.place, at.mistakes, strict=True)
    return _constant(text)


def _compile_list(items: list[Resolve]) -> Resolve:
    return lambda root: [_item(item(root)) for item in items]


def _item(value: Any) -> Any:
    """Return *value* as it stands in a list, where what is missing keeps its place as null."""
    return None if value is MISSING else value


def _compile_object(members: list[tuple[str, Resolve]]) -> Resolve:
    def build(root: Any) -> dict[str, Any]:
        made = {}
        for name, resolve in members:
            value = resolve(root)
            if value is not MISSING:
                made[name] = value
        return made

    return build


def _compile_directive(value: dict[str, Any], at: Scope) -> Resolve:
    names = [name for name in value if name.startswith("@")]
    beside = [name for name in value if not name.startswith("@") and name != _METADATA]
    if len(names) > 1:
        return at.blame(f"{' and '.join(names)} stand in one object. Leave one, or nest them.")
    if beside:
        reason = f"{', '.join(beside)} cannot stand beside {names[0]}. Use @merge to have both."
        return at.blame(reason)
    name = names[0]
    directive = _DIRECTIVES.get(name)
    if directive is None:
        return at.blame(f"There is no directive {name}.{suggest(name, _DIRECTIVES)}")
    return directive(value[name], at.inner(name))


def _path(given: Any, at: Scope) -> Resolve:
    if isinstance(given, str):
        at.note(given.replace("$.", "", 1))
        return compile_path(given, at.place, at.mistakes, strict=at.shorthand)
    text = _text_of("@path", given, at)
    return lambda root: find(root, text(root).replace("$.", "", 1))


def _template(given: Any, at: Scope) -> Resolve:
    if isinstance(given, str):
        at.note(*paths_of(given))
        return compile_template(given, at.place, at.mistakes, strict=at.shorthand)
    text = _text_of("@template", given, at)
    return lambda root: fill_template(text(root), root)


def _text_of(name: str, given: Any, at: Scope) -> Resolve:
    """Compile the directive *given*, which has to give the text that *name* needs."""
    if is_directive(given):
        resolve = at.compile(given)
    else:
        resolve = at.blame("It must be text, or a directive that gives text.")

    def text(root: Any) -> str:
        value = resolve(root)
        if not isinstance(value, str):
            raise ValueFailed(f"{name} needs text, and the directive in it gave none.")
        return value

    return text


def _literal(given: Any, at: Scope) -> Resolve:
    return at._replace(shorthand=False).compile(given)


def _if(given: Any, at: Scope) -> Resolve:
    arguments = at.arguments(given, (), ("exists", "blank", "then", "else"))
    if not any(is_truthy(arguments.get(name)) for name in ("exists", "blank")):
        return at.blame("It needs exists or blank: the value to be looked at.")
    test = "exists" if "exists" in arguments else "blank"
    made = {name: at.inner(name).compile(argument) for name, argument in arguments.items()}
    value, then, other = (made.get(name, nothing) for name in (test, "then", "else"))
    if not is_truthy(arguments.get("else")):  # as in Segment: `else: 0` is no else
        other = nothing
    if test == "blank":
        return lambda root: other(root) if is_blank(value(root)) else then(root)

    def choose(root: Any) -> Any:
        found = value(root)
        return other(root) if found is None or found is MISSING else then(root)

    return choose


def _array_path(given: Any, at: Scope) -> Resolve:
    if not isinstance(given, list) or len(given) not in (1, 2):
        return at.blame("It must be a list: a path, and the object to be made of each item.")
    path = _path(given[0], at.inner(0)) if isinstance(given[0], str) else nothing
    if is_directive(given[0]):
        path = at.inner(0).compile(given[0])
    elif not isinstance(given[0], str):
        at.inner(0).blame("It must be a path, or a directive that gives a list.")
    shape = given[1] if len(given) > 1 else None
    if shape is not None and not isinstance(shape, dict):
        at.inner(1).blame("It must be an object: what is to be made of each item.")
    if not shape:
        return path
    make = at.within(1).compile(shape)

    def build(root: Any) -> Any:
        found = path(root)
        if not isinstance(found, list | dict):
            return found
        items = found if isinstance(found, list) else [found]
        return [_item(make(item)) for item in items]

    return build


def _transform(given: Any, at: Scope) -> Resolve:
    arguments = at.arguments(given, ("apply", "mapping"))
    for name, value in arguments.items():
        if not isinstance(value, dict):
            at.inner(name).blame("It must be an object.")
    apply = _root(arguments.get("apply"), at.inner("apply"))
    make = at.within("mapping").compile(arguments.get("mapping"))
    return lambda root: make(apply(root))


def _liquid(given: Any, at: Scope) -> Resolve:
    # Imported where it is asked for: the library takes longer than the rest of the target.
    from target_segment_api.mapping.liquid.template import compile_liquid  # noqa: PLC0415

    return compile_liquid(given, at.place, at.mistakes, at.reads)


_DIRECTIVES: Final[dict[str, _Directive]] = {
    "@arrayPath": _array_path,
    "@case": operation.compile_case,
    "@excludeWhenNull": operation.compile_exclude_when_null,
    "@flatten": operation.compile_flatten,
    "@if": _if,
    "@json": operation.compile_json,
    "@liquid": _liquid,
    "@literal": _literal,
    "@merge": operation.compile_merge,
    "@path": _path,
    "@replace": operation.compile_replace,
    "@template": _template,
    "@transform": _transform,
}


def _constant(value: Any) -> Resolve:
    return lambda _: value
