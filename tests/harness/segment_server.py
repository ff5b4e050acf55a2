"""A stand-in for Segment's Tracking API: as strict as the real one, and as treacherous."""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
import uvicorn
import uvloop
from harness.segment_book import Book, Drop, Request
from harness.segment_calls import (
    BATCHES,
    MIN_KEY_LENGTH,
    SINGLE,
    Parcel,
    Refused,
    basic_key,
    parse,
    unpack,
)
from msgspec import Meta, Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

METRICS: Final = ("/v1/m",)
PATHS: Final = {*SINGLE, *BATCHES, *METRICS}
SETTINGS: Final = re.compile(r"/v1/projects/([^/]+)/settings")
SUCCESS: Final = b'{"success": true}'
JSON: Final = {"content-type": "application/json"}
SILENT: Final = {"hang", "reset", "close"}
PAGE: Final = "<!DOCTYPE html><html><head><title>Proxy</title></head><body>Sign in.</body></html>"

DESCRIPTION: Final = """\
A stand-in for Segment's Tracking API, for tests and for the CI of a pipeline.

It answers as Segment does: 200 for nearly everything, also for what it then
drops; 400 only for what is too large or no JSON. What it accepted and what it
dropped, it tells under /stand-in. Give the target the endpoint that it prints.
"""
EPILOG: Final = """\
while it runs:
  GET    /stand-in/counts    requests by status, events accepted and dropped
  GET    /stand-in/events    accepted events, one JSON object in a line
  GET    /stand-in/drops     dropped events, each with the reason
  GET    /stand-in/requests  every request, with status, sizes and headers
  PUT    /stand-in/moods     a JSON list of moods instead of the present ones
  PUT    /stand-in/delay     milliseconds that every answer takes from now on
  DELETE /stand-in           forget what was received; moods and delay stay

moods: the first in the list that applies to a request is taken. Examples:
  {"status": 429, "headers": {"Retry-After": "2"}, "count": 3}   three times
  {"status": 503, "seconds": 8}                 for the next eight seconds
  {"status": 500, "probability": 0.1}           for one request in ten
  {"status": 400, "match": "poison"}            if the body contains this
  {"status": 404, "path": "/v1/projects"}       for the check of a write key
  {"status": 504, "accept": true}               accepts the events, says it failed
  {"kind": "hang"}                              never answers
  {"kind": "reset"}                             accepts the events, then resets
  {"kind": "close"}                             closes, and accepts nothing
  {"kind": "slow", "seconds": 5}                accepts, and answers later
  {"kind": "html", "status": 502}               the page of a proxy
  {"kind": "drop"}                              200, and everything is dropped
  {"kind": "drop", "events": 1, "count": 3}     one event of each of three requests
"""

Milliseconds: TypeAlias = Annotated[float, Meta(ge=0)]


