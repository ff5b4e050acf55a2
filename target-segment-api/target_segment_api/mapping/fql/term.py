"""What the parts of a query mean: each a value that is found in a record. Pure.

What can only be a slip is a mistake and never a condition that no record meets:
text compared with `<`, a bare word where text must be meant. What the types in a
record decide is decided there: nothing is converted unasked, values of different
types are never the same, and what is neither true nor false is no condition, nor
is its negation; null counts as false.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from target_segment_api.mapping import condition
from target_segment_api.mapping.condition import RELATIONS, Holds
from target_segment_api.mapping.fql.function import FUNCTIONS, TYPE_NAMES
from target_segment_api.mapping.fql.lexer import NotUnderstood
from target_segment_api.mapping.value import MISSING, Resolve

if TYPE_CHECKING:
    from collections.abc import Callable

COMPARISONS: Final = frozenset({"=", "!=", "in", *RELATIONS})

_KINDS: Final = {str: "text", bool: "boolean", type(None): "null"}
_ALIKE: Final = {"type name": "text", "condition": "boolean"}
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Term(NamedTuple):
    """A part of a query that has a value."""

    at: int
    """Its character in the query."""
    kind: str
    """`text`, `number`, `boolean`, `null`, `list`, `type name`, `condition` (a boolean that is
    never null), or `any`, which only the record knows."""
    find: Resolve
    constant: Any = MISSING
    is_path: bool = False
    is_negation: bool = False
    opposite: Holds | None = None
    """What `!` makes of it, if that is not its plain opposite."""

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same for all records."""
        return self.constant is not MISSING


def path(at: int, names: tuple[str, ...]) -> Term:
    """Return the value that stands at the path of *names*."""
    return Term(at, "any", condition.subject(names), is_path=True)


def fixed(at: int, value: Any) -> Term:
    """Return text, a number, a boolean, or null."""
    return Term(at, _KINDS.get(type(value), "number"), lambda _: value, constant=value)


def fixed_list(at: int, items: list[Term]) -> Term:
    """Return a list of fixed values."""
    for item in items:
        if not item.is_fixed:
            raise NotUnderstood(item.at, "A list holds fixed values. Text stands in quotes.")
    values = [item.constant for item in items]
    return Term(at, "list", lambda _: values, constant=values)


def holds_of(term: Term) -> Holds:
    """Return what tells whether a record meets *term*."""
    if term.kind == "condition":
        return term.find
    if term.kind not in ("any", "boolean"):
        raise NotUnderstood(term.at, f"A condition is expected, not {term.kind}: compare it.")
    return condition.ask(term.find, condition.equals(constant=True))


def joined(terms: list[Term], join: Callable[[list[Holds]], Holds]) -> Term:
    """Return the conditions *terms* as one."""
    return Term(terms[0].at, "condition", join([holds_of(term) for term in terms]))


def negated(at: int, term: Term) -> Term:
    """Return the negation of the condition *term*."""
    if term.opposite is not None:
        holds = term.opposite
    elif term.kind == "condition":
        holds = condition.opposite_of(term.find)
    else:
        holds_of(term)  # which knows whether it is a condition at all
        holds = condition.ask(term.find, lambda value: value is False or value is None)
    return Term(at, "condition", holds, is_negation=True)


def compared(sign: str, left: Term, right: Term) -> Term:
    """Return the condition that *left* is to *right* as *sign* says."""
    if left.is_negation:
        raise NotUnderstood(left.at, "! negates only what stands next to it; write != or !( … ).")
    if left.is_fixed and right.is_fixed:
        raise NotUnderstood(left.at, "Fixed values are compared. A path stands without quotes.")
    if sign == "in":
        holds = _within(left, right)
    elif sign in RELATIONS:
        holds = _ordered(sign, left, right)
    else:
        holds = _equal(left, right)
    if sign == "!=":
        holds = _other_number(left, right) or condition.opposite_of(holds)
    return Term(left.at, "condition", holds)


