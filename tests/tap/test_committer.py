"""Many deliveries share one commit, and each is answered in time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest
from harness.spool import WINDOW, event, events, received, rows
from harness.waiting import wait_until
from tap_segment_webhook.errors import SpoolBroken, SpoolUnavailable
from tap_segment_webhook.spool.committer import ANSWER_SECONDS, Committer
from tap_segment_webhook.spool.model import Counts, Received
from tap_segment_webhook.spool.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR_MS = 3_600_000
PROBE = Received("", 0, [], [])


class WatchedStore(Store):
    """A store that can be held up in its commits, counts them, or fails in them."""

    def __init__(self, url: str) -> None:
        super().__init__(url, dedup_window_events=WINDOW)
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.commits = 0
        self.failure: Exception | None = None

    def commit(self, batch: Sequence[Received]) -> list[Counts]:
        """Commit as ever, unless told otherwise."""
        self.commits += 1
        self.may_commit.wait()
        if self.failure is not None:
            raise self.failure
        return super().commit(batch)


def committer_of(store: Store) -> tuple[Committer, list[SpoolBroken]]:
    """Return a committer that runs, and the list of what it will complain about."""
    complaints: list[SpoolBroken] = []
    committer = Committer(store, retention_ms=HOUR_MS, on_broken=complaints.append)
    committer.start()
    return committer, complaints


def test_many_appends_share_commits(spool_url: str) -> None:
    """Deliveries that wait together are committed together, and each is told its own counts."""
    store = WatchedStore(spool_url)

    async def run() -> list[Counts]:
        committer, _ = committer_of(store)
        bodies = [*events(499), event(1)]
        counts = await asyncio.gather(*(committer.append(received(body), 1) for body in bodies))
        await committer.close()
        return counts

    counts = asyncio.run(run())

    assert counts == [Counts(1, stored=1)] * 499 + [Counts(1, duplicate=1)]
    assert len(rows(spool_url)) == 499
    assert store.commits < 50


def test_close_commits_what_was_appended(spool_url: str) -> None:
    """Nobody who waits when it closes goes without an answer."""
    store = WatchedStore(spool_url)

    async def run() -> list[Counts]:
        committer, _ = committer_of(store)
        store.may_commit.clear()
        bodies = events(9)
        waiting = [asyncio.ensure_future(committer.append(received(bodies[0]), 1))]
        await asyncio.to_thread(wait_until, lambda: store.commits == 1)
        waiting += [asyncio.ensure_future(committer.append(received(b), 1)) for b in bodies[1:]]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(committer.close())
        await asyncio.sleep(0)
        store.may_commit.set()
        await closing
        return [task.result() for task in waiting]

    assert asyncio.run(run()) == [Counts(1, stored=1)] * 9
    assert len(rows(spool_url)) == 9


def test_stalled_store_is_answered_in_time(spool_url: str) -> None:
    """A disk that hangs becomes a 503 before Segment hangs up; what was stored is a duplicate."""
    store = WatchedStore(spool_url)

    async def run() -> tuple[float, list[object], Counts]:
        committer, _ = committer_of(store)
        store.may_commit.clear()
        began = time.monotonic()
        first = asyncio.ensure_future(committer.append(received(event(1)), 1))
        await asyncio.sleep(0)
        second = committer.append(received(event(2)), 1)
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        waited = time.monotonic() - began
        store.may_commit.set()
        again = await committer.append(received(event(1)), 1)
        await committer.close()
        return waited, list(outcomes), again

    waited, outcomes, again = asyncio.run(run())

    assert ANSWER_SECONDS - 0.5 < waited < ANSWER_SECONDS + 1
    assert all(isinstance(outcome, SpoolUnavailable) for outcome in outcomes)
    assert again == Counts(1, duplicate=1)


def test_too_much_waiting_is_refused_at_once(spool_url: str) -> None:
    """What waits for a slow disk is bounded in bytes."""
    store = WatchedStore(spool_url)

    async def run() -> None:
        committer, _ = committer_of(store)
        store.may_commit.clear()
        waiting = asyncio.ensure_future(committer.append(received(event(1)), 60 << 20))
        await asyncio.sleep(0)
        with pytest.raises(SpoolUnavailable, match="already wait for the disk"):
            await committer.append(received(event(2)), 5 << 20)
        store.may_commit.set()
        await waiting
        assert await committer.append(received(event(2)), 5 << 20) == Counts(1, stored=1)
        assert committer.waiting_bytes == 0
        await committer.close()

    asyncio.run(run())

    assert len(rows(spool_url)) == 2


def test_passing_trouble_is_answered_and_forgotten(spool_url: str) -> None:
    """After a full disk it goes on by itself."""
    store = WatchedStore(spool_url)

    async def run() -> Counts:
        committer, complaints = committer_of(store)
        store.failure = SpoolUnavailable("The disk is full.")
        with pytest.raises(SpoolUnavailable, match="full"):
            await committer.append(received(event(1)), 1)
        store.failure = None
        counts = await committer.append(received(event(1)), 1)
        await committer.close()
        assert complaints == []
        return counts

    assert asyncio.run(run()) == Counts(1, stored=1)


@pytest.mark.parametrize("failure", [SpoolBroken("The disk failed."), ValueError("a bug")])
def test_broken_store_is_never_trusted_again(spool_url: str, failure: Exception) -> None:
    """After a failure of which nothing is known, nothing more is acknowledged."""
    store = WatchedStore(spool_url)

    async def run() -> list[SpoolBroken]:
        committer, complaints = committer_of(store)
        store.failure = failure
        with pytest.raises(SpoolBroken):
            await committer.append(received(event(1)), 1)
        store.failure = None
        with pytest.raises(SpoolBroken):
            await committer.append(received(event(2)), 1)
        await committer.close()
        return complaints

    assert len(asyncio.run(run())) == 1
    assert rows(spool_url) == []


def test_probe_is_a_commit_of_nothing(spool_url: str) -> None:
    """Whether it can store is found out by storing; no event is needed for it."""
    store = WatchedStore(spool_url)

    async def run() -> Counts:
        committer, _ = committer_of(store)
        counts = await committer.append(PROBE, 0)
        await committer.close()
        return counts

    assert asyncio.run(run()) == Counts()
    assert rows(spool_url) == []


def test_confirmed_events_are_pruned_meanwhile(spool_url: str) -> None:
    """Old events go while the receiver runs, without anybody asking."""
    store = WatchedStore(spool_url)

    async def run() -> None:
        committer = Committer(store, retention_ms=-1, on_broken=lambda _: None)
        committer.start()
        await committer.append(received(*events(3)), 1)
        store.consumers.confirm("default", 3, 0)
        await asyncio.to_thread(wait_until, lambda: rows(spool_url) == [])
        await committer.close()

    asyncio.run(run())

    assert rows(spool_url) == []
