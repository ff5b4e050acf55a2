"""What either makes of a case: ours in this process, Segment's in Node."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness import clients
from target_segment_api.encoding import decode, encode
from target_segment_api.mapping.call import compile_call
from target_segment_api.mapping.directive import compile_value
from target_segment_api.mapping.trigger import compile_trigger
from target_segment_api.mapping.value import MISSING, Mistake, ValueFailed
from target_segment_api.rules import problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parity.cases import Case

SCRIPT = Path(__file__).with_name("segment.mjs")
LONGEST_SECONDS = 600


class Answer(NamedTuple):
    """What was made of a case."""

    state: Literal["value", "nothing", "mistake", "refused"]
    """`mistake`: the mapping itself was refused; `refused`: this record, or one of the two."""
    value: Any = None
    reasons: tuple[str, ...] = ()


def of_segment(cases: Sequence[Case], folder: Path) -> list[Answer]:
    """Return what Segment's packages, installed in *folder*, make of each of *cases*."""
    asked = "".join(json.dumps(case._asdict()) + "\n" for case in cases)
    done = subprocess.run(
        [str(clients.NODE), str(SCRIPT), str(folder)],
        input=asked.encode(errors="surrogatepass"),
        stdout=subprocess.PIPE,
        check=True,
        timeout=LONGEST_SECONDS,
        env=os.environ | {"TZ": "UTC"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        Answer(each["state"], each.get("value"), tuple(each.get("reasons", ()))) for each in found
    ]


def of_ours(case: Case) -> Answer:
    """Return what our code makes of *case*."""
    record = decode(encode(case.record))
    asked = decode(encode(case.asked))
    mistakes: list[Mistake] = []
    answer = _ANSWERS[case.kind](asked, record, mistakes)
    if mistakes:
        return Answer("mistake", None, tuple(map(str, mistakes)))
    return answer


def _mapped(asked: Any, record: Any, mistakes: list[Mistake]) -> Answer:
    resolve = compile_value(asked, (), mistakes, shorthand=False)
    if mistakes:
        return Answer("mistake")
    try:
        return _valued(resolve(record))
    except ValueFailed as error:
        return Answer("refused", None, (error.reason,))


def _called(asked: Any, record: Any, mistakes: list[Mistake]) -> Answer:
    call = compile_call(asked, (), mistakes, strict_parity=True)
    if mistakes or call is None:
        return Answer("mistake")
    (made,) = call.make(record)
    faults = [*made.faults, *problems(made.event)]
    if faults:
        return Answer("refused", None, tuple(faults))
    return _valued(made.event)


def _triggered(asked: Any, record: Any, mistakes: list[Mistake]) -> Answer:
    holds = compile_trigger(asked, (), mistakes)
    return Answer("value", holds(record)) if not mistakes else Answer("mistake")


def _valued(value: Any) -> Answer:
    if value is MISSING:
        return Answer("nothing")
    return Answer("value", json.loads(encode(value)))


_ANSWERS = {"mapping": _mapped, "action": _called, "trigger": _triggered}


def same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def agree(ours: Answer, theirs: Answer) -> bool:
    """Tell whether both came to the same, or both to nothing for a reason of their own."""
    if {ours.state, theirs.state} <= {"mistake", "refused"}:
        return True
    return ours.state == theirs.state and same(ours.value, theirs.value)
