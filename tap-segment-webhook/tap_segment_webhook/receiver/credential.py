"""The secret or key that an `Authorization` header shows."""

from __future__ import annotations

from base64 import b64decode


def given_secret(header: bytes) -> bytes | None:
    """Return the user of `Basic`, or the token of `Bearer`; None if it shows neither.

    The colon after the user may be missing, as one of Segment's own clients leaves it out.
    """
    scheme, _, value = header.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip() or None
    if scheme.lower() != b"basic":
        return None
    try:
        return b64decode(value.strip(), validate=True).partition(b":")[0] or None
    except ValueError:
        return None
