"""What `blank` is in a condition, as in LiquidJS. Pure.

For our library a text, a list or an object without content is blank; for
LiquidJS so are null, false, and what is missing. `empty` is the same for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from liquid.builtin.expressions import BooleanExpression, Nil
from liquid.builtin.expressions.logical import (
    EqExpression,
    LogicalAndExpression,
    LogicalNotExpression,
    LogicalOrExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import Blank
from liquid.builtin.tags import if_tag, unless_tag
from liquid.expression import Expression

from target_segment_api.mapping.liquid.coercion import is_nothing

if TYPE_CHECKING:
    from liquid import RenderContext


class _If(if_tag.IfNode):
    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        _mend(self)


class _Unless(unless_tag.UnlessNode):
    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        _mend(self)


class If(if_tag.IfTag):
    """The tag `if`, with its `elsif`."""

    node_class = _If


class Unless(unless_tag.UnlessTag):
    """The tag `unless`, with its `elsif`."""

    node_class = _Unless


class _IsBlank(Expression):
    """Whether *value* is blank."""

    __slots__ = ("value",)

    def __init__(self, value: Expression) -> None:
        super().__init__(token=value.token)
        self.value = value

    def evaluate(self, context: RenderContext) -> object:
        found = self.value.evaluate(context)
        if isinstance(found, str):
            return not found.strip()
        return found is False or is_nothing(found) or (isinstance(found, list | dict) and not found)

    def children(self) -> list[Expression]:
        return [self.value]


def _mend(node: if_tag.IfNode | unless_tag.UnlessNode) -> None:
    for condition in (node.condition, *(each.expression for each in node.alternatives)):
        if isinstance(condition, BooleanExpression):
            condition.expression = _mended(condition.expression)


def _mended(expression: Expression) -> Expression:
    """Return *expression* with every comparison with `blank` as our own."""
    if isinstance(expression, LogicalAndExpression | LogicalOrExpression):
        expression.left = _mended(expression.left)
        expression.right = _mended(expression.right)
    elif isinstance(expression, LogicalNotExpression):
        expression.right = _mended(expression.right)
    elif isinstance(expression, EqExpression | NeExpression):
        left, right = expression.left, expression.right
        if isinstance(left, Nil):
            return expression  # `nil == blank` is false in LiquidJS; `blank == nil` is not
        if isinstance(left, Blank):
            left, right = right, left
        if isinstance(right, Blank):
            found = _IsBlank(left)
            is_equal = isinstance(expression, EqExpression)
            return found if is_equal else LogicalNotExpression(expression.token, found)
    return expression
