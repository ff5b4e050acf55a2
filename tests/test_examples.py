"""What examples/ shows works as it stands, where it is copied to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from harness.meltano import REPOSITORY
from harness.receiver import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = REPOSITORY / "examples" / "pipeline-ci"
RUN_SECONDS = 120


def test_the_tests_of_a_pipeline_pass_elsewhere(tmp_path: Path) -> None:
    """The folder can be copied: it needs a stand-in, the target on the PATH, and pytest."""
    folder = shutil.copytree(EXAMPLE, tmp_path / "ci", ignore=shutil.ignore_patterns("__pycache__"))
    variables = {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "STAND_IN": f"{sys.executable} {REPOSITORY / 'tests' / 'harness' / 'stand_in.py'}",
    }

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", folder, folder],
        check=False,
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS,
    )

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
