"""Group commit: many requests wait for one fsync.

One thread owns the store. While it commits one group, the next one gathers;
so the slower the disk or the busier the processor, the larger the groups.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from tap_segment_webhook.errors import SpoolBroken, SpoolUnavailable
from tap_segment_webhook.spool.model import Counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_segment_webhook.spool.engine import Writer
    from tap_segment_webhook.spool.model import Received

ANSWER_SECONDS: Final = 4.0  # Segment's classic webhooks wait 5
_GROUP_BYTES: Final = 4 << 20  # one transaction's size, and so what a crash may undo
_WAITING_BYTES: Final = 64 << 20  # above it the disk is too slow for what comes in: 503
_TIDY_SECONDS: Final = 1.0
_SIGN_SECONDS: Final = 60.0  # how often the spool is told that a receiver runs
_EXPIRE_SECONDS: Final = 0.25
_NOTHING: Final = Counts()


class _Job(NamedTuple):
    received: Received
    size: int
    deadline: float
    future: asyncio.Future[Counts]


class Committer:
    """Commits to *store* on behalf of one event loop.

    Args:
        store: owned from here on; `close` closes it.
        retention_ms: how long confirmed events stay.
        on_broken: called in the event loop when the store must not be trusted any more.
    """

    def __init__(
        self, store: Writer, *, retention_ms: int, on_broken: Callable[[SpoolBroken], None]
    ) -> None:
        self._store = store
        self._retention_ms = retention_ms
        self._on_broken = on_broken
        self._jobs: deque[_Job] = deque()
        self._busy = False
        self._signed_at = time.monotonic()
        self._in_commit: list[_Job] = []
        self._closing: asyncio.Future[None] | None = None
        self._groups: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._broken: SpoolBroken | None = None
        self._thread = threading.Thread(target=self._run, name="committer")
        self.waiting_bytes = 0

    def start(self) -> None:
        """Begin to commit; call it in the event loop that will `append`."""
        self._loop = asyncio.get_running_loop()
        self._expire()
        self._thread.start()

    def append(self, received: Received, size: int) -> asyncio.Future[Counts]:
        """Store *received*, of *size* bytes, durably; the future says what became of it.

        Nothing received and nothing rejected, it tries whether storing works.

        Raises:
            SpoolUnavailable: at once or through the future: it may not have been
                stored; Segment sends it again, and what was stored after all is
                then recognised as a duplicate.
        """
        if self._broken:
            raise self._broken.with_traceback(None)
        if self.waiting_bytes and self.waiting_bytes + size > _WAITING_BYTES:
            raise SpoolUnavailable(
                f"{self.waiting_bytes:,} bytes already wait for the disk.", retry_after_seconds=1
            )
        future: asyncio.Future[Counts] = self._loop.create_future()
        self.waiting_bytes += size
        self._jobs.append(_Job(received, size, time.monotonic() + ANSWER_SECONDS, future))
        if not self._busy:
            # In the next round of the loop, with whoever else was ready in this one.
            self._busy = True
            self._loop.call_soon(self._hand_over)
        return future

    async def close(self) -> None:
        """Commit what was appended, stop, and close the store."""
        self._closing = self._loop.create_future()
        if self._busy:
            await self._closing
        self._groups.put(None)
        await asyncio.to_thread(self._thread.join)
        self._store.close()

    def _hand_over(self) -> None:
        """Give the thread everything that has gathered, up to the size of a group."""
        group: list[_Job] = []
        size = 0
        while self._jobs and size < _GROUP_BYTES:
            job = self._jobs.popleft()
            group.append(job)
            size += job.size
        self._in_commit = group
        self._busy = bool(group)
        if group:
            self._groups.put(group)
        elif self._closing is not None:
            self._closing.set_result(None)

    def _run(self) -> None:
        tidied_at = time.monotonic()
        while True:
            try:
                group = self._groups.get(timeout=_TIDY_SECONDS)
            except queue.Empty:
                group = []
            if group is None:
                return
            if group:
                self._loop.call_soon_threadsafe(self._answer, group, self._commit(group))
            if time.monotonic() - tidied_at > _TIDY_SECONDS:
                self._tidy()
                tidied_at = time.monotonic()

    def _commit(self, group: list[_Job]) -> list[Counts] | SpoolUnavailable:
        if self._broken:
            return self._broken
        try:
            batch = [job.received for job in group if job.received.elements]
            outcomes = self._store.commit(batch) if batch else []
            if len(batch) == len(group):
                return outcomes
            self._store.probe()
            counts = iter(outcomes)
            return [next(counts) if job.received.elements else _NOTHING for job in group]
        except SpoolUnavailable as error:
            return error
        except Exception as error:  # noqa: BLE001 - a fault here must not leave requests hanging
            return SpoolBroken(f"The spool failed: {type(error).__name__}: {error}.")

    def _tidy(self) -> None:
        """Prune in small steps, as long as nobody waits; leave a sign of life now and then."""
        try:
            while not self._broken and self._store.tidy(self._retention_ms):
                if not self._groups.empty():
                    break
            if not self._broken and time.monotonic() - self._signed_at > _SIGN_SECONDS:
                self._signed_at = time.monotonic()
                self._store.probe()
        except SpoolUnavailable as error:
            self._loop.call_soon_threadsafe(self._answer, [], error)
        except Exception as error:  # noqa: BLE001 - as in `_commit`: without this thread none is answered
            broken = SpoolBroken(f"The spool failed: {type(error).__name__}: {error}.")
            self._loop.call_soon_threadsafe(self._answer, [], broken)

    def _answer(self, group: list[_Job], outcome: list[Counts] | SpoolUnavailable) -> None:
        self.waiting_bytes -= sum(job.size for job in group)
        if isinstance(outcome, SpoolUnavailable):
            for job in group:
                if not job.future.done():
                    job.future.set_exception(outcome)
        else:
            for job, counts in zip(group, outcome, strict=True):
                if not job.future.done():
                    job.future.set_result(counts)
        if isinstance(outcome, SpoolBroken):
            self._broken = outcome
            self._on_broken(outcome)
        if group:
            # After the answers, which let their clients send the next deliveries.
            self._loop.call_soon(self._hand_over)

    def _expire(self) -> None:
        """Answer those who have waited too long, before Segment stops listening."""
        now = time.monotonic()
        for job in (*self._in_commit, *self._jobs):
            if job.deadline > now:
                break
            if not job.future.done():
                job.future.set_exception(
                    SpoolUnavailable(f"The disk did not answer within {ANSWER_SECONDS:g} seconds.")
                )
        self._loop.call_later(_EXPIRE_SECONDS, self._expire)
