"""Message ids by which Segment recognises what it has already taken. Pure.

Segment drops an event whose `messageId` it has seen in the last 24 hours, from
anybody: ids are compared across all its customers and sources, and the content
is not looked at (Segment's documentation of deduplication). So the same row
must get the same id in every run, and another id for another write key, or the
rows of a production source would swallow those of a development source.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from target_segment_api.encoding import encode

_BYTES: Final = 16


def namespace_of(write_key: str) -> str:
    """Return 16 hex digits that stand for *write_key*, and do not give it away."""
    return sha256(b"target-segment-api:" + write_key.encode()).hexdigest()[:16]


def message_id(namespace: str, stream: str, key: Any, version: Any, content: bytes) -> str:
    """Return the id of an event: 32 hex digits that depend on all of the arguments alone.

    Args:
        namespace: what keeps the ids of one write key from those of another.
        stream: where the record came from.
        key: the record's key.
        version: which version of the record this is, or None: without it a change
            back to an earlier content within 24 hours would have the earlier id.
        content: the encoded event, without its id.
    """
    place = encode((namespace, stream, key, version))
    return sha256(place + content).digest()[:_BYTES].hex()
