"""What the tap's tests share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from harness import spool
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from pathlib import Path

# The same examples each time, unless it is asked for more of them.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=100)
settings.register_profile(
    "soak", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("soak" if "SOAK_ROUNDS" in os.environ else "suite")


@pytest.fixture
def spool_url(tmp_path: Path) -> str:
    """Where a spool would be that does not exist yet."""
    return spool.url_in(tmp_path)
