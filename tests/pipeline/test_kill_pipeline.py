"""`kill -9`, or a stop, in the middle of a run; the next run makes the tables complete."""

from __future__ import annotations

import signal
from random import Random
from typing import TYPE_CHECKING

import psutil
import pytest
from harness.attacks import ROUNDS, attack
from harness.deliveries import events
from harness.meltano import SENDER, TAP, TARGET, plugin
from harness.waiting import wait_until
from harness.way_back import arrived, returned

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from harness.deliveries import Event
    from harness.pipeline import Pipeline
    from harness.segment import Segment

    MakePipeline = Callable[..., Pipeline]

# So little that Meltano makes the tap wait for the target, and most records are still before it.
BUFFER_BYTES = "400000"
MELTANO = "meltano"
IS_LONG = ROUNDS >= 100
TABLES = 34 if IS_LONG else 1  # of three kills each; a run takes seconds to begin
VICTIMS = (TAP, TARGET, MELTANO)
TIMES = 5 if IS_LONG else 1
EVENTS = 1_000 * len(VICTIMS)
END_SECONDS = 30

pytestmark = pytest.mark.attack


@pytest.mark.parametrize("seed", range(TABLES))
def test_the_run_after_kills_completes_the_tables(pipeline: MakePipeline, seed: int) -> None:
    """The tap, the target and Meltano die one after the other: no event is lost or there twice."""
    flow, sent = loaded(pipeline)
    moments = Random(seed)  # noqa: S311 - test data
    victims = moments.sample(VICTIMS, len(VICTIMS))

    with attack(
        "pipeline to PostgreSQL", "`kill -9` of tap, target and Meltano in mid-run"
    ) as tally:
        for victim in victims:
            before = flow.count("track")
            rows = moments.randrange(1, 150)
            with flow.collecting(before + rows, MELTANO_ELT_BUFFER_SIZE=BUFFER_BYTES) as run:
                kill(victim, run)
        at_the_last = flow.tables()
        flow.collect("--force")  # Meltano takes a run that was killed for a running one

        tally.rounds, tally.events = len(victims), EVENTS
        arrived_ids = ids(flow)
        tally.lost = EVENTS - sum(len({*each}) for each in arrived_ids.values())
        assert sum(map(len, at_the_last.values())) < EVENTS
        assert arrived_ids == ids_of(sent)


def test_the_run_after_a_stop_completes_the_tables(pipeline: MakePipeline) -> None:
    """A scheduler or a container stops Meltano with SIGTERM; the next run goes on."""
    flow, sent = loaded(pipeline)

    # With the usual buffer: Meltano 4.4 never ends if it is stopped while it makes the tap wait.
    with flow.collecting(rows=100) as run:
        run.send_signal(signal.SIGTERM)
        run.wait(END_SECONDS)
    at_the_stop = flow.tables()
    flow.collect()

    assert sum(map(len, at_the_stop.values())) < EVENTS

    assert ids(flow) == ids_of(sent)


def test_the_run_after_kills_completes_segment(pipeline: MakePipeline, segment: Segment) -> None:
    """The sender and Meltano die in mid-run: Segment has every event, and has it once."""
    flow, sent = loaded(pipeline)
    roundtrip = flow.sending(segment, max_batch_events=25).using(
        MELTANO_ELT_BUFFER_SIZE=BUFFER_BYTES
    )
    segment.delay(200)

    with attack("pipeline to Segment", "`kill -9` of target and Meltano in mid-run") as tally:
        for victim in (SENDER, MELTANO) * TIMES:
            enough = accepted(segment) + 100 // TIMES
            with roundtrip.started("run", "--force", "roundtrip") as run:
                wait_for(enough, segment, run)
                kill(victim, run)
            tally.rounds += 1
        at_the_last = accepted(segment)
        segment.delay(0)
        roundtrip("run", "--force", "roundtrip")

        meant = returned(sent)
        tally.events, tally.lost = len(meant), len(meant) - segment.counts()["accepted"]
        assert at_the_last < len(meant)
        assert arrived(segment) == meant


def kill(victim: str, run: subprocess.Popen[str]) -> None:
    """Kill *victim*, a plugin or Meltano itself, and wait until nothing of *run* is left."""
    plugins = psutil.Process(run.pid).children()
    process = psutil.Process(run.pid) if victim == MELTANO else plugin(run, victim)
    assert process is not None
    process.kill()
    assert run.wait(END_SECONDS) != 0
    _, left = psutil.wait_procs(plugins, END_SECONDS)
    assert not left


def loaded(pipeline: MakePipeline) -> tuple[Pipeline, list[Event]]:
    """Return a pipeline with events in its spool, and those."""
    flow, sent = pipeline(), list(events(EVENTS))
    flow.load(sent)
    return flow, sent


def wait_for(count: int, segment: Segment, run: subprocess.Popen[str]) -> None:
    """Return once *segment* has accepted *count* events, and *run* still runs."""
    wait_until(lambda: accepted(segment) >= count or run.poll() is not None)
    assert run.poll() is None


def accepted(segment: Segment) -> int:
    """Return how many events Segment has."""
    count: int = segment.counts()["accepted"]
    return count


def ids(flow: Pipeline) -> dict[str, list[str]]:
    """Return the message ids in each table, in the order of their positions."""
    return {stream: [row["message_id"] for row in rows] for stream, rows in flow.tables().items()}


def ids_of(sent: list[Event]) -> dict[str, list[str]]:
    """Return what `ids` has to be once all that was *sent* has arrived."""
    found: dict[str, list[str]] = {}
    for event in sent:
        found.setdefault(event["type"], []).append(event["messageId"])
    return found
