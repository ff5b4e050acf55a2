"""How fast events become durable: ours against the receivers people write themselves.

All take part in the same rounds, one after the other, so that a noisy minute
hits each of them. After each run the events answered with 200 are counted in
the store: a receiver that loses has no speed.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import environments, machine, receivers
from benchmarks.report import OURS, Asked, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.receivers import Receiver, Running

NOTHING_STORED = "uvicorn, nothing stored"
RECEIVERS: dict[str, Receiver] = {
    OURS: receivers.ours,
    NOTHING_STORED: receivers.bare,
    "FastAPI + SQLite": receivers.fastapi_sqlite,
    "FastAPI + asyncpg": receivers.fastapi_asyncpg,
    "Flask (8 threads) + PostgreSQL": receivers.flask_postgres,
}
WEBHOOKS = "ours, webhook arrays of 100"
SDK = Path(__file__).parent / "peers" / "analytics_python.py"
SDK_THREADS = 4
PACKAGES = ("asyncpg", "fastapi", "flask", "gunicorn", "httptools", "psycopg", "uvicorn", "uvloop")
MIB = 1024 * 1024
LARGE_ARRAY = 16 * 1024  # events of just under 1 KiB: just under the 16 MiB that a body may have

# A seed of its own for each load: no message id ever comes again.
SEEDS = itertools.count(1)


class Lengths(NamedTuple):
    """How often and how long a thing is measured."""

    rounds: int
    warm_up_seconds: float
    seconds: float
    sdk_events: int


FULL = Lengths(rounds=3, warm_up_seconds=1, seconds=6, sdk_events=40_000)
QUICK = Lengths(rounds=1, warm_up_seconds=0.5, seconds=2, sdk_events=5_000)


def measure(*, quick: bool) -> list[Measurement]:
    """Run every measurement of the receiver."""
    lengths = QUICK if quick else FULL
    return [
        throughput("single posts, 64 connections", lengths, connections=64, array=1),
        throughput("arrays of 100, 16 connections", lengths, connections=16, array=100),
        batches(lengths),
        *sdk(lengths),
        *latency(lengths),
        memory(lengths),
    ]


def versions() -> dict[str, str]:
    """Return the versions of what the receivers are made of."""
    own = machine.versions(*PACKAGES) | {"postgresql": receivers.postgres_version()}
    return own | environments.versions_for_python()


def throughput(what: str, lengths: Lengths, *, connections: int, array: int) -> Measurement:
    """Measure how many events a receiver accepts if it is never left idle."""
    found = Measurement(what, "events/s")
    for _, (name, receiver) in itertools.product(range(lengths.rounds), RECEIVERS.items()):
        with target(receiver) as it:
            it.load(lengths.warm_up_seconds, connections=connections, array=array)
            result = it.load(lengths.seconds, connections=connections, array=array)
            found.add(name, result["per_second"] * array)
    return found


def batches(lengths: Lengths) -> Measurement:
    """Measure how many events of the Tracking API are accepted, beside those of webhooks."""
    found = Measurement(
        "/v1/batch of 100, 16 connections", "events/s", asked={WEBHOOKS: Asked("≥", 1)}
    )
    keys = {OURS: receivers.KEY, WEBHOOKS: None}
    for _, (name, key) in itertools.product(range(lengths.rounds), keys.items()):
        with target(receivers.ours) as it:
            it.load(lengths.warm_up_seconds, connections=16, array=100, key=key)
            result = it.load(lengths.seconds, connections=16, array=100, key=key)
            found.add(name, result["per_second"] * 100)
    return found


def sdk(lengths: Lengths) -> Iterator[Measurement]:
    """Measure whether a whole SDK waits for us: its rate, beside that at the empty server."""
    program = environments.python()
    if program is None:
        return
    found = Measurement(
        f"segment-analytics-python, {SDK_THREADS} threads, {lengths.sdk_events:,} events",
        "events/s",
        asked={NOTHING_STORED: Asked("≥", 0.9)},
    )
    for _, name in itertools.product(range(lengths.rounds), (OURS, NOTHING_STORED)):
        with target(RECEIVERS[name]) as it:
            numbers = (str(lengths.sdk_events), str(SDK_THREADS))
            command = [str(program), str(SDK), it.running.base_url, receivers.KEY, *numbers]
            seconds = float(subprocess.check_output(command))
            it.sent += lengths.sdk_events
            it.accepted += lengths.sdk_events
            found.add(name, lengths.sdk_events / seconds)
    yield found


def latency(lengths: Lengths) -> list[Measurement]:
    """Measure the answer times at Segment's own limit, 1 000 events/s a workspace."""
    what = "single posts at 1 000/s"
    found = {share: Measurement(f"{what}, {share}", "ms") for share in ("p50", "p99")}
    drained = Measurement(f"{what} while the tap drains, p99", "ms")
    for _ in range(lengths.rounds):
        for name in (OURS, NOTHING_STORED):
            with target(RECEIVERS[name]) as it:
                result = it.load(lengths.seconds, rate=1000)
                for share, measurement in found.items():
                    measurement.add(name, result[f"{share}_ms"])
        with target(RECEIVERS[OURS]) as it:
            drained.add(OURS, it.load(lengths.seconds, rate=1000, meanwhile=it.drain)["p99_ms"])
    return [*found.values(), drained]


