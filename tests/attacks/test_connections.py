"""Ten thousand strangers at once cost an honest sender nothing but a moment."""

from __future__ import annotations

import os
import resource
import socket
import struct
import time
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING

from harness.attacks import attack
from harness.deliveries import single
from harness.receiver import HOST, Receiver

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
CONNECTIONS = 10_000 if "SOAK_ROUNDS" in os.environ else 3_000
HONEST_EVERY = 250
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
    with (
        attack("receiver", f"{most:,} connections: idle, half a request, reset") as tally,
        Receiver(tmp_path) as receiver,
        ExitStack() as strangers,
    ):
        receiver.deliver(single({"type": "page", "messageId": "first"}))
        before = receiver.memory_peak()
        for number in range(most):
            stranger = socket.create_connection((HOST, receiver.port), timeout=30)
            strangers.enter_context(stranger)
            send_something(stranger, random)
            if number % HONEST_EVERY == 0:
                begun = time.monotonic()
                answer = receiver.deliver(single({"type": "page", "messageId": f"m-{number}"}))
                slowest = max(slowest, time.monotonic() - begun)
                honest += answer.json()["stored"]

        books = receiver.status()["books"]["default"]
        assert honest == len(range(0, most, HONEST_EVERY))
        assert slowest < ANSWER_SECONDS
        assert receiver.memory_peak() - before < 64 * MIB
        assert receiver.open_files() < 2200
        assert books["stored"] == books["received"] == honest + 1
        tally.rounds, tally.events = most, honest
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def send_something(stranger: socket.socket, random: Random) -> None:
    """Let *stranger* do one of the things that strangers do, and then nothing more."""
    try:
        stranger.sendall(random.choice((b"", BEGUN[:20], BEGUN, b"\x16\x03\x01")))
    except OSError:
        return  # it was shown out already
    if random.random() < 0.1:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        stranger.close()
