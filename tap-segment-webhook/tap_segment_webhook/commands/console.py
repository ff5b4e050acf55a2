"""What commands say alike: how far they are, what went wrong, and how the books balance."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from tap_segment_webhook.errors import PortUnusable, SpoolUnavailable, SpoolUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

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


def balance(counts: Counts) -> str:
    """Return *counts* as the sum that they are."""
    return (
        f"{counts.received:,} received = {counts.stored:,} stored + {counts.duplicate:,} duplicate "
        f"+ {counts.filtered:,} filtered + {counts.rejected:,} rejected"
    )
