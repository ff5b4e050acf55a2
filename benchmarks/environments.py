"""What peers need and the workspace must not have: each has an environment of its own.

rudder-sdk-python needs `backoff`, which owns the import name of the SDK's
`python-backoff`. An environment is made at first use, in .bench, and kept.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".bench"
MARK = "made-of.json"  # written last: without it, making was cut short

ANALYTICS_PYTHON = ("segment-analytics-python", "2.4.0")
RUDDER_PYTHON = ("rudder-sdk-python", "2.1.9")
ANALYTICS_NODE = ("@segment/analytics-node", "3.1.0")
NOT_INSTALLED = "not installed"

MAPPING_KIT = {
    "@segment/actions-core": "3.170.0",
    "@segment/action-destinations": "3.497.0",
    "@segment/destination-subscriptions": "3.37.0",
}
"""What Segment publishes of its own mappings: the kit, the destinations, the triggers."""

_LOOSER = {"@aws-sdk/client-kinesis": "^3.894.0"}  # of another destination, and hard to get


@cache
def python(name: str, release: str) -> Path | None:
    """Return the Python that has the package *name*, or None if it cannot be installed."""
    folder = FOLDER / name
    program = folder / "bin" / "python"
    # The same HTTP library as ours.
    parts = [
        f"{name}=={release}",
        *(f"{each}=={version(each)}" for each in ("requests", "urllib3")),
    ]
    making = (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(program), "-m", "pip", "install", "--quiet", *parts],
    )
    return program if _made(folder, [*parts, sys.version], making) else None


@cache
def node(name: str, release: str) -> Path | None:
    """Return the folder where Node finds the package *name*, or None if it cannot be installed."""
    folder = FOLDER / name.replace("/", "-").lstrip("@")
    if not shutil.which("node") or not shutil.which("npm"):
        return None
    parts = [f"{name}@{release}"]
    making = (["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *parts],)
    return folder if _made(folder, parts, making) else None


@cache
def mapping_kit() -> Path | None:
    """Return the folder where Node finds Segment's mapping kit, or None if it cannot be."""
    folder = FOLDER / "parity"
    if not shutil.which("node") or not shutil.which("npm"):
        return None
    wanted = {"private": True, "dependencies": MAPPING_KIT, "overrides": _LOOSER}
    parts = [f"{name}@{release}" for name, release in MAPPING_KIT.items()]
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"]
    making = (["npm", "install", *options, "--prefix", str(folder)],)
    return folder if _made(folder, parts, making, {"package.json": json.dumps(wanted)}) else None


def versions() -> dict[str, str]:
    """Return which release of each peer is measured."""
    found = {
        name: release if python(name, release) else NOT_INSTALLED
        for name, release in (ANALYTICS_PYTHON, RUDDER_PYTHON)
    }
    name, release = ANALYTICS_NODE
    if not node(name, release):
        return found | {name: NOT_INSTALLED}
    own = subprocess.check_output(["node", "--version"], text=True).strip()
    return found | {name: release, "node": own}


def _made(
    folder: Path,
    parts: list[str],
    making: tuple[list[str], ...],
    files: dict[str, str] | None = None,
) -> bool:
    """Make *folder* of *parts* unless it is, with *files* in it; return whether it is now."""
    mark, wanted = folder / MARK, json.dumps(parts)
    if mark.exists() and mark.read_text("utf-8") == wanted:
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in (files or {}).items():
        (folder / name).write_text(text, "utf-8")
    for command in making:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            print(f"{parts[0]} is {NOT_INSTALLED}: {said}", file=sys.stderr)
            return False
    mark.write_text(wanted, "utf-8")
    return True
