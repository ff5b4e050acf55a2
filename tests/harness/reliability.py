"""The table of attacks in `docs/reliability.md`, made from the report of a run.

`make soak` runs the attacks for long and then this:
`python tests/harness/reliability.py REPORT`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Line = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "reliability.md"
START, END = "<!-- attacks -->\n", "<!-- /attacks -->\n"


def main() -> None:
    """Write the table of the report that the command line names into the document."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    attacks = read(Path(sys.argv[1]))
    section = f"{origin()}\n\n{table(attacks)}"
    DOCUMENT.write_text(entered(DOCUMENT.read_text("utf-8"), section), "utf-8")


def read(report: Path) -> list[Line]:
    """Return what *report* holds: for each attack the fields of `attacks.Attack`."""
    return [json.loads(line) for line in report.read_text("utf-8").splitlines()]


def table(attacks: Iterable[Line]) -> str:
    """Return *attacks* as a table in Markdown: a row for each kind, by what was attacked."""
    kinds: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
    for attack in attacks:
        area = attack["area"]
        kinds[area[:1].upper() + area[1:], attack["attack"]].append(attack)
    rows = [
        f"| {area} | {what} | {sum(each['rounds'] for each in same):,} "
        f"| {sum(each['events'] for each in same):,} | {losses(same)} |\n"
        for (area, what), same in sorted(kinds.items())
    ]
    return "".join(
        [
            "| attacked | attack | rounds | events | lost |\n",
            "|---|---|---:|---:|---:|\n",
            *rows,
        ]
    )


def losses(same: list[Line]) -> str:
    """Return how many acknowledged events were lost, and whether all else held."""
    lost = f"{sum(each['lost'] for each in same):,}"
    return lost if all(each["held"] for each in same) else f"{lost}, **failed**"


def entered(document: str, section: str) -> str:
    """Return *document* with *section* between its two comments.

    Raises:
        ValueError: it lacks them.
    """
    before, _, rest = document.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"The document has no {START.strip()} … {END.strip()}.")
    return f"{before}{START}{section}{END}{after}"


def origin() -> str:
    """Say when and of what the report is."""
    commit = git("rev-parse", "--short", "HEAD")
    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    day = datetime.now(timezone.utc).date().isoformat()
    return f"The run of {day}, at commit `{commit}`{changed}:"


def git(*words: str) -> str:
    """Return what `git` prints, without the end of its line."""
    return subprocess.check_output(["git", *words], cwd=REPOSITORY, text=True).strip()


if __name__ == "__main__":
    main()
