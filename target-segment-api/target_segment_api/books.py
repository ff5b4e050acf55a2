"""The books: what became of each record and event, by stream. Pure.

Always `events = sent + rejected + looped + pending`, and every record is
skipped, unchanged, or became events.
"""

from __future__ import annotations

from typing import Any


class CallTally:
    """The figures of one call of a mapping."""

    __slots__ = ("events", "invalid", "rows", "sample", "skipped")

    def __init__(self) -> None:
        self.rows = 0
        """Rows that it was asked about."""
        self.skipped = 0
        """Rows that its trigger did not mean."""
        self.events = 0
        """Events that it made."""
        self.invalid = 0
        """Events of those that were set aside before they were sent."""
        self.sample: dict[str, Any] | None = None
        """The first event that it made."""


class Tally:
    """The figures of one stream, which only grow."""

    __slots__ = (
        "calls",
        "events",
        "looped",
        "records",
        "rejected",
        "sent",
        "skipped",
        "unchanged",
    )

    def __init__(self) -> None:
        self.records = 0
        """RECORD messages read."""
        self.skipped = 0
        """Records that became no event: no call is known for them, or none meant them."""
        self.unchanged = 0
        """Records that are as they were when they were last sent."""
        self.events = 0
        """Events made of records."""
        self.sent = 0
        """Events that Segment accepted."""
        self.rejected = 0
        """Events set aside, with their reasons, in the rejects file."""
        self.looped = 0
        """Events that this target had sent before, and did not send again."""
        self.calls: list[CallTally] = []
        """Those of each call of a mapped stream."""

    def begin_calls(self, count: int) -> None:
        """Keep the figures of *count* calls, unless they are kept already."""
        self.calls = self.calls or [CallTally() for _ in range(count)]

    @property
    def pending(self) -> int:
        """Events that were neither accepted nor set aside; the next run has them again."""
        return self.events - self.sent - self.rejected - self.looped

    def as_dict(self) -> dict[str, int]:
        """Return every figure by its name."""
        return {name: getattr(self, name) for name in FIGURES}


FIGURES = ("records", "skipped", "unchanged", "events", "sent", "rejected", "looped", "pending")


class Books:
    """The figures of all streams."""

    def __init__(self) -> None:
        self.streams: dict[str, Tally] = {}

    def of(self, stream: str) -> Tally:
        """Return the figures of *stream*."""
        return self.streams.setdefault(stream, Tally())

    def total(self) -> dict[str, int]:
        """Return the figures of all streams together."""
        found = [tally.as_dict() for tally in self.streams.values()]
        return {name: sum(figures[name] for figures in found) for name in FIGURES}

    def as_dict(self) -> dict[str, Any]:
        """Return the figures of each stream, and of all."""
        streams = {name: tally.as_dict() for name, tally in self.streams.items()}
        return {"streams": streams, "total": self.total()}


def sentence(figures: dict[str, int]) -> str:
    """Return *figures* as one sentence."""
    return (
        f"{figures['records']:,} records read ({figures['skipped']:,} skipped, "
        f"{figures['unchanged']:,} unchanged); "
        f"{figures['events']:,} events = {figures['sent']:,} sent + {figures['rejected']:,} "
        f"rejected + {figures['looped']:,} looped + {figures['pending']:,} pending."
    )
