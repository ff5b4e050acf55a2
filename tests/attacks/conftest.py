"""What the attacks share."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import spool

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as an attack."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.attack)


@pytest.fixture
def spool_url(tmp_path: Path) -> str:
    """Where a spool would be that does not exist yet."""
    return spool.url_in(tmp_path)
