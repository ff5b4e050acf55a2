"""The SDK's own tests of a tap, over a spool that holds events of all seven types."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import deliveries, spool
from singer_sdk.testing import SuiteConfig, get_tap_test_class
from tap_segment_webhook.tap import TapSegmentWebhook

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(tempfile.mkdtemp())  # the SDK wants the settings when its classes are made
OBJECTS = {"spool_url": spool.url_in(FOLDER)}
UNLIMITED = SuiteConfig(max_records_limit=None)
TEXTS = {**OBJECTS, "payload_format": "json_string"}


@pytest.fixture(scope="module", autouse=True)
def _full_spool() -> Iterator[None]:
    """Fill the spool that all classes read."""
    bodies = [deliveries.encode(event) for event in deliveries.events(200)]
    odd = spool.event(201, timestamp="soon", context=[], unknown=1, userId=7)
    spool.fill(OBJECTS["spool_url"], [*bodies, odd])
    yield
    shutil.rmtree(FOLDER)


# The first records of each stream, by the SDK's own loop.
TestLimited = get_tap_test_class(TapSegmentWebhook, config=OBJECTS, parse_env_config=False)

# Everything, in the one pass of a real run.
TestWhole = get_tap_test_class(
    TapSegmentWebhook, config=OBJECTS, suite_config=UNLIMITED, parse_env_config=False
)

# Everything, with open objects as JSON text.
TestTexts = get_tap_test_class(
    TapSegmentWebhook, config=TEXTS, suite_config=UNLIMITED, parse_env_config=False
)
