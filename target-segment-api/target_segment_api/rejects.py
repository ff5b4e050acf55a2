"""Events that Segment would not take, or did not: set aside with every reason.

One JSON object a line: `rejected_at`, `stream`, `key`, `message_id`, `reasons`,
`event`. A state goes out only after the rejects before it are on disk.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from target_segment_api import timestamp
from target_segment_api.errors import DeliveryStopped
from target_segment_api.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FIRST_EVENTS = 100
"""If Segment would take none of the first so many, something else is wrong."""


class SetsAside(Protocol):
    """What takes events that Segment would not take, or did not."""

    def add(
        self, *, event: Any, reasons: Sequence[str], stream: str, key: Any, message_id: str | None
    ) -> None:
        """Set *event* aside; it is safe after the next `sync`."""

    def check(self, events: int) -> None:
        """Let the run go on, after *events* altogether, or raise `DeliveryStopped`."""

    def sync(self) -> None:
        """Return when everything that was set aside is safe."""

    def close(self) -> None:
        """Sync, and let go of what is held."""


class Rejects:
    """Sets events aside in the file at *path*, and stops when there are too many."""

    def __init__(self, path: Path, max_rejects: int) -> None:
        self._journal = Journal(path)
        self._path = path
        self._max = max_rejects
        self.count = 0

    def add(
        self, *, event: Any, reasons: Sequence[str], stream: str, key: Any, message_id: str | None
    ) -> None:
        """Set *event* aside; it is on disk after the next `sync`."""
        self._journal.append(
            [
                {
                    "rejected_at": timestamp.write(datetime.now(timezone.utc)),
                    "stream": stream,
                    "key": key,
                    "message_id": message_id,
                    "reasons": reasons,
                    "event": event,
                }
            ]
        )
        self.count += 1

    def check(self, events: int) -> None:
        """Let the run go on, unless it makes mere rejects of the *events* it knows anything of.

        Raises:
            DeliveryStopped: too many were set aside.
        """
        if self.count > self._max:
            raise DeliveryStopped(
                f"More than max_rejects ({self._max:,}) events were set aside. Look at "
                f"`segment-sender rejects list` ({self._path}), mend the cause, and run again."
            )
        if self.count == events >= _FIRST_EVENTS:
            raise DeliveryStopped(
                f"All of the first {events} events were set aside. Look at "
                f"`segment-sender rejects list` ({self._path}): a wrong endpoint or mapping "
                "must not turn a table into rejects."
            )

    def sync(self) -> None:
        """Return when everything that was set aside is on disk."""
        self._journal.sync()

    def close(self) -> None:
        """Sync, and let go of the file."""
        self._journal.close()
