"""Group commit: many requests wait for one fsync.

One thread owns the store. It takes everything that has come in, commits it as
one transaction, and answers all of it at once; meanwhile the next group comes
together. So the slower the disk, the larger the groups.
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

    from tap_segment_webhook.spool.model import Received
    from tap_segment_webhook.spool.store import Store

ANSWER_SECONDS: Final = 4.0  # Segment's classic webhooks wait 5
_GROUP_BYTES: Final = 4 << 20  # one transaction's size, and so what a crash may undo
_WAITING_BYTES: Final = 64 << 20  # above it the disk is too slow for what comes in: 503
_TIDY_SECONDS: Final = 1.0
_EXPIRE_SECONDS: Final = 0.25
_NOTHING: Final = Counts()


class _Job(NamedTuple):
    received: Received
    size: int
    future: asyncio.Future[Counts]


class Committer:
    """Commits to *store* on behalf of one event loop.

    Args:
        store: owned from here on; `close` closes it.
        retention_ms: how long confirmed events stay.
        on_broken: called in the event loop, once, when the store must not be trusted any more.
    """

    def __init__(
        self,
        store: Store,
        *,
        retention_ms: int,
        on_broken: Callable[[SpoolBroken], None],
    ) -> None:
        self._store = store
        self._retention_ms = retention_ms
        self._on_broken = on_broken
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._deadlines: deque[tuple[float, asyncio.Future[Counts]]] = deque()
        self._broken: SpoolBroken | None = None
        self._tidied_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="committer")
        self.waiting_bytes = 0

    def start(self) -> None:
        """Begin to commit; call it in the event loop that will `append`."""
        self._loop = asyncio.get_running_loop()
        self._expire()
        self._thread.start()

    async def append(self, received: Received, size: int) -> Counts:
        """Store *received*, of *size* bytes, durably; return what became of it.

        Raises:
            SpoolUnavailable: it may not have been stored; Segment sends it again,
                and what was stored after all is then recognised as a duplicate.
        """
        if self._broken:
            raise self._broken.with_traceback(None)
        if self.waiting_bytes and self.waiting_bytes + size > _WAITING_BYTES:
            raise SpoolUnavailable(
                f"{self.waiting_bytes:,} bytes already wait for the disk.", retry_after_seconds=1
            )
        future: asyncio.Future[Counts] = self._loop.create_future()
        self.waiting_bytes += size
        self._deadlines.append((time.monotonic() + ANSWER_SECONDS, future))
        self._jobs.put(_Job(received, size, future))
        return await future

    def close(self) -> None:
        """Commit what was appended, stop, and close the store."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        self._store.close()

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self._take()
            if group:
                self._commit(group)
            if not self._broken and time.monotonic() - self._tidied_at > _TIDY_SECONDS:
                self._tidy()

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for a job, then take all that are there; tell whether it was the end."""
        group: list[_Job] = []
        size = 0
        try:
            while size < _GROUP_BYTES:
                job = self._jobs.get_nowait() if group else self._jobs.get(timeout=_TIDY_SECONDS)
                if job is None:
                    return group, True
                group.append(job)
                size += job.size
        except queue.Empty:
            pass
        return group, False

    def _commit(self, group: list[_Job]) -> None:
        outcome: list[Counts] | SpoolUnavailable
        if self._broken:
            self._loop.call_soon_threadsafe(self._answer, group, self._broken)
            return
        try:
            batch = [job.received for job in group if job.received.elements]
            counts = iter(self._store.commit(batch) if batch else ())
            if len(batch) < len(group):
                self._store.probe()
            outcome = [next(counts) if job.received.elements else _NOTHING for job in group]
        except SpoolUnavailable as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a fault here must not leave requests hanging
            outcome = SpoolBroken(f"The spool failed: {type(error).__name__}.")
        if isinstance(outcome, SpoolBroken):
            self._broken = outcome
        self._loop.call_soon_threadsafe(self._answer, group, outcome)

    def _tidy(self) -> None:
        """Prune in small steps, as long as nobody waits."""
        try:
            while self._store.tidy(self._retention_ms) and self._jobs.empty():
                pass
        except SpoolUnavailable as error:
            if isinstance(error, SpoolBroken):
                self._broken = error
                self._loop.call_soon_threadsafe(self._answer, [], error)
        self._tidied_at = time.monotonic()

    def _answer(self, group: list[_Job], outcome: list[Counts] | SpoolUnavailable) -> None:
        for index, job in enumerate(group):
            self.waiting_bytes -= job.size
            if job.future.done():
                continue
            if isinstance(outcome, SpoolUnavailable):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome[index])
        if isinstance(outcome, SpoolBroken):
            self._on_broken(outcome)

    def _expire(self) -> None:
        """Answer those who have waited too long, before Segment stops listening."""
        now = time.monotonic()
        while self._deadlines and (self._deadlines[0][0] < now or self._deadlines[0][1].done()):
            _, future = self._deadlines.popleft()
            if not future.done():
                future.set_exception(
                    SpoolUnavailable(f"The disk did not answer within {ANSWER_SECONDS:g} seconds.")
                )
        self._loop.call_later(_EXPIRE_SECONDS, self._expire)
