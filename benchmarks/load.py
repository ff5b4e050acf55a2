"""HTTP load: as many deliveries as a receiver takes, or a fixed number a second.

Closed loop (no --rate): each connection sends its next request when the last
one is answered. Open loop (--rate): requests are due at fixed moments and each
latency counts from its moment, so a receiver that stalls cannot hide it.
Prints one line of JSON: counts, seconds, and milliseconds where it says so.

A request costs it 36 µs of CPU, signature included, where an empty application
on uvicorn takes 63 µs for it (arrays of 100: 70 and 130): measured together on
two cores, the load is half as busy as the emptiest receiver.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import selectors
import sys
import time
from array import array
from collections import Counter, deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import uvloop
from typing_extensions import override

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import deliveries

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
# How long the last answers may take after the clock has stopped.
DRAIN_SECONDS = 30.0


class Load:
    """What is sent and what came of it, over all connections."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self.requests = requests
        self.endless = True
        self.sent = 0
        self.statuses: Counter[str] = Counter()
        self.latencies = array("d")
        self.last_answer = 0.0
        self._idle: deque[Connection] = deque()
        self._waiting: deque[float] = deque()

    def free(self, connection: Connection) -> None:
        """Give *connection* its next request, or keep it until one is due."""
        if self._waiting:
            connection.send(self._waiting.popleft())
        elif self.endless:
            connection.send(time.monotonic())
        else:
            self._idle.append(connection)

    def due(self, moment: float) -> None:
        """Send the request that is due at *moment*: now, or when a connection is free."""
        if self._idle:
            self._idle.popleft().send(moment)
        else:
            self._waiting.append(moment)

    def answered(self, status: str, since: float) -> None:
        """Note what a request came to that was due at *since*."""
        self.last_answer = time.monotonic()
        self.latencies.append(self.last_answer - since)
        self.statuses[status] += 1

    def lost(self, connection: Connection) -> None:
        """Forget *connection*, which the receiver has closed."""
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    @property
    def open(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._waiting) or len(self.latencies) < self.sent


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, load: Load, closed: asyncio.Future[None]) -> None:
        self.load = load
        self.closed = closed
        self.since: float | None = None
        self.buffer = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.load.free(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.load.lost(self)
        if self.since is not None:
            self.load.answered("disconnected", self.since)
        if self.closed.done():
            return
        if exc is None or isinstance(exc, OSError):
            self.closed.set_result(None)
        else:
            self.closed.set_exception(exc)

    def send(self, since: float) -> None:
        """Send the next request, whose latency counts from *since*."""
        self.since = since
        self.load.sent += 1
        self.transport.write(next(self.load.requests))

    @override
    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = LENGTH.search(self.buffer, 0, end)
        assert length, "an answer without content-length"
        if len(self.buffer) - end - 4 >= int(length[1]):
            self._answered(self.buffer[9:12].decode())

    def _answered(self, status: str) -> None:
        assert self.since is not None, "an answer that nobody asked for"
        since, self.since, self.buffer = self.since, None, b""
        self.load.answered(status, since)
        self.load.free(self)


def main() -> None:
    """Run the load that the command line describes."""
    print(json.dumps(run(arguments())))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--array", type=int, default=1, help="events in a request; 1: an object")
    parser.add_argument("--rate", type=float, help="requests/s; without it: as many as possible")
    parser.add_argument("--secret", default="", help="signs webhooks")
    parser.add_argument("--key", help="with it, batches for the Tracking API instead of webhooks")
    parser.add_argument("--seed", type=int, default=0, help="other seed, other message ids")
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a load came to: counts, seconds, milliseconds."""
    url = urlsplit(options.url)
    load = Load(
        deliveries.requests(
            url.path,
            url.netloc,
            options.array,
            secret=options.secret,
            key=options.key,
            seed=options.seed,
        )
    )
    loop = _event_loop(options.rate)
    started = time.monotonic()
    loop.run_until_complete(drive(load, options))
    loop.close()
    return result(load, load.last_answer - started, options.array)


def _event_loop(rate: float | None) -> asyncio.AbstractEventLoop:
    # uvloop and epoll wake up to a millisecond late, which a fixed rate would count as latency.
    if rate:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())
    return uvloop.new_event_loop()


async def drive(load: Load, options: argparse.Namespace) -> None:
    """Send for the time given, then wait for the answers that are still to come."""
    load.endless = options.rate is None
    connections = [
        asyncio.ensure_future(_stay_connected(load, options.url))
        for _ in range(options.connections)
    ]
    clock = asyncio.ensure_future(_clock(load, options.rate, options.seconds))
    # A connection's task ends only by an error, and that ends the run.
    done, _ = await asyncio.wait([clock, *connections], return_when=asyncio.FIRST_COMPLETED)
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    for task in done:
        task.result()


async def _stay_connected(load: Load, url: str) -> None:
    loop, address = asyncio.get_running_loop(), urlsplit(url)
    while True:
        closed: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(
            partial(Connection, load, closed), address.hostname or "localhost", address.port or 80
        )
        await closed


async def _clock(load: Load, rate: float | None, seconds: float) -> None:
    await (_pace(load, rate, seconds) if rate else asyncio.sleep(seconds))
    load.endless = False
    deadline = time.monotonic() + DRAIN_SECONDS
    # An event instead would cost a check at each answer.
    while load.open and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def _pace(load: Load, rate: float, seconds: float) -> None:
    start = time.monotonic()
    for number in itertools.takewhile(lambda it: it < rate * seconds, itertools.count()):
        moment = start + number / rate
        await asyncio.sleep(moment - time.monotonic())
        load.due(moment)


def result(load: Load, seconds: float, array: int) -> dict[str, Any]:
    """Return the figures of a finished *load*."""
    accepted = load.statuses.pop("200", 0)
    ordered = sorted(load.latencies) or sys.exit("Nothing was answered.")
    return {
        "sent": load.sent,
        "accepted": accepted,
        "accepted_events": accepted * array,
        "errors": dict(load.statuses) | {"unanswered": load.sent - len(ordered)},
        "seconds": round(seconds, 3),
        "per_second": round(accepted / seconds, 1),
        "p50_ms": _percentile(ordered, 0.50),
        "p99_ms": _percentile(ordered, 0.99),
        "max_ms": _percentile(ordered, 1.0),
    }


def _percentile(ordered: list[float], share: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 3)


if __name__ == "__main__":
    main()
