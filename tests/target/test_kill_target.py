"""`kill -9` at any moment, again and again: nothing is lost, sent twice, or confirmed too early."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.attacks import ROUNDS, attack
from harness.target import Target
from harness.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from harness.segment import Segment

Json = dict[str, Any]

EVENTS = 250 * ROUNDS
EVERY = 7

pytestmark = pytest.mark.attack


def is_invalid(number: int) -> bool:
    """Return whether Segment would drop the event with this *number*."""
    return number % 41 == 0


def test_kill_loses_and_repeats_nothing(segment: Segment, tmp_path: Path) -> None:
    """Run from the last state each time, until the end, Segment has each valid event once."""
    target = Target(
        tmp_path, segment.endpoint, concurrency=3, max_batch_events=10, max_rejects=EVENTS
    )
    moments = Random(0)  # noqa: S311 - test data
    segment.delay(20)
    segment.moods({"status": 503, "probability": 0.05}, {"kind": "reset", "probability": 0.05})
    position, confirmed = 0, []
    with attack("target", "`kill -9` at random moments, from the last state each time") as tally:
        for _ in range(ROUNDS):
            enough = segment.counts()["accepted"] + moments.randrange(1, 300)
            with target.running() as running:
                running.feed([given(position)])
                wait_until(lambda: not running.is_running or has(segment, enough))  # noqa: B023
                run = running.kill()
            position = max([position, *run.positions])
            confirmed.append(position)
            assert set(range(1, position + 1)) <= settled(segment, target)
        segment.delay(0)

        last = target.run(given(position))

        valid = [number for number in range(1, EVENTS + 1) if not is_invalid(number)]
        tally.rounds, tally.events = ROUNDS, len(valid)
        assert (last.code, last.positions[-1]) == (0, EVENTS), last.log
        assert Counter(messages.numbers(segment.events())) == Counter(valid)
        assert settled(segment, target) == set(range(1, EVENTS + 1))
        assert segment.counts()["dropped"] == {}
        assert len(set(confirmed)) > ROUNDS / 2


def given(after: int) -> bytes:
    """Return what the tap writes when it starts with the state *after*."""
    return messages.line(messages.schema("track")) + b"".join(lines()[after:])


@cache
def lines() -> list[bytes]:
    """Return the record of each event, with the state that may follow it."""
    return [
        messages.line(messages.record(event(number), number))
        + (b"" if number % EVERY and number != EVENTS else messages.line(messages.state(number)))
        for number in range(1, EVENTS + 1)
    ]


def event(number: int) -> Json:
    """Return the event with this *number*; one that is invalid has no name."""
    return messages.small(number, event=None if is_invalid(number) else "Lesson Started")


def has(segment: Segment, count: int) -> bool:
    """Return whether *count* events were accepted."""
    accepted: int = segment.counts()["accepted"]
    return accepted >= count


def settled(segment: Segment, target: Target) -> set[int]:
    """Return the numbers of the events that Segment has, or that were set aside."""
    rejects = [reject["event"] for reject in target.rejects]
    return {*messages.numbers(segment.events()), *messages.numbers(rejects)}
