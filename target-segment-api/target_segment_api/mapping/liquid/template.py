"""Liquid, as far as Segment's `@liquid` goes. Pure.

The language is python-liquid's; the filters are ours (`filters`), for
LiquidJS, which Segment uses, writes and counts as JavaScript does.

Segment stops a template after 500 ms of its clock. Here the same template does
the same in every run, however busy the machine: there are no loops, since Segment
has disabled them, and what all its filters go through and make is limited
(`MAX_WORK`), as is the output. The worst that we know takes about a second.
"""

from __future__ import annotations

import difflib
import re
from decimal import Decimal
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar, Final

from liquid import BoundTemplate, Environment, RenderContext
from liquid.builtin import content
from liquid.builtin.illegal import Illegal
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags import (
    assign_tag,
    capture_tag,
    comment_tag,
    decrement_tag,
    echo_tag,
    increment_tag,
    inline_comment_tag,
    liquid_tag,
)
from liquid.exceptions import (
    LiquidError,
    LiquidSyntaxError,
    LocalNamespaceLimitError,
    OutputStreamLimitError,
)
from liquid.undefined import UNDEFINED
from liquid.utils import ReadOnlyChainMap

from target_segment_api.mapping.javascript import length
from target_segment_api.mapping.liquid import condition
from target_segment_api.mapping.liquid.coercion import TooLong, write
from target_segment_api.mapping.liquid.filters import FILTERS
from target_segment_api.mapping.value import MAX_CHARACTERS, Mistake, Read, ValueFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from liquid import TokenStream
    from liquid.static_analysis import TemplateAnalysis
    from liquid.token import Token

    from target_segment_api.mapping.value import Place, Resolve

MAX_TEMPLATE: Final = 1000
"""Characters of a template, as in Segment."""

MAX_WORK: Final = 2 * MAX_CHARACTERS
"""Characters that the filters of a template may go through and make, of one record."""

DISABLED_TAGS: Final = ("case", "for", "include", "layout", "render", "tablerow")
DISABLED_FILTERS: Final = (
    "array_to_sentence_string",
    "concat",
    "find",
    "find_exp",
    "find_index",
    "find_index_exp",
    "group_by",
    "group_by_exp",
    "has",
    "has_exp",
    "map",
    "newline_to_br",
    "reject",
    "reject_exp",
    "reverse",
    "sort",
    "sort_natural",
    "type",
    "uniq",
    "where_exp",
)
"""What Segment's own code disables by name; what it does not document is not there either."""

_NOW = re.compile(r"""(["'])(?:now|today)\1\s*\|\s*date""")


def compile_liquid(
    given: Any, place: Place, mistakes: list[Mistake], reads: list[Read] | None = None
) -> Resolve:
    """Return what renders the template *given*; what is wrong with it is added to *mistakes*.

    Which paths of the record it reads is added to *reads*.
    """
    if not isinstance(given, str):
        mistakes.append(Mistake(place, "It must be text: a Liquid template."))
        return _empty
    if length(given) > MAX_TEMPLATE:
        reason = f"It has {length(given)} characters; Segment takes {MAX_TEMPLATE:,}. Shorten it."
        mistakes.append(Mistake(place, reason))
        return _empty
    if _NOW.search(given):
        reason = "The time of now differs in each run, and the event with it. Use a column."
        mistakes.append(Mistake(place, reason))
    try:
        template = _environment().from_string(given)
        found = template.analyze()
        mistakes.extend(Mistake(place, reason) for reason in _filter_faults(found.filters))
        if reads is not None:
            reads.extend(Read(place, keys) for keys in _paths(found))
    except (LiquidError, RecursionError) as error:
        told = error.message if isinstance(error, LiquidError) else "it nests too deeply"
        hint = ' Write ["$each"] for $each.' if "$each" in given else ""
        mistakes.append(Mistake(place, f"This is no Liquid that Segment has: {told}.{hint}"))
        return _empty
    return lambda root: _render(template, root)


