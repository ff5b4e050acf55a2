"""Events that never came leave traces, and the traces are told."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from harness.commands import Commands
from harness.receiver import Receiver
from harness.spool import event, fill, opened
from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.gaps import warnings
from tap_segment_webhook.spool import store
from tap_segment_webhook.spool.layout import spool_path
from tap_segment_webhook.spool.model import PATIENCE_MS, Absence, Signs
from tap_segment_webhook.spool.reader import Reader
from tap_segment_webhook.timestamp import from_ms, to_ms

if TYPE_CHECKING:
    from pathlib import Path

NOW = to_ms("2026-03-04T12:00:00.000Z")
MINUTE, HOUR = 60_000, 3_600_000


def signs(**given: Any) -> Signs:
    """Return the signs of a receiver that runs and stores, with *given* put over them."""
    usual = {"receiver_at": NOW, "event_at": NOW, "longest_pause": MINUTE, "absences": []}
    return Signs(**{**usual, **given})


def told(*, delay: int | None = None, **given: Any) -> str:
    """Return the only warning."""
    (warning,) = warnings(signs(**given), now=NOW, delay=delay)
    return warning


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"receiver_at": NOW - 2 * MINUTE},
        {"event_at": NOW - 59 * MINUTE},
        {"event_at": NOW - 20 * HOUR, "longest_pause": 10 * HOUR},
        {"event_at": None, "longest_pause": None},
    ],
)
def test_what_is_usual_is_no_gap(given: dict[str, Any]) -> None:
    """Nights without events are as long as the nights before."""
    assert warnings(signs(**given), now=NOW, delay=None) == []
    assert warnings(signs(**given), now=NOW, delay=14 * MINUTE) == []


def test_absence_longer_than_segments_patience_is_told_with_its_times() -> None:
    """What Segment gave up on can be had again, if one knows of it."""
    absence = Absence(NOW - 6 * HOUR, NOW - 30 * MINUTE)

    assert "from 2026-03-04T06:00:00.000Z to 2026-03-04T11:30:00.000Z (5 h 30 min)" in told(
        absences=[absence]
    )


def test_receiver_that_is_away_is_told_with_the_time_that_is_left() -> None:
    """While Segment still tries."""
    assert "for 1 h 30 min" in told(receiver_at=NOW - 90 * MINUTE)
    assert "until 2026-03-04T14:30:00.000Z" in told(receiver_at=NOW - 90 * MINUTE)


def test_receiver_that_is_away_too_long_is_told_as_such() -> None:
    """Some of it is lost to us by now."""
    assert "given up" in told(receiver_at=NOW - 5 * HOUR)


def test_silence_longer_than_any_before_is_told() -> None:
    """The destination may have been switched off."""
    assert "for 2 h 0 min; the longest pause that is retained was 1 min" in told(
        event_at=NOW - 2 * HOUR
    )


def test_events_that_come_late_are_told() -> None:
    """Segment delivers them again."""
    assert "40 min after" in told(delay=40 * MINUTE)


def clock(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Let the spool's clock stand at *moment*."""
    monkeypatch.setattr(store, "now_ms", lambda: moment)


def test_absence_is_noted_when_the_next_receiver_begins(
    spool_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the last sign of the one before; a shorter one is covered by Segment's retries."""
    clock(monkeypatch, NOW)
    with opened(spool_url) as first:
        assert first.begin_receiving() is None
        clock(monkeypatch, NOW + HOUR)
        first.probe()
    clock(monkeypatch, NOW + HOUR + PATIENCE_MS)
    with opened(spool_url) as second:
        assert second.begin_receiving() is None
    end = NOW + HOUR + PATIENCE_MS
    clock(monkeypatch, end + PATIENCE_MS + 1)
    with opened(spool_url) as third:
        assert third.begin_receiving() == Absence(end, end + PATIENCE_MS + 1)

    with closing(Reader(spool_url)) as reader:
        assert reader.signs().absences == [Absence(end, end + PATIENCE_MS + 1)]


def test_clock_that_goes_back_is_no_absence(
    spool_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made up from it."""
    clock(monkeypatch, NOW)
    fill(spool_url, [event(1)])
    clock(monkeypatch, NOW - 30 * HOUR)
    with opened(spool_url) as again:
        assert again.begin_receiving() is None


def test_status_and_log_tell_of_an_absence(
    tmp_path: Path, spool_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a receiver that really starts, over a spool that was left five hours ago."""
    left = now_ms() - 5 * HOUR
    clock(monkeypatch, left)
    fill(spool_url, [event(1, receivedAt=from_ms(left - HOUR))])
    monkeypatch.undo()
    commands = Commands(tmp_path, spool_url=spool_url)

    before = commands.output("status")
    with Receiver(tmp_path, spool_url=spool_url) as receiver:
        after = commands.output("status")
        metrics = receiver.get("/metrics").text

    assert "WARNING: No receiver has run for 5 h 0 min." in before
    assert "came 1 h 0 min after Segment had received them" in before
    assert f"WARNING: No receiver ran from {from_ms(left)}" in after
    assert f"No receiver ran from {from_ms(left)}" in receiver.log
    (stored_at,) = re.findall(r"(?m)^segment_receiver_last_stored_timestamp_seconds (.*)$", metrics)
    assert float(stored_at) == left / 1000


def test_spool_of_an_older_version_has_no_absences(spool_url: str) -> None:
    """It is read as it is, and gets the table when it is next written."""
    fill(spool_url, [event(1)])
    with closing(sqlite3.connect(spool_path(spool_url))) as connection:
        connection.execute("DROP TABLE absence")

    with closing(Reader(spool_url)) as reader:
        assert reader.signs().absences == []
    with opened(spool_url) as again:
        assert again.begin_receiving() is None
