"""`kill -9` at any moment, again and again on one spool, loses nothing that was acknowledged."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

from harness import deliveries, singer
from harness.attacks import ROUNDS, attack
from harness.receiver import HOST, SECRET, Receiver
from harness.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

SENDERS = 6


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
