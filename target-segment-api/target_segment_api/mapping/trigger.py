"""Which records a mapping is meant for: Segment's triggers, in their two forms. Pure.

As text, a trigger is a query of `fql`. As an object, it is what Segment's API has:
a condition, or a group of them. The object's conditions have their own rules:
`=` compares with the operand as text, so that a number never equals anything;
for numbers there are `number_equals` and the like; the `not_` forms are false,
too, for what is no text; an `and` of nothing is true.
"""

from __future__ import annotations

import operator
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from target_segment_api.mapping import condition
from target_segment_api.mapping.condition import RELATIONS, Holds, Number, Predicate
from target_segment_api.mapping.fql.lexer import NotUnderstood
from target_segment_api.mapping.fql.parser import compile_query, paths_of
from target_segment_api.mapping.javascript import to_number, to_text
from target_segment_api.mapping.value import Mistake, Place, Read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_BYTES: Final = 5 * 1024
"""Of a query: 5 KB (Segment's documentation of destination filters)."""

MAX_DEPTH: Final = 32
"""Of groups in groups; Segment's own screen makes one."""

_SUBJECTS: Final = {
    "event-type": "type",
    "event": "event",
    "name": "name",
    "userId": "userId",
}
_PARENTS: Final = {
    "event-property": "properties",
    "event-trait": "traits",
    "event-context": "context",
}
_TYPES: Final = ("group", *_SUBJECTS, *_PARENTS)
_JOINS: Final = {"and": condition.every, "or": condition.some}


def _contains(operand: str) -> Callable[[str], bool]:
    return lambda text: operand in text


def _starts_with(operand: str) -> Callable[[str], bool]:
    return lambda text: text.startswith(operand)


def _ends_with(operand: str) -> Callable[[str], bool]:
    return lambda text: text.endswith(operand)


_WITHOUT_OPERAND: Final[dict[str, Predicate]] = {
    "exists": lambda value: value is not None,
    "not_exists": lambda value: value is None,
    "is_true": lambda value: value is True,
    "is_false": lambda value: value is False,
}
_OF_TEXT: Final = {"contains": _contains, "starts_with": _starts_with, "ends_with": _ends_with}
_OF_NUMBERS: Final = {
    "number_equals": operator.eq,
    "number_not_equals": operator.ne,
    **RELATIONS,
}
_OPERATORS: Final = (
    *("=", "!=", *_WITHOUT_OPERAND, *_OF_NUMBERS),
    *(form for name in _OF_TEXT for form in (name, f"not_{name}")),
)


def compile_trigger(
    when: Any, place: Place, mistakes: list[Mistake], reads: list[Read] | None = None
) -> Holds:
    """Return what tells whether the trigger *when* is for a record.

    The record is the root of all paths; its caller adds what an event has and a
    record has not (`type`, `event`, …). A mistaken trigger is for no record.

    Args:
        when: text, or an object.
        place: where it stands, for *mistakes*.
        mistakes: what is wrong is added to them.
        reads: which paths of the record it asks for is added to them.
    """
    known = len(mistakes)
    if isinstance(when, dict):
        holds = _compile_node(when, place, mistakes, depth=1)
    else:
        holds = _compile_text(when, place, mistakes)
    if len(mistakes) > known:
        return condition.never
    if reads is not None:
        paths = _paths_of(when) if isinstance(when, dict) else paths_of(when)
        reads.extend(Read(place, path) for path in paths)
    return holds


