"""What the receiver answers, ready to be sent."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tap_segment_webhook.spool.model import Counts

_JSON = b"application/json"


class Answer(NamedTuple):
    """One HTTP response."""

    status: int
    body: bytes
    content_type: bytes = _JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


@lru_cache(maxsize=1024)
def stored(counts: Counts) -> Answer:
    """Answer 200 with what became of each event."""
    return Answer(200, json.dumps({"success": True, **counts._asdict()}).encode())


def refused(status: int, reason: str, *headers: tuple[bytes, bytes]) -> Answer:
    """Answer *status* with the *reason*, which Segment shows in its event delivery screen."""
    return Answer(
        status, json.dumps({"success": False, "message": reason}).encode(), headers=headers
    )


def unavailable(reason: str, retry_after_seconds: int) -> Answer:
    """Answer 503: Segment keeps the delivery and sends it again."""
    return refused(503, reason, (b"retry-after", str(retry_after_seconds).encode()))
