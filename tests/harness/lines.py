"""Lines between servers that can be cut, silently or with a reset, and mended."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_HOST = "127.0.0.1"
_READ_BYTES = 65536


class Line:
    """Passes connections on to *port* of this machine, inside a `with` block, while it is whole.

    While it is cut, whoever connects or writes is not refused: nothing arrives,
    and nobody is told. What was on its way arrives when it is mended, as
    packets that are sent again would.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._whole = threading.Event()
        self._whole.set()
        self._listener = socket.create_server((_HOST, 0))
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
        self._whole.set()

    def cut(self) -> None:
        """Let nothing through from now on."""
        self._whole.clear()

    def mend(self) -> None:
        """Let everything through again."""
        self._whole.set()

    def reset(self) -> None:
        """End all of its connections; what was on its way is lost."""
        for each in list(self._open):
            shut(each)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        self._open.add(near)
        self._whole.wait()
        with suppress(OSError), near, socket.create_connection((_HOST, self._to)) as far:
            self._open.add(far)
            back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
            back.start()
            self._pass_on(near, far)
            back.join()
            self._open.discard(far)
        self._open.discard(near)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_READ_BYTES):
                self._whole.wait()
                target.sendall(data)
        shut(source)
        shut(target)


def shut(connection: socket.socket) -> None:
    """End *connection*, so that who waits for it stops waiting."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
