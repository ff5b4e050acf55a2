"""Brings messages of a stream in the order of their sequence, a bounded lot at a time."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from tap_segment_webhook.spool.jetstream.link import PATIENCE_SECONDS, Away, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nats.aio.msg import Msg

    from tap_segment_webhook.spool.jetstream.link import Link

_LOT: Final = 500
_LOT_BYTES: Final = 1 << 20
_OVERHEAD_BYTES: Final = 1 << 16
_SECOND: Final = 1_000_000_000
_PULL_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.05
_INACTIVE_SECONDS: Final = 30  # then the server forgets the cursor, and we make another
_ACK_PARTS: Final = 9


class Stored(NamedTuple):
    """A message as it lies in a stream."""

    sequence: int
    subject: str
    received_at: int
    """In milliseconds since 1970, by the server's clock."""
    body: bytes
    size: int
    """The length of the body, also if it was not asked for."""


class Cursor:
    """Reads *stream* from the first message after a position, through *link*.

    A server that is asked may not have the last messages yet; the cursor waits
    for them. When the servers lose it, or a lot comes incomplete, it begins
    again behind the last message that it has given.

    Args:
        link: the connection.
        stream: the name.
        subjects: which of its messages.
        bodies: whether to bring more than sizes.
    """

    def __init__(self, link: Link, stream: str, subjects: str, *, bodies: bool = True) -> None:
        self._link = link
        self._stream = stream
        self._subjects = subjects
        self._bodies = bodies

    def read(self, after: int, last: int) -> Iterator[Stored]:
        """Yield the messages with *after* < sequence, until one has *last* or a later one.

        Raises:
            Away: the next one did not come in time.
            Refused: the servers do not let us.
        """
        waited_from = time.monotonic()
        while after < last:
            for message in self._session(after):
                after = message.sequence
                yield message
                if after >= last:
                    return
                waited_from = time.monotonic()
            if time.monotonic() - waited_from > PATIENCE_SECONDS:
                raise Away(f"position {after + 1} does not come")
            time.sleep(_PAUSE_SECONDS)

    def _session(self, after: int) -> Iterator[Stored]:
        """Yield what one consumer of the servers brings, as long as it lives."""
        consumer, number = self._make(after), 0
        waited_from = time.monotonic()
        try:
            while time.monotonic() - waited_from < PATIENCE_SECONDS:
                lot = self._link.call(self._pull(consumer), _PULL_SECONDS + 5)
                if lot is None:
                    return
                for place, message in lot:
                    if place != number + 1:
                        return
                    number = place
                    yield message
                if lot:
                    waited_from = time.monotonic()
        finally:
            self._drop(consumer)

    def _make(self, after: int) -> str:
        name = f"read-{uuid.uuid4().hex}"
        config = {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after + 1,
            "ack_policy": "none",
            "filter_subject": self._subjects,
            "headers_only": not self._bodies,
            "mem_storage": True,
            "num_replicas": 1,
            "max_deliver": 1,
            "inactive_threshold": _INACTIVE_SECONDS * _SECOND,
        }
        body = {"stream_name": self._stream, "config": config}
        self._link.api(
            f"CONSUMER.CREATE.{self._stream}.{name}.{self._subjects}",
            body,
            seconds=PATIENCE_SECONDS,
        )
        return name

    def _drop(self, consumer: str) -> None:
        with suppress(Away, Refused):  # else the servers do so, once nobody asks for a while
            self._link.api(f"CONSUMER.DELETE.{self._stream}.{consumer}")

    async def _pull(self, consumer: str) -> list[tuple[int, Stored]] | None:
        """Return the next lot, empty if there is none yet; None if the consumer is lost."""
        lot: list[tuple[int, Stored]] = []
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def take(message: Msg) -> None:
            if done.done():
                return
            if message.reply.startswith("$JS.ACK."):
                lot.append(_stored(message))
                if len(lot) >= _LOT:
                    done.set_result(True)
                return
            status = (message.headers or {}).get("Status")
            # 404 and 408: no more now; 409: the lot is full, or the consumer was deleted.
            done.set_result(bool(lot) or status in ("404", "408"))

        inbox, end = await self._link.subscribe(take)
        try:
            await self._link.send(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{consumer}",
                {
                    "batch": _LOT,
                    "max_bytes": max(_LOT_BYTES, self._link.max_payload) + _OVERHEAD_BYTES,
                    "no_wait": True,
                },
                inbox,
            )
            try:
                alive = await asyncio.wait_for(done, _PULL_SECONDS)
            except asyncio.TimeoutError:
                return lot or None
        finally:
            await end()
        if alive and not lot:
            await asyncio.sleep(_PAUSE_SECONDS)
        return lot if alive else None


def _stored(message: Msg) -> tuple[int, Stored]:
    """Return the consumer's own number of *message*, and what it is."""
    # $JS.ACK.stream.consumer.delivered.sequence.number.time.pending, or with a domain and an
    # account before the stream and something random at the end (ADR-15).
    parts = message.reply.split(".")
    sequence, number, moment = parts[5:8] if len(parts) == _ACK_PARTS else parts[7:10]
    size = len(message.data)
    if message.headers and "Nats-Msg-Size" in message.headers:
        size = int(message.headers["Nats-Msg-Size"])
    return int(number), Stored(
        int(sequence), message.subject, int(moment) // 1_000_000, message.data, size
    )
