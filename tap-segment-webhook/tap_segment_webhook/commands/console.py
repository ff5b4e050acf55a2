"""What commands say alike: how far they are, what went wrong, and how the books balance."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from tap_segment_webhook.errors import NoSpool, PortUnusable, SpoolUnavailable, SpoolUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tap_segment_webhook.spool.engine import Consumers
    from tap_segment_webhook.spool.model import Counts

_STOPPED = 128 + signal.SIGINT  # what a shell makes of a command that a signal ended


def _nothing() -> str:
    return ""


@contextmanager
def plainly(so_far: Callable[[], str] = _nothing) -> Iterator[None]:
    """Turn what a user can mend, and Ctrl-C, into a line instead of a traceback.

    What *so_far* returns then is added to it: what was done, and what is next.
    """
    try:
        yield
    except NoSpool as error:
        raise click.ClickException(
            f"{error} `segment-receiver serve` or `load` makes it. If it should be there: a path "
            "in spool_url is relative to where the command runs."
        ) from error
    except (PortUnusable, SpoolUnusable, SpoolUnavailable) as error:
        raise click.ClickException(f"{error} {so_far()}".rstrip()) from error
    except BrokenPipeError:
        raise  # whoever reads has had enough; click ends without a word
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        reason = f"{where}{error.strerror or error}."
        raise click.ClickException(f"{reason} {so_far()}".rstrip()) from error
    except KeyboardInterrupt:
        click.echo(f"\nStopped. {so_far()}".rstrip(), err=True)
        sys.exit(_STOPPED)


def progress(length: int, label: str) -> AbstractContextManager[Any]:
    """Return a bar for a terminal; elsewhere nothing is shown."""
    return click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    )


def ensure_known(name: str, consumers: Consumers) -> None:
    """Raise if no consumer is called *name*, and say which there are."""
    if name not in (known := consumers.positions()):
        names = ", ".join(map(repr, known)) or "none, before the first run of a pipeline"
        raise click.ClickException(f"No consumer is called {name!r}. There are: {names}.")


def balance(counts: Counts) -> str:
    """Return *counts* as the sum that they are."""
    return (
        f"{counts.received:,} received = {counts.stored:,} stored + {counts.duplicate:,} duplicate "
        f"+ {counts.filtered:,} filtered + {counts.rejected:,} rejected"
    )
