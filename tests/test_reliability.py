"""The record of the attacks says what was tried, and does not hide what failed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from harness import attacks, reliability

TESTS = Path(__file__).parent
LISTED = [words for listed in reliability.LISTED.values() for words in listed]


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


def soaked() -> dict[Path, str]:
    """Return the files that `make soak` takes tests from, each with its text."""
    files = {path: path.read_text("utf-8") for path in TESTS.glob("*/test_*.py")}
    return {
        path: text
        for path, text in files.items()
        if path.parent.name == "attacks" or "pytest.mark.attack" in text
    }


@pytest.mark.parametrize("words", LISTED)
def test_each_attack_that_is_listed_is_made_by_the_soak(words: str) -> None:
    """A test of the soak reports it in the words that the list has for it."""
    texts = [text for path, text in soaked().items()]

    assert sum(words in text for text in texts) == 1


def test_each_test_that_reports_an_attack_is_in_the_soak() -> None:
    """Else its row would be gone from the table after the next one."""
    reporting = {
        path
        for path in TESTS.glob("*/test_*.py")
        if "import attack\n" in (text := path.read_text("utf-8")) or ", attack\n" in text
    }

    assert reporting
    assert reporting <= soaked().keys()


def test_report_without_a_listed_attack_is_told() -> None:
    """A test that was skipped, or did not come to its attack, leaves no gap that nobody sees."""
    lines = [{"attack": f"so many {words}"} for words in LISTED]

    assert reliability.unreported(lines) == []
    assert reliability.unreported(lines[1:]) == LISTED[:1]
