"""Connections: bounds that uvicorn leaves to a proxy, and a short way for whole deliveries.

Bounded are their number, their time, the size of a head, and requests ahead.
"""

from __future__ import annotations

import asyncio
import sys
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING, ClassVar, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from typing import Any

    from tap_segment_webhook.receiver.answer import Answer
    from tap_segment_webhook.receiver.app import App

MAX_CONNECTIONS: Final = 2048
REQUEST_SECONDS: Final = 15.0  # from a request's first byte, or the connection, to its last
IDLE_SECONDS: Final = 75.0  # a kept-alive connection between two requests
MAX_HEAD_BYTES: Final = 64 << 10
MAX_AHEAD: Final = 16  # requests sent before the answer to an earlier one
_SWEEP_SECONDS: Final = 1.0
_UNUSUAL: Final = (b"content-encoding", b"transfer-encoding", b"upgrade")
_INTERIM: Final = b"HTTP/1.1 100 "
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class _Whole:
    """A transport that sends a response in one piece.

    uvicorn writes head and body apart: a system call and a packet more for each.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing  # asked for each response
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep *data* until `flush`, except for what the client waits for."""
        self._parts.append(data)
        if data.startswith(_INTERIM):
            self.flush()

    def flush(self) -> None:
        """Send what was kept, unless nobody is there to take it."""
        parts, self._parts = self._parts, []
        if not self.is_closing():
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Send what was kept, then close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@lru_cache(maxsize=1024)
def _encode(answer: Answer) -> bytes:
    head = b"".join([b"%b: %b\r\n" % header for header in answer.headers])
    return b"%b%b\r\n%b" % (STATUS_LINE[answer.status], head, answer.body)


class _Cycle:
    """In the place of uvicorn's cycle, for a request that is answered without one."""

    more_body = False
    response_complete = False
    keep_alive = True

    @property
    def message_event(self) -> _Cycle:
        """What uvicorn sets for those who wait for more of the body."""
        return self

    def set(self) -> None:
        """Wake nobody: the body is there."""


class Connection(HttpToolsProtocol):
    """One client's connection.

    When there are too many, the one that has kept us waiting longest makes
    room, so that idle or slow clients cannot shut out the others.

    A delivery whose body is there with its head goes to `App.deliver` at its
    end, without uvicorn's cycle and task, which take a third of its time.
    Everything else goes the way of ASGI: uvicorn is told of it then.
    """

    # Each in the order of waiting, with the time it began.
    _reading: ClassVar[dict[Connection, float]] = {}
    _idle: ClassVar[dict[Connection, float]] = {}

    _head_bytes = 0
    _held: list[bytes] | None = None
    """The body of a request that uvicorn has not been told of, as far as it is here."""

    @classmethod
    async def sweep(cls) -> None:
        """Close, for ever, whoever keeps us waiting too long."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            for waiting, seconds in ((cls._reading, REQUEST_SECONDS), (cls._idle, IDLE_SECONDS)):
                while waiting and now - next(iter(waiting.values())) > seconds:
                    next(iter(waiting)).abandon()

    def abandon(self) -> None:
        """Close the connection at once."""
        self._leave()
        self.transport.abort()

    @override
    def connection_made(self, transport: Any) -> None:
        self._receiver = cast("App", self.app)
        self._whole = _Whole(transport)
        whole: Any = self._whole  # all of a transport that uvicorn uses
        super().connection_made(whole)
        if len(self.connections) > MAX_CONNECTIONS:
            for waiting in (self._reading, self._idle):
                if waiting:
                    next(iter(waiting)).abandon()
                    break
        self._reading[self] = time.monotonic()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self.pipeline.clear()
        super().connection_lost(exc)

    @override
    def on_message_begin(self) -> None:
        self.url, self.headers = b"", []

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    @override
    def on_headers_complete(self) -> None:
        if (
            self.url in self._receiver.urls
            and self.parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        ):
            self._held = []
        else:
            self._tell_uvicorn()

    @override
    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
        else:
            self._held.append(body)

    @override
    def on_message_complete(self) -> None:
        if self._held is None:
            super().on_message_complete()
            return
        headers = dict(self.headers)
        body = b"".join(self._held)
        if (
            len(body) > self._receiver.max_whole_bytes
            or not headers.keys().isdisjoint(_UNUSUAL)
            or not self.parser.should_keep_alive()
            or (b"connection" in headers and self.parser.get_http_version() != "1.1")
        ):
            self._let_go()
            super().on_message_complete()
            return
        self._held = None
        cycle: Any = _Cycle()
        self.cycle = cycle
        source = self._receiver.urls[self.url]
        self._receiver.deliver(source, headers, body, partial(self._respond, cycle))

    def _let_go(self) -> None:
        """Leave the request that was held back to uvicorn."""
        held, self._held = self._held or [], None
        self._tell_uvicorn()
        for part in held:
            super().on_body(part)

    def _tell_uvicorn(self) -> None:
        """Tell it of a request from its beginning to the end of its head."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        super().on_url(url)
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _respond(self, cycle: _Cycle, answer: Answer) -> None:
        cycle.response_complete = True
        self.transport.write(_encode(answer))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._held is not None and not self.transport.is_closing():
            self._let_go()
        if len(self.pipeline) > MAX_AHEAD:
            self.abandon()
            return
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
        elif not cycle.more_body:
            self._head_bytes = 0
            if not self.flow.write_paused:  # else it does not read its answers
                # Complete: from here on it is we who keep the client waiting.
                self._leave()
            return
        if self not in self._reading:
            self._leave()
            self._reading[self] = time.monotonic()

    @override
    def on_response_complete(self) -> None:
        self._whole.flush()
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        else:
            # Not uvicorn's: its timer for each response would hold a connection that is reset.
            self.flow.resume_reading()
        if self in self.connections and self not in self._reading:
            self._idle.pop(self, None)
            self._idle[self] = time.monotonic()

    def _leave(self) -> None:
        self._reading.pop(self, None)
        self._idle.pop(self, None)