def memory(lengths: Lengths) -> Measurement:
    """Measure the most memory a receiver ever had after one array as large as a body may be."""
    found = Measurement(f"memory peak after one array of {LARGE_ARRAY:,} events", "MiB")
    for _, name in itertools.product(range(lengths.rounds), (OURS, "FastAPI + SQLite")):
        with target(RECEIVERS[name]) as it:
            it.load(1, rate=1, connections=1, array=LARGE_ARRAY)
            found.add(name, machine.memory_peak_bytes(it.running.pid) / MIB)
    return found


@contextmanager
def target(receiver: Receiver) -> Iterator[Target]:
    """Run *receiver* on an empty folder; at the end compare what it answered and what it stored."""
    with tempfile.TemporaryDirectory(prefix="receiver-") as folder, receiver(Path(folder)) as it:
        os.sync()  # or the first commits wait for what others left to be written
        aim = Target(it)
        yield aim
        aim.check()


class Target:
    """A running receiver, and what it was sent and has accepted so far."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.sent = 0
        self.accepted = 0

    def load(
        self,
        seconds: float,
        *,
        connections: int = 64,
        array: int = 1,
        rate: float | None = None,
        key: str | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Put a load on it for *seconds*, *rate* in requests/s; return what `load.py` measured.

        With *key* these are batches for the Tracking API, else webhooks.
        """
        options = {"connections": connections, "array": array, "rate": rate, "seconds": seconds}
        url = f"{self.running.base_url}/v1/batch" if key else self.running.url
        command = _load_command(url, options | {"key": key})
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            while meanwhile and process.poll() is None:
                meanwhile()
            output, _ = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        result: dict[str, Any] = json.loads(output)
        if any(result["errors"].values()):
            raise RuntimeError(f"Not every request was answered with 200: {result['errors']}.")
        self.sent += result["sent"] * array
        self.accepted += result["accepted_events"]
        return result

    def drain(self) -> None:
        """Read all that is stored through the tap, from the start, to nowhere."""
        tap = receivers.PROGRAMS / "tap-segment-webhook"
        command = [str(tap), "--config", str(self.running.config)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def check(self) -> None:
        """Raise unless what was answered with 200 is stored, each event once."""
        if self.running.stored is None:
            return
        stored = self.running.stored()
        if not self.accepted <= stored <= self.sent:
            raise RuntimeError(
                f"{self.accepted} of {self.sent} events were answered with 200, "
                f"but {stored} are stored."
            )


def _load_command(url: str, options: dict[str, Any]) -> list[str]:
    command = [sys.executable, str(receivers.ROOT / "benchmarks" / "load.py"), "--url", url]
    command += ["--secret", receivers.SECRET, "--seed", str(next(SEEDS))]
    for name, value in options.items():
        command += [] if value is None else [f"--{name}", str(value)]
    return command
