"""Lines between servers that can be cut, silently or with a reset, and mended."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from harness.relay import HOST, READ_BYTES, Relay, shut
from typing_extensions import override


class Line(Relay):
    """Passes connections on to *port* of this machine, inside a `with` block, while it is whole.

    While it is cut, whoever connects or writes is not refused: nothing arrives,
    and nobody is told. What was on its way arrives when it is mended, as
    packets that are sent again would.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self._to = port
        self._whole = threading.Event()
        self._whole.set()

    @override
    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._whole.set()

    def cut(self) -> None:
        """Let nothing through from now on."""
        self._whole.clear()

    def mend(self) -> None:
        """Let everything through again."""
        self._whole.set()

    @override
    def _serve(self, near: socket.socket) -> None:
        self._open.add(near)
        self._whole.wait()
        with suppress(OSError), near, socket.create_connection((HOST, self._to)) as far:
            self._open.add(far)
            back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
            back.start()
            self._pass_on(near, far)
            back.join()
            self._open.discard(far)
        self._open.discard(near)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(READ_BYTES):
                self._whole.wait()
                target.sendall(data)
        shut(source)
        shut(target)