class Mood(Struct, forbid_unknown_fields=True):
    """A rule that makes the stand-in answer otherwise than with what is right.

    `seconds` is how long the rule lasts; for kind slow, how long the answer takes.
    `events` is how many of a request's are dropped, by chance; None means all.
    """

    kind: Literal["status", "hang", "reset", "close", "slow", "html", "drop"] = "status"
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    headers: dict[str, str] = {}
    body: str | None = None
    count: Annotated[int, Meta(ge=0)] | None = None
    events: Annotated[int, Meta(ge=0)] | None = None
    seconds: Annotated[float, Meta(ge=0)] | None = None
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    match: str = ""
    path: str = ""
    accept: bool | None = None

    def __post_init__(self) -> None:
        if self.kind == "status" and self.status is None:
            raise ValueError("A mood has a status, or a kind")
        if self.kind == "slow" and self.seconds is None:
            raise ValueError("A mood of kind slow has seconds")
        if self.kind != "drop" and self.events is not None:
            raise ValueError("A mood of another kind than drop has no events")

    @property
    def accepts(self) -> bool:
        """Whether the events are accepted, whatever the answer is."""
        return self.kind in {"reset", "slow"} if self.accept is None else self.accept

    def answer(self) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of the answer."""
        status = self.status or 200
        kind, body = "application/json", self.body
        if self.kind == "html":
            kind, body = "text/html", PAGE if body is None else body
        elif body is None:
            body = f'{{"code": "mood", "message": "The stand-in was told to answer {status}."}}'
        return status, {"content-type": kind, **self.headers}, body.encode()


class Moods:
    """The moods in force; all chance in them comes from one seed."""

    def __init__(self, rules: Sequence[Mood], seed: int) -> None:
        self._seed = seed
        self.reseed()
        self.set(rules)

    def reseed(self) -> None:
        """Let chance begin anew."""
        self._random = Random(self._seed)  # noqa: S311

    def spoil(self, mood: Mood, parcel: Parcel) -> Parcel:
        """Return *parcel* with the reason to drop them in place of some of its calls."""
        count = len(parcel.calls)
        lost = count if mood.events is None else min(mood.events, count)
        places = set(self._random.sample(range(count), lost))
        calls = ["mood" if place in places else call for place, call in enumerate(parcel.calls)]
        return parcel._replace(calls=calls)

    def set(self, rules: Sequence[Mood]) -> None:
        """Put *rules* in force from now on, instead of the present ones."""
        self._rules = list(rules)
        self._since = time.monotonic()
        self.read_bodies = any(rule.match for rule in rules)

    def choose(self, path: str, body: bytes = b"") -> Mood | None:
        """Return the first mood that applies to a request, and count it."""
        if not self._rules:
            return None
        age = time.monotonic() - self._since
        for rule in self._rules:
            if (
                path.startswith(rule.path or "/")
                and (rule.path or not SETTINGS.fullmatch(path))
                and rule.count != 0
                and (rule.seconds is None or rule.kind == "slow" or age < rule.seconds)
                and rule.match.encode() in body
                and (rule.probability == 1 or self._random.random() < rule.probability)
            ):
                if rule.count is not None:
                    rule.count -= 1
                return rule
        return None


class App:
    """The ASGI application."""

    def __init__(self, book: Book, moods: Moods, delay_ms: float) -> None:
        self.book = book
        self.moods = moods
        self.delay_ms = delay_ms
        self._waiting: set[asyncio.Transport] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"].startswith("/v1/"):
            await self._segment(scope, receive, send)
        else:
            await self._stand_in(scope, receive, send)

    def let_go(self) -> None:
        """Close the connections of those who wait for an answer."""
        for transport in self._waiting:
            transport.abort()

    async def _segment(self, scope: Message, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], dict(scope["headers"])
        request = Request(
            time.monotonic(), scope["method"], path, scope["client"][1], scope["headers"]
        )
        request.key = basic_key(headers.get(b"authorization", b""))
        # Where no mood looks into bodies, it is chosen before there is one: a close comes at once.
        early = not self.moods.read_bodies
        mood = self.moods.choose(path) if early else None
        wire = b"" if mood and mood.kind == "close" else await _read(receive)
        if wire is None:
            return
        self.book.note(request)
        found: Parcel | Refused
        try:
            request.wire_bytes = len(wire)
            body = unpack(wire, headers.get(b"content-encoding", b"").lower())
            request.bytes = len(body)
            mood = mood if early else self.moods.choose(path, body)
            found = parse(path, request.key, body)
        except Refused as refusal:
            found = refusal
        else:
            request.key, request.events = found.key, len(found.events)
            request.envelope = found.envelope
        status, more, answer = self._answer(request, mood, found)
        transport: asyncio.Transport = scope["state"]["transport"]
        if not await self._wait(mood, transport, receive):
            return
        if mood and mood.kind in SILENT:
            _break(transport, reset=mood.kind == "reset")
            await _gone(receive)  # uvicorn would answer 500 before it knows
        else:
            await _send(send, status, [answer], more)

    def _answer(
        self, request: Request, mood: Mood | None, found: Parcel | Refused
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Accept what is to be accepted; return status, headers and body of the answer."""
        if mood:
            request.mood = mood.kind
            if mood.kind == "drop" and isinstance(found, Parcel):
                self.book.accept(request, self.moods.spoil(mood, found))
        status, answer = 200, SUCCESS
        if not mood or mood.accepts:
            status, answer = self._right_answer(request, found)
        more: Mapping[str, str] = JSON
        if mood and mood.kind in {"status", "html"}:
            status, more, answer = mood.answer()
        if not mood or mood.kind not in SILENT:
            request.status = status
        return status, more, answer

    def _right_answer(self, request: Request, found: Parcel | Refused) -> tuple[int, bytes]:
        if settings := SETTINGS.fullmatch(request.path):
            if settings[1] not in self.book.keys:
                return 404, b'{"message": "Cannot find settings for this write key."}'
            known = {"integrations": {"Segment.io": {"apiKey": settings[1]}}, "plan": {}}
            return 200, msgspec.json.encode(known)
        if request.method != "POST" or request.path not in PATHS:
            return 404, b'{"message": "Not found."}'
        if request.path in METRICS:
            return 200, SUCCESS
        if isinstance(found, Refused):
            return 400, msgspec.json.encode({"code": "invalid_request", "message": str(found)})
        self.book.accept(request, found)
        return 200, SUCCESS

    async def _wait(
        self, mood: Mood | None, transport: asyncio.Transport, receive: Receive
    ) -> bool:
        """Let the client wait; return whether it did."""
        seconds: float | None = self.delay_ms / 1000
        if mood and mood.kind == "hang":
            seconds = None
        elif mood and mood.kind == "slow":
            seconds = (mood.seconds or 0) + self.delay_ms / 1000
        if seconds != 0:
            self._waiting.add(transport)
            try:
                await asyncio.wait_for(_gone(receive), seconds)
            except asyncio.TimeoutError:
                pass
            else:
                return False
            finally:
                self._waiting.discard(transport)
        return True

    async def _stand_in(self, scope: Message, receive: Receive, send: Send) -> None:
        what = f"{scope['method']} {scope['path']}"
        body = await _read(receive) or b""
        status, parts = 200, None
        try:
            parts = self._tell(what)
            if parts is None and not self._change(what, body):
                status, parts = 404, [b'{"message": "The stand-in has no such page."}']
        except ValueError as error:
            status, parts = 400, [msgspec.json.encode({"message": str(error)})]
        await _send(send, status, parts or [SUCCESS], JSON)

    def _tell(self, what: str) -> Iterable[bytes] | None:
        """Return the page that is asked for, if it is one."""
        book = self.book
        if book.count_only and what in {"GET /stand-in/events", "GET /stand-in/drops"}:
            raise ValueError("With --count-only, no event is kept.")
        pages: dict[str, Callable[[], Iterable[bytes]]] = {
            "GET /stand-in/counts": lambda: [msgspec.json.encode(book.counts())],
            "GET /stand-in/events": lambda: (lot.lines() for lot in book.lots),
            "GET /stand-in/drops": lambda: map(Drop.line, book.drops),
            "GET /stand-in/requests": lambda: map(Request.line, book.requests),
        }
        return pages[what]() if what in pages else None

    def _change(self, what: str, body: bytes) -> bool:
        """Do what is asked for; return whether it is something that can be done."""
        if what == "PUT /stand-in/moods":
            self.moods.set(msgspec.json.decode(body, type=list[Mood]))
        elif what == "PUT /stand-in/delay":
            self.delay_ms = msgspec.json.decode(body, type=Milliseconds)
        elif what == "DELETE /stand-in":
            self.book.forget()
            self.moods.reseed()
        else:
            return False
        return True


