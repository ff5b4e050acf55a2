"""A line between a client and the receiver that can be cut at the worst moment."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.relay import HOST, READ_BYTES, Relay, shut
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.receiver import Receiver

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


class Proxy(Relay):
    """Passes on to *receiver*, wherever it listens at the moment, inside a `with` block.

    *let_through* is asked about each answer before the client sees a byte of
    it, with its status and how many came before; if it says no, the client
    loses the connection instead. It is asked about one at a time.
    """

    def __init__(self, receiver: Receiver, let_through: Callable[[int, int], bool]) -> None:
        super().__init__()
        self.receiver = receiver
        self.statuses: list[int] = []
        self._let_through = let_through
        self._asking = threading.Lock()

    @property
    def url(self) -> str:
        """Where clients send to."""
        return f"http://{HOST}:{self.port}"

    @override
    def _serve(self, near: socket.socket) -> None:
        """Pass everything on until either side, or we, end the connection."""
        with (
            suppress(OSError),
            near as client,
            socket.create_connection((HOST, self.receiver.port)) as server,
        ):
            self._open |= {client, server}
            forth = threading.Thread(target=_pass_on, args=(client, server), daemon=True)
            forth.start()
            with suppress(OSError):  # also a connection that was reset has to be shut
                while (answer := server.recv(READ_BYTES)) and self._may_pass(answer):
                    client.sendall(answer)
            shut(client)
            shut(server)
            forth.join()
            self._open -= {client, server}

    def _may_pass(self, answer: bytes) -> bool:
        match = _STATUS.match(answer)
        if match is None:  # the rest of one
            return True
        with self._asking:
            before = len(self.statuses)
            self.statuses.append(int(match[1]))
            return self._let_through(int(match[1]), before)


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while request := client.recv(READ_BYTES):
            server.sendall(request)
    shut(server)