def _paths_of(node: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the trigger object *node*, which has no mistake."""
    if node["type"] == "group":
        for child in node["children"]:
            yield from _paths_of(child)
    else:
        yield _path_of(node["type"], node.get("name"), (), [])


def _compile_text(when: Any, place: Place, mistakes: list[Mistake]) -> Holds:
    if not isinstance(when, str):
        reason = 'A trigger is text, as in status = "paid", or an object.'
    elif not when.strip():
        reason = "The trigger is empty. Leave it out to take every record."
    elif (size := len(when.encode(errors="surrogatepass"))) > MAX_BYTES:
        reason = f"The trigger has {size:,} bytes; Segment takes {MAX_BYTES:,}."
    else:
        try:
            return compile_query(when)
        except NotUnderstood as error:
            reason = str(error)
    mistakes.append(Mistake(place, reason))
    return condition.never


def _compile_node(node: Any, place: Place, mistakes: list[Mistake], *, depth: int) -> Holds:
    if not isinstance(node, dict):
        mistakes.append(Mistake(place, "A group holds objects, each with a type."))
        return condition.never
    kind = node.get("type")
    if kind == "group":
        if depth > MAX_DEPTH:
            mistakes.append(Mistake(place, f"Groups are nested more than {MAX_DEPTH} deep."))
            return condition.never
        return _compile_group(node, place, mistakes, depth)
    if not isinstance(kind, str) or kind not in _TYPES:
        mistakes.append(Mistake((*place, "type"), _choose(kind, _TYPES)))
        return condition.never
    path = _path_of(kind, node.get("name"), place, mistakes)
    predicate = _predicate(node, place, mistakes)
    return condition.ask(condition.subject(path), predicate)


def _compile_group(
    node: dict[str, Any], place: Place, mistakes: list[Mistake], depth: int
) -> Holds:
    word, children = node.get("operator"), node.get("children")
    if not isinstance(word, str) or word not in _JOINS:
        mistakes.append(Mistake((*place, "operator"), _choose(word, tuple(_JOINS))))
        word = "and"
    place = (*place, "children")
    if not isinstance(children, list):
        mistakes.append(Mistake(place, "A group needs a list of conditions."))
        return condition.never
    if not children and word == "or":
        mistakes.append(Mistake(place, "No record meets one of no conditions. Add some."))
    return _JOINS[word](
        [
            _compile_node(child, (*place, index), mistakes, depth=depth + 1)
            for index, child in enumerate(children)
        ]
    )


def _path_of(kind: str, name: Any, place: Place, mistakes: list[Mistake]) -> tuple[str, ...]:
    if kind in _SUBJECTS:
        return (_SUBJECTS[kind],)
    if isinstance(name, str) and all(name.split(".")):
        return (_PARENTS[kind], *name.split("."))
    mistakes.append(Mistake((*place, "name"), f"{kind} needs a name: a path in {_PARENTS[kind]}."))
    return (_PARENTS[kind],)


def _predicate(node: dict[str, Any], place: Place, mistakes: list[Mistake]) -> Predicate:
    word, operand = node.get("operator"), node.get("value")
    if not isinstance(word, str) or word not in _OPERATORS:
        mistakes.append(Mistake((*place, "operator"), _choose(word, _OPERATORS)))
    elif word in _WITHOUT_OPERAND:
        return _WITHOUT_OPERAND[word]
    elif word in _OF_NUMBERS:
        number = _as_number(operand)
        if number is not None:
            return condition.compares(_OF_NUMBERS[word], number)
        mistakes.append(Mistake((*place, "value"), f"{word} needs a number."))
    elif isinstance(operand, str | bool) or condition.is_number(operand):
        return _of_text(word, to_text(operand))
    else:
        mistakes.append(Mistake((*place, "value"), f"{word} needs text. For null: not_exists."))
    return condition.never


def _of_text(word: str, operand: str) -> Predicate:
    if word == "=":
        return condition.equals(operand)
    if word == "!=":
        return condition.opposite_of(condition.equals(operand))
    if word.startswith("not_"):
        return condition.text_that_not(_OF_TEXT[word.removeprefix("not_")](operand))
    return condition.text_that(_OF_TEXT[word](operand))


def _as_number(operand: Any) -> Number | None:
    if isinstance(operand, str):
        return to_number(operand)
    if not condition.is_number(operand):
        return None
    number = Decimal(str(operand)) if isinstance(operand, float) else operand
    return number if Decimal(number).is_finite() else None


def _choose(found: Any, choices: tuple[str, ...]) -> str:
    close = get_close_matches(found, choices, n=1) if isinstance(found, str) else []
    hint = f" Write {close[0]}." if close else ""
    return f"It has to be one of {', '.join(choices)}.{hint}"
