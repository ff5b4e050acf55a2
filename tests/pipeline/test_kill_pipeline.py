"""`kill -9`, or a stop, in the middle of a run; the next run makes the tables complete."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest
from harness.deliveries import events
from harness.meltano import TAP, TARGET, plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.deliveries import Event
    from harness.pipeline import Pipeline

    MakePipeline = Callable[..., Pipeline]

EVENTS = 3_000
# So little that Meltano makes the tap wait for the target, and most records are still before it.
BUFFER_BYTES = "400000"
ROUNDS = max(1, int(os.environ.get("SOAK_ROUNDS", "1")) // 20)
END_SECONDS = 30


@pytest.mark.parametrize("rows", [100 * (1 + number % 6) for number in range(ROUNDS)])
@pytest.mark.parametrize("victim", [TAP, TARGET, "meltano"])
def test_the_run_after_a_kill_completes_the_tables(
    pipeline: MakePipeline, victim: str, rows: int
) -> None:
    """Whichever process dies in mid-run: no event is lost, and none is there twice."""
    flow, sent = loaded(pipeline)

    with flow.collecting(rows, MELTANO_ELT_BUFFER_SIZE=BUFFER_BYTES) as run:
        started = psutil.Process(run.pid).children()
        process = psutil.Process(run.pid) if victim == "meltano" else plugin(run, victim)
        assert process is not None
        process.kill()
        assert run.wait(END_SECONDS) != 0
        _, left = psutil.wait_procs(started, END_SECONDS)
    at_the_kill = flow.tables()
    flow.collect("--force")  # Meltano takes a run that was killed for a running one

    assert not left
    assert 0 < sum(map(len, at_the_kill.values())) < EVENTS
    assert ids(flow) == ids_of(sent)


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


def loaded(pipeline: MakePipeline) -> tuple[Pipeline, list[Event]]:
    """Return a pipeline with events in its spool, and those."""
    flow, sent = pipeline(), list(events(EVENTS))
    flow.load(sent)
    return flow, sent


def ids(flow: Pipeline) -> dict[str, list[str]]:
    """Return the message ids in each table, in the order of their positions."""
    return {stream: [row["message_id"] for row in rows] for stream, rows in flow.tables().items()}


def ids_of(sent: list[Event]) -> dict[str, list[str]]:
    """Return what `ids` has to be once all that was *sent* has arrived."""
    found: dict[str, list[str]] = {}
    for event in sent:
        found.setdefault(event["type"], []).append(event["messageId"])
    return found
