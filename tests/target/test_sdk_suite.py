"""The SDK's own tests of a target, over streams that no call is known for."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness.segment import KEY, Segment
from singer_sdk.testing import get_target_test_class
from target_segment_api.target import TargetSegmentApi

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(tempfile.mkdtemp())  # the SDK wants the settings when its classes are made
SETTINGS = {"write_key": KEY, "rejects_path": str(FOLDER / "rejects.jsonl")}


@pytest.fixture(scope="module", autouse=True)
def _one_segment() -> Iterator[None]:
    """Run the stand-in that all tests would send to."""
    with Segment(FOLDER) as segment:
        SETTINGS["endpoint"] = segment.endpoint
        yield
        sent = segment.requests()
    shutil.rmtree(FOLDER)
    assert sent == []  # all was skipped


TestSuite = get_target_test_class(TargetSegmentApi, config=SETTINGS, parse_env_config=False)
