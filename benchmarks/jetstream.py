"""What replication costs: the receiver and the tap on JetStream against themselves on SQLite.

Servers, receivers and the load share one machine here; on machines of their
own, servers and receivers do not take the processor from one another.
"""

from __future__ import annotations

import itertools
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from harness.nats import Cluster, Server

from benchmarks import machine, receivers
from benchmarks.receiver import Lengths, Target, target
from benchmarks.report import OURS, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.receivers import Running

FULL = Lengths(rounds=3, warm_up_seconds=1, seconds=5, sdk_events=0)
QUICK = Lengths(rounds=1, warm_up_seconds=0.5, seconds=2, sdk_events=0)
DRAINED = 40_000


class Spool(NamedTuple):
    """A kind of spool, and how many receivers write it."""

    servers: int
    receivers: int = 1
    jetstream: str = ""


SPOOLS = {
    OURS: Spool(0),
    "JetStream, 1 server": Spool(1),
    "JetStream, 1 server, 2 receivers": Spool(1, receivers=2),
    "JetStream, 1 server, sync always": Spool(1, jetstream="sync_interval: always"),
    "JetStream, 3 servers": Spool(3),
    "JetStream, 3 servers, 2 receivers": Spool(3, receivers=2),
    "JetStream, 3 servers, sync always": Spool(3, jetstream="sync_interval: always"),
}


def measure(*, quick: bool) -> list[Measurement]:
    """Run every measurement of the spools."""
    lengths = QUICK if quick else FULL
    return [
        *throughput("single posts, 64 connections, SQLite and", lengths, connections=64, array=1),
        *throughput(
            "arrays of 100, 16 connections, SQLite and", lengths, connections=16, array=100
        ),
        drain(lengths),
    ]


def versions() -> dict[str, str]:
    """Return the versions of what is measured."""
    words = [str(receivers.PROGRAMS / "nats-server"), "--version"]
    server = subprocess.check_output(words, text=True).strip()
    return machine.versions("nats-py") | {"nats-server": server.rpartition("v")[2]}


def throughput(
    what: str, lengths: Lengths, *, connections: int, array: int
) -> tuple[Measurement, Measurement]:
    """Measure events a second if no receiver is left idle, and how long an answer takes then."""
    rate, wait = Measurement(what, "events/s"), Measurement(f"{what}: p99", "ms")
    for _, (name, spool) in itertools.product(range(lengths.rounds), SPOOLS.items()):
        with aims(spool) as found:
            share = connections // len(found)

            def load(aim: Target, seconds: float, share: int = share) -> tuple[float, float]:
                result = aim.load(seconds, connections=share, array=array)
                return result["per_second"] * array, result["p99_ms"]

            together(found, lambda aim: load(aim, lengths.warm_up_seconds))
            results = together(found, lambda aim: load(aim, lengths.seconds))
            rate.add(name, sum(each for each, _ in results))
            wait.add(name, max(each for _, each in results))
    return rate, wait


def drain(lengths: Lengths) -> Measurement:
    """Measure how fast the tap reads what waits."""
    found = Measurement("the tap drains, SQLite and", "events/s")
    for _, name in itertools.product(range(lengths.rounds), (OURS, "JetStream, 3 servers")):
        with aims(SPOOLS[name]) as (aim,):
            while aim.accepted < DRAINED:
                aim.load(2, connections=8, array=100)
            begun = time.monotonic()
            aim.drain()
            found.add(name, aim.accepted / (time.monotonic() - begun))
    return found


def together(
    found: list[Target], work: Callable[[Target], tuple[float, float]]
) -> list[tuple[float, float]]:
    """Do *work* with all targets at once."""
    with ThreadPoolExecutor(len(found)) as pool:
        return list(pool.map(work, found))


@contextmanager
def aims(spool: Spool) -> Iterator[list[Target]]:
    """Run what *spool* says, each receiver as a target; check at the end that nothing was lost."""
    running: list[Running] = []

    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        with ExitStack() as stack:
            more: dict[str, object] = {}
            if spool.servers:
                started = servers(spool, folder)
                stack.enter_context(started)
                url = f"nats://{started.address}/segment"
                more = {"spool_url": url, "nats_replicas": spool.servers, "max_body_bytes": 1000000}
            for number in range(spool.receivers):
                own = folder / f"receiver-{number}"
                own.mkdir()
                running.append(stack.enter_context(receivers.ours(own, **more)))
            yield replace(running[0], stored=None) if spool.receivers > 1 else running[0]

    with target(start) as first:
        found = [first, *(Target(each) for each in running[1:])]
        yield found
        if spool.receivers > 1:
            check(found, running[0])


def servers(spool: Spool, folder: Path) -> Server | Cluster:
    """Return the servers of *spool*, not yet started."""
    if spool.servers > 1:
        return Cluster(folder / "nats", jetstream=spool.jetstream)
    return Server(folder / "nats", jetstream=spool.jetstream)


def check(found: list[Target], running: Running) -> None:
    """Raise unless what all receivers together have answered with 200 is stored."""
    assert running.stored is not None
    stored = running.stored()
    accepted, sent = (
        sum(values) for values in zip(*((aim.accepted, aim.sent) for aim in found), strict=True)
    )
    if not accepted <= stored <= sent:
        raise RuntimeError(f"{accepted} of {sent} events were answered with 200, {stored} stored.")
