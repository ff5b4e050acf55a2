"""The table of attacks in `docs/reliability.md`, made from the report of a run.

`make soak` runs the attacks for long and then this:
`python tests/harness/reliability.py REPORT`. With `--add` the tables that are
there stay, for a run of some of the attacks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--add", action="store_true", help="keep the tables that are there")
    options = parser.parse_args()
    section = f"{origin()}\n\n{table(read(options.report))}"
    document = entered(DOCUMENT.read_text("utf-8"), section, add=options.add)
    DOCUMENT.write_text(document, "utf-8")


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


def entered(document: str, section: str, *, add: bool = False) -> str:
    """Return *document* with *section* between its two comments, instead of or after what is there.

    Raises:
        ValueError: it lacks them.
    """
    before, _, rest = document.partition(START)
    there, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"The document has no {START.strip()} … {END.strip()}.")
    kept = f"{there}\n" if add else ""
    return f"{before}{START}{kept}{section}{END}{after}"


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
