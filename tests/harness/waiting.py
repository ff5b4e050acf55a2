"""Waiting for what will happen, and no longer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.1
_SHARE = 5  # a pause is so much longer than the look before it, which may have asked a server


def wait_until(happened: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as *happened* is true.

    Raises:
        TimeoutError: it did not become true within *seconds*.
    """
    looked_at = time.monotonic()
    deadline = looked_at + seconds
    while not happened():
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError(f"It did not happen within {seconds:g} seconds.")
        pause = min(_SHARE * (now - looked_at), _LONGEST_PAUSE_SECONDS)
        time.sleep(max(pause, _PAUSE_SECONDS))
        looked_at = time.monotonic()
