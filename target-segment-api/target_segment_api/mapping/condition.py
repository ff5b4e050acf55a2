"""What conditions are made of: where a value stands, and what is asked of it. Pure.

Everything here is made once, from the text of a mapping, and then asked of every
record. Equality is that of JavaScript's `===`, with numbers as what they are worth:
int, float and Decimal are one kind, and true is no number.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from target_segment_api.mapping.value import Resolve

Record: TypeAlias = dict[str, Any]

Holds: TypeAlias = Callable[[Record], bool]
"""Tells whether a record meets a condition."""

Predicate: TypeAlias = Callable[[Any], bool]
"""Tells whether a value meets a condition."""

Number: TypeAlias = int | Decimal

RELATIONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def subject(path: tuple[str, ...]) -> Resolve:
    """Return what finds the value at *path* in a record: null if there is none."""
    if len(path) == 1:
        name = path[0]
        return lambda root: root.get(name)
    if len(path) == 2:  # noqa: PLR2004 - properties.plan, as most are
        outer, name = path

        def find_inner(root: Any) -> Any:
            value = root.get(outer)
            return value.get(name) if isinstance(value, dict) else None

        return find_inner

    def find(root: Any) -> Any:
        for name in path:
            if not isinstance(root, dict):
                return None
            root = root.get(name)
        return root

    return find


def ask(find: Resolve, predicate: Predicate) -> Holds:
    """Return what tells whether what *find* finds meets *predicate*."""
    return lambda root: predicate(find(root))


def every(conditions: list[Holds]) -> Holds:
    """Return what tells whether a record meets all *conditions*; none is met by all records."""
    if len(conditions) == 1:
        return conditions[0]

    def holds(root: Record) -> bool:
        for condition in conditions:  # noqa: SIM110 - `all` costs more than most conditions
            if not condition(root):
                return False
        return True

    return holds


def some(conditions: list[Holds]) -> Holds:
    """Return what tells whether a record meets at least one of *conditions*."""
    if len(conditions) == 1:
        return conditions[0]

    def holds(root: Record) -> bool:
        for condition in conditions:  # noqa: SIM110 - as in `every`
            if condition(root):
                return True
        return False

    return holds


def never(_root: Record) -> bool:
    """Hold for no record: what stands in for a condition that is a mistake."""
    return False


def opposite_of(holds: Predicate) -> Predicate:
    """Return what tells whether *holds* does not, of a value or of a record."""
    return lambda value: not holds(value)


def equals(constant: Any) -> Predicate:
    """Return what tells whether a value is the same as the scalar *constant*."""
    if constant is None or isinstance(constant, bool):
        return lambda value: value is constant
    if isinstance(constant, str):
        return lambda value: bool(value == constant)
    return compares(operator.eq, constant)


def compares(relation: Callable[[Any, Any], bool], number: Number) -> Predicate:
    """Return what tells whether a value is a number, and in *relation* to *number*."""
    rough = to_float(number)

    def predicate(value: Any) -> bool:
        kind = type(value)
        if kind is float:
            return relation(value, rough)
        return (kind is int or kind is Decimal) and relation(value, number)

    return predicate


def one_of(constants: Collection[Any]) -> Predicate:
    """Return what tells whether a value is the same as any of *constants*."""
    texts = frozenset(constant for constant in constants if isinstance(constant, str))
    others = [equals(constant) for constant in constants if not isinstance(constant, str)]

    def predicate(value: Any) -> bool:
        if isinstance(value, str):
            return value in texts
        return any(other(value) for other in others)

    return predicate


def text_that(test: Callable[[str], bool]) -> Predicate:
    """Return what tells whether a value is text that meets *test*."""
    return lambda value: isinstance(value, str) and test(value)


def text_that_not(test: Callable[[str], bool]) -> Predicate:
    """Return what tells whether a value is text, too, but does not meet *test*."""
    return lambda value: isinstance(value, str) and not test(value)


def same(left: Any, right: Any) -> bool:
    """Tell whether two values of a record are the same; lists and objects never are."""
    if left is None or isinstance(left, bool | str):
        return type(left) is type(right) and bool(left == right)
    return related(operator.eq, left, right)


def related(relation: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    """Tell whether two values are numbers, the first in *relation* to the second."""
    if not (is_number(left) and is_number(right)):
        return False
    if isinstance(left, float) or isinstance(right, float):
        return relation(to_float(left), to_float(right))
    return relation(left, right)


def is_number(value: Any) -> bool:
    """Tell whether *value* is what JSON calls a number."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def to_float(number: Any) -> float:
    """Return *number* as the float next to it, or infinity: an int may be too large for any."""
    return float(Decimal(number)) if isinstance(number, int) else float(number)
