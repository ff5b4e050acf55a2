"""A sender that behaves as Segment does gets everything in, once, as long as its patience lasts."""

from __future__ import annotations

import heapq
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import requests
from harness import singer
from harness.attacks import ROUNDS, attack
from harness.deliveries import array, events
from harness.receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from harness.deliveries import Event

MINUTE, HOUR = 60.0, 3600.0
EVENTS = 10 * ROUNDS
DAY = 24 * HOUR


class Waiting(NamedTuple):
    """An event that is sent at *due*, in seconds, for the *attempt*-th time."""

    due: float
    number: int
    attempt: int
    since: float


class Segment:
    """Segment's webhook destination on a clock of its own, which only moves to what comes next.

    An answer that takes more than five seconds is none to it, so it sends
    again, with exponential back-off drawn at random, for four hours
    (Segment's documentation, "Webhooks (Actions)", "Delivery overview"). What is
    due at about the same time goes into one request, in any combination.

    Args:
        receiver: what it sends to.
        random: draws moments, batches, back-off, and answers that come too late.
        outages: from when until when the receiver does not run, in seconds.
    """

    def __init__(
        self, receiver: Receiver, random: Random, outages: list[tuple[float, float]]
    ) -> None:
        self._receiver = receiver
        self._random = random
        self._outages = outages
        self._is_running = True
        self.requests = 0
        self.given_up: set[str] = set()

    def send(self, sent: list[Event]) -> None:
        """Send all events over a day, each until it is acknowledged or given up."""
        queue = [
            Waiting(moment, number, 0, moment)
            for number, moment in enumerate(self._random.uniform(0, DAY) for _ in sent)
        ]
        heapq.heapify(queue)
        while queue:
            batch = [heapq.heappop(queue)]
            now, most = batch[0].due, self._random.choice((1, 1, 10, 100))
            while queue and len(batch) < most and queue[0].due < now + MINUTE:
                batch.append(heapq.heappop(queue))
            self._random.shuffle(batch)
            self._be_at(now)
            if self._is_acknowledged([sent[each.number] for each in batch]):
                continue
            for each in batch:
                later = self._later(each, now)
                if later.due > each.since + 4 * HOUR:
                    self.given_up.add(sent[each.number]["messageId"])
                else:
                    heapq.heappush(queue, later)

    def _later(self, each: Waiting, now: float) -> Waiting:
        delay = self._random.uniform(0.5, 1) * min(10 * 2.0**each.attempt, HOUR)
        return each._replace(due=now + delay, attempt=each.attempt + 1)

    def _be_at(self, now: float) -> None:
        """Let the receiver die or start, as it has by this time."""
        runs = not any(start <= now < end for start, end in self._outages)
        if runs != self._is_running:
            if runs:
                self._receiver.start()
            else:
                self._receiver.kill()
            self._is_running = runs

    def _is_acknowledged(self, batch: list[Event]) -> bool:
        """Send *batch*; tell whether an answer came, was a 200, and came in time."""
        self.requests += 1
        try:
            status = self._receiver.deliver(array(batch)).status_code
        except requests.ConnectionError:
            return False
        return status == 200 and self._random.random() > 0.1


def test_outages_within_its_patience_lose_nothing(tmp_path: Path) -> None:
    """Outages of up to three hours, every tenth answer lost: each event is there once."""
    sent = list(events(EVENTS))
    outages = [(2 * HOUR, 5 * HOUR), (9 * HOUR, 9.5 * HOUR), (20 * HOUR, 21 * HOUR)]
    with attack("receiver", "Segment's retries over a day with outages, answers lost") as tally:
        with Receiver(tmp_path) as receiver:
            segment = Segment(receiver, Random(1), outages)  # noqa: S311 - test data
            segment.send(sent)
            books = receiver.status()["books"]["default"]

        assert segment.given_up == set()
        assert sorted(ids(receiver)) == sorted(event["messageId"] for event in sent)
        assert books["stored"] == len(sent)
        assert books["duplicate"] > 0
        assert books["received"] == sum(books.values()) - books["received"]
        tally.rounds, tally.events = segment.requests, len(sent)


def test_outage_beyond_its_patience_loses_what_it_gave_up_and_nothing_else(tmp_path: Path) -> None:
    """Seven hours are too long: exactly what Segment gave up is missing, and the rest is there."""
    sent = list(events(EVENTS))
    with attack("receiver", "an outage longer than Segment's four hours") as tally:
        with Receiver(tmp_path) as receiver:
            segment = Segment(receiver, Random(2), [(2 * HOUR, 9 * HOUR)])  # noqa: S311
            segment.send(sent)
            books = receiver.status()["books"]["default"]

        arrived = ids(receiver)
        assert segment.given_up
        assert len(arrived) == len(set(arrived)) == books["stored"]
        missing = {event["messageId"] for event in sent} - set(arrived)
        assert missing <= segment.given_up
        assert len(missing) > len(sent) / 12
        assert books["received"] == sum(books.values()) - books["received"]
        tally.rounds, tally.events = segment.requests, len(arrived)


def ids(receiver: Receiver) -> list[str]:
    """Return the message id of each record that the tap emits, all of them."""
    records: list[dict[str, Any]] = singer.sync(receiver.settings).records
    return [record["message_id"] for record in records]
