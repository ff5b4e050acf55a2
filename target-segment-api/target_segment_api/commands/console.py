"""What commands say alike: how far they are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def progress(length: int, label: str) -> AbstractContextManager[Any]:
    """Return a bar for a terminal; elsewhere nothing is shown."""
    return click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    )
