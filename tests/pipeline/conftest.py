"""One PostgreSQL and one Meltano project for each process of a session, with shared plugins.

All are temporary: a session neither needs a `.meltano` nor changes one. The rest
is each test's own.
"""

from __future__ import annotations

import fcntl
import os
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
def installed(tmp_path_factory: pytest.TempPathFactory) -> Meltano:
    """Install a Meltano project like this repository's: one process does, the others wait."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    done = folder / "meltano-installed"
    with (folder / "meltano-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        project = Meltano(folder / "meltano")
        if not done.exists():
            project.install()
            done.touch()
    return project


@pytest.fixture(scope="session")
def meltano(installed: Meltano, tmp_path_factory: pytest.TempPathFactory) -> Meltano:
    """Give a Meltano project that has the plugins, whose state and logs are this process's own."""
    return installed.share(tmp_path_factory.mktemp("meltano") / "project")


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
