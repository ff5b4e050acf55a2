"""Ten thousand strangers at once cost an honest sender nothing but a moment."""

from __future__ import annotations

import http.client
import os
import resource
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from harness.attacks import ROUNDS, attack
from harness.deliveries import single
from harness.proxy import Proxy
from harness.receiver import HOST, SECRET, Receiver
from harness.spool import balanced, rows

if TYPE_CHECKING:
    from pathlib import Path

    from harness.deliveries import Event

MIB = 1 << 20
CONNECTIONS = 10_000 if "SOAK_ROUNDS" in os.environ else 3_000
HONEST_EVERY = 250
DAWDLERS = 100
SENDERS = 8
DELIVERIES = ROUNDS
PIECES = 5
LATENCY_SECONDS = 0.05
ANSWER_SECONDS = 5.0  # what Segment waits
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a reset instead of an end
BEGUN = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"


def test_ten_thousand_connections_do_not_hold_up_an_honest_sender(tmp_path: Path) -> None:
    """Idle, half a head, half a body, or reset: deliveries in between are answered in time."""
    random = Random(0)  # noqa: S311 - test data
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(CONNECTIONS, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    slowest, honest = 0.0, 0
    crowd: list[socket.socket] = []
    with (
        attack(
            "receiver", f"{most:,} connections: idle, half a request, byte by byte, reset"
        ) as tally,
        Receiver(tmp_path) as receiver,
        ExitStack() as strangers,
    ):
        receiver.deliver(single({"type": "page", "messageId": "first"}))
        before = receiver.memory_peak()
        for number in range(most):
            stranger = socket.create_connection((HOST, receiver.port), timeout=30)
            strangers.enter_context(stranger)
            send_something(stranger, random)
            crowd.append(stranger)
            if number % HONEST_EVERY == 0:
                begun = time.monotonic()
                answer = receiver.deliver(single({"type": "page", "messageId": f"m-{number}"}))
                slowest = max(slowest, time.monotonic() - begun)
                honest += answer.json()["stored"]
                for slow in random.sample(crowd, min(len(crowd), DAWDLERS)):
                    with suppress(OSError):  # it was shown out already
                        slow.sendall(b"x")

        books = receiver.status()["books"]["default"]
        assert honest == len(range(0, most, HONEST_EVERY))
        assert slowest < ANSWER_SECONDS
        assert receiver.memory_peak() - before < 64 * MIB
        assert receiver.open_files() < 2200
        assert books["stored"] == books["received"] == honest + 1
        tally.rounds, tally.events = most, honest
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_lines_and_lost_answers_lose_nothing(tmp_path: Path) -> None:
    """Bodies trickle in, a third of the answers never arrives: sent again, each is there once."""
    random = Random(0)  # noqa: S311 - test data
    count = SENDERS * DELIVERIES
    with (
        attack("receiver", "slow lines, and connections that are reset before the answer") as tally,
        Receiver(tmp_path) as receiver,
        Proxy(receiver, lambda _, __: random.random() > 0.3) as proxy,
        ThreadPoolExecutor(SENDERS) as pool,
    ):
        slowest = max(
            pool.map(
                partial(send_until_acknowledged, int(proxy.url.rpartition(":")[2])), range(count)
            )
        )

        bodies = {body for body, *_ in rows(receiver.spool_url)}
        tally.rounds, tally.events = len(proxy.statuses), count
        tally.lost = len({single(numbered(number)).body for number in range(count)} - bodies)
        assert (tally.lost, len(bodies)) == (0, count)
        assert {*proxy.statuses} == {200}
        assert slowest < ANSWER_SECONDS
        books = balanced(receiver.spool_url)
        assert (books.stored, books.duplicate) == (count, len(proxy.statuses) - count)


def numbered(number: int) -> Event:
    """Return the event with this *number*."""
    return {"type": "track", "messageId": f"m-{number}", "properties": {"note": "x" * 5000}}


def send_until_acknowledged(port: int, number: int) -> float:
    """Deliver an event over a slow line, again and again; return the longest time of a try."""
    delivery = single(numbered(number))
    size = len(delivery.body) // PIECES + 1
    slowest = 0.0
    while True:
        begun = time.monotonic()
        try:
            with closing(http.client.HTTPConnection(HOST, port, timeout=30)) as connection:
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.putrequest("POST", "/webhook")
                for name, value in delivery.headers(SECRET).items():
                    connection.putheader(name, value)
                connection.putheader("Content-Length", str(len(delivery.body)))
                connection.endheaders()
                for start in range(0, len(delivery.body), size):
                    time.sleep(LATENCY_SECONDS)
                    connection.send(delivery.body[start : start + size])
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        slowest = max(slowest, time.monotonic() - begun)
        if status == 200:
            return slowest


def send_something(stranger: socket.socket, random: Random) -> None:
    """Let *stranger* do one of the things that strangers do, and then nothing more."""
    try:
        stranger.sendall(random.choice((b"", BEGUN[:20], BEGUN, b"\x16\x03\x01")))
    except OSError:
        return  # it was shown out already
    if random.random() < 0.1:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        stranger.close()
