"""Does this delivery come from our Segment?

Segment signs with HMAC-SHA1 over the JSON text that it sends, as lower-case
hex in `X-Signature`. It signs an array over its first element only: the rest
of an array is covered by TLS alone. (`segmentio/action-destinations`,
`packages/destination-actions/src/destinations/webhook/send/index.ts`.)
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def verify(signed: bytes, signature: bytes, secrets: Iterable[bytes]) -> bool:
    """Tell whether *signature* was made over *signed* with one of *secrets*.

    Takes the same time wherever the first wrong digit is.
    """
    given = signature.strip().lower()
    matches = [hmac.compare_digest(_sign(signed, secret), given) for secret in secrets]
    return any(matches)


def _sign(signed: bytes, secret: bytes) -> bytes:
    mac = _keyed(secret).copy()
    mac.update(signed)
    return mac.hexdigest().encode()


@lru_cache(maxsize=64)
def _keyed(secret: bytes) -> hmac.HMAC:
    """Return what every signature with *secret* begins with; made once, it saves a quarter."""
    return hmac.new(secret, digestmod="sha1")


def same(shown: bytes, secrets: Iterable[bytes]) -> bool:
    """Tell whether *shown* is one of *secrets*, in the same time wherever they differ."""
    matches = [hmac.compare_digest(secret, shown) for secret in secrets]
    return any(matches)
