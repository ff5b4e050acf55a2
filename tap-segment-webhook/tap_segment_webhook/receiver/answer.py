"""What the receiver answers, ready to be sent."""

from __future__ import annotations

import json
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tap_segment_webhook.spool.model import Counts

_JSON = b"application/json"
_TOO_LARGE = {413: "content_too_large"}  # Python names it by its version


class Answer(NamedTuple):
    """One HTTP response."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def answer(
    status: int, body: bytes, *headers: tuple[bytes, bytes], content_type: bytes = _JSON
) -> Answer:
    """Return a response with its length and type."""
    length = (b"content-length", str(len(body)).encode())
    return Answer(status, body, ((b"content-type", content_type), length, *headers))


def settled(counts: Counts, fault: str | None) -> Answer:
    """Answer what is kept: 200 with what became of each event, or 400 with its *fault*."""
    return refused(400, fault) if fault else _stored(counts)


@lru_cache(maxsize=1024)
def _stored(counts: Counts) -> Answer:
    return answer(200, json.dumps({"success": True, **counts._asdict()}).encode())


def refused(status: int, reason: str, *headers: tuple[bytes, bytes]) -> Answer:
    """Answer *status* with the *reason*, which Segment shows in its event delivery screen.

    Segment's own errors have a `code` too. An SDK that finds none takes the
    answer for a broken connection, and sends again what was refused for good.
    """
    code = _TOO_LARGE.get(status) or HTTPStatus(status).name.lower()
    error = {"success": False, "code": code, "message": reason}
    return answer(status, json.dumps(error).encode(), *headers)


def unavailable(reason: str, retry_after_seconds: int) -> Answer:
    """Answer 503: Segment keeps the delivery and sends it again."""
    return refused(503, reason, (b"retry-after", str(retry_after_seconds).encode()))
