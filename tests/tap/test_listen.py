"""With `listen_seconds` the tap is its own receiver, and emits what comes in as it comes."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import requests
from harness import singer
from harness.deliveries import array, single
from harness.receiver import HOST, SECRET, environment
from harness.singer import Json, Run, bookmarks
from harness.spool import opened, rows
from harness.waiting import wait_until
from tap_segment_webhook.event import TYPES
from tap_segment_webhook.spool.layout import spool_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBERS = itertools.count(1)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def new_event() -> Json:
    """Return an event that was never sent before."""
    return {"type": "track", "messageId": f"new-{next(NUMBERS)}"}


@pytest.fixture
def config(spool_url: str) -> Json:
    """Give the settings of a tap that listens until it is stopped."""
    return {
        "spool_url": spool_url,
        "host": HOST,
        "port": free_port(),
        "shared_secret": SECRET,
        "listen_seconds": 600,
    }


class Listening:
    """A tap that listens, with a target that reads everything at once."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._process = process
        self._port = port
        self._log = log
        self._messages: list[Json] = []
        self._target = threading.Thread(target=self._read)
        self._target.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            assert line.endswith(b"\n")
            self._messages.append(json.loads(line))

    @property
    def run(self) -> Run:
        """What it has emitted so far."""
        return Run(list(self._messages), self._process.poll() or 0, self._log.read_text("utf-8"))

    def is_open(self) -> bool:
        """Tell whether it takes connections."""
        assert self._process.poll() is None, self._log.read_text("utf-8")
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self._port)) == 0

    def post(self, *events: Json) -> int:
        """Deliver *events*; return the status."""
        delivery = single(events[0]) if len(events) == 1 else array(events)
        url = f"http://{HOST}:{self._port}/webhook"
        headers = delivery.headers(SECRET)
        return requests.post(url, delivery.body, headers=headers, timeout=60).status_code

    def stop(self) -> Run:
        """Send SIGTERM; return all that was emitted."""
        self._process.terminate()
        return self.end()

    def end(self) -> Run:
        """Wait for its end; return all that was emitted."""
        self._process.wait(60)
        self._target.join()
        return self.run


@contextmanager
def listening(config: Json, folder: Path, state: Json | None = None) -> Iterator[Listening]:
    """Run a tap until it is open for deliveries; kill it at the end if it still runs."""
    log = folder / "tap.log"
    with (
        singer.command(config, state=state) as words,
        log.open("wb") as errors,
        subprocess.Popen(
            words, env=environment(), stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        tap = Listening(process, config["port"], log)
        try:
            wait_until(tap.is_open)
            yield tap
        finally:
            process.kill()
            tap.end()


def check_states(run: Run) -> None:
    """Check of each STATE that exactly what it says was emitted before it."""
    emitted: list[int] = []
    for message in run.messages:
        if message["type"] == "RECORD":
            emitted.append(message["record"]["spool_position"])
        elif message["type"] == "STATE":
            (position,) = set(bookmarks(message["value"]).values())
            assert sorted(emitted) == list(range(1, (position or 0) + 1))


def test_events_come_out_while_it_listens(config: Json, tmp_path: Path, spool_url: str) -> None:
    """What is delivered is emitted soon, not at the end; SIGTERM stops with a true state."""
    with listening(config, tmp_path) as tap:
        first = [new_event() for _ in range(3)]
        assert tap.post(*first) == 200
        wait_until(lambda: len(tap.run.records) == 3)
        second = new_event()
        assert tap.post(second) == 200
        wait_until(lambda: len(tap.run.records) == 4)
        run = tap.stop()

    assert run.code == 0
    assert [record["message_id"] for record in run.records] == [
        event["messageId"] for event in [*first, second]
    ]
    assert bookmarks(run.state) == dict.fromkeys(TYPES, 4)
    assert len(rows(spool_url)) == 4
    check_states(run)


def test_everything_that_was_accepted_is_emitted_before_it_ends(
    config: Json, tmp_path: Path
) -> None:
    """No event falls between the last look and the closing of the port."""
    accepted = []
    with listening({**config, "listen_seconds": 2}, tmp_path) as tap:
        try:
            while True:
                event = new_event()
                if tap.post(event) == 200:
                    accepted.append(event["messageId"])
        except OSError:
            pass  # it has stopped listening
        run = tap.end()

    assert run.code == 0
    assert {record["message_id"] for record in run.records} >= set(accepted)
    assert len(run.of("STATE")) > 1
    check_states(run)


def test_next_run_goes_on(config: Json, tmp_path: Path) -> None:
    """A state confirms what an earlier window has emitted; the next one emits only what is new."""
    with listening(config, tmp_path) as tap:
        tap.post(new_event())
        wait_until(lambda: tap.run.records)
        first = tap.stop()
    with listening(config, tmp_path, first.state) as tap:
        tap.post(new_event())
        wait_until(lambda: tap.run.records)
        second = tap.stop()

    assert (first.positions, second.positions) == ([1], [2])


def test_spool_that_vanishes_is_a_clear_error(config: Json, tmp_path: Path) -> None:
    """When the spool is taken away the run fails, with a state for what was emitted before."""
    with listening(config, tmp_path) as tap:
        tap.post(new_event())
        wait_until(lambda: tap.run.records)
        spool_path(config["spool_url"]).unlink()
        with suppress(OSError):  # once it has stopped listening
            wait_until(lambda: tap.post(new_event()) == 503)
        run = tap.end()

    assert run.code == 1
    assert "is gone" in run.log
    assert "Traceback" not in run.log
    check_states(run)


def test_port_in_use_is_a_clear_error(config: Json) -> None:
    """A port that is taken is told in a sentence."""
    with socket.create_server((HOST, config["port"])):
        run = singer.run(config)

    assert run.code == 1
    assert "Address already in use" in run.log
    assert str(config["port"]) in run.log
    assert "Traceback" not in run.log


def test_spool_in_use_is_a_clear_error(config: Json, spool_url: str) -> None:
    """Two writers of one spool exclude each other, and the second is told why."""
    with opened(spool_url):
        run = singer.run(config)

    assert run.code == 1
    assert "already written by process" in run.log
    assert "Traceback" not in run.log


def test_listening_without_a_secret_is_refused(config: Json) -> None:
    """It does not listen to nobody."""
    del config["shared_secret"]

    run = singer.run(config)

    assert run.code == 1
    assert "Neither shared_secret nor write_key" in run.log
