"""When to send: the rate, the waits after failures, and when to give up.

Shared by all lanes, so that one `Retry-After` holds them all, and the first
success after an outage wakes all of them.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Final

_FIRST_SECONDS: Final = 0.5
_LONGEST_SECONDS: Final = 60.0
_SHARE: Final = 0.35
"""No wait is longer than this share of the outage so far: it is over at most
so much later than the outage, and the waits still double about every third time."""


class Patience:
    """Lets lanes wait, together, and tells them when waiting is no use any more.

    Args:
        max_events_per_second: over all lanes; 0 for no limit.
        retry_for_seconds: how long one batch is tried.
    """

    def __init__(self, *, max_events_per_second: int, retry_for_seconds: float) -> None:
        self._rate = max_events_per_second
        self.retry_for_seconds = retry_for_seconds
        self._changed = threading.Condition()
        self._next_send = 0.0
        self._closed_until = 0.0
        self._successes = 0
        self._give_up_at = float("inf")

    def admit(self, events: int) -> bool:
        """Wait until a batch of *events* may be sent; False if it is too late for that."""
        with self._changed:
            while True:
                now = time.monotonic()
                if max(now, self._closed_until) >= self._give_up_at:
                    return False
                wait = max(self._closed_until, self._next_send) - now
                if wait <= 0:
                    break
                self._changed.wait(min(wait, self._give_up_at - now))
            if self._rate:
                self._next_send = now + events / self._rate
            return True

    def succeeded(self) -> None:
        """Wake whoever waits after a failure: the server answers again."""
        with self._changed:
            self._successes += 1
            self._changed.notify_all()

    def hold(self, seconds: float) -> None:
        """Let nobody send for so long, as the server has asked."""
        with self._changed:
            self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def wait(self, attempt: int, since: float) -> bool:
        """Wait after failure number *attempt* of a batch, first tried at *since*.

        The first wait is none. Ends early when another lane succeeds.

        Returns:
            False if the time for this batch is over.
        """
        with self._changed:
            now = time.monotonic()
            end = min(since + self.retry_for_seconds, self._give_up_at)
            if max(now, self._closed_until) >= end:
                return False  # also if the server asks for more time than there is
            longest = min(max(_FIRST_SECONDS, _SHARE * (now - since)), _LONGEST_SECONDS)
            seconds = 0.0 if attempt == 1 else longest * random.uniform(0.5, 1.0)  # noqa: S311
            seen, wake_at = self._successes, min(now + seconds, end)
            while self._successes == seen and (left := wake_at - time.monotonic()) > 0:
                self._changed.wait(left)
                wake_at = min(wake_at, self._give_up_at)
            return time.monotonic() < min(end, self._give_up_at)

    def give_up_at(self, moment: float) -> None:
        """Let every wait end at *moment* of the monotonic clock at the latest."""
        with self._changed:
            self._give_up_at = min(self._give_up_at, moment)
            self._changed.notify_all()
