"""What the target's tests share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from harness.segment import Segment
from harness.target import Target
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The same examples each time, unless it is asked for more of them.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=100)
settings.register_profile(
    "soak", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("soak" if "SOAK_ROUNDS" in os.environ else "suite")


@pytest.fixture(scope="session")
def _one_segment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segment]:
    """Give the one stand-in of all tests that need not start or stop it."""
    with Segment(tmp_path_factory.mktemp("segment")) as running:
        yield running


@pytest.fixture
def segment(_one_segment: Segment) -> Segment:
    """Give a stand-in for Segment that has received nothing and is in no mood."""
    _one_segment.moods()
    _one_segment.delay(0)
    _one_segment.forget()
    return _one_segment


@pytest.fixture
def target(segment: Segment, tmp_path: Path) -> Target:
    """Give a target that sends to the stand-in."""
    return Target(tmp_path, segment.endpoint)