async def _read(receive: Receive) -> bytes | None:
    """Return the body of a request, or None if the client went away."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    """Return once the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _break(transport: asyncio.Transport, *, reset: bool) -> None:
    """Close a connection without an answer."""
    if reset:
        lingering = struct.pack("ii", 1, 0)  # not at all: RST instead of FIN
        client = transport.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
    transport.abort()


async def _send(
    send: Send, status: int, parts: Iterable[bytes], headers: Mapping[str, str]
) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    if isinstance(parts, list):
        pairs.append((b"content-length", b"%d" % sum(map(len, parts))))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class _Connection(HttpToolsProtocol):
    """A connection that the application can also break, and that gets a body as a whole.

    uvicorn pauses it for each 64 KiB, which takes more time than all the rest it does.
    """

    def on_message_begin(self) -> None:
        """Let the application know what it is connected by."""
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport
        self._parts: list[bytes] = []

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Hand over the body."""
        self.cycle.body += b"".join(self._parts)
        super().on_message_complete()


class _Server(uvicorn.Server):
    def __init__(self, app: App) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Connection,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
            )
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, without waiting for those that wait for us."""
        self._app.let_go()
        await super().shutdown(sockets)


def main(words: Sequence[str] | None = None) -> None:
    """Run the stand-in until SIGTERM or SIGINT."""
    options = _parser().parse_args(words)
    try:
        book = Book(options.write_key, count_only=options.count_only, journal=options.journal)
    except (OSError, ValueError) as error:
        sys.exit(f"{options.journal} cannot be the journal: {error}")
    server = _Server(App(book, Moods(options.moods, options.seed), options.delay_ms))
    # uvicorn raises a caught signal again once it has stopped; that must not kill us then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    try:
        listener = socket.create_server((options.host, options.port), backlog=2048)
    except (OSError, OverflowError) as error:
        sys.exit(f"Cannot listen on {options.host}:{options.port}: {error}.")
    gc.freeze()
    gc.set_threshold(100_000)  # little here is cyclic, and much is kept
    host, port = listener.getsockname()
    _say(f"Listening on http://{host}:{port}/v1")
    uvloop.run(server.serve(sockets=[listener]))
    _say(f"Stopped. {book.summary()}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stand_in.py",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--write-key",
        metavar="KEY",
        action="append",
        required=True,
        type=_write_key,
        help="of a source that exists; may be given several times. "
        "With any other key, events get 200 and are dropped",
    )
    add("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    add("--port", type=int, default=0, help="0, the default, lets the system choose a free one")
    add("--delay-ms", metavar="N", type=float, default=0, help="what every answer takes at least")
    add("--moods", metavar="FILE", type=_moods, default=[], help="a JSON list of moods, see below")
    add(
        "--journal",
        metavar="FILE",
        type=Path,
        help="append accepted events to FILE, one JSON object in a line, before the answer; "
        "those it holds already count as accepted",
    )
    add("--count-only", action="store_true", help="keep message ids, but no events: saves memory")
    add("--seed", metavar="N", type=int, default=0, help="of all chance (default: %(default)s)")
    return parser


def _write_key(text: str) -> str:
    if len(text) < MIN_KEY_LENGTH:
        raise argparse.ArgumentTypeError(f"has at least {MIN_KEY_LENGTH} characters")
    return text


def _moods(name: str) -> list[Mood]:
    try:
        return msgspec.json.decode(Path(name).read_bytes(), type=list[Mood])
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from error
