"""The directives that change a value once it is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from target_segment_api.encoding import decode, encode
from target_segment_api.mapping import reshape
from target_segment_api.mapping.javascript import is_truthy, length, to_text
from target_segment_api.mapping.scope import is_directive, nothing
from target_segment_api.mapping.value import MISSING, ValueFailed

if TYPE_CHECKING:
    from target_segment_api.mapping.scope import Scope
    from target_segment_api.mapping.value import Resolve

MAX_PATTERN: Final = 10
"""Characters of a pattern or a replacement of `@replace`, as in Segment."""


def compile_case(given: Any, at: Scope) -> Resolve:
    """Compile `@case`: text in one case, anything else as it is."""
    arguments = at.arguments(given, ("operator",), ("value",))
    operator = at.choice(arguments, "operator", ("lower", "upper"))
    resolve = _text_or_directive(arguments, at)
    change = str.lower if operator == "lower" else str.upper

    def convert(root: Any) -> Any:
        value = resolve(root)
        return change(value) if isinstance(value, str) else value

    return convert


def compile_replace(given: Any, at: Scope) -> Resolve:
    """Compile `@replace`: literal text, replaced in text, numbers, true and false."""
    names = ("replacement", "pattern2", "replacement2", "ignorecase", "global")
    arguments = at.arguments(given, ("pattern", "value"), names)
    ignore_case = at.flag(arguments, "ignorecase", default=False)
    everywhere = at.flag(arguments, "global", default=True)
    changes = [
        reshape.compile_replace(
            pattern,
            _short_text(arguments, f"replacement{number}", at),
            ignore_case=ignore_case,
            everywhere=everywhere,
        )
        for number in ("", "2")
        if (pattern := _short_text(arguments, f"pattern{number}", at))
    ]
    if arguments.get("pattern") == "":
        at.inner("pattern").blame("It is empty. Give the text to be replaced.")
    resolve = _text_or_directive(arguments, at)
    if resolve is nothing:
        return nothing

    def replace(root: Any) -> str:
        value = resolve(root)
        if value is None or value is MISSING or isinstance(value, list | dict):
            return ""
        text = to_text(value)
        for change in changes:
            text = change(text)
        return text

    return replace


def compile_merge(given: Any, at: Scope) -> Resolve:
    """Compile `@merge`: one object of several, without going into them."""
    arguments = at.arguments(given, ("objects", "direction"))
    direction = at.choice(arguments, "direction", ("left", "right"))
    objects = arguments.get("objects")
    if not isinstance(objects, list):
        if "objects" in arguments:
            at.inner("objects").blame("It must be a list of objects.")
        return nothing
    parts = [_merged(item, at.inner("objects", number)) for number, item in enumerate(objects)]
    if direction == "left":
        parts.reverse()
    return lambda root: reshape.merge([part(root) for part in parts])


def _merged(value: Any, at: Scope) -> Resolve:
    """Compile one object of a merge: in Segment a member that is missing wins, too."""
    if not isinstance(value, dict):
        return at.blame("It must be an object, or a directive that gives one.")
    if is_directive(value):
        return at.compile(value)
    members = [(name, at.inner(name).compile(item)) for name, item in value.items()]
    return lambda root: {name: resolve(root) for name, resolve in members}


def compile_flatten(given: Any, at: Scope) -> Resolve:
    """Compile `@flatten`: an object of joined keys."""
    arguments = at.arguments(given, ("value", "separator"), ("omitArrays",))
    separator = arguments.get("separator", ".")
    if not isinstance(separator, str) or not separator:
        return at.inner("separator").blame("It must be text, and not empty.")
    omit = at.flag(arguments, "omitArrays", default=False)
    resolve = at.inner("value").compile(arguments.get("value"))
    return lambda root: reshape.flatten(resolve(root), separator, omit_arrays=omit)


def compile_json(given: Any, at: Scope) -> Resolve:
    """Compile `@json`: a value as JSON text, or what such a text says; any other text stays."""
    arguments = at.arguments(given, ("mode", "value"))
    mode = at.choice(arguments, "mode", ("encode", "decode"))
    if "value" in arguments and not is_truthy(arguments["value"]):
        at.inner("value").blame("It is empty, and Segment refuses that. Give a value.")
    resolve = at.inner("value").compile(arguments.get("value"))
    change = _to_json if mode == "encode" else _from_json
    return lambda root: change(resolve(root))


def _to_json(value: Any) -> Any:
    if value is MISSING:
        return value
    try:
        return encode(value).decode()
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueFailed("@json got a value that JSON cannot hold.") from error


def _from_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return decode(value)
    except ValueError:
        return value


def compile_exclude_when_null(given: Any, at: Scope) -> Resolve:
    """Compile `@excludeWhenNull`: a value without its nulls, or nothing."""
    resolve = at.compile(given)
    return lambda root: reshape.drop_nulls(resolve(root))


def _text_or_directive(arguments: dict[str, Any], at: Scope) -> Resolve:
    """Compile the value that is changed; Segment takes no other constant than text for it."""
    value = arguments.get("value", "")
    if not (isinstance(value, str) or is_directive(value)):
        return at.inner("value").blame("It must be text, or a directive that gives the value.")
    return at.inner("value").compile(value) if value else nothing


def _short_text(arguments: dict[str, Any], name: str, at: Scope) -> str:
    value = arguments.get(name)
    if value is None and name != "pattern":
        return ""
    if not isinstance(value, str):
        if name in arguments:
            at.inner(name).blame("It must be text.")
        return ""
    if length(value) > MAX_PATTERN:
        reason = f"It has {length(value)} characters; Segment takes {MAX_PATTERN}. Shorten it."
        at.inner(name).blame(reason)
    return value
