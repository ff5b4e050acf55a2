"""The connection to the servers: a client in a thread of its own, asked from any other.

Nothing here knows what is stored. A request that nobody answers in time, also
because the servers elect a leader, raises `Away`; one that they refuse `Refused`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from tap_segment_webhook.errors import SpoolUnusable

try:
    from nats.aio.client import Client
    from nats.errors import Error as NatsError
    from nats.errors import MaxPayloadError, NoRespondersError
except ImportError as error:
    raise SpoolUnusable(
        "spool_url is on NATS, whose client is not installed: "
        "pip install 'tap-segment-webhook[nats]'."
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from nats.aio.msg import Msg

    from tap_segment_webhook.spool.model import Location

T = TypeVar("T")

_log = logging.getLogger("segment-receiver")

START_SECONDS: Final = 10.0
PATIENCE_SECONDS: Final = 20.0  # of readers; the servers elect a leader within 10 (raft.go)
_REQUEST_SECONDS: Final = 2.0
_ACK_SECONDS: Final = 1.2
_PAUSE_SECONDS: Final = 0.1
_RECONNECT_SECONDS: Final = 1
_HANG_UP_SECONDS: Final = 5.0
_IN_FLIGHT: Final = 2000
_PING_SECONDS: Final = 1  # a server that stands still is given up after three of them
_STREAM: Final = re.compile(r"[A-Za-z0-9_-]+")

_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503
_IN_PROCESS: Final = 10158  # the same id was published a moment ago, and is not kept yet
_TOO_MANY: Final = 10167  # messages wait in the server (its max_buffered_msgs, 10,000)
_FULL: Final = frozenset({10002, 10023, 10047, 10054, 10077})
_PASSING: Final = frozenset({10005, 10008, 10009, 10023})  # servers that are not yet together
WRONG_LAST: Final = frozenset({10071, 10164})
"""The codes (server/errors.json) of an expected sequence that is not the last one."""


class Away(Exception):
    """No server answers for it now: there is no connection, no leader or no majority."""


class Refused(Exception):
    """The servers answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("description", "unknown error"))
        self.status = int(error.get("code", 0))
        self.code = int(error.get("err_code", 0))

    @property
    def is_absent(self) -> bool:
        """Whether what was asked for is not there."""
        return self.status == _NOT_FOUND

    @property
    def is_full(self) -> bool:
        """Whether there is no room for more."""
        return self.code in _FULL


class Message(NamedTuple):
    """What is published, and recognised by its id when it is published again."""

    subject: str
    id: str
    body: bytes
    headers: dict[str, str]


class Ack(NamedTuple):
    """What the servers say once a message is kept by as many of them as was asked for."""

    sequence: int
    duplicate: bool
    """Whether the id was known; the sequence is then that of the message which had it."""
    attempts: int
    """How often it was sent; from the second on, the duplicate may be of our own."""


