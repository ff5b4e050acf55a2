"""What the attacks share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness import spool

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def spool_url(tmp_path: Path) -> str:
    """Where a spool would be that does not exist yet."""
    return spool.url_in(tmp_path)
