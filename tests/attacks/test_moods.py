"""Whatever mood Segment is in, it has each valid event once, and nothing is lost in silence."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.attacks import ROUNDS, attack
from harness.segment import Segment
from harness.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Json = dict[str, Any]

BATCH = 225
STORM_EVENTS = 600
STORM_BATCH = 30
STORMS = max(2, ROUNDS // 10)
BREAKS: list[Callable[[Json], object]] = [
    lambda event: event.pop("event"),
    lambda event: event.pop("userId"),
    lambda event: event.update(event=""),
    lambda event: event.update(userId=None),
    lambda event: event["properties"].update(note="x" * 40_000),
    lambda event: event["properties"].update(note="é" * 17_000),
]
"""What makes an event one that Segment answers with 200 and then drops."""


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    """Run a stand-in for Segment."""
    with Segment(tmp_path) as running:
        yield running


def track(events: list[Json]) -> list[messages.Message]:
    """Return what the tap writes of *events*, all of them tracks, with a state at the end."""
    return [messages.schema("track"), *list(messages.conversation(events))[len(messages.STREAMS) :]]


def folder_in(path: Path, number: int) -> Path:
    """Return a new folder for the files of one run."""
    folder = path / str(number)
    folder.mkdir()
    return folder


def test_poison_is_set_aside_alone(segment: Segment, tmp_path: Path) -> None:
    """Wherever it is in a batch, whatever status it gets: all others arrive, in order."""
    random = Random(0)  # noqa: S311 - test data
    with attack("target", "one poisoned event in 225, refused as a whole batch") as tally:
        for number in range(ROUNDS // 4):
            poisoned = random.randrange(1, BATCH + 1)
            events = [messages.small(each) for each in range(1, BATCH + 1)]
            events[poisoned - 1]["event"] = "poison"
            segment.forget()
            segment.moods({"status": random.choice((400, 413, 422)), "match": "poison"})
            target = Target(
                folder_in(tmp_path, number), segment.endpoint, concurrency=1, compression=False
            )

            run = target.run_here(track(events))

            valid = [each for each in range(1, BATCH + 1) if each != poisoned]
            assert (run.code, run.positions) == (0, [BATCH]), run.log
            assert messages.numbers(segment.events()) == valid
            assert messages.numbers(each["event"] for each in target.rejects) == [poisoned]
            assert segment.counts()["requests"] <= 20
            tally.rounds += 1
            tally.events += len(valid)


def test_storms_cost_time_alone(segment: Segment, tmp_path: Path) -> None:
    """Two answers of three are a refusal, a reset or no answer: each event is there once."""
    random = Random(0)  # noqa: S311 - test data
    moods: list[Json] = [
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"status": 429},
        {"status": 503},
        {"kind": "html", "status": 502},
        {"kind": "reset"},
        {"kind": "close"},
        {"status": 504, "accept": True},
    ]
    with attack("target", "storms of 429, 5xx, resets after acceptance and lost answers") as tally:
        for number in range(STORMS):
            segment.forget()
            segment.moods(
                {"kind": "hang", "count": 1},
                *({**mood, "probability": 0.25} for mood in random.sample(moods, 4)),
            )
            target = Target(
                folder_in(tmp_path, number),
                segment.endpoint,
                timeout_seconds=1,
                max_batch_events=STORM_BATCH,
            )

            run = target.run(track([messages.small(each) for each in range(1, STORM_EVENTS + 1)]))

            arrived = messages.numbers(segment.events())
            tally.rounds += 1
            tally.events += STORM_EVENTS
            tally.lost += STORM_EVENTS - len({*arrived})
            assert (run.code, run.positions) == (0, [STORM_EVENTS]), run.log
            assert sorted(arrived) == list(range(1, STORM_EVENTS + 1))
            assert target.rejects == []
            assert segment.counts()["requests"] < 15 * STORM_EVENTS // STORM_BATCH


def test_what_segment_would_drop_in_silence_is_set_aside(segment: Segment, tmp_path: Path) -> None:
    """It answers 200 to them; none is sent, and all others arrive."""
    random = Random(0)  # noqa: S311 - test data
    events = [messages.small(number) for number in range(1, 25 * ROUNDS + 1)]
    invalid = {number for number in range(1, len(events) + 1) if random.random() < 0.1}
    for number in invalid:
        random.choice(BREAKS)(events[number - 1])
    target = Target(tmp_path, segment.endpoint)
    with attack("target", "events that Segment would drop in silence, among others") as tally:
        run = target.run(track(events))

        arrived = messages.numbers(segment.events())
        tally.rounds, tally.events = len(invalid), len(events) - len(invalid)
        tally.lost = tally.events - len({*arrived})
        assert (run.code, run.positions) == (0, [len(events)]), run.log
        assert sorted(arrived) == [n for n in range(1, len(events) + 1) if n not in invalid]
        assert segment.counts()["dropped"] == {}
        assert {*messages.numbers(each["event"] for each in target.rejects)} == invalid