class Link:
    """A connection that comes back by itself.

    Raises:
        SpoolUnusable: the URL is wrong, or nobody answers there.
    """

    def __init__(self, location: Location) -> None:
        self.stream, servers = read_url(location.url)
        self.place = location.url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        self._client = Client()
        self._numbers = itertools.count()
        self._acks: dict[str, asyncio.Future[Msg]] = {}
        self._away = False
        try:
            self.call(self._connect(location, servers), START_SECONDS)
        except BaseException as error:
            self.close()
            if isinstance(error, (NatsError, OSError, Away, ValueError)):
                raise SpoolUnusable(
                    f"No NATS server can be reached at {location.url} within "
                    f"{START_SECONDS:g} seconds: {str(error) or type(error).__name__}."
                ) from error
            raise

    @property
    def max_payload(self) -> int:
        """The largest message that the server takes, in bytes."""
        return int(self._client.max_payload)

    @property
    def version(self) -> tuple[int, ...]:
        """The server's version, as two numbers."""
        found = self._client.connected_server_version
        return found.major, found.minor

    def close(self) -> None:
        """Hang up and end the thread."""
        if self._loop.is_closed():
            return
        hanging_up = asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop)
        with suppress(FutureTimeoutError):  # then the thread, a daemon, ends with the process
            hanging_up.result(_HANG_UP_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def call(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Have the client do *work*, and wait for it.

        Raises:
            Away: it took longer than *seconds*.
        """
        bounded = asyncio.wait_for(work, seconds)
        future = asyncio.run_coroutine_threadsafe(bounded, self._loop)
        try:
            return future.result(seconds + _REQUEST_SECONDS)
        except (asyncio.TimeoutError, FutureTimeoutError) as error:
            future.cancel()
            raise Away(f"no answer within {seconds:g} seconds") from error

    def api(
        self, name: str, body: dict[str, Any] | None = None, *, seconds: float = 0
    ) -> dict[str, Any]:
        """Ask JetStream's own interface; try again for *seconds* while nobody answers.

        Raises:
            Away: nobody did.
            Refused: the answer is an error.
        """
        until = time.monotonic() + seconds
        while True:
            try:
                return self.call(self._ask(name, body), _REQUEST_SECONDS + 1)
            except Away:
                if time.monotonic() > until:
                    raise
            except Refused as error:
                if error.code not in _PASSING or time.monotonic() > until:
                    raise
            time.sleep(_PAUSE_SECONDS)

    def message(
        self, stream: str, which: dict[str, Any], *, seconds: float = 0
    ) -> dict[str, Any] | None:
        """Return the one message of *stream* that *which* names, or None; raise as `api` does."""
        try:
            answer = self.api(f"STREAM.MSG.GET.{stream}", which, seconds=seconds)
        except Refused as error:
            if error.is_absent:
                return None
            raise
        found: dict[str, Any] = answer["message"]
        return found

    def publish(self, messages: Sequence[Message], seconds: float) -> list[Ack]:
        """Publish *messages* in order, and wait until all are kept.

        What is not acknowledged is sent again; ids make that harmless.

        Raises:
            Away: some may be kept and some not, after *seconds*.
            Refused: some of them was, and others may be kept.
        """
        return self.call(self._publish(messages, time.monotonic() + seconds), seconds + 1)

    async def _connect(self, location: Location, servers: list[str]) -> None:
        await self._client.connect(
            servers,
            name="tap-segment-webhook",
            user=location.user,
            password=location.password,
            user_credentials=location.credentials,
            connect_timeout=2,
            reconnect_time_wait=_RECONNECT_SECONDS,
            max_reconnect_attempts=-1,
            ping_interval=_PING_SECONDS,
            pending_size=16 << 20,
            error_cb=self._note_error,
            disconnected_cb=self._note_away,
            reconnected_cb=self._note_back,
        )
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(
            f"{self._inbox}.*",
            cb=self._take_ack,
            pending_msgs_limit=-1,
            pending_bytes_limit=-1,
        )

    async def _hang_up(self) -> None:
        self._away = True  # and nobody is told
        if not self._client.is_closed:
            await self._client.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _note_error(self, error: Exception) -> None:
        _log.debug("NATS: %s", type(error).__name__)

    async def _note_away(self) -> None:
        if not self._away:
            self._away = True
            _log.warning("The connection to %s is lost. Trying again.", self.place)

    async def _note_back(self) -> None:
        self._away = False
        _log.info("The connection to %s is back.", self.place)

    async def _ask(self, name: str, body: dict[str, Any] | None) -> dict[str, Any]:
        payload = b"" if body is None else json.dumps(body).encode()
        try:
            reply = await self._client.request(f"$JS.API.{name}", payload, _REQUEST_SECONDS)
        except NoRespondersError as error:
            raise Away("JetStream is not enabled there, or has no majority") from error
        except NatsError as error:
            raise Away(str(error) or type(error).__name__) from error
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    async def _publish(self, messages: Sequence[Message], until: float) -> list[Ack]:
        acks: list[Ack | None] = [None] * len(messages)
        attempts = [0] * len(messages)
        reason, is_well, in_flight = "no answer", True, _IN_FLIGHT
        while missing := [place for place, ack in enumerate(acks) if ack is None]:
            left = until - time.monotonic()
            if left <= 0:
                raise Away(f"{len(missing)} of {len(messages)} messages not acknowledged: {reason}")
            if not is_well:
                await asyncio.sleep(min(_PAUSE_SECONDS, left))
            if is_well := self._client.is_connected:
                lot = missing[:in_flight]
                answers = await self._send([messages[i] for i in lot], min(_ACK_SECONDS, left))
                for place, answer in zip(lot, answers, strict=True):
                    attempts[place] += 1
                    outcome = _read_ack(answer, attempts[place])
                    if isinstance(outcome, Ack):
                        acks[place] = outcome
                    else:
                        is_well, reason = False, outcome
                if not is_well:
                    in_flight = max(in_flight // 2, 1)
            else:
                reason = "no connection"
        return [ack for ack in acks if ack is not None]

    async def _send(self, messages: list[Message], seconds: float) -> list[Msg | None]:
        """Publish *messages* once; return the answer to each that came within *seconds*."""
        sent: dict[str, asyncio.Future[Msg]] = {}
        try:
            for subject, id_, body, headers in messages:
                reply = f"{self._inbox}.{next(self._numbers)}"
                sent[reply] = self._acks[reply] = self._loop.create_future()
                await self._client.publish(
                    subject, body, reply, headers={"Nats-Msg-Id": id_, **headers}
                )
            await asyncio.wait(sent.values(), timeout=seconds)
        except MaxPayloadError as error:
            raise Refused({"code": 413, "description": "an event is too large"}) from error
        except NatsError as error:
            _log.debug("NATS: %s", type(error).__name__)  # those without an answer go again
        finally:
            for reply in sent:
                del self._acks[reply]
        answers: list[Msg | None] = [f.result() if f.done() else None for f in sent.values()]
        return answers + [None] * (len(messages) - len(answers))

    async def _take_ack(self, message: Msg) -> None:
        waiting = self._acks.get(message.subject)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def subscribe(
        self, take: Callable[[Msg], Coroutine[Any, Any, None]]
    ) -> tuple[str, Callable[[], Coroutine[Any, Any, None]]]:
        """Have *take* called with what comes to a new subject; in the client's loop.

        Returns the subject, and what ends it.

        Raises:
            Away: there is no connection.
        """
        inbox: str = self._client.new_inbox()
        try:
            subscription = await self._client.subscribe(
                inbox, cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
        except NatsError as error:
            raise Away(str(error) or type(error).__name__) from error

        async def end() -> None:
            with suppress(NatsError):
                await subscription.unsubscribe()

        return inbox, end

    async def send(self, subject: str, body: dict[str, Any], reply: str) -> None:
        """Publish *body*; answers come to *reply*. In the client's loop.

        Raises:
            Away: it cannot be sent now.
        """
        try:
            await self._client.publish(subject, json.dumps(body).encode(), reply)
        except NatsError as error:
            raise Away(str(error) or type(error).__name__) from error


def _read_ack(answer: Msg | None, attempts: int) -> Ack | str:
    """Return what *answer* acknowledges, or why the message has to be sent again.

    Raises:
        Refused: there is no use in that.
    """
    if answer is None:
        return "no answer"
    if answer.headers and answer.headers.get("Status") == str(_UNAVAILABLE):
        return "no leader"
    ack = msgspec.json.decode(answer.data)
    if "error" not in ack:
        return Ack(ack["seq"], ack.get("duplicate", False), attempts)
    refused = Refused(ack["error"])
    if refused.is_full or not (
        refused.status == _UNAVAILABLE or refused.code in (_IN_PROCESS, _TOO_MANY)
    ):
        raise refused
    return str(refused)


def read_url(url: str) -> tuple[str, list[str]]:
    """Return the stream that *url* names, and the servers.

    Raises:
        SpoolUnusable: it is no such URL; one with a password is none, and is not repeated.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise SpoolUnusable(
            "spool_url holds credentials. Set nats_user and nats_password, or nats_credentials."
        )
    stream = parts.path.removeprefix("/")
    if not parts.netloc or not _STREAM.fullmatch(stream) or parts.query or parts.fragment:
        raise SpoolUnusable(
            f"spool_url is {url!r}, and not like nats://HOST:PORT/STREAM; several servers are "
            "separated by commas, the name of a stream has letters, digits, _ and -."
        )
    return stream, [f"{parts.scheme}://{host}" for host in parts.netloc.split(",")]
