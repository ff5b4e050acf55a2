"""The peers' packages as `harness.clients` installs them, or None where it cannot."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

from harness import clients

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOT_INSTALLED = "not installed"


@cache
def python() -> Path | None:
    """Return the Python that has the peers' packages, or None, and say so, if there is none."""
    return _or_none(clients.python)


@cache
def modules() -> Path | None:
    """Return the folder where Node finds the packages, or None, and say so, if there is none."""
    return _or_none(clients.modules)


def versions() -> dict[str, str]:
    """Return which release of each sender is measured."""
    return versions_for_python() | versions_for_node(clients.ANALYTICS_NODE)


def versions_for_python() -> dict[str, str]:
    """Return which releases of the packages for Python are used."""
    if python() is None:
        return dict.fromkeys(clients.FOR_PYTHON, NOT_INSTALLED)
    return dict(clients.FOR_PYTHON)


def versions_for_node(*names: str) -> dict[str, str]:
    """Return which releases of the packages *names* are used, and which Node runs them."""
    if modules() is None:
        return dict.fromkeys(names, NOT_INSTALLED)
    return clients.releases_for_node(*names)


def _or_none(install: Callable[[], Path]) -> Path | None:
    try:
        return install()
    except clients.NotInstalled as error:
        print(f"Peers are {NOT_INSTALLED}: {error}", file=sys.stderr)
        return None
