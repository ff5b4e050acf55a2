"""A state is printed once it is true, soon after that, and never before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.target import Target
from harness.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from harness.segment import Segment

Json = dict[str, Any]

SOON_SECONDS = 5


def invalid(number: int, **fields: Any) -> Json:
    """Return an event that Segment would drop: a track call without a name."""
    return messages.small(number, event=None, **fields)


def track_records(events: list[Json]) -> list[messages.Message]:
    """Return the records that the tap makes of *events*, with a state after each."""
    return [
        message
        for event in events
        for message in (
            messages.record(event, event["properties"]["n"]),
            messages.state(event["properties"]["n"]),
        )
    ]


def settled(segment: Segment, target: Target) -> set[int]:
    """Return the numbers of the events that Segment has, or that were set aside."""
    rejects = [reject["event"] for reject in target.rejects]
    return {*messages.numbers(segment.events()), *messages.numbers(rejects)}


def test_it_confirms_nothing_too_early(segment: Segment, tmp_path: Path) -> None:
    """At any moment, what the last state covers is accepted or set aside on disk."""
    segment.delay(40)
    segment.moods({"status": 503, "probability": 0.2})
    target = Target(tmp_path, segment.endpoint, max_batch_events=7, concurrency=4)
    events = [(invalid if n % 13 == 0 else messages.small)(n) for n in range(1, 801)]
    looks = set()
    with target.running() as running:
        running.feed([messages.encode([messages.schema("track"), *track_records(events)])])
        while running.is_running:
            position = running.position
            looks.add(position)
            assert set(range(1, position + 1)) <= settled(segment, target)
        run = running.wait()

    assert (run.code, run.positions[-1]) == (0, 800)
    assert run.positions == sorted(set(run.positions))
    assert len(looks) > 5


def test_it_confirms_while_more_comes(segment: Segment, target: Target) -> None:
    """While the tap pauses, what it wrote is delivered and confirmed within seconds."""
    with target.running() as running:
        running.write([messages.schema("track")])
        for number in (1, 2, 3):
            running.write(track_records([messages.small(number)]))
            wait_until(lambda: running.position == number, SOON_SECONDS)  # noqa: B023 - called at once

        assert messages.numbers(segment.events()) == [1, 2, 3]
        assert running.is_running


def test_it_confirms_a_state_that_nothing_waits_for(target: Target) -> None:
    """Without an event before it, a state is true at once."""
    with target.running() as running:
        running.write([messages.schema("track"), messages.state(7)])

        wait_until(lambda: running.position == 7, SOON_SECONDS)
        assert running.is_running


def test_it_confirms_nothing_past_a_batch_that_failed(segment: Segment, tmp_path: Path) -> None:
    """Also if the other lanes deliver what comes after it."""
    target = Target(tmp_path, segment.endpoint, compression=False, max_batch_events=1)
    segment.moods({"status": 401, "match": '"n":50}'})

    run = target.run_here(
        [messages.schema("track"), *track_records([*map(messages.small, range(1, 101))])]
    )

    assert run.code == 1
    assert "check write_key" in run.log
    assert max(run.positions, default=0) < 50
    assert 50 not in messages.numbers(segment.events())


def test_it_sends_and_confirms_nothing_in_a_dry_run(segment: Segment, tmp_path: Path) -> None:
    """All is done but sending; so nothing has become true, and there are no receipts."""
    target = Target(tmp_path, segment.endpoint, dry_run=True)
    events = [*map(messages.small, range(1, 101)), invalid(101)]

    run = target.run_here([messages.schema("track"), *track_records(events)])

    assert (run.code, run.states) == (0, [])
    assert len(target.rejects) == 1
    assert target.receipts == []
    assert [request for request in segment.requests() if request["events"]] == []


@pytest.mark.parametrize("batch", [1, 100])
def test_it_ends_with_the_budget(segment: Segment, tmp_path: Path, batch: int) -> None:
    """With `max_events`, just so many are sent, and the state covers no more."""
    target = Target(tmp_path, segment.endpoint, max_events=42, max_batch_events=batch)

    run = target.run(
        [messages.schema("track"), *track_records([*map(messages.small, range(1, 101))])]
    )

    assert (run.code, run.positions[-1]) == (0, 42)
    assert "max_events (42) is reached. Stopping cleanly" in run.log
    assert sorted(messages.numbers(segment.events())) == list(range(1, 43))


def test_it_ends_with_the_budget_of_users(segment: Segment, tmp_path: Path) -> None:
    """With `max_new_users`, known users may go on until one more comes; ids alone count, too."""
    target = Target(tmp_path, segment.endpoint, max_new_users=3)
    users = [{"userId": "a"}, {"userId": "b"}, {"userId": "a"}, {"anonymousId": "a"}]
    people = [*users, *users, {"userId": "c"}, {"userId": "a"}]
    events = [messages.small(n, userId=None) | ids for n, ids in enumerate(people, 1)]

    run = target.run([messages.schema("track"), *track_records(events)])

    assert (run.code, run.positions[-1]) == (0, 8)
    assert "max_new_users (3) is reached. Stopping cleanly" in run.log
    assert sorted(messages.numbers(segment.events())) == list(range(1, 9))


def test_it_ends_with_the_budget_within_a_batch_message(segment: Segment, tmp_path: Path) -> None:
    """Records that come in files are no exception; what is left of a file is not confirmed."""
    target = Target(tmp_path, segment.endpoint, max_events=42)
    file = tmp_path / "records.jsonl"
    records = [messages.record(messages.small(n))["record"] for n in range(1, 101)]
    file.write_bytes(messages.encode(records))
    encoding = {"format": "jsonl", "compression": "none"}
    batch = {"type": "BATCH", "stream": "track", "encoding": encoding, "manifest": [file.as_uri()]}

    run = target.run([messages.schema("track"), messages.state(0), batch, messages.state(100)])

    assert (run.code, run.positions) == (0, [0])
    assert "max_events (42) is reached. Stopping cleanly" in run.log
    assert segment.counts()["accepted"] == 42


def test_it_says_if_a_budget_brings_no_run_further(segment: Segment, tmp_path: Path) -> None:
    """If no state lies within the budget, each run would send the same."""
    target = Target(tmp_path, segment.endpoint, max_events=5)

    run = target.run(
        [*messages.conversation([*map(messages.small, range(1, 11))])],
    )

    assert (run.code, run.states) == (0, [])
    assert "The budget ended before the tap's first STATE" in run.log
    assert segment.counts()["accepted"] == 5


def test_it_stops_before_an_invalid_event_if_it_is_told(segment: Segment, tmp_path: Path) -> None:
    """With `fail`, all before it is delivered and confirmed, and neither it nor what follows."""
    target = Target(tmp_path, segment.endpoint, on_invalid="fail")
    events = [*map(messages.small, range(1, 60)), invalid(60), messages.small(61)]

    run = target.run_here([messages.schema("track"), *track_records(events)])

    assert (run.code, run.positions[-1]) == (1, 59)
    assert "(record 60) would not be taken by Segment: event is missing." in run.log
    assert sorted(messages.numbers(segment.events())) == list(range(1, 60))
    assert target.rejects == []


def test_it_stops_at_too_many_rejects(segment: Segment, tmp_path: Path) -> None:
    """Past `max_rejects` nothing more is taken; what was set aside is kept."""
    target = Target(tmp_path, segment.endpoint, max_rejects=10)
    events = [(invalid if n % 3 == 0 else messages.small)(n) for n in range(1, 100)]

    run = target.run_here([messages.schema("track"), *track_records(events)])

    assert run.code == 1
    assert "More than max_rejects (10) events were set aside." in run.log
    assert [reject["event"]["properties"]["n"] for reject in target.rejects] == [*range(3, 34, 3)]
    assert max(run.positions) <= 33
    assert set(range(1, max(run.positions) + 1)) <= settled(segment, target)


def test_it_stops_if_all_of_the_first_are_rejected(segment: Segment, tmp_path: Path) -> None:
    """A wrong mapping does not turn a table into rejects."""
    target = Target(tmp_path, segment.endpoint)

    run = target.run_here(
        [messages.schema("track"), *track_records([*map(invalid, range(1, 201))])]
    )

    assert run.code == 1
    assert "All of the first 100 events were set aside." in run.log
    assert len(target.rejects) == 100
    assert segment.requests() == []


def test_it_goes_on_if_one_of_the_first_is_taken(segment: Segment, target: Target) -> None:
    """Then it is the events, not the mapping."""
    events = [messages.small(1), *map(invalid, range(2, 202)), messages.small(202)]

    run = target.run_here([messages.schema("track"), *track_records(events)])

    assert (run.code, run.positions[-1]) == (0, 202)
    assert sorted(messages.numbers(segment.events())) == [1, 202]
    assert len(target.rejects) == 200


def test_it_stops_if_rejects_cannot_be_written(segment: Segment, tmp_path: Path) -> None:
    """What is neither at Segment nor on disk may not be confirmed, so it is tried at the start."""
    target = Target(tmp_path, segment.endpoint, rejects_path=str(tmp_path / "none" / "r.jsonl"))

    run = target.run_here(
        [messages.schema("track"), *track_records([messages.small(1), invalid(2)])]
    )

    assert (run.code, run.states) == (1, [])
    assert "r.jsonl cannot be written" in run.log
    assert "Traceback" not in run.log
    assert segment.events() == []
