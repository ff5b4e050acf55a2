"""The record of the attacks says what was tried, and does not hide what failed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from harness import attacks, reliability

if TYPE_CHECKING:
    from pathlib import Path


def test_attack_reports_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each adds a line, also one that fails."""
    report = tmp_path / "report.jsonl"
    monkeypatch.setenv(attacks.REPORT, str(report))

    with attacks.attack("spool", "held") as tally:
        tally.rounds, tally.events = 3, 50
    with suppress(ZeroDivisionError), attacks.attack("spool", "did not hold") as tally:
        tally.lost = 1
        raise ZeroDivisionError

    held, failed = reliability.read(report)
    assert (held["rounds"], held["events"], held["lost"], held["held"]) == (3, 50, 0, True)
    assert (failed["lost"], failed["held"]) == (1, False)


def test_table_adds_up_attacks_of_a_kind_and_shows_failures() -> None:
    """A row for each kind; one that did not hold in any round is no success."""
    lines = [
        {"area": "spool", "attack": "a", "rounds": 1, "events": 1000, "lost": 0, "held": True},
        {"area": "spool", "attack": "a", "rounds": 2, "events": 500, "lost": 0, "held": True},
        {"area": "tap", "attack": "b", "rounds": 1, "events": 9, "lost": 2, "held": False},
    ]

    assert reliability.table(json.loads(json.dumps(lines))).splitlines()[2:] == [
        "| Spool | a | 3 | 1,500 | 0 |",
        "| Tap | b | 1 | 9 | 2, **failed** |",
    ]


def test_document_keeps_everything_around_the_table() -> None:
    """Only what stands between the two comments is written anew."""
    document = reliability.DOCUMENT.read_text("utf-8")

    written = reliability.entered(document, "new\n")

    before, _, rest = document.partition(reliability.START)
    assert (
        written
        == f"{before}{reliability.START}new\n{reliability.END}" + rest.split(reliability.END)[1]
    )
    with pytest.raises(ValueError, match="has no"):
        reliability.entered("nothing", "new\n")


def test_run_of_some_attacks_can_be_added() -> None:
    """The tables that are there stay before it."""
    document = f"a\n{reliability.START}old\n{reliability.END}b\n"

    assert reliability.entered(document, "new\n", add=True) == (
        f"a\n{reliability.START}old\n\nnew\n{reliability.END}b\n"
    )
