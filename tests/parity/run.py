"""Compare our mappings with Segment's own packages: `python tests/parity/run.py`.

Writes `RESULTS.md` beside itself. Fails if there is a difference of a kind that is
not known in `differences.py`. The same seed draws the same cases.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
from harness import clients
from parity import answers, cases, differences

if TYPE_CHECKING:
    from parity.answers import Answer
    from parity.cases import Case
    from parity.differences import Kind

RESULTS = Path(__file__).with_name("RESULTS.md")
LONGEST_EXAMPLE = 240
SHOWN_UNKNOWN = 10

INTRODUCTION = (
    "Made by `make parity`; do not edit. Cases are drawn from a seed, ours with "
    "`strict_parity: true` and mappings in the form in which Segment exports them."
)
AGREEMENT = (
    "A case agrees if both make the same of it, or both refuse it, at the start or with the record."
)
STRICTER = (
    "One case counts once, for the first kind that fits. *Stricter*: we tell a mistake at the "
    "start, or set an event aside with the reason, where Segment goes on."
)


class Compared(NamedTuple):
    """One case, and both answers."""

    case: Case
    ours: Answer
    theirs: Answer

    @property
    def size(self) -> int:
        """How much there is to read."""
        return len(json.dumps([self.case.asked, self.case.record]))


def main() -> None:
    """Draw the cases, compare the answers, write the table."""
    options = arguments()
    folder = clients.modules()
    drawn = list(cases.draw_all(options.examples, options.seed))
    theirs = answers.of_segment(drawn, folder)
    compared = [
        Compared(case, answers.of_ours(case), their)
        for case, their in zip(drawn, theirs, strict=True)
    ]
    different = [each for each in compared if not answers.agree(each.ours, each.theirs)]
    kinds: dict[Kind | None, list[Compared]] = defaultdict(list)
    for each in different:
        kinds[differences.kind_of(*each)].append(each)
    unknown = kinds.get(None, [])
    summary = (
        f"seed {options.seed}: {len(compared):,} cases, {len(different):,} different, "
        f"{len(unknown):,} of them unexplained"
    )
    RESULTS.write_text(table(summary, compared, kinds), "utf-8")
    print(summary)
    for each in sorted(unknown, key=lambda each: each.size)[:SHOWN_UNKNOWN]:
        print(*_example("unexplained", each), sep="\n")
    sys.exit(bool(unknown))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="for each directive and so on")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def table(
    summary: str,
    compared: list[Compared],
    kinds: dict[Kind | None, list[Compared]],
) -> str:
    """Return the results as Markdown."""
    unknown = kinds.get(None, [])
    lines = [
        "# Our mappings beside Segment's own",
        "",
        INTRODUCTION,
        "",
        *(f"- {name} {release}" for name, release in versions().items()),
        f"- {summary}",
        "",
        AGREEMENT,
        "",
        "| | drawn for | cases | both make the same | both refuse | different |",
        "|---|---|---:|---:|---:|---:|",
        *_groups(compared),
        "",
        "## The differences",
        "",
        STRICTER,
        "",
        "| what | | cases | why |",
        "|---|---|---:|---|",
    ]
    ordered = [kind for kind in differences.KINDS if kind in kinds]
    lines += [f"| {kind.name} | {kind.verdict} | {len(kinds[kind])} | {kind.why} |"
              for kind in ordered]  # fmt: skip
    if unknown:
        lines.append(f"| **unexplained** | | {len(unknown)} | |")
    lines += ["", "The smallest case of each:", ""]
    for kind in ordered:
        lines += _example(kind.name, min(kinds[kind], key=lambda each: each.size))
    return "\n".join([*lines, ""])


def versions() -> dict[str, str]:
    """Return what was compared."""
    return {
        "target-segment-api": version("target-segment-api"),
        **clients.releases_for_node(*clients.MAPPING_KIT, "@segment/fql-ts", "liquidjs"),
        "python-liquid": version("python-liquid"),
    }


def _groups(compared: list[Compared]) -> list[str]:
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for case, ours, theirs in compared:
        refused = "refused" if theirs.state == "refused" else "same"
        same = refused if answers.agree(ours, theirs) else "different"
        found[case.kind, case.group][same] += 1
    return [
        f"| {kind} | `{group}` | {sum(count.values())} | {count['same']} | {count['refused']} | "
        f"{count['different']} |"
        for (kind, group), count in found.items()
    ]


def _example(name: str, found: Compared) -> list[str]:
    return [
        f"- {name}",
        f"  - `{_short(found.case.asked)}`",
        f"  - of `{_short(found.case.record)}`",
        f"  - ours: {_answer(found.ours)}; Segment's: {_answer(found.theirs)}",
    ]


def _answer(answer: Answer) -> str:
    if answer.state == "value":
        return f"`{_short(answer.value)}`"
    return " ".join([answer.state, *(f"(`{_cut(reason)}`)" for reason in answer.reasons[:1])])


def _short(value: object) -> str:
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    text = text.replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}")
    return (
        text if len(text) <= LONGEST_EXAMPLE else text[:LONGEST_EXAMPLE] + "\N{HORIZONTAL ELLIPSIS}"
    )


if __name__ == "__main__":
    main()
