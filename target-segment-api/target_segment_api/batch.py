"""Batches that Segment takes: at most so many events, and so many bytes in the body. Pure.

Sizes are those of the encoded body, before compression, as Segment measures
them: 32 KB an event and 500 KB a request, both in its HTTP API reference, and
both with a margin here, since it does not say whether a KB has 1,000 or 1,024 bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from target_segment_api.changes import Change
    from target_segment_api.ledger import Epoch

_HEAD: Final = b'{"batch":['
_TAIL: Final = b"]}"
_ENVELOPE_BYTES: Final = len(_HEAD) + len(_TAIL)


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One event that is ready to be sent, and where it came from."""

    body: bytes
    """The event as JSON, message id included; the same in every attempt."""
    message_id: str
    stream: str
    key: Any
    """The values of the record's key."""
    epoch: Epoch
    """The part of the input, between two states, that it belongs to."""
    change: Change | None = None
    """The change of the row that it was made of, where changes are remembered."""


class Batch:
    """Events of one request, in order."""

    __slots__ = ("body_bytes", "events")

    def __init__(self, events: list[Outgoing] | None = None) -> None:
        self.events = events or []
        self.body_bytes = _ENVELOPE_BYTES - 1  # there is one comma fewer than events
        for event in self.events:
            self.body_bytes += len(event.body) + 1

    def __len__(self) -> int:
        return len(self.events)

    def add(self, event: Outgoing, max_events: int, max_bytes: int) -> bool:
        """Put *event* at the end, if it fits in; into an empty batch everything does."""
        size = self.body_bytes + len(event.body) + 1
        if self.events and (size > max_bytes or len(self.events) >= max_events):
            return False
        self.events.append(event)
        self.body_bytes = size
        return True

    def body(self) -> bytes:
        """Return the body of the request, of exactly `body_bytes` bytes.

        It has no `sentAt`: with one, Segment would shift every timestamp by the
        difference of both clocks, by another amount in each attempt.
        """
        return b"".join((_HEAD, b",".join([event.body for event in self.events]), _TAIL))

    def halves(self) -> tuple[Batch, Batch]:
        """Return two batches with the same events, in the same order."""
        middle = len(self.events) // 2
        return Batch(self.events[:middle]), Batch(self.events[middle:])
