"""One PostgreSQL and one Meltano project for all tests of a session; the rest is each test's own.

Both are temporary: a session neither needs a `.meltano` nor changes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from harness.meltano import Meltano
from harness.pipeline import Pipeline
from harness.postgres import postgres
from harness.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.postgres import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Run a PostgreSQL."""
    with postgres() as running:
        yield running


@pytest.fixture(scope="session")
def meltano(tmp_path_factory: pytest.TempPathFactory) -> Meltano:
    """Install a Meltano project like this repository's."""
    project = Meltano(tmp_path_factory.mktemp("meltano"))
    project.install()
    return project


@pytest.fixture
def pipeline(tmp_path: Path, meltano: Meltano, server: Server) -> Callable[..., Pipeline]:
    """Make the test's pipeline, with the plugin's settings as keywords."""

    def make(**settings: Any) -> Pipeline:
        return Pipeline(tmp_path, meltano, server, **settings)

    return make


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    """Run a stand-in for Segment."""
    with Segment(tmp_path) as running:
        yield running
