"""How fast and in how much memory the tap drains, and how soon it starts, against a plain SDK tap.

Records are counted from the first one that arrives in the pipe to the last, so
that start-up, which has a measurement of its own, does not dilute the rate.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tap_segment_webhook.event import read_event
from tap_segment_webhook.spool.model import Received
from tap_segment_webhook.spool.store import Store

from benchmarks import deliveries, machine, receivers
from benchmarks.report import OURS, Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = "plain SDK tap"
MIB = 1024 * 1024
READ_BYTES = 1 << 20
RECORD = b'{"type":"RECORD"'
COMMIT_EVENTS = 100  # of a spool that was filled by arrays


class Lengths(NamedTuple):
    """How often and how much is measured."""

    rounds: int
    events: int
    plain_events: int
    memory_events: int


FULL = Lengths(rounds=3, events=200_000, plain_events=30_000, memory_events=2_000_000)
QUICK = Lengths(rounds=1, events=50_000, plain_events=10_000, memory_events=100_000)


def measure(*, quick: bool) -> list[Measurement]:
    """Run every measurement of the tap."""
    lengths = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="tap-") as name:
        folder = Path(name)
        ours = spool(folder, lengths.events)
        plain = json_lines(folder, lengths.plain_events)
        large = spool(folder, lengths.memory_events)
        return [
            rates(lengths, ours, plain),
            mapped_rates(lengths, folder, plain),
            start_up(lengths, ours),
            memory(large, lengths.memory_events),
        ]


def versions() -> dict[str, str]:
    """Return the versions of what the taps are made of."""
    return machine.versions("singer-sdk", "msgspec", "tap-segment-webhook")


def rates(lengths: Lengths, ours: Path, plain: Path) -> Measurement:
    """Measure the plain case: everything selected, no maps."""
    found = Measurement("records of about 1 KB to a pipe", "records/s")
    for _ in range(lengths.rounds):
        found.add(OURS, drain(_ours(ours), lengths.events))
        found.add(PLAIN, drain(_plain(plain), lengths.plain_events))
    return found


def mapped_rates(lengths: Lengths, folder: Path, plain: Path) -> Measurement:
    """Measure the SDK's own path: a stream map that adds a column, in both."""
    found = Measurement("the same through a stream map", "records/s")
    maps = {"stream_maps": {"*": {"kind": "type"}}}
    ours = spool(folder, lengths.plain_events, **maps)
    plain = _config(folder, path=json.loads(plain.read_bytes())["path"], **maps)
    for _ in range(lengths.rounds):
        found.add(OURS, drain(_ours(ours), lengths.plain_events))
        found.add(PLAIN, drain(_plain(plain), lengths.plain_events))
    return found


def start_up(lengths: Lengths, ours: Path) -> Measurement:
    """Measure `--discover` as a whole process, against an SDK tap with nothing in it."""
    found = Measurement("start-up: --discover", "s")
    for _ in range(lengths.rounds * 2):
        for who, command in ((OURS, _ours(ours)), ("empty SDK tap", _plain())):
            start = time.perf_counter()
            subprocess.run(
                [*command, "--discover"],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            found.add(who, time.perf_counter() - start)
    return found


def memory(config: Path, events: int) -> Measurement:
    """Measure the most memory that a drain of many events ever took."""
    found = Measurement(f"memory peak draining {events:,} events", "MiB")
    peak = 0
    with _running(_ours(config)) as process:
        for _ in _chunks(process):
            peak = max(peak, machine.memory_peak_bytes(process.pid))
    found.add(OURS, peak / MIB)
    return found


def drain(command: list[str], events: int) -> float:
    """Return the records/s of *command*, which must emit exactly *events*."""
    seen, started, tail = 0, 0.0, b""
    with _running(command) as process:
        for chunk in _chunks(process):
            text = tail + chunk
            seen += text.count(RECORD)
            tail = text[-len(RECORD) + 1 :]
            if seen and not started:
                started = time.perf_counter()
            last = time.perf_counter()
    if seen != events:
        raise RuntimeError(f"{seen} records came out of {events} events: {command}.")
    return events / (last - started)


def spool(folder: Path, count: int, **settings: object) -> Path:
    """Fill a spool with *count* events; return the configuration that reads it."""
    config = _config(
        folder, spool_url=f"sqlite:///{tempfile.mkdtemp(dir=folder)}/spool.db", **settings
    )
    store = Store(json.loads(config.read_bytes())["spool_url"], dedup_window_events=0)
    bodies = events(count)
    while lot := [read_event(body) for body in islice(bodies, COMMIT_EVENTS)]:
        store.commit([Received("default", len(lot), lot, [])])
    store.close()
    return config


def json_lines(folder: Path, count: int) -> Path:
    """Write *count* events as JSON lines; return the configuration that reads them."""
    path = folder / "events.jsonl"
    path.write_bytes(b"".join(body + b"\n" for body in events(count)))
    return _config(folder, path=str(path))


def events(count: int) -> Iterator[bytes]:
    """Yield *count* events, each with a message id of its own."""
    pool = cycle(body for (body,) in list(deliveries.groups(1, 1)))
    for number, body in enumerate(islice(pool, count)):
        yield body.replace(deliveries.NUMBER, b"%012d" % number)


def _config(folder: Path, **settings: object) -> Path:
    path = Path(tempfile.mkdtemp(dir=folder)) / "config.json"
    path.write_text(json.dumps(settings), "utf-8")
    return path


def _ours(config: Path) -> list[str]:
    return [str(receivers.PROGRAMS / "tap-segment-webhook"), "--config", str(config)]


def _plain(config: Path | None = None) -> list[str]:
    script = receivers.ROOT / "benchmarks" / "peers" / "plain_tap.py"
    return [sys.executable, str(script), *(["--config", str(config)] if config else [])]


def _running(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _chunks(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield what *process* writes, as it comes."""
    if process.stdout is not None:
        while chunk := os.read(process.stdout.fileno(), READ_BYTES):
            yield chunk
