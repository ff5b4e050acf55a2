"""The senders under test: ours and its peers, each as the command that runs it.

A sender is a function of a folder and the stand-in: it returns the command, or
None where its environment cannot be had.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from harness import clients
from harness.segment import KEY, Segment

from benchmarks import environments, receivers

if TYPE_CHECKING:
    from typing import Any

PEERS = Path(__file__).parent / "peers"

Sender: TypeAlias = Callable[[Path, Segment], list[str] | None]


def ours(**settings: Any) -> Sender:
    """Run target-segment-api without a rate limit, with *settings* over its defaults."""

    def command(folder: Path, segment: Segment) -> list[str]:
        config = _config(
            folder,
            write_key=KEY,
            endpoint=segment.endpoint,
            max_events_per_second=0,
            rejects_path=str(folder / "rejects.jsonl"),
            **settings,
        )
        return [str(receivers.PROGRAMS / "target-segment-api"), "--config", str(config)]

    return command


def plain_target(folder: Path, segment: Segment) -> list[str]:
    """Run a BatchSink of the SDK with its default settings, one request after the other."""
    config = _config(folder, write_key=KEY, endpoint=segment.endpoint)
    return [sys.executable, str(PEERS / "plain_target.py"), "--config", str(config)]


def analytics_python(**settings: Any) -> Sender:
    """Run a loop around segment-analytics-python with *settings*."""
    return _library("segment.analytics.client", settings)


def rudder_python(**settings: Any) -> Sender:
    """Run a loop around rudder-sdk-python with *settings*."""
    return _library("rudderstack.analytics.client", settings)


def analytics_node(**settings: Any) -> Sender:
    """Run a loop around @segment/analytics-node with *settings*."""

    def command(_: Path, segment: Segment) -> list[str] | None:
        folder = environments.modules()
        if folder is None:
            return None
        script, given = str(PEERS / "analytics_node.mjs"), json.dumps(settings)
        return [str(clients.NODE), script, str(folder), segment.base_url, KEY, given]

    return command


def _library(module: str, settings: dict[str, Any]) -> Sender:
    def command(_: Path, segment: Segment) -> list[str] | None:
        program = environments.python()
        if program is None:
            return None
        script, given = str(PEERS / "client_library.py"), json.dumps(settings)
        return [str(program), script, module, segment.base_url, KEY, given]

    return command


def _config(folder: Path, **settings: object) -> Path:
    path = Path(tempfile.mkdtemp(dir=folder)) / "config.json"
    path.write_text(json.dumps(settings), "utf-8")
    return path
