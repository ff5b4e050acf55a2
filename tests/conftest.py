"""What every test may rely on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


pytest.register_assert_rewrite("harness")  # what it asserts is explained as in a test

# Images for containers often set it; each of the many programs would be compiled anew then.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def _signals_are_ours() -> Iterator[None]:
    """Take signals back from the tap, which handles them for good once it is made."""
    _restore()  # taps are also made while tests are collected
    yield
    _restore()


def _restore() -> None:
    # Not what we were started with: a job in the background ignores SIGINT, and so would all
    # programs that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
