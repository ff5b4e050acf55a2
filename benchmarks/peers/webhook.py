"""What every receiver written by hand does with a delivery before it stores it.

With Python's own JSON, which is what the frameworks give to who asks them for
the body as JSON.
"""

from __future__ import annotations

import hmac
import json
import os
from typing import Any, NamedTuple

SECRET = os.environ.get("SHARED_SECRET", "").encode()
DATABASE = os.environ.get("DATABASE", "")


class Row(NamedTuple):
    """One event as it is stored: its id, its type, all of it as JSON text."""

    message_id: str
    type: str
    payload: str


def is_signed(body: bytes, signature: str) -> bool:
    """Tell whether *signature* is that of *body*: its first element if it is an array."""
    digest = hmac.new(SECRET, _signed_part(body), "sha1").hexdigest()
    return hmac.compare_digest(digest, signature)


def rows(body: bytes) -> list[Row]:
    """Return the events in *body*, a JSON object or an array of them."""
    delivery = json.loads(body)
    if isinstance(delivery, dict):
        return [Row(delivery["messageId"], delivery["type"], body.decode())]
    return [Row(event["messageId"], event["type"], _encode(event)) for event in delivery]


def _encode(event: dict[str, Any]) -> str:
    return json.dumps(event)


def _signed_part(body: bytes) -> bytes:
    if not body.startswith(b"["):
        return body
    text = body.decode()
    start = text.index("{")
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[start:end].encode()
