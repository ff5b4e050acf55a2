"""What commands say alike: how far they are, and that they were stopped."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_STOPPED = 128 + signal.SIGINT  # what a shell makes of a command that a signal ended


@contextmanager
def stoppable(after: str = "") -> Iterator[None]:
    """End with 130 at Ctrl-C, not with 1, which says something of events; say what is *after*."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\nStopped. {after}".rstrip(), err=True)
        sys.exit(_STOPPED)


class Program(click.Group):
    """A group of commands, each of which can be stopped."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is asked for."""
        with stoppable():
            return super().invoke(ctx)


def progress(length: int, label: str) -> AbstractContextManager[Any]:
    """Return a bar for a terminal; elsewhere nothing is shown."""
    return click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    )
