"""Whatever is answered, by Segment or in between: nothing is lost, repeated or confirmed early."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.segment import Segment
from harness.target import Target
from harness.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]

EVENTS = 300
SETTINGS_PAGE = "/v1/projects"
UNKNOWN_KEY = "not-a-real-write-key-of-nobody11"


def small_events(count: int = EVENTS) -> list[Json]:
    """Return *count* events, numbered from 1."""
    return [messages.small(number) for number in range(1, count + 1)]


def track_only(events: list[Json], *, every: int | None = None) -> list[messages.Message]:
    """Return what the tap writes of track *events*."""
    return [messages.schema("track"), *list(messages.conversation(events, every=every))[7:]]


def sends(segment: Segment) -> list[Json]:
    """Return the requests with events, in the order they came."""
    return [request for request in segment.requests() if request["method"] == "POST"]


# What passes


@pytest.mark.parametrize(
    "mood",
    [
        {"status": 500, "count": 9},
        {"status": 429, "count": 9},
        {"status": 408, "count": 4},
        {"status": 504, "accept": True, "count": 4},
        {"kind": "html", "status": 502, "count": 4},
        {"kind": "close", "count": 9},
        {"kind": "reset", "count": 9},
        {"kind": "hang", "count": 2},
        {"kind": "slow", "seconds": 2, "count": 2},
    ],
    ids=lambda mood: "-".join(map(str, mood.values())),
)
def test_it_sends_again_after_what_passes(segment: Segment, tmp_path: Path, mood: Json) -> None:
    """A failure for a time costs time; each event is accepted once, also where Segment had it."""
    segment.moods(mood)
    target = Target(tmp_path, segment.endpoint, timeout_seconds=1, max_batch_events=30)

    run = target.run(track_only(small_events()))

    assert (run.code, run.positions) == (0, [EVENTS])
    assert sorted(messages.numbers(segment.events())) == list(range(1, EVENTS + 1))
    assert len(target.receipts) == EVENTS
    assert len(sends(segment)) > EVENTS / 30


def test_it_obeys_retry_after_in_all_lanes(segment: Segment, tmp_path: Path) -> None:
    """Where Segment asks one lane to wait, all of them wait."""
    target = Target(tmp_path, segment.endpoint, concurrency=4, max_batch_events=10)
    segment.delay(200)
    segment.moods({"status": 429, "headers": {"Retry-After": "2"}, "count": 1})

    run = target.run(track_only(small_events()))

    times = [request["time"] for request in sends(segment)]
    assert (run.code, run.positions) == (0, [EVENTS])
    asked_at = times[0] + 0.2
    early = [moment for moment in times if moment < asked_at + 0.15]
    later = [moment for moment in times if moment >= asked_at + 0.15]
    assert len(early) <= 8
    assert min(later) >= asked_at + 2


def test_it_waits_until_the_endpoint_is_there(tmp_path: Path) -> None:
    """An endpoint that does not listen yet is an outage like any other."""
    with Segment(tmp_path) as segment:
        segment.kill()
        with Target(tmp_path, segment.endpoint).running() as target:
            target.write(track_only(small_events()))
            target.close()
            wait_until(lambda: "Trying a batch of" in target.log)
            segment.start()
            run = target.wait()

        assert (run.code, run.positions) == (0, [EVENTS])
        assert segment.counts()["accepted"] == EVENTS
    assert "could not be asked about the write key" in run.log


def test_it_recovers_soon_after_an_outage(tmp_path: Path) -> None:
    """After eight seconds without an answer, all lanes send within three more."""
    with Segment(tmp_path, journal=True) as segment:
        target = Target(tmp_path, segment.endpoint, max_batch_events=50)
        with target.running() as running:
            running.write(track_only(small_events(2000), every=100)[:1001])
            wait_until(lambda: running.position >= 400)
            segment.kill()
            killed_at = time.monotonic()
            running.feed([messages.encode(track_only(small_events(2000), every=100)[1001:])])
            wait_until(lambda: time.monotonic() > killed_at + 8)
            segment.start()
            started_at = time.monotonic()
            run = running.wait()

        assert (run.code, run.positions[-1]) == (0, 2000)
        assert sorted(messages.numbers(segment.events())) == list(range(1, 2001))
        assert max(request["time"] for request in sends(segment)) < started_at + 3


def test_it_gives_up_after_its_time(segment: Segment, tmp_path: Path) -> None:
    """Past `retry_for_seconds` the run fails, and confirms nothing it has not delivered."""
    target = Target(tmp_path, segment.endpoint, retry_for_seconds=2)
    with target.running() as running:
        running.write(track_only(small_events(100)))
        wait_until(lambda: running.position == 100)
        segment.moods({"status": 503})
        failing_since = time.monotonic()
        running.write([messages.record(messages.small(101), 101), messages.state(101)])
        running.close()
        run = running.wait()

    assert (run.code, run.positions) == (1, [100])
    assert 2 <= time.monotonic() - failing_since < 8
    assert "503" in run.log
    assert "retry_for_seconds: 2" in run.log
    assert "1 pending" in run.log


def test_it_gives_up_where_it_is_asked_to_wait_for_longer(segment: Segment, tmp_path: Path) -> None:
    """A `Retry-After` past the time for a batch is not waited for."""
    segment.moods({"status": 429, "headers": {"Retry-After": "100"}})
    target = Target(tmp_path, segment.endpoint, retry_for_seconds=2)
    since = time.monotonic()

    run = target.run(track_only(small_events(10)))

    assert (run.code, run.positions) == (1, [])
    assert time.monotonic() - since < 15


# What does not pass


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        ({"status": 301, "headers": {"Location": "http://127.0.0.1:9/v1/batch"}}, "a redirect"),
        ({"status": 401}, "check write_key and region"),
        ({"status": 403}, "check write_key and region"),
        ({"status": 404}, "check endpoint and region"),
        ({"status": 501}, "check endpoint and region"),
        ({"kind": "html"}, "an HTML page"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_it_stops_at_what_does_not_pass(
    segment: Segment, target: Target, mood: Json, words: str
) -> None:
    """What no repetition can mend ends the run at once, with no state and a reason."""
    segment.moods(mood)

    run = target.run(track_only(small_events(), every=10))

    assert (run.code, run.positions) == (1, [])
    assert words in run.log
    assert "Traceback" not in run.log
    assert target.rejects == []
    assert 1 <= len(sends(segment)) <= 8


# What one event costs


@pytest.mark.parametrize("status", [400, 413, 422])
def test_it_finds_the_one_event_that_is_refused(
    segment: Segment, tmp_path: Path, status: int
) -> None:
    """One poisoned event of 225 is set aside alone, and the others are delivered in order."""
    segment.moods({"status": status, "match": "poison"})
    events = small_events(225)
    events[99]["event"] = "poison"
    target = Target(tmp_path, segment.endpoint, concurrency=1, compression=False)

    run = target.run(track_only(events))

    (reject,) = target.rejects
    assert (run.code, run.positions) == (0, [225])
    assert (reject["key"], reject["reasons"]) == ("small-100", [f"Segment answered {status}."])
    assert reject["event"]["event"] == "poison"
    assert messages.numbers(segment.events()) == [*range(1, 100), *range(101, 226)]
    assert len(sends(segment)) <= 17


def test_it_stops_where_everything_is_refused(segment: Segment, tmp_path: Path) -> None:
    """An endpoint that takes nothing does not turn a table into rejects."""
    segment.moods({"status": 400})
    target = Target(tmp_path, segment.endpoint, concurrency=2)

    run = target.run(track_only(small_events(3000), every=100))

    assert run.code == 1
    assert "set aside" in run.log
    assert len(target.rejects) < 700


# The write key


def test_it_stops_if_the_key_is_unknown(segment: Segment, tmp_path: Path) -> None:
    """Segment would answer 200 and drop everything, so nothing is sent."""
    target = Target(tmp_path, segment.endpoint, write_key=UNKNOWN_KEY)

    run = target.run(track_only(small_events()))

    assert (run.code, run.positions) == (1, [])
    assert "Segment does not know this write key" in run.log
    assert UNKNOWN_KEY not in run.log
    assert sends(segment) == []


@pytest.mark.parametrize(("check", "questions"), [("warn", 1), ("off", 0)])
def test_it_sends_with_an_unknown_key_if_it_is_told(
    segment: Segment, tmp_path: Path, check: str, questions: int
) -> None:
    """A new key takes some minutes to be known."""
    target = Target(tmp_path, segment.endpoint, write_key=UNKNOWN_KEY, check_write_key=check)

    run = target.run(track_only(small_events()))

    assert (run.code, run.positions) == (0, [EVENTS])
    assert run.log.count("Segment does not know this write key") == questions
    assert segment.counts()["by_status"].get("404", 0) == questions
    assert segment.counts()["dropped"] == {"unknown_write_key": EVENTS}


@pytest.mark.parametrize("mood", [{"status": 503}, {"kind": "close"}, {"kind": "hang"}])
def test_it_sends_if_nobody_can_be_asked_about_the_key(
    segment: Segment, tmp_path: Path, mood: Json
) -> None:
    """What the settings page does not say is no reason to stop, but one to warn."""
    segment.moods({**mood, "path": SETTINGS_PAGE})
    target = Target(tmp_path, segment.endpoint, timeout_seconds=1)

    run = target.run(track_only(small_events()))

    assert (run.code, run.positions) == (0, [EVENTS])
    assert run.log.count("could not be asked about the write key") == 1
    assert segment.counts()["accepted"] == EVENTS
