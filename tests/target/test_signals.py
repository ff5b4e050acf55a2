"""SIGTERM and SIGINT end a run soon, with a true state, whatever it was doing."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.segment import KEY
from harness.target import Run, Target
from harness.waiting import wait_until
from target_segment_api.dispatcher import STOP_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from harness.segment import Segment

Json = dict[str, Any]

SIGNALS = [pytest.param(signal.SIGTERM, 143, id="TERM"), pytest.param(signal.SIGINT, 130, id="INT")]
SLOWER_KEY = f"{KEY}-slower"
EVERY = 10
EVENTS = 5_000


def endless_input(**fields: Any) -> list[bytes]:
    """Return more than any of these tests can deliver, with a state after every tenth event."""
    events = [messages.small(number, **fields) for number in range(1, EVENTS + 1)]
    text = messages.encode(messages.conversation(events, every=EVERY))
    return [text[start : start + 4096] for start in range(0, len(text), 4096)]


def assert_state_is_right(segment: Segment, run: Run) -> None:
    """Check that the last state covers all that was read, but for what no STATE came after."""
    numbers = sorted(messages.numbers(segment.events()))
    assert numbers == list(range(1, len(numbers) + 1))
    assert 0 <= len(numbers) - run.positions[-1] <= EVERY
    assert "+ 0 pending" in run.log


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_it_ends_while_it_sends(segment: Segment, tmp_path: Path, number: int, code: int) -> None:
    """What was read is delivered and confirmed, and nothing more is read."""
    segment.delay(100)
    target = Target(tmp_path, segment.endpoint, max_batch_events=20)
    with target.running() as running:
        running.feed(endless_input())
        wait_until(lambda: running.position >= 100)
        running.signal(number)
        run = running.wait(STOP_SECONDS)

    assert run.code == code, run.log
    assert_state_is_right(segment, run)
    assert run.positions[-1] < EVENTS


def test_it_ends_while_it_is_idle(segment: Segment, target: Target) -> None:
    """It need not wait for the tap."""
    with target.running() as running:
        running.write(messages.conversation(map(messages.small, range(1, 11))))
        wait_until(lambda: running.position == 10)
        running.signal(signal.SIGTERM)
        run = running.wait(5)

    assert run.code == 143, run.log
    assert_state_is_right(segment, run)


def test_it_ends_before_anything_came(target: Target) -> None:
    """There is nothing to say then."""
    with target.running() as running:
        wait_until(lambda: "Skipping parse of env" in running.log)
        running.write([messages.schema("track"), messages.state(1)])
        wait_until(lambda: running.position == 1)
        running.signal(signal.SIGTERM)
        run = running.wait(5)

    assert (run.code, run.positions) == (143, [1])


def test_it_ends_while_a_lane_is_full(segment: Segment, tmp_path: Path) -> None:
    """The reader waits for its only lane, and need not get through."""
    segment.delay(300)
    target = Target(tmp_path, segment.endpoint, concurrency=1, max_batch_events=5)
    with target.running() as running:
        running.feed(endless_input())
        wait_until(lambda: running.position >= 10)
        running.signal(signal.SIGTERM)
        run = running.wait(STOP_SECONDS)

    assert run.code == 143, run.log
    assert_state_is_right(segment, run)


def test_it_ends_once_however_often_it_is_told(segment: Segment, tmp_path: Path) -> None:
    """Meltano sends more than one signal; only the first counts."""
    segment.delay(400)
    target = Target(tmp_path, segment.endpoint, max_batch_events=20)
    with target.running() as running:
        running.feed(endless_input())
        wait_until(lambda: running.position >= 100)
        running.signal(signal.SIGTERM)
        wait_until(lambda: "completed processing" in running.log)
        assert running.is_running
        running.signal(signal.SIGINT)
        running.signal(signal.SIGTERM)
        run = running.wait(STOP_SECONDS)

    assert run.code == 143, run.log
    assert_state_is_right(segment, run)


def test_it_ends_in_time_if_segment_does_not_answer(segment: Segment, tmp_path: Path) -> None:
    """Whatever it waits for, it ends in time, says what is pending, and confirms none of it."""
    segment.moods(
        {"kind": "hang", "match": "hangs"},
        {"status": 503, "match": "fails"},
        {"status": 429, "headers": {"Retry-After": "300"}, "match": "limited"},
        {"kind": "hang", "path": f"/v1/projects/{SLOWER_KEY}"},
    )
    cases = [(KEY, "hangs"), (KEY, "fails"), (KEY, "limited"), (SLOWER_KEY, "hangs")]
    with ExitStack() as stack:
        runs = []
        for number, (key, event) in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            settings = {"write_key": key, "timeout_seconds": 100, "compression": False}
            target = Target(folder, segment.endpoint, max_batch_events=100, **settings)
            runs.append(stack.enter_context(target.running()))
            runs[-1].feed(endless_input(event=event))
        wait_until(lambda: all(running.fed > 100_000 for running in runs))
        wait_until(lambda: all(running.has_stalled() for running in runs))
        for running in runs:
            running.signal(signal.SIGTERM)
        signalled_at = time.monotonic()
        ended = [running.wait(STOP_SECONDS + 10) for running in runs]

    assert time.monotonic() - signalled_at < STOP_SECONDS + 3
    for run in ended:
        assert (run.code, run.states) == (143, [])
        assert "+ 0 pending" not in run.log[run.log.index("Altogether") :]
        assert "Traceback" not in run.log
    assert segment.counts()["accepted"] == 0
