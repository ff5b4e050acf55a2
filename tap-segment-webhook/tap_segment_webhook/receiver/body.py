"""Reads a request's body inside bounds: its own, and those of all bodies together."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from tap_segment_webhook.errors import DeliveryRefused, SpoolUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_GZIP = 31  # zlib's window bits for the gzip format


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class BodyTooLarge(DeliveryRefused):
    """The body is larger than *limit* bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"The body is larger than max_body_bytes ({limit:,} bytes).")


class Budget:
    """How many bytes of large bodies may be held at once, from their first to their answer."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0


class Claim:
    """What one request holds of a *budget*."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def take(self, size: int) -> None:
        """Hold *size* bytes more.

        Raises:
            SpoolUnavailable: too much is held at this moment.
        """
        if self._budget.held + size > self._budget.limit:
            raise SpoolUnavailable(
                f"{self._budget.held:,} bytes of other deliveries are under way.",
                retry_after_seconds=1,
            )
        self._budget.held += size
        self._size += size

    def release(self) -> None:
        """Hold nothing any more."""
        self._budget.held -= self._size
        self._size = 0


async def read_body(
    receive: Callable[[], Awaitable[Any]], *, encoding: bytes, limit: int, claim: Claim
) -> bytes:
    """Return the request's body, decompressed.

    Raises:
        BodyTooLarge: it is larger than *limit* bytes (measured after
            decompression, and never more than that is held).
        DeliveryRefused: 400 for bad gzip, 415 for any other *encoding*.
        SpoolUnavailable: there is no room for *claim*, which the caller releases.
        ClientGone: the rest will never come.
    """
    encoding = encoding.strip().lower()
    if encoding not in (b"", b"identity", b"gzip", b"x-gzip"):
        raise DeliveryRefused(415, "Content-Encoding may be gzip or absent.")
    message = _present(await receive())
    if not encoding and not message.get("more_body"):
        whole: bytes = message["body"]
        if len(whole) > limit:
            raise BodyTooLarge(limit)
        return whole
    inflater = zlib.decompressobj(_GZIP) if encoding.endswith(b"gzip") else None
    chunks: list[bytes] = []
    size = 0
    while True:
        chunk = message.get("body", b"")
        if inflater is not None:
            chunk = _inflate(inflater, chunk, limit + 1 - size)
            if inflater.unused_data:
                raise DeliveryRefused(400, "More follows the end of the gzip body.")
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(limit)
        claim.take(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body"):
            break
        message = _present(await receive())
    if inflater is not None and not inflater.eof:
        raise DeliveryRefused(400, "The gzip body is cut off.")
    return b"".join(chunks)


def _present(message: dict[str, Any]) -> dict[str, Any]:
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def _inflate(inflater: zlib._Decompress, chunk: bytes, room: int) -> bytes:
    try:
        return inflater.decompress(chunk, room)
    except zlib.error as error:
        raise DeliveryRefused(400, "The body is not valid gzip.") from error
