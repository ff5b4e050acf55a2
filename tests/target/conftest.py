"""What the target's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator


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
