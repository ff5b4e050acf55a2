"""The table of attacks in `docs/reliability.md`, made from the report of a run.

`make soak` runs the attacks for long and then this:
`python tests/harness/reliability.py REPORT`. With `--add` the tables that are
there stay, for a run of some of the attacks. Exit code 1 says that an attack
did not hold, or, without `--add`, that one of `LISTED` is not in the report.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Line = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "reliability.md"
START, END = "<!-- attacks -->\n", "<!-- /attacks -->\n"

LISTED: Final = {
    "killed at random moments": [
        "`kill -9` at random moments, under load",
        "the tap is killed (`kill -9`) at random moments, from the last state each time",
        "`kill -9` at random moments, from the last state each time",
        "`kill -9` of tap, target and Meltano in mid-run",
        "`kill -9` of target and Meltano in mid-run",
    ],
    "power cut": [
        "power cut: unsynced writes lost, torn, or in another order",
        "power cut while a damaged spool is salvaged",
    ],
    "failing disk": [
        "an I/O error or a full disk in any write, sync or read",
        "an I/O error in a write",
        "an I/O error in a sync",
        "the file system turns read-only",
        "the disk is full for a while",
        "no file handle left for a while",
        "its -wal, -shm or -lock file deleted or replaced",
        "the spool is moved away, or another file put in its place",
        "bytes of the file flipped, pages overwritten",
    ],
    "target that hangs, dawdles, dies, or closes the pipe": [
        "the target is stopped (SIGSTOP) in mid-run, and continued",
        "the target reads slowly",
        "the target is killed (kill -9) in mid-run, and run again",
        "the target closes the pipe in mid-run, and is run again",
    ],
    "sender that behaves as Segment does": [
        "Segment's retries over a day with outages, answers lost",
        "an outage longer than Segment's four hours",
    ],
    "network": [
        "connections: idle, half a request, byte by byte, reset",
        "slow lines, and connections that are reset before the answer",
    ],
    "hostile input": [
        "requests that fit the description of its interface, and that do not",
        "bytes that are no HTTP",
        "deliveries of which a bit was changed",
        "a signed delivery is replayed",
        "bombs, bottomless JSON, floods of headers, odd paths, two lengths",
    ],
    "Segment's side": [
        "one poisoned event in 225, refused as a whole batch",
        "storms of 429, 5xx, resets after acceptance and lost answers",
        "events that Segment would drop in silence, among others",
    ],
    "clocks": [
        "the clock jumps between 1969 and 2100 while events come in",
        "events dated from the year 1 to 9999, and in a leap second",
    ],
    "two of a kind on the same files": [
        "a second one is started on the same spool, by another path",
        "two taps of one consumer at once, beside the receiver",
        "two targets at once, on the same files",
        "loads of overlapping files at once",
    ],
    "upgrade": ["a spool written by an earlier format is opened and written"],
    "erasure": [
        "`kill -9` while somebody is erased",
        "power cut while somebody is erased: any unsynced writes lost",
        "an I/O error or a full disk while somebody is erased",
    ],
}
"""What has to be tried, by kind: words that stand in the row of each attack."""


def main() -> None:
    """Write the table of the report that the command line names into the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--add", action="store_true", help="keep the tables that are there")
    options = parser.parse_args()
    attacks = read(options.report)
    section = f"{origin()}\n\n{table(attacks)}"
    document = entered(DOCUMENT.read_text("utf-8"), section, add=options.add)
    DOCUMENT.write_text(document, "utf-8")
    missing = [] if options.add else unreported(attacks)
    if missing:
        print("Not in the report:", *missing, sep="\n  ", file=sys.stderr)  # noqa: T201 - a command
    sys.exit(bool(missing) or not all(attack["held"] for attack in attacks))


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


def unreported(attacks: Iterable[Line]) -> list[str]:
    """Return what is `LISTED` and has no row in a table of *attacks*."""
    reported = [attack["attack"] for attack in attacks]
    return [
        words
        for listed in LISTED.values()
        for words in listed
        if not any(words in attack for attack in reported)
    ]


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
