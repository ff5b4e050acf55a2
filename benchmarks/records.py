"""Singer input to measure with: track events of about 1 KB as the tap writes them, a STATE between.

Every event has a message id of its own; whose it is, the caller says.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

from harness import messages

from benchmarks import deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

User = bytes
# Stands in a template where the user's id goes: nowhere else in an event.
USER = b"^^^^^^^^^"
USERS = 10_007  # a prime: every step below it leads through all of them
STATE_EVENTS = 10_000


class Records(NamedTuple):
    """Input for one run: the SCHEMA, which goes ahead, and a file with all that follows."""

    schema: bytes
    path: Path
    events: int


def write(path: Path, events: int, user: Callable[[int], User]) -> Records:
    """Write so many *events* to *path*; *user* gives the user's id of each, by its number."""
    path.write_bytes(b"")
    with path.open("ab") as file:
        file.writelines(_lines(events, user))
    return Records(messages.line(messages.schema("track")), path, events)


def even(number: int) -> User:
    """Return one of many users, each as often as the others."""
    return b"usr_%05d" % (number * 7919 % USERS)


def skewed(number: int) -> User:
    """Return the same user for three events in ten, and one of many for the others."""
    return b"usr_00000" if number % 10 < 3 else even(number)


def _lines(events: int, user: Callable[[int], User]) -> Iterator[bytes]:
    for number, template in zip(range(1, events + 1), cycle(_templates()), strict=False):
        yield template.replace(deliveries.NUMBER, b"%012d" % number).replace(USER, user(number))
        if number % STATE_EVENTS == 0 or number == events:
            yield messages.line(messages.state(number))


def _templates() -> list[bytes]:
    """Return the lines of different events, number and user still open."""
    pool = deliveries.events(deliveries.POOL_EVENTS, 1)
    named = [event | {"userId": USER.decode()} for event in pool if event["type"] == "track"]
    return [messages.line(messages.record(event)) for event in named]
