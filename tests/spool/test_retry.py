"""Rejects that can be read at last become events, in lots, and killed at any moment lose none."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from harness.receiver import PROGRAMS, environment
from harness.spool import event, events, received
from harness.waiting import wait_until
from tap_segment_webhook.event import read_event
from tap_segment_webhook.spool.model import Counts, Received, Reject

if TYPE_CHECKING:
    from pathlib import Path

    from spool.conftest import Spool

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "4"))
RUN_SECONDS = 120


def set_aside(*bodies: bytes, source: str = "default") -> Received:
    """Return a delivery of which an older version could read nothing."""
    return Received(
        source, len(bodies), [], [Reject("An older version's.", body) for body in bodies]
    )


def test_lot_has_each_id_once(spool: Spool) -> None:
    """Also where two rejects are one event, or the spool has it; and the books balance."""
    spool.fill(received(event(1)))
    spool.fill(set_aside(event(1, again=True), event(2), event(2, again=True)))
    spool.fill(set_aside(event(2, more=True), event(3), source="crm"))

    with spool.writer() as writer, spool.reader() as reader:
        lot = [(reject, read_event(reject.body)) for reject in reader.rejects()]
        assert writer.retry_rejects(lot) == 2
        assert writer.rejects == 0
        assert reader.count_rejects() == 0
        assert reader.books() == {"crm": Counts(2, 1, 1), "default": Counts(4, 2, 2)}

    found = spool.rows()
    assert {(row[0], row[2]) for row in found} == {
        (event(1), "default"),
        (event(2), "default"),
        (event(3), "crm"),
    }
    assert [row[1] for row in found] == [1, 2, 3]


def test_reject_that_another_has_retried_is_not_counted_again(spool: Spool) -> None:
    """Who comes second with the same lot stores nothing, and the books stay right."""
    if not spool.location.is_remote:
        pytest.skip("only one writes a file")
    spool.fill(set_aside(*events(3)))

    with spool.reader() as reader, spool.writer() as one, spool.writer() as other:
        lot = [(reject, read_event(reject.body)) for reject in reader.rejects()]
        assert (one.retry_rejects(lot), other.retry_rejects(lot)) == (3, 0)
        assert reader.books() == {"default": Counts(3, 3)}


def test_retry_that_is_killed_loses_no_event_and_stores_none_twice(
    spool: Spool, tmp_path: Path
) -> None:
    """Wherever `kill -9` comes, the next run does the rest."""
    bodies = [event(number, note="long" * (number % 40)) for number in range(1500)]
    no_events = [b"nonsense %d" % number for number in range(3)]
    for first in range(0, len(bodies), 500):
        spool.fill(set_aside(*bodies[first : first + 500], no_events[first // 500]))
    moments = Random(0)  # noqa: S311 - test data
    command = rejects_retry(spool, tmp_path)
    killed = 0
    for _ in range(ROUNDS):
        with spool.reader() as reader, start(command) as process:
            enough = reader.head() - reader.count_rejects() + moments.randrange(1, 600)

            def has_done_enough() -> bool:
                done = reader.head() - reader.count_rejects()
                return done >= enough or process.poll() is not None  # noqa: B023 - called in this round

            wait_until(has_done_enough)
            killed += process.poll() is None
            process.kill()

    assert start(command).wait(RUN_SECONDS) == 0

    assert killed
    assert Counter(row[0] for row in spool.rows()) == Counter(bodies)
    with spool.reader() as reader:
        assert [reject.body for reject in reader.rejects()] == no_events
        books = reader.books()["default"]
    assert books.received == sum(books[1:]) == len(bodies) + len(no_events)


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start *command*, whose progress nobody looks at."""
    return subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)


def rejects_retry(spool: Spool, folder: Path) -> list[str]:
    """Return the command on *spool*."""
    config = folder / "config.json"
    settings = {
        "spool_url": spool.location.url,
        "nats_replicas": spool.location.replicas,
        "max_body_bytes": spool.location.max_event_bytes,
    }
    config.write_text(json.dumps(settings), "utf-8")
    return [str(PROGRAMS / "segment-receiver"), "rejects", "retry", "--config", str(config)]
