"""The way of a request's body to the disk, the same for webhooks and the Tracking API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tap_segment_webhook.receiver.body import Budget, Claim, read_body
from tap_segment_webhook.spool.model import Counts, Received, Reject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tap_segment_webhook.spool.committer import Committer

_BUDGET_BODIES: Final = 4  # how many bodies of the largest size may come in at once
_BUDGET_BYTES: Final = 64 << 20  # or this many bytes, whichever is more
LARGE_BYTES: Final = 1 << 20
"""Above it a body is read in a thread, so that small deliveries are answered meanwhile."""

_NOTHING: Final = Counts()


class Reading(NamedTuple):
    """What was made of one body."""

    received: Received
    fault: str | None = None
    """Why the sender is to be answered 400 although all of it is kept, or None."""

    @classmethod
    def set_aside(cls, source: str, fault: str, body: bytes) -> Reading:
        """Keep *body* whole among the rejects, and refuse it for *fault*."""
        return cls(Received(source, 1, [], [Reject(fault, body)]), fault)


class Intake:
    """Reads bodies inside bounds and has what they hold committed."""

    def __init__(self, committer: Committer, max_body_bytes: int) -> None:
        self._committer = committer
        self._budget = Budget(max(max_body_bytes * _BUDGET_BODIES, _BUDGET_BYTES))

    async def take(
        self,
        receive: Callable[[], Awaitable[Any]],
        encoding: bytes,
        limit: int,
        read: Callable[[bytes], Reading],
    ) -> tuple[Counts, str | None]:
        """Read a body of at most *limit* bytes, *read* it, and store what it holds durably.

        Returns what became of its events, and the fault that *read* found.

        Raises:
            DeliveryRefused: by `read_body` or *read*: nothing was kept.
            SpoolUnavailable: nothing may have been kept.
            ClientGone: the body will never be complete.
        """
        claim = Claim(self._budget)
        try:
            body = await read_body(receive, encoding=encoding, limit=limit, claim=claim)
            if len(body) > LARGE_BYTES:
                received, fault = await asyncio.to_thread(read, body)
            else:
                received, fault = read(body)
            return await self.keep(received, len(body)), fault
        finally:
            claim.release()

    async def keep(self, received: Received, size: int) -> Counts:
        """Store *received*, of *size* bytes, durably; return what became of it.

        Raises:
            SpoolUnavailable: nothing may have been kept.
        """
        if not received.elements:
            return _NOTHING
        return await self.append(received, size)

    def append(self, received: Received, size: int) -> asyncio.Future[Counts]:
        """Have *received*, which is not empty, stored as `keep` does."""
        return self._committer.append(received, size)
