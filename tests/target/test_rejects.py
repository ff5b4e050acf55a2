"""What Segment would not take is set aside with every reason, and never by the thousand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from target_segment_api.errors import DeliveryStopped, FileUnusable
from target_segment_api.rejects import Rejects
from target_segment_api.timestamp import written

if TYPE_CHECKING:
    from pathlib import Path

EVENT = {"type": "track", "userId": 5, "properties": {"total": Decimal("64.90"), "note": "☕\n"}}
REASONS = ["userId is a number, not text.", "event is missing."]


def add(rejects: Rejects, times: int = 1, **changes: Any) -> None:
    """Set an event aside, so many *times*."""
    given = {"event": EVENT, "reasons": REASONS, "stream": "track", "key": "k", "message_id": "m"}
    for _ in range(times):
        rejects.add(**{**given, **changes})


def test_reject_holds_the_event_and_every_reason(tmp_path: Path) -> None:
    """Whoever mends it finds all of it in one line, with the digits that it had."""
    rejects = Rejects(tmp_path / "rejects.jsonl", 10)
    add(rejects)
    rejects.close()

    (line,) = (tmp_path / "rejects.jsonl").read_text("utf-8").splitlines()
    entry = json.loads(line, parse_float=Decimal)
    assert written(entry.pop("rejected_at"))
    assert entry == {
        "stream": "track",
        "key": "k",
        "message_id": "m",
        "reasons": REASONS,
        "event": EVENT,
    }
    assert "64.90" in line


def test_rejects_of_several_runs_are_kept(tmp_path: Path) -> None:
    """A new run does not throw away what an earlier one set aside."""
    for key in ("a", "b"):
        rejects = Rejects(tmp_path / "rejects.jsonl", 10)
        add(rejects, key=key, message_id=None)
        rejects.close()
        assert rejects.count == 1

    lines = (tmp_path / "rejects.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["a", "b"]


def test_run_without_rejects_leaves_no_file(tmp_path: Path) -> None:
    """An empty file would look as if something had been wrong."""
    rejects = Rejects(tmp_path / "rejects.jsonl", 10)
    rejects.check(5)
    rejects.sync()
    rejects.close()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most", [0, 1, 7])
def test_more_than_max_rejects_stop_the_run(tmp_path: Path, most: int) -> None:
    """As many as allowed are fine, however many events there were; one more is not."""
    rejects = Rejects(tmp_path / "rejects.jsonl", most)
    add(rejects, most)
    rejects.check(1_000)
    add(rejects)

    with pytest.raises(DeliveryStopped, match=rf"More than max_rejects \({most}\) events"):
        rejects.check(1_001)


def test_first_events_that_are_all_rejects_stop_the_run(tmp_path: Path) -> None:
    """A wrong mapping does not turn a table into rejects."""
    rejects = Rejects(tmp_path / "rejects.jsonl", 1_000)
    add(rejects, 99)
    rejects.check(99)
    add(rejects)

    with pytest.raises(DeliveryStopped, match=r"All of the first 100 events were set aside\."):
        rejects.check(100)


def test_good_event_among_the_first_lets_the_run_go_on(tmp_path: Path) -> None:
    """Many rejects in the beginning are no wrong mapping if something was right."""
    rejects = Rejects(tmp_path / "rejects.jsonl", 1_000)
    add(rejects, 100)

    rejects.check(101)

    assert rejects.count == 100


def test_error_holds_no_event(tmp_path: Path) -> None:
    """What stops a run says where to look, and not what a user did."""
    rejects = Rejects(tmp_path / "rejects.jsonl", 0)
    add(rejects)

    with pytest.raises(DeliveryStopped) as error:
        rejects.check(1)

    assert str(tmp_path / "rejects.jsonl") in error.value.message
    assert "64.90" not in error.value.message


def test_unusable_path_is_told_at_once(tmp_path: Path) -> None:
    """A run that cannot set aside does not start."""
    with pytest.raises(FileUnusable, match=r"cannot be written"):
        Rejects(tmp_path / "none" / "rejects.jsonl", 10)
