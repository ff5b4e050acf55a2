"""Clocks that jump, and events of any date, change no order and lose nothing unconfirmed."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timezone
from random import Random
from typing import TYPE_CHECKING

import pytest
from harness import singer, spool
from harness.attacks import ROUNDS, attack
from harness.spool import balanced, event, fill, opened, received
from tap_segment_webhook.spool import store as store_module
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.reader import Reader

if TYPE_CHECKING:
    from tap_segment_webhook.spool.store import Store

DAY_MS = 86_400_000
NOW = 1_790_000_000_000
MOMENTS = (0, -DAY_MS, 1, NOW - 3_600_000, NOW, NOW + DAY_MS, NOW + 365 * DAY_MS, 4_102_444_800_000)
CONFIG = {"shared_secret": "not-a-real-secret"}


class Clock:
    """A wall clock that somebody sets while the receiver runs."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        """Return the time it shows."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the store a clock that can be set; nobody may set the machine's."""
    clock = Clock()
    monkeypatch.setattr(store_module, "now_ms", clock)
    return clock


def test_jumping_clock_skips_and_prunes_nothing_unconfirmed(spool_url: str, clock: Clock) -> None:
    """Order is that of positions, whatever the times say; what nobody confirmed stays."""
    random = Random(0)  # noqa: S311 - test data
    bodies: list[bytes] = []
    confirmed = 0
    with (
        attack("spool", "the clock jumps between 1969 and 2100 while events come in") as tally,
        opened(spool_url) as store,
    ):
        store.consumers.register("lake")
        for number in range(20 * ROUNDS):
            clock.now = random.choice(MOMENTS) + random.randrange(1000)
            bodies.append(event(number))
            store.commit([received(bodies[-1])])
            if random.random() < 0.05:
                confirmed = random.randrange(confirmed, len(bodies))
                store.consumers.confirm("lake", confirmed, clock.now)
            store.tidy(7 * DAY_MS)
            tally.rounds += 1

        (again,) = store.commit([received(*bodies)])
        kept = spool.rows(spool_url)
        positions = [position for _, position, *_ in kept]
        assert positions == list(range(positions[0], len(bodies) + 1))
        assert positions[0] <= confirmed + 1
        assert [body for body, *_ in kept] == bodies[positions[0] - 1 :]
        assert again == Counts(len(bodies), duplicate=len(bodies))
        assert balanced(spool_url).stored == len(bodies)
        tally.events = len(bodies)


def test_clock_that_jumps_ahead_prunes_only_what_was_confirmed(
    spool_url: str, clock: Clock
) -> None:
    """A year too far, it ends the time for replay; nothing that a pipeline waits for goes."""
    with opened(spool_url) as store:
        for number in range(1, 7):
            store.commit([received(event(number))])
        store.consumers.confirm("lake", 4, clock.now)
        tidy(store)
        before = [position for _, position, *_ in spool.rows(spool_url)]
        clock.now += 365 * DAY_MS
        tidy(store)

    assert before == [1, 2, 3, 4, 5, 6]
    assert [position for _, position, *_ in spool.rows(spool_url)] == [5, 6]


def test_clock_that_was_ahead_only_keeps_events_longer(spool_url: str, clock: Clock) -> None:
    """Events that came in while it was wrong stay until it gets there, and hold back later ones."""
    with opened(spool_url) as store:
        clock.now += 30 * DAY_MS
        store.commit([received(event(1))])
        clock.now -= 30 * DAY_MS
        store.commit([received(event(2))])
        store.consumers.confirm("lake", 2, clock.now)
        clock.now += 8 * DAY_MS
        tidy(store)
        kept = [position for _, position, *_ in spool.rows(spool_url)]
        clock.now += 30 * DAY_MS
        tidy(store)

    assert kept == [1, 2]
    assert spool.rows(spool_url) == []


def test_events_of_any_date_come_out_in_the_order_they_came_in(spool_url: str) -> None:
    """What an event says of its time is kept and emitted, and never sorts."""
    dates = ["2100-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z", "2016-12-31T23:59:60Z"]
    dates += ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2026-03-04T11:00:00.000Z"]
    sent = [event(number, timestamp=date) for number, date in enumerate(dates * ROUNDS)]
    with attack("tap", "events dated from the year 1 to 9999, and in a leap second") as tally:
        fill(spool_url, sent)

        run = singer.sync({**CONFIG, "spool_url": spool_url})

        tally.rounds, tally.events = len(dates), len(sent)
        assert [record["message_id"] for record in run.records] == [
            f"m-{number}" for number in range(len(sent))
        ]
        found = [record["timestamp"] for record in run.records[: len(dates)]]
        assert found[:2] == dates[:2]
        assert found[5] == dates[5]
        assert balanced(spool_url) == Counts(len(sent), stored=len(sent))


def test_times_of_receipt_follow_the_clock_and_nothing_else(spool_url: str, clock: Clock) -> None:
    """A reader sees when each was committed, by the clock of that moment."""
    clock.now = 0
    fill(spool_url, [event(1)])
    clock.now = NOW
    fill(spool_url, [event(2)])

    with closing(Reader(spool_url)) as reader:
        times = [block.received_at for block in reader.blocks(0, 2)]

    assert [datetime.fromtimestamp(time / 1000, timezone.utc).year for time in times] == [
        1970,
        2026,
    ]


def tidy(store: Store) -> None:
    """Prune what is older than a week, until nothing is left to do."""
    while store.tidy(7 * DAY_MS):
        pass