def called(at: int, name: str, argument: Term) -> Term:
    """Return what the function *name* makes of *argument*."""
    function = FUNCTIONS[name]
    kind = _ALIKE.get(argument.kind, argument.kind)
    if function.takes and kind not in function.takes | {"any", "null"}:
        raise NotUnderstood(argument.at, f"{name} takes {' or '.join(sorted(function.takes))}.")
    find, convert = argument.find, function.convert
    return Term(at, function.gives, lambda root: convert(find(root)))


def containing(at: int, where: Term, what: Term) -> Term:
    """Return the condition that the text *what* stands in *where*."""
    _check_text("contains", where)
    _check_text("contains", what)
    _check_bare(what)
    if isinstance(what.constant, str):
        part = what.constant
        return matching(at, where, lambda text: part in text)
    one, other = where.find, what.find

    def holds(root: Any) -> bool:
        text, part = one(root), other(root)
        return isinstance(text, str) and isinstance(part, str) and part in text

    return Term(at, "condition", holds)


def matching(at: int, where: Term, test: Callable[[str], bool]) -> Term:
    """Return the condition that *where* is text that meets *test*."""
    _check_text("match", where)
    holds = condition.ask(where.find, condition.text_that(test))
    opposite = condition.ask(where.find, condition.text_that_not(test)) if where.is_path else None
    return Term(at, "condition", holds, opposite=opposite)


def _equal(left: Term, right: Term) -> Holds:
    if left.is_fixed:
        left, right = right, left
    else:
        _check_bare(right)
    kinds = {_ALIKE.get(kind, kind) for kind in (left.kind, right.kind)} - {"any", "null"}
    if len(kinds) > 1:
        what = " and ".join(sorted(kinds)).capitalize()
        raise NotUnderstood(right.at, f"{what} are never the same.")
    if right.is_fixed:
        _check_type_names(left, right.at, [right.constant])
        return condition.ask(left.find, condition.equals(right.constant))
    one, other = left.find, right.find
    return lambda root: condition.same(one(root), other(root))


def _other_number(left: Term, right: Term) -> Holds | None:
    """Return what `path != 5` means in a trigger: a number, too, and another one."""
    where, number = (right, left) if left.is_fixed else (left, right)
    if not where.is_path or number.kind != "number" or not number.is_fixed:
        return None
    return condition.ask(where.find, condition.compares(operator.ne, number.constant))


def _ordered(sign: str, left: Term, right: Term) -> Holds:
    for term in (left, right):
        if term.kind not in ("number", "any"):
            raise NotUnderstood(term.at, f"{sign} compares numbers, which stand without quotes.")
    if left.is_fixed:
        left, right, sign = right, left, _MIRRORED[sign]
    relation = RELATIONS[sign]
    if right.is_fixed:
        return condition.ask(left.find, condition.compares(relation, right.constant))
    one, other = left.find, right.find
    return lambda root: condition.related(relation, one(root), other(root))


def _within(left: Term, right: Term) -> Holds:
    if right.kind not in ("list", "any"):
        raise NotUnderstood(right.at, 'in needs a list, as in ["a", "b"], or the path of one.')
    if right.is_fixed:
        _check_type_names(left, right.at, right.constant)
        return condition.ask(left.find, condition.one_of(right.constant))
    one, many = left.find, right.find

    def holds(root: Any) -> bool:
        value, items = one(root), many(root)
        return isinstance(items, list) and any(condition.same(value, item) for item in items)

    return holds


def _check_bare(term: Term) -> None:
    """Refuse `plan = pro`, which would be a comparison with the column `pro`."""
    if term.is_path:
        raise NotUnderstood(
            term.at, "Text stands in quotes; the path of another value, in parentheses."
        )


def _check_text(name: str, term: Term) -> None:
    if term.kind not in ("text", "type name", "any"):
        raise NotUnderstood(term.at, f"{name} takes text, which stands in quotes.")


def _check_type_names(term: Term, at: int, constants: list[Any]) -> None:
    if term.kind == "type name" and not {*constants} <= {*TYPE_NAMES}:
        raise NotUnderstood(at, f"typeof gives one of {', '.join(TYPE_NAMES)}.")
