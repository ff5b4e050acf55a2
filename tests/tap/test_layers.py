"""Imports go one way, and each kind of outside world is known in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tap_segment_webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "tap_segment_webhook"
ROOT = Path(tap_segment_webhook.__file__).parent


def module_of(path: Path) -> str:
    """Return the name of the module in *path*, relative to the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> set[str]:
    """Return every module that *path* imports when it runs, wherever in it."""
    found: set[str] = set()
    for node in nodes(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "no relative imports"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk *tree*, without what is there for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from nodes(node)


IMPORTS = {module_of(path): imports(path) for path in ROOT.rglob("*.py")}
OWN = {
    module: {
        name.removeprefix(f"{PACKAGE}.")
        for name in found
        if name.removeprefix(f"{PACKAGE}.") in IMPORTS and name != PACKAGE
    }
    for module, found in IMPORTS.items()
}


def users_of(library: str) -> set[str]:
    """Return the modules that import *library*."""
    return {
        module
        for module, found in IMPORTS.items()
        if any(name == library or name.startswith(f"{library}.") for name in found)
    }


def reachable(module: str) -> set[str]:
    """Return *module* and everything of ours that it imports, at any remove."""
    found, left = {module}, [module]
    while left:
        new = OWN[left.pop()] - found
        found |= new
        left += new
    return found


def test_imports_have_no_cycle() -> None:
    """There is an order in which the modules build on one another."""
    assert len(list(TopologicalSorter(OWN).static_order())) == len(IMPORTS)


@pytest.mark.parametrize("module", [name for name in IMPORTS if name.startswith("receiver")])
def test_receiver_never_reaches_the_singer_sdk(module: str) -> None:
    """What answers Segment starts fast, and cannot be broken by an upgrade of the SDK."""
    assert not reachable(module) & users_of("singer_sdk")


@pytest.mark.parametrize("module", ["receiver.server", "commands"])
def test_singer_sdk_is_not_loaded(module: str) -> None:
    """By a running receiver it never is, nor by a library of ours; by commands when they run."""
    program = f"import sys, {PACKAGE}.{module}; sys.exit('singer_sdk' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("library", "place"),
    [
        ("sqlite3", "spool."),
        ("fcntl", "spool."),
        ("nats", "spool.jetstream."),
        ("uvicorn", "receiver."),
        ("uvloop", "receiver."),
        ("httptools", "receiver."),
        ("prometheus_client", "receiver."),
        ("hmac", "signature"),
        ("click", "commands"),
    ],
)
def test_library_is_known_in_one_place(library: str, place: str) -> None:
    """The store, the HTTP server and the rest could each be exchanged alone."""
    users = users_of(library)

    assert all(f"{module}.".startswith(place) or module == place for module in users)
    assert users or library == "httptools"


def test_pure_modules_do_nothing_but_compute() -> None:
    """What takes a delivery apart and makes a record of it touches neither files nor network."""
    pure = (
        *("call", "delivery", "discard", "errors", "event", "filter", "lines", "record"),
        *("person", "signature", "timestamp"),
    )
    outside = ("socket", "sqlite3", "asyncio", "threading", "os", "pathlib", "time", "subprocess")

    for module in pure:
        for library in outside:
            assert not reachable(module) & users_of(library), (module, library)


def test_package_itself_is_empty() -> None:
    """Importing the package does nothing."""
    assert IMPORTS[""] == set()
