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


class Budget:
    """How many bytes of unfinished bodies may be held at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> None:
        """Hold *size* bytes more.

        Raises:
            SpoolUnavailable: too much is being received at this moment.
        """
        if self.held + size > self.limit:
            raise SpoolUnavailable(
                f"{self.held:,} bytes of other deliveries are being received.",
                retry_after_seconds=1,
            )
        self.held += size


async def read_body(
    receive: Callable[[], Awaitable[Any]], *, encoding: bytes, limit: int, budget: Budget
) -> bytes:
    """Return the request's body, decompressed.

    Raises:
        DeliveryRefused: 413 if it is larger than *limit* bytes (measured after
            decompression, and never more than that is held), 400 for bad
            gzip, 415 for any other *encoding*.
        SpoolUnavailable: *budget* is used up.
        ClientGone: the rest will never come.
    """
    if encoding not in (b"", b"identity", b"gzip", b"x-gzip"):
        raise DeliveryRefused(415, "Content-Encoding may be gzip or absent.")
    message = await _next(receive)
    inflater = zlib.decompressobj(_GZIP) if encoding.endswith(b"gzip") else None
    chunks: list[bytes] = []
    size = 0
    try:
        while True:
            chunk = message.get("body", b"")
            if inflater is not None:
                chunk = _inflate(inflater, chunk, limit + 1 - size)
            if size + len(chunk) > limit:
                raise DeliveryRefused(
                    413, f"The body is larger than max_body_bytes ({limit:,} bytes)."
                )
            budget.take(len(chunk))
            size += len(chunk)
            chunks.append(chunk)
            if not message.get("more_body"):
                break
            message = await _next(receive)
    finally:
        budget.held -= size
    if inflater is not None and (not inflater.eof or inflater.unused_data):
        raise DeliveryRefused(400, "The gzip body is cut off, or more follows its end.")
    return b"".join(chunks)


async def _next(receive: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
    message: dict[str, Any] = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def _inflate(inflater: zlib._Decompress, chunk: bytes, room: int) -> bytes:
    try:
        return inflater.decompress(chunk, room)
    except zlib.error as error:
        raise DeliveryRefused(400, "The body is not valid gzip.") from error
