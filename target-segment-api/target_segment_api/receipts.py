"""What Segment has answered 200 to: one JSON object a line.

`accepted_at`, `stream`, `key`, `message_id`, `batch`. A state goes out
only after the receipts before it are on disk, so `receipts` and state agree.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

from target_segment_api import timestamp
from target_segment_api.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from target_segment_api.batch import Outgoing


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
