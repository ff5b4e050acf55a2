"""Waiting for what will happen, and no longer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.01


def wait_until(happened: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as *happened* is true.

    Raises:
        TimeoutError: it did not become true within *seconds*.
    """
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"It did not happen within {seconds:g} seconds.")
        time.sleep(_LOOK_SECONDS)
