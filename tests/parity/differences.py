"""The kinds of differences that are known, each with why it is there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from parity.answers import same

if TYPE_CHECKING:
    from collections.abc import Callable

    from parity.answers import Answer
    from parity.cases import Case

Verdict: TypeAlias = Literal["intended", "stricter", "more lenient"]

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_COMPARED = r"(?:<|<=|>|>=|=|!=)"
_BEYOND_PARSER = re.compile(
    r"! ?\(|\(\(|\\|'| in \[|(?:contains|match)\(type|match\([^,]+, \"(?:\*.*\*|[^*]*|.*\?.*)\"\)"
    r"|\b(?:type|event|name|userId) (?:=|!=) (?:-?\d|true|false|null)"
    r"|\([^()]*\([^()]*\)[^()]*\)"
)


class Kind(NamedTuple):
    """One kind of difference."""

    name: str
    verdict: Verdict
    why: str
    fits: Callable[[Case, Answer, Answer], bool]


def kind_of(case: Case, ours: Answer, theirs: Answer) -> Kind | None:
    """Return the kind of the difference between *ours* and *theirs*, or None if it is unknown."""
    return next((kind for kind in KINDS if kind.fits(case, ours, theirs)), None)


def _told(*states: str, reason: str) -> Callable[[Case, Answer, Answer], bool]:
    """Return what fits if we gave *reason* for not making anything."""
    pattern = re.compile(reason)
    return lambda _, ours, __: (
        ours.state in states and any(pattern.search(each) for each in ours.reasons)
    )


def _they_told(reason: str) -> Callable[[Case, Answer, Answer], bool]:
    pattern = re.compile(reason)
    return lambda _, __, theirs: (
        theirs.state == "refused" and any(pattern.search(each) for each in theirs.reasons)
    )


def _liquid(expression: str) -> Callable[[Case, Answer, Answer], bool]:
    """Return what fits if both made a value, and *expression* is in a Liquid template."""
    pattern = re.compile(expression)
    return lambda case, ours, theirs: (
        {ours.state, theirs.state} <= {"value", "nothing"}
        and any(pattern.search(each) for each in _templates(case.asked))
    )


def _templates(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["@liquid"]] if isinstance(value.get("@liquid"), str) else []
        return own + [each for item in value.values() for each in _templates(item)]
    return [each for item in value for each in _templates(item)] if isinstance(value, list) else []


def _mixed(case: Case, _: Answer, __: Answer) -> bool:
    return isinstance(case.asked, str) and " and " in case.asked and " or " in case.asked


def _beyond_parser(case: Case, _: Answer, __: Answer) -> bool:
    return isinstance(case.asked, str) and _BEYOND_PARSER.search(case.asked) is not None


def _internal(_: Case, ours: Answer, theirs: Answer) -> bool:
    if not isinstance(theirs.value, dict):
        return False
    known = {key: each for key, each in theirs.value.items() if "_internal_" not in key}
    return known != theirs.value and same(_rough(ours.value), _rough(known))


def _moments(case: Case, ours: Answer, theirs: Answer) -> bool:
    if case.kind != "action" or not isinstance(ours.value, dict):
        return False
    if not isinstance(theirs.value, dict):
        return False
    one, other = dict(ours.value), dict(theirs.value)
    return one.pop("timestamp", None) != other.pop("timestamp", None) and same(one, other)


def _beyond_value(case: Case, _: Answer, __: Answer) -> bool:
    names = re.findall(r'"name": "([^"]+)"|(?:properties|traits|context)\.([\w.]+)',
                       json.dumps(case.asked))  # fmt: skip
    paths = [(one or other).split(".") for one, other in names]
    parents = ("properties", "traits", "context")
    return case.kind == "trigger" and any(
        len(path) > 1 and _ends_early(case.record.get(parent), path)
        for path in paths
        for parent in parents
    )


def _ends_early(value: Any, path: list[str]) -> bool:
    for name in path:
        if not isinstance(value, dict):
            return value in (False, 0, "") and value is not None
        value = value.get(name)
    return False


def _digits(_: Case, ours: Answer, theirs: Answer) -> bool:
    return ours.state == theirs.state and same(_rough(ours.value), _rough(theirs.value))


def _order(_: Case, ours: Answer, theirs: Answer) -> bool:
    one, other = json.dumps(_rough(ours.value)), json.dumps(_rough(theirs.value))
    return ours.state == theirs.state == "value" and sorted(one) == sorted(other)


def _rough(value: Any) -> Any:
    """Return *value* with every number, also in a text, as JavaScript would have read it."""
    if isinstance(value, str):
        return _NUMBER.sub(lambda match: repr(float(match[0])), value)
    if isinstance(value, dict):
        return {key: _rough(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rough(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


KINDS = (
    Kind(
        "an argument that there is not",
        "stricter",
        "Segment ignores it. It is a slip (`than` for `then`), told before the first record.",
        _told("mistake", reason="There is no such argument"),
    ),
    Kind(
        "a member that a closed object has not",
        "stricter",
        "Segment drops it from every event. Told before the first record.",
        _told("mistake", reason="has no such (member|field)"),
    ),
    Kind(
        "two ids are mapped and none is needed",
        "stricter",
        "Segment refuses each event without an id; a mapping that cannot give one is told.",
        _told("mistake", reason="Map user_id or anonymous_id|is needed for"),
    ),
    Kind(
        "a directive or an argument of the wrong kind",
        "stricter",
        "Segment looks at some arguments only when they are used, and never into lists: such a "
        "mapping works until a record comes for which it does not. Told before the first record.",
        _told(
            "mistake",
            reason=r"@.*(It (must|needs|has|is empty)|stand|is missing|no directive|a path"
            r"|characters; Segment takes|cannot stand)|It must be an object with one @directive",
        ),
    ),
    Kind(
        "Liquid that there is not",
        "stricter",
        "A filter or a tag that Segment does not document. Told before the first record.",
        _told("mistake", reason="no Liquid|no filter|has disabled|The time of now"),
    ),
    Kind(
        "a condition that means nothing",
        "stricter",
        "An unknown operator or subject, a number that is none, an empty `or`: for Segment no "
        "record meets it (with `!=`: each does). Told before the first record.",
        lambda case, ours, _: case.kind == "trigger" and ours.state == "mistake",
    ),
    Kind(
        "a merge of text or a list",
        "intended",
        'Segment makes members of its characters or places (`{"0": "A"}`). We set the event '
        "aside and say why.",
        _told("refused", reason="@merge needs objects"),
    ),
    Kind(
        "a comparison in Liquid that does not fit",
        "stricter",
        'LiquidJS takes `true contains "a"` or `"x" > 1` as false, and a list in a list. '
        "We set the event aside and say why.",
        _told("refused", reason="@liquid cannot be rendered"),
    ),
    Kind(
        "an event that Segment drops later",
        "stricter",
        "Segment Connections sends it, and its own API answers 200 and drops it: no moment in "
        "`timestamp`, a message id of 100 characters. We set the event aside and say why.",
        _told("refused", reason="timestamp is no moment|messageId has|is empty"),
    ),
    Kind(
        "a list of a null",
        "stricter",
        "The validator makes empty text of it, or 0, or false. We set the event aside and say why.",
        _told("refused", reason="must be (text|a number|true or false), not null"),
    ),
    Kind(
        "moments that are numbers",
        "intended",
        'Segment sends `"1700000000"`, which is no moment for its own API. We write ISO 8601.',
        _moments,
    ),
    Kind(
        "a path beyond false, 0 or empty text",
        "intended",
        "In a trigger, Segment's parser finds that value at the end of a path, too: "
        "`properties.a.b` exists if `a` is false. We find nothing there.",
        _beyond_value,
    ),
    Kind(
        "@transform of what is no object",
        "more lenient",
        "As the shape of an item that is text, say. Segment refuses the record; we find nothing "
        "in it.",
        _they_told("data must be an object"),
    ),
    Kind(
        "and beside or without parentheses",
        "intended",
        "Segment's own page cannot write that. Its parser joins all conditions by the last of "
        "the words; we follow FQL: `and` binds more.",
        _mixed,
    ),
    Kind(
        "FQL that Segment's parser of triggers does not read",
        "intended",
        "It reads what Segment's own page writes. It passes over `!( … )`, inner parentheses, "
        "`in`, escapes, single quotes, patterns other than `a*` and `*a`, functions of `type`, "
        "and compares `event`, `type`, `name` and `userId` as text only. We read all of FQL.",
        _beyond_parser,
    ),
    Kind(
        "Segment's own keys",
        "intended",
        "`__segment_internal_sync_mode` and the like stay in the mapping's result there, and "
        "are dropped before sending.",
        _internal,
    ),
    Kind(
        "digits of numbers",
        "intended",
        "We keep a number as it was written; JavaScript reads a double. In a text it shows "
        "(`1.0` and `1`), and in 9007199254740993.",
        _digits,
    ),
    Kind(
        "order of members in a JSON text",
        "intended",
        "JavaScript puts keys that are whole numbers first.",
        _order,
    ),
    Kind(
        "dates that are none",
        "intended",
        "JavaScript's `Date` guesses: `true` is 1970, `12 ` is December 2001, `-2.5` is a day "
        "of February. We take moments and leave the rest as it is.",
        _liquid(r"\| date"),
    ),
    Kind(
        "numbers that are none",
        "intended",
        "Where a number cannot be read, LiquidJS writes `NaN` in some filters; we take 0, as "
        "it does in the others.",
        _liquid(r"\| (to_integer|round|floor|ceil|abs|at_|plus|minus|times|divided_by|modulo)"),
    ),
    Kind(
        "JSON of nothing",
        "intended",
        "LiquidJS writes `{}` or nothing for what is missing, depending on the filter; we write "
        "`null` or nothing.",
        _liquid(r"\| (inspect|json|jsonify)"),
    ),
    Kind(
        "braces that stay open",
        "more lenient",
        "LiquidJS refuses `{{` without its end in front of a tag; we take it as text.",
        _they_told("not closed"),
    ),
)
