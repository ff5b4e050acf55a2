"""`kill -9` at any moment, again and again on one spool, loses nothing that was acknowledged."""

from __future__ import annotations

import http.client
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest
from harness import deliveries, singer
from harness.attacks import ROUNDS, attack
from harness.receiver import HOST, SECRET, Receiver
from harness.spool import balanced, fill
from harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.singer import Json

SENDERS = 6
TAP_ROUNDS = ROUNDS // 2  # each takes a start, and so a second
WAITING = 400 * TAP_ROUNDS
SLOW_EVERY = 8
LINE_SECONDS = 0.002

pytestmark = pytest.mark.attack


class Senders:
    """Threads that deliver events as fast as they are answered, until the receiver is gone."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self.acknowledged: list[str] = []
        self._threads = [
            threading.Thread(target=self._send, args=(seed * SENDERS + number,))
            for number in range(SENDERS)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until all have noticed that the receiver is gone."""
        for thread in self._threads:
            thread.join()

    def _send(self, seed: int) -> None:
        sizes = Random(seed)  # noqa: S311 - test data
        events = deliveries.events(1_000_000, seed=seed)
        with closing(http.client.HTTPConnection(HOST, self._port, timeout=60)) as connection:
            while True:
                batch = [next(events) for _ in range(sizes.choice((1, 1, 1, 20)))]
                delivery = (
                    deliveries.single(batch[0]) if len(batch) == 1 else deliveries.array(batch)
                )
                try:
                    connection.request("POST", "/webhook", delivery.body, delivery.headers(SECRET))
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException):
                    return
                assert answer.status == 200
                self.acknowledged += [event["messageId"] for event in batch]


def test_kill_loses_no_acknowledged_event(tmp_path: Path) -> None:
    """After every round of load and `kill -9` each acknowledged id is there exactly once."""
    acknowledged: list[str] = []
    moments = Random(0)  # noqa: S311 - test data
    receiver = Receiver(tmp_path)
    with attack("receiver", "`kill -9` at random moments, under load") as tally:
        for number in range(ROUNDS):
            receiver.start()
            senders = Senders(receiver.port, number)
            enough = moments.randrange(1, 200)
            wait_until(lambda: len(senders.acknowledged) >= enough)  # noqa: B023 - called at once
            receiver.kill()
            senders.join()
            acknowledged += senders.acknowledged
        tally.rounds, tally.events = ROUNDS, len(acknowledged)

        run = singer.sync(receiver.settings)

        emitted = Counter(record["message_id"] for record in run.records)
        tally.lost = len(set(acknowledged) - emitted.keys())
        assert len(acknowledged) >= ROUNDS
        assert set(acknowledged) <= emitted.keys()
        assert set(emitted.values()) == {1}
        assert sorted(run.positions) == list(range(1, len(run.records) + 1))
        (books,) = receiver.status()["books"].values()
        assert books["received"] == sum(books.values()) - books["received"]


def test_retry_after_a_kill_is_a_duplicate(tmp_path: Path) -> None:
    """What Segment sends again because its answer was lost is recognised after the restart."""
    batch = list(deliveries.events(50))
    with Receiver(tmp_path) as receiver:
        assert receiver.deliver(deliveries.array(batch)).status_code == 200
        receiver.kill()
        receiver.start()

        answer = receiver.deliver(deliveries.array(batch))

    assert answer.json()["duplicate"] == 50


def test_killed_tap_skips_no_event(spool_url: str) -> None:
    """Begun each time with the last state that a target could confirm, all arrive, in order."""
    bodies = [
        deliveries.encode(event)
        for event in deliveries.events(WAITING)
        if event["type"] != "delete"
    ]
    fill(spool_url, bodies)
    moments = Random(0)  # noqa: S311 - test data
    confirmed: dict[int, str] = {}
    state: Json | None = None
    with attack(
        "tap",
        "the tap is killed (`kill -9`) at random moments, from the last state each time",
    ) as tally:
        for number in range(TAP_ROUNDS):
            with running({"spool_url": spool_url}, state) as tap:
                messages = read(tap, moments.randrange(1500), slowly=number % SLOW_EVERY == 0)
            rows, state = upserted(messages, state)
            confirmed |= rows
            tally.rounds += 1
        rest = singer.sync({"spool_url": spool_url}, state=state)

        confirmed |= upserted(rest.messages, state)[0]
        tally.events, tally.lost = len(bodies), len(bodies) - len(confirmed)
        assert sorted(confirmed) == list(range(1, len(bodies) + 1))
        assert len({*confirmed.values()}) == len(bodies)
        assert balanced(spool_url).stored == len(bodies)
        assert 0 < len(rest.records) < len(bodies)


@contextmanager
def running(config: Json, state: Json | None) -> Iterator[subprocess.Popen[bytes]]:
    """Run the tap from *state* while the block lasts."""
    with (
        singer.command(config, state=state) as words,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tap,
    ):
        yield tap


def read(tap: subprocess.Popen[bytes], count: int, *, slowly: bool) -> list[Json]:
    """Read *count* messages of *tap*, or *slowly* up to a state and that many more; then kill it.

    What it had written by then is returned as well, without a line that was cut off. A tap that
    is not held up has written all before the second is over in which it writes a state.
    """
    assert tap.stdout is not None
    lines: list[bytes] = []
    for line in tap.stdout:
        lines.append(line)
        if slowly:
            time.sleep(LINE_SECONDS)
            slowly = not line.startswith(b'{"type":"STATE"')
        elif not count:
            break
        else:
            count -= 1
    tap.kill()
    lines += tap.stdout.readlines()
    return singer.parse(b"".join(line for line in lines if line.endswith(b"\n")))


def upserted(messages: list[Json], state: Json | None) -> tuple[dict[int, str], Json | None]:
    """Return what a target has committed of *messages*, and the state that it then prints.

    It commits a batch when a state comes, and what comes after the last one never.
    """
    committed: dict[int, str] = {}
    batch: dict[int, str] = {}
    last: Counter[str] = Counter()
    for message in messages:
        if message["type"] == "RECORD":
            stream, position = message["stream"], message["record"]["spool_position"]
            assert position > last[stream]
            last[stream] = position
            batch[position] = message["record"]["message_id"]
        elif message["type"] == "STATE":
            committed |= batch
            batch, state = {}, message["value"]
    return committed, state
