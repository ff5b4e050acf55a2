"""`kill -9` in the middle of a run; the next run makes the tables complete."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from harness.deliveries import events
from harness.meltano import TAP, TARGET, plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.pipeline import Pipeline

EVENTS = 3_000
# So that rows are committed while the tap still has most of its records before it.
SMALL_STEPS = {"TARGET_POSTGRES_BATCH_SIZE_ROWS": "100", "MELTANO_ELT_BUFFER_SIZE": "400000"}
ROUNDS = max(1, int(os.environ.get("SOAK_ROUNDS", "1")) // 20)
WAIT_SECONDS = 60


@pytest.mark.parametrize("rows", [100 * (1 + number % 6) for number in range(ROUNDS)])
@pytest.mark.parametrize("victim", [TAP, TARGET, "meltano"])
def test_the_run_after_a_kill_completes_the_tables(
    pipeline: Callable[..., Pipeline], victim: str, rows: int
) -> None:
    """Whichever process dies in mid-run: no event is lost, and none is there twice."""
    flow = pipeline()
    sent = list(events(EVENTS))
    flow.load(sent)

    kill_in_mid_run(flow, victim, rows)
    at_the_kill = sum(map(len, flow.tables().values()))
    flow.collect("--force")  # Meltano takes a run that was killed for a running one

    assert 0 < at_the_kill < EVENTS
    for stream, found in flow.tables().items():
        wanted = [event["messageId"] for event in sent if event["type"] == stream]
        assert [row["message_id"] for row in found] == wanted


def kill_in_mid_run(flow: Pipeline, victim: str, rows: int) -> None:
    """Run the job, and kill *victim* once that many *rows* of one table are committed."""
    with flow.meltano.using(**SMALL_STEPS).started("run", "collect") as run:
        while flow.count("track") < rows:
            assert run.poll() is None, "The run ended before there was anything to kill."
            time.sleep(0.01)
        started = psutil.Process(run.pid).children()
        process = psutil.Process(run.pid) if victim == "meltano" else plugin(run, victim)
        assert process is not None
        process.kill()
        assert run.wait(WAIT_SECONDS) != 0
        _, left = psutil.wait_procs(started, WAIT_SECONDS)
        assert not left