def _render(template: BoundTemplate, root: Any) -> str:
    try:
        return template.render(root if isinstance(root, dict) else {})
    except _TooMuch as error:
        raise ValueFailed(
            f"@liquid goes through more than {MAX_WORK:,} characters with its filters."
        ) from error
    except (TooLong, OutputStreamLimitError, LocalNamespaceLimitError) as error:
        raise ValueFailed(
            f"@liquid makes more than {MAX_CHARACTERS:,} characters of it."
        ) from error
    except Exception as error:  # whatever a library does with a record costs one event
        raise ValueFailed(
            "@liquid cannot be rendered: a comparison or a filter does not fit what it gets."
        ) from error


def _paths(found: TemplateAnalysis) -> Iterator[tuple[str, ...]]:
    """Yield the paths of a template that are no variables of its own."""
    for variable in (each for of in found.globals.values() for each in of):
        if keys := tuple(str(name) for name in takewhile(_is_name, variable.segments)):
            yield keys


def _is_name(segment: object) -> bool:
    """Tell whether *segment* of a path is the name of a member, and no place in a list."""
    return isinstance(segment, str) and segment not in {"size", "first", "last"}


def _filter_faults(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name in DISABLED_FILTERS:
            yield f"Segment has disabled the filter {name}. Do without it."
        elif name not in FILTERS:
            near = difflib.get_close_matches(name, FILTERS, n=1)
            yield f"There is no filter {name}." + (f" Do you mean {near[0]}?" if near else "")


def _empty(_: Any) -> str:
    return ""


class _TooMuch(Exception):
    """The filters of a template would do more than they may."""


class _Context(RenderContext):
    """What a template sees: the record and its own variables, and no clock."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._work = 0
        self.scope = ReadOnlyChainMap(self.locals, self.globals, self.counters)

    def get(
        self, path: list[object], *, token: Token | None, default: object = UNDEFINED
    ) -> object:
        """Return what is at *path*; a Decimal as a float where that is the same number.

        Else `price == 0.1` would be false, for they differ in Python.
        """
        found = super().get(path, token=token, default=default)
        if (
            isinstance(found, Decimal)
            and found.is_finite()
            and Decimal(repr(float(found))) == found
        ):
            return float(found)
        return found

    def spend(self, work: int) -> None:
        """Count what a filter goes through or makes.

        Raises:
            _TooMuch: with it, it is more than `MAX_WORK`.
        """
        self._work += work
        if self._work > MAX_WORK:
            raise _TooMuch


class _Template(BoundTemplate):
    context_class = _Context


class _Unknown(Illegal):
    """A tag that there is not; `for` is one, too."""

    def parse(self, stream: TokenStream) -> Any:
        name = stream.current.value
        if name in DISABLED_TAGS:
            raise LiquidSyntaxError(f"the tag {name} is disabled", token=stream.current)
        return super().parse(stream)


class _Written(OutputNode):
    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return buffer.write(write(self.expression.evaluate(context)))


class _Echoed(_Written, echo_tag.EchoNode):
    pass


class _Output(Output):
    node_class = _Written


class _Echo(echo_tag.EchoTag):
    node_class = _Echoed


class _Environment(Environment):
    block_nesting_limit: ClassVar[int] = 30
    local_namespace_limit: ClassVar[int | None] = 10 * MAX_CHARACTERS
    output_stream_limit: ClassVar[int | None] = MAX_CHARACTERS
    template_class = _Template
    suppress_blank_control_flow_blocks = False
    string_sequences = True
    logical_not_operator = True

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:  # noqa: ARG002 - the library's signature
        for tag in _TAGS:
            self.add_tag(tag)
        self.filters.update(FILTERS)


_TAGS: Final = (
    content.Literal,
    _Output,
    _Echo,
    _Unknown,
    assign_tag.AssignTag,
    capture_tag.CaptureTag,
    comment_tag.CommentTag,
    decrement_tag.DecrementTag,
    condition.If,
    increment_tag.IncrementTag,
    inline_comment_tag.InlineCommentTag,
    liquid_tag.LiquidTag,
    condition.Unless,
)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return _Environment()
