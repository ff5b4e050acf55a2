"""A target that hangs or dies in mid-run costs time, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import psutil
from harness import deliveries, singer
from harness.attacks import ROUNDS, attack
from harness.process import memory_peak
from harness.segment import Segment
from harness.spool import fill
from harness.target import Target
from harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.attacks import Attack
    from harness.singer import Json
    from harness.target import Run

EVENTS = 3_000
DEATHS = max(2, ROUNDS // 10)
MEMORY_BYTES = 150 << 20
AREA = "Pipe between tap and target"


def spool_of(url: str) -> set[str]:
    """Fill the spool at *url*; return the ids of its events."""
    events = [event for event in deliveries.events(EVENTS) if event["type"] != "delete"]
    fill(url, [deliveries.encode(event) for event in events])
    return {event["messageId"] for event in events}


def memory(process: subprocess.Popen[bytes]) -> int:
    """Return the memory that *process* holds, in bytes."""
    return int(psutil.Process(process.pid).memory_info().rss)


def sender(folder: Path, segment: Segment, **settings: object) -> Target:
    """Return a target that keeps the ids of what it sends, so that they can be compared."""
    return Target(folder, segment.endpoint, message_id="keep", **settings)


def ids(segment: Segment) -> Counter[str]:
    """Return how often the stand-in has accepted each id."""
    return Counter(event["messageId"] for event in segment.events())


def assert_all_came_once(record: Attack, meant: set[str], segment: Segment) -> None:
    """Enter in *record* one round, after which the stand-in has each event of *meant* once."""
    came = ids(segment)
    record.rounds, record.events = 1, len(meant)
    record.lost = len(meant - came.keys())
    assert record.lost == 0
    assert set(came.values()) == {1}


def test_target_that_hangs_holds_the_tap_up_in_bounded_memory(
    tmp_path: Path, spool_url: str
) -> None:
    """Stopped and continued, it has everything in the end, and no state came too early."""
    meant = spool_of(spool_url)
    with (
        attack(AREA, "the target is stopped (SIGSTOP) in mid-run, and continued") as record,
        Segment(tmp_path) as segment,
        sender(tmp_path, segment).running() as target,
        singer.command({"spool_url": spool_url}) as words,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tap,
    ):
        assert tap.stdout is not None
        target.feed(iter(partial(os.read, tap.stdout.fileno(), 65536), b""))
        wait_until(lambda: segment.counts()["accepted"])
        target.signal(signal.SIGSTOP)
        wait_until(target.has_stalled)
        assert memory(tap) < MEMORY_BYTES
        target.signal(signal.SIGCONT)
        run = target.wait()
        code = tap.wait(60)

        assert_all_came_once(record, meant, segment)
        assert (run.code, code) == (0, 0)
        assert segment.drops() == []


def test_target_that_reads_slowly_holds_the_tap_up_in_bounded_memory(
    tmp_path: Path, spool_url: str
) -> None:
    """It takes a few events at a time, and in the end it has had all of them."""
    meant = spool_of(spool_url)
    with (
        attack(AREA, "the target reads slowly") as record,
        Segment(tmp_path, delay_ms=60) as segment,
        sender(tmp_path, segment, concurrency=1, max_batch_events=20).running() as target,
        singer.command({"spool_url": spool_url}) as words,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tap,
    ):
        assert tap.stdout is not None
        target.feed(iter(partial(os.read, tap.stdout.fileno(), 4096), b""))
        wait_until(partial(has, segment, 400))
        peak = max(memory_peak(tap.pid), target.memory_peak())
        run = target.wait()
        code = tap.wait(60)

        assert_all_came_once(record, meant, segment)
        assert (run.code, code) == (0, 0)
        assert peak < MEMORY_BYTES


def test_target_that_closes_the_pipe_is_given_the_rest_by_the_next_run(spool_url: str) -> None:
    """The tap ends without a traceback, and the last state that was read is true."""
    meant = spool_of(spool_url)
    moments = Random(0)  # noqa: S311 - test data
    state: Json | None = None
    got: set[str] = set()
    with attack(AREA, "the target closes the pipe in mid-run, and is run again") as record:
        for _ in range(DEATHS):
            with (
                singer.command({"spool_url": spool_url}, state=state) as words,
                subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tap,
            ):
                assert tap.stdout is not None
                assert tap.stderr is not None
                count = moments.randrange(1, 400)
                lines = [line for _, line in zip(range(count), tap.stdout, strict=False)]
                tap.stdout.close()
                said = tap.stderr.read()
                assert tap.wait(60) != 0
            read = singer.Run(singer.parse(b"".join(lines)))
            got |= {each["message_id"] for each in read.records}
            state = read.states[-1] if read.states else state
            assert b"Traceback" not in said
            record.rounds += 1
        last = singer.sync({"spool_url": spool_url}, state=state)

        got |= {each["message_id"] for each in last.records}
        record.events, record.lost = len(meant), len(meant - got)
        assert record.lost == 0
        assert set(Counter(last.positions).values()) == {1}


def run_once(
    target: Target, spool_url: str, state: Json | None, dies: Callable[[], bool] | None
) -> Run:
    """Run tap and target from *state*, to the end or until the target *dies*."""
    with (
        target.running() as running,
        singer.command({"spool_url": spool_url}, state=state) as words,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tap,
    ):
        assert tap.stdout is not None
        assert tap.stderr is not None
        running.feed(iter(partial(os.read, tap.stdout.fileno(), 65536), b""))
        if dies is not None:
            enough = dies
            wait_until(lambda: enough() or not running.is_running)
        run = running.wait() if dies is None else running.kill()
        tap.stdout.close()
        assert b"Traceback" not in tap.stderr.read()
    return run


def test_target_that_dies_is_replaced_by_the_next_run(tmp_path: Path, spool_url: str) -> None:
    """Each run begins with the last state that a target printed, and the last one completes it."""
    meant = spool_of(spool_url)
    moments = Random(0)  # noqa: S311 - test data
    state: Json | None = None
    with (
        attack(AREA, "the target is killed (kill -9) in mid-run, and run again") as record,
        Segment(tmp_path, delay_ms=5) as segment,
    ):
        target = sender(tmp_path, segment, max_batch_events=50)
        for _ in range(DEATHS):
            enough = segment.counts()["accepted"] + moments.randrange(1, EVENTS // DEATHS)
            run = run_once(target, spool_url, state, partial(has, segment, enough))
            state = run.states[-1] if run.states else state

        last = run_once(target, spool_url, state, None)

        record.rounds, record.events = DEATHS, len(meant)
        record.lost = len(meant - ids(segment).keys())
        assert (last.code, record.lost) == (0, 0)
        assert set(ids(segment).values()) == {1}


def has(segment: Segment, enough: int) -> bool:
    """Tell whether the stand-in has accepted so many events."""
    return bool(segment.counts()["accepted"] >= enough)
