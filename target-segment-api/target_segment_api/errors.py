"""What can go wrong, one class for each way a caller reacts.

```
click.ClickException
├── DeliveryStopped   finish what is under way, print the state that is true, exit with 1
├── FileUnusable      a rejects or receipts file cannot be used: stop likewise
└── InputUnusable     nothing can be compared: exit with 2, since 1 means that events are missing

Exception
└── BudgetReached     stop reading, deliver what was read, exit with 0
```

An event that Segment would not take is no exception: it has reasons (`rules`),
and is set aside. What Segment answers is no exception either (`client`).

A message says what happened with its numbers, why, and what to do next. It
never holds a write key or the content of an event.
"""

from __future__ import annotations

import click


class DeliveryStopped(click.ClickException):
    """Going on would lose data or send wrong data; nothing undelivered is confirmed."""


class FileUnusable(click.ClickException):
    """A file that must be written or read cannot be, and why."""


class InputUnusable(click.ClickException):
    """What `reconcile` was given to compare cannot be read, or is something else."""

    exit_code = 2


class BudgetReached(Exception):
    """The next event would cost more than was allowed: stop reading, finish, exit with 0."""
