"""The connection to the servers: a client in a thread of its own, asked from any other.

Nothing here knows what is stored. A request that nobody answers in time, also
because the servers elect a leader, raises `Away`; one that they refuse `Refused`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import math
import re
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from tap_segment_webhook.errors import SpoolUnusable

try:
    import nkeys
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
_UNHEARD_SECONDS: Final = 3.0  # an election takes longer, and loses nothing by a change of server
_FORGET_SECONDS: Final = 10.0
_ATTEMPT_SECONDS: Final = 4.0  # with one server; who waits for longer goes on with another
_ACK_SECONDS: Final = 1.2
_LEADS_SECONDS: Final = 3.0  # after its last word of them, others elect nobody for 4 (raft.go)
_PAUSE_SECONDS: Final = 0.1
_RECONNECT_SECONDS: Final = 1
_HANG_UP_SECONDS: Final = 5.0
_IN_FLIGHT: Final = 2000
_PING_SECONDS: Final = 1  # a server that stands still is given up after three of them
_SEED: Final = re.compile(
    rb"-BEGIN NATS USER JWT-.*-BEGIN USER NKEY SEED-+\s+(SU[A-Z2-7]+)\s+-+END", re.DOTALL
)
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


class _Client(Client):
    """One that shows a server behind `tls://` nothing before the connection is encrypted.

    The client of the package encrypts when the server says that it wants it,
    in words that anybody between may change.
    """

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 - as there
        server = self._current_server
        is_promised = server is not None and server.uri.scheme == "tls"
        if initial_connection and is_promised and not info.get("tls_required"):
            raise NatsError("it does not encrypt the connection, which tls:// asks for")
        await super()._process_info(info, initial_connection)


class Link:
    """A connection that comes back by itself.

    A server that lets nothing be kept for a while may be cut off from the
    others: then another one is tried.

    Raises:
        SpoolUnusable: the URL is wrong, or nobody answers there.
    """

    def __init__(self, location: Location) -> None:
        self.stream, servers = read_url(location.url)
        if location.credentials:
            _check_credentials(location.credentials)
        self.place = location.url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        self._client = _Client()
        self._numbers = itertools.count()
        self._acks: dict[str, asyncio.Future[Msg]] = {}
        self._away = False
        self._is_open = self._is_cut_off = False
        self._unheard_since = self._unheard_at = self._kept_at = -math.inf
        self._errors: dict[str, None] = {}
        try:
            self.call(self._connect(location, servers), START_SECONDS)
            self._is_open = True
        except Away as error:
            self.close()
            raise SpoolUnusable(
                f"No NATS server can be reached at {location.url} within {START_SECONDS:g} "
                f"seconds: {'; '.join(self._errors) or error}."
            ) from error
        except (NatsError, OSError, ValueError) as error:
            self.close()
            raise SpoolUnusable(
                f"No NATS server can be reached at {location.url}: {_words(error)}."
            ) from error
        except BaseException:
            self.close()
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

    @property
    def _server(self) -> str:
        """Host and port of the server that it is connected to."""
        url = self._client.connected_url
        return url.netloc if url else "-"

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
        self,
        name: str,
        body: dict[str, Any] | None = None,
        *,
        seconds: float = 0,
        of_leader: bool = False,
    ) -> dict[str, Any]:
        """Ask JetStream's own interface; try again for *seconds* while nobody answers.

        With *of_leader*, who is not sure to lead the stream is nobody, see `info`.

        Raises:
            Away: nobody did.
            Refused: the answer is an error.
        """
        until = time.monotonic() + seconds
        while True:
            begun = time.monotonic()
            try:
                answer = self.call(self._ask(name, body, of_leader=of_leader), _REQUEST_SECONDS + 1)
            except Away:
                self._note_unheard(begun)
                if time.monotonic() > until:
                    raise
            except Refused as error:
                if error.code not in _PASSING:
                    raise
                self._note_unheard(begun)
                if time.monotonic() > until:
                    raise
            else:
                return answer
            time.sleep(_PAUSE_SECONDS)

    def info(
        self, name: str, body: dict[str, Any] | None = None, *, seconds: float = 0
    ) -> dict[str, Any]:
        """Return what the leader of the stream *name* says of it; raise as `api` does.

        A server that knows of no leader answers as well, and one that was cut
        off takes itself for the leader for up to 20 seconds more: both may
        lack what is acknowledged, so their answers do not count.
        """
        return self.api(f"STREAM.INFO.{name}", body, seconds=seconds, of_leader=True)

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
        until = time.monotonic() + seconds
        while True:
            begun = time.monotonic()
            attempt_until = min(begun + _ATTEMPT_SECONDS, until)
            try:
                acks = self.call(self._publish(messages, attempt_until), attempt_until - begun + 1)
                break
            except Away:
                self._note_unheard(begun)
                if time.monotonic() >= until:
                    raise
        self._unheard_at = -math.inf
        if self._is_cut_off:
            self._is_cut_off = False
            _log.info("Events are kept again, through the server %s.", self._server)
        return acks

    async def _connect(self, location: Location, servers: list[str]) -> None:
        await self._client.connect(
            servers,
            name="tap-segment-webhook",
            user=location.user,
            password=location.password,
            token=None if location.user else location.password,
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

    def _note_unheard(self, since: float) -> None:
        """Go to another server, if this one has kept nothing for too long.

        Answers to questions are no sign that it is well: one that is cut off
        goes on to tell what it knows. Only what it keeps takes the others.
        """
        now = time.monotonic()
        if self._kept_at >= since:
            return
        if now - self._unheard_at > _FORGET_SECONDS:
            self._unheard_since = since
        self._unheard_at = now
        if now - self._unheard_since < _UNHEARD_SECONDS or len(self._client.servers) == 1:
            return
        self._unheard_at = -math.inf
        if self._client.is_connected:
            if not self._is_cut_off:
                self._is_cut_off = True
                _log.warning(
                    "The server %s keeps nothing, as if cut off from the others. Trying the rest "
                    "of %s.",
                    self._server,
                    self.place,
                )
            self.call(self._client.force_reconnect(), _REQUEST_SECONDS)

    async def _note_error(self, error: Exception) -> None:
        if not self._is_open:
            self._errors[_words(error)] = None
        _log.debug("NATS: %s", type(error).__name__)

    async def _note_away(self) -> None:
        if not self._away and not self._is_cut_off:
            self._away = True
            _log.warning("The connection to %s is lost. Trying again.", self.place)

    async def _note_back(self) -> None:
        if not self._away:
            return
        self._away = False
        _log.info("The connection to %s is back.", self.place)

    async def _ask(
        self, name: str, body: dict[str, Any] | None, *, of_leader: bool
    ) -> dict[str, Any]:
        payload = b"" if body is None else json.dumps(body).encode()
        try:
            reply = await self._client.request(f"$JS.API.{name}", payload, _REQUEST_SECONDS)
        except NoRespondersError as error:
            raise Away("JetStream is not enabled there, or has no majority") from error
        except NatsError as error:
            raise Away(_words(error)) from error
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise Refused(answer["error"])
        if of_leader and not _is_of_leader(answer):
            raise Away("the server that answers knows of no leader, or is cut off")
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
                        if not outcome.duplicate:
                            self._kept_at = time.monotonic()
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
            raise Away(_words(error)) from error

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
            raise Away(_words(error)) from error


def _is_of_leader(info: dict[str, Any]) -> bool:
    """Tell whether *info* of a stream is of a leader that a majority followed just now."""
    if "cluster" not in info:
        return True  # the server is alone
    others = followers(info)
    limit = _LEADS_SECONDS * 1_000_000_000
    heard = sum(0 < other.get("active", 0) < limit for other in others)
    return bool(info["cluster"].get("leader")) and heard >= (len(others) + 1) // 2


def followers(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what *info* of a stream says of the servers that have it beside the leader."""
    return info.get("cluster", {}).get("replicas") or []


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


def _check_credentials(path: str) -> None:
    """See that a file of credentials can be read and has what the client looks for.

    Raises:
        SpoolUnusable: it has not; of what is in it, nothing is said.
    """
    try:
        found = _SEED.search(Path(path).read_bytes())
        nkeys.from_seed(bytearray(found[1] if found else b"")).wipe()
    except OSError as error:
        raise SpoolUnusable(f"nats_credentials cannot be read: {error}.") from error
    except (nkeys.NkeysError, ValueError) as error:
        raise SpoolUnusable(
            f"nats_credentials is {path}, which is no .creds file of a NATS user. Write it again "
            "with the tool that made the user."
        ) from error


def _words(error: BaseException) -> str:
    """Return what *error* says, or its name."""
    return str(error).strip().rstrip(".") or type(error).__name__


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
