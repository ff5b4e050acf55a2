"""What Segment has answered 200 to: one JSON object a line.

`accepted_at`, `stream`, `key`, `message_id`, `batch`. A state goes out
only after the receipts before it are on disk, so `receipts` and state agree.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from target_segment_api import timestamp
from target_segment_api.errors import FileUnusable, InputUnusable
from target_segment_api.journal import Journal, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from target_segment_api.batch import Outgoing


class Receipt(NamedTuple):
    """What says that Segment accepted an event; a rerun can make a second one of the same."""

    message_id: str
    stream: str
    accepted_at: int
    """In milliseconds since 1970."""


class Notes(Protocol):
    """What is told of accepted events."""

    def add(self, events: Sequence[Outgoing]) -> None:
        """Note that one batch of *events* was accepted."""

    def sync(self) -> None:
        """Return when every note is safe."""

    def close(self) -> None:
        """Sync, and let go of what is held."""


class Receipts:
    """Notes accepted events in the file at *path*; without one, nothing."""

    def __init__(self, path: Path | None) -> None:
        self._journal = Journal(path) if path else None
        self._batches = 0

    def add(self, events: Sequence[Outgoing]) -> None:
        """Note that one batch of *events* was accepted; it is on disk after the next `sync`."""
        if self._journal is None:
            return
        self._batches += 1
        now = timestamp.write(datetime.now(timezone.utc))
        self._journal.append(
            {
                "accepted_at": now,
                "stream": event.stream,
                "key": event.key,
                "message_id": event.message_id,
                "batch": self._batches,
            }
            for event in events
        )

    def sync(self) -> None:
        """Return when every receipt is on disk."""
        if self._journal is not None:
            self._journal.sync()

    def close(self) -> None:
        """Sync, and let go of the file."""
        if self._journal is not None:
            self._journal.close()


def read_receipts(path: Path, advance: Callable[[int], object]) -> Iterator[Receipt | None]:
    """Yield the receipts at *path*, in order; None for one that was cut off.

    *advance* is told of each how many bytes were read.

    Raises:
        InputUnusable: the file is absent, cannot be read, or holds something else.
    """
    size_of(path)
    try:
        for number, line in enumerate(read(path), 1):
            try:
                yield None if line.entry is None else _receipt(line.entry)
            except ValueError as error:
                raise InputUnusable(f"Line {number:,} of {path} is no receipt.") from error
            advance(len(line.text) + 1)
    except FileUnusable as error:
        raise InputUnusable(error.message) from error


def size_of(path: Path) -> int:
    """Return how many bytes there are at *path*.

    Raises:
        InputUnusable: there is no such file.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputUnusable(
            f"There are no receipts at {path}: {error.strerror}. The target notes them there if "
            "its receipts_path says so."
        ) from error


def _receipt(entry: dict[str, Any]) -> Receipt:
    message_id, stream, moment = map(entry.get, ("message_id", "stream", "accepted_at"))
    if isinstance(message_id, str) and isinstance(stream, str) and isinstance(moment, str):
        return Receipt(message_id, stream, timestamp.to_ms(moment))
    raise ValueError("no receipt")
