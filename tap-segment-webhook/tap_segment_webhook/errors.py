"""What can go wrong, one class for each way a caller reacts.

```
Exception
├── DeliveryRefused      answer its 4xx; Segment will not send it again
├── InvalidEvent         set the event aside in rejects, go on with the others
├── SpoolUnavailable     answer 503 or stop the command; Segment sends it again
│   └── SpoolBroken      nothing more may be assumed of the file: stop the process
├── SpoolUnusable        the command cannot start: locked, foreign or too new a file
│   ├── NoSpool          nothing has been received yet: there is nothing to read
│   └── SpoolDamaged     what lies there must not be passed on: salvage the rest
└── PortUnusable         the receiver cannot start: somebody else listens there
```

A message says what happened with its numbers, why, and what to do next. It
never holds a secret or the content of an event.
"""

from __future__ import annotations


class DeliveryRefused(Exception):
    """A delivery that Segment must not send again as it is."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class InvalidEvent(Exception):
    """One element of a delivery that is no Segment event."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SpoolUnavailable(Exception):
    """The spool cannot store now; nothing of the delivery was kept."""

    def __init__(self, reason: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class SpoolBroken(SpoolUnavailable):
    """The disk or the file failed: only a fresh start may trust it again."""


class SpoolUnusable(Exception):
    """The spool cannot be opened as it is, and why."""


class NoSpool(SpoolUnusable):
    """There is no spool at that place yet."""


class SpoolDamaged(SpoolUnusable):
    """Something in the spool is not what was written, and where."""


class PortUnusable(Exception):
    """The port cannot be opened, and why."""
