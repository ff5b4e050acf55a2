"""What stands between two programs and passes on what they say, until it is told not to."""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

HOST = "127.0.0.1"
READ_BYTES = 65536


class Relay(ABC):
    """Listens on a port of this machine, inside a `with` block; serves each connection in a thread.

    At the end of the block all of its connections end.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._open: set[socket.socket] = set()

    @property
    def port(self) -> int:
        """Where to connect instead."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        shut(self._listener)
        self._accepting.join()
        self.reset()

    def reset(self) -> None:
        """End all of its connections; what was on its way is lost."""
        for each in list(self._open):
            shut(each)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    @abstractmethod
    def _serve(self, near: socket.socket) -> None:
        """Pass on what comes from *near* and back, and keep both ends in `_open` meanwhile."""


def shut(connection: socket.socket) -> None:
    """End *connection*, so that who waits for it stops waiting."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
