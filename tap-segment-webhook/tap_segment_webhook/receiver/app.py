"""The ASGI application: verify, read, commit, answer. The only file that knows status codes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tap_segment_webhook.delivery import read_delivery
from tap_segment_webhook.errors import DeliveryRefused, InvalidEvent, SpoolUnavailable
from tap_segment_webhook.event import Event, read_event
from tap_segment_webhook.filter import switched_off
from tap_segment_webhook.receiver.answer import Answer, answer, refused, stored, unavailable
from tap_segment_webhook.receiver.body import Budget, Claim, ClientGone, read_body
from tap_segment_webhook.receiver.metrics import render
from tap_segment_webhook.settings import DEFAULT_SOURCE
from tap_segment_webhook.signature import verify
from tap_segment_webhook.spool.model import Received, Reject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from tap_segment_webhook.settings import Settings, Source
    from tap_segment_webhook.spool.committer import Committer
    from tap_segment_webhook.spool.store import Store

    Message = MutableMapping[str, Any]

_log = logging.getLogger("segment-receiver")

_METHODS: Final = ("POST", "PUT", "PATCH")
_BUDGET_BODIES: Final = 4  # how many bodies of the largest size may come in at once
_BUDGET_BYTES: Final = 64 << 20  # or this many bytes, whichever is more
_FORMS: Final = (b"application/x-www-form-urlencoded", b"multipart/")
_LARGE_BYTES: Final = 1 << 20  # read in a thread, so that small deliveries are answered meanwhile
_PROBE_SECONDS: Final = 1.0
_PROBE: Final = Received("", 0, [], [])


class App:
    """Answers requests; every event of a 200 is on disk before it is sent."""

    def __init__(self, settings: Settings, store: Store, committer: Committer) -> None:
        self._settings = settings
        self._store = store
        self._committer = committer
        self._sources = {f"/webhook/{source.name}": source for source in settings.sources}
        if default := self._sources.get(f"/webhook/{DEFAULT_SOURCE}"):
            self._sources["/webhook"] = default
        self._pages = {"/health": self._health, "/metrics": self._metrics}
        self._budget = Budget(max(settings.max_body_bytes * _BUDGET_BODIES, _BUDGET_BYTES))
        self._probed: tuple[float, Answer] = (0.0, refused(503, ""))
        self.statuses: Counter[int] = Counter()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one request (ASGI 3)."""
        try:
            source = self._sources.get(scope["path"])
            if source is not None:
                response = await self._receive(source, scope, receive)
            else:
                response = await self._show(scope)
        except ClientGone:
            return
        except DeliveryRefused as error:
            response = refused(error.status, error.reason)
        except SpoolUnavailable as error:
            response = unavailable(error.reason, error.retry_after_seconds)
        except Exception:  # noqa: BLE001 - logged, and no request may go without an answer
            # Whatever it was, nothing was acknowledged: Segment sends it again.
            _log.exception("A delivery could not be answered. Answered 503.")
            response = unavailable("The receiver failed.", 5)
        status, body, headers = response
        self.statuses[status] += 1
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _receive(
        self, source: Source, scope: Message, receive: Callable[[], Awaitable[Message]]
    ) -> Answer:
        if scope["method"] not in _METHODS:
            allow = (b"allow", b"POST, PUT, PATCH")
            return refused(405, "Deliveries are POST, PUT or PATCH.", allow)
        headers = dict(scope["headers"])
        if headers.get(b"content-type", b"").lower().startswith(_FORMS):
            raise DeliveryRefused(
                415, "A form cannot be verified. Send JSON, and Content-Type: application/json."
            )
        claim = Claim(self._budget)
        try:
            body = await read_body(
                receive,
                encoding=headers.get(b"content-encoding", b"").strip().lower(),
                limit=self._settings.max_body_bytes,
                claim=claim,
            )
            signature = headers.get(b"x-signature")
            if len(body) > _LARGE_BYTES:
                received, single_fault = await asyncio.to_thread(
                    self._read, source, signature, body
                )
            else:
                received, single_fault = self._read(source, signature, body)
            counts = await self._committer.append(received, len(body))
        finally:
            claim.release()
        return refused(400, single_fault) if single_fault else stored(counts)

    def _read(
        self, source: Source, signature: bytes | None, body: bytes
    ) -> tuple[Received, str | None]:
        """Read and verify one delivery; also return why all of it is to be refused, or None.

        Raises:
            DeliveryRefused: it is not authentic, so nothing of it is kept.
        """
        delivery = read_delivery(body)
        authenticate(source, signature, delivery.signed)
        if delivery.fault is not None:
            return Received(source.name, 1, [], [Reject(delivery.fault, body)]), delivery.fault
        received = sort(source.name, delivery.elements, self._settings.integration_name)
        single = delivery.signed is body
        return received, received.rejects[0].reason if single and received.rejects else None

    async def _show(self, scope: Message) -> Answer:
        page = self._pages.get(scope["path"])
        if page is None:
            return refused(404, "Webhooks are posted to /webhook or /webhook/SOURCE.")
        if scope["method"] not in ("GET", "HEAD"):
            return refused(405, "This page is only read.", (b"allow", b"GET, HEAD"))
        return await page()

    async def _health(self) -> Answer:
        """Answer 200 only if an event would be stored durably now: store something and see."""
        now = time.monotonic()
        if now - self._probed[0] > _PROBE_SECONDS:
            try:
                await self._committer.append(_PROBE, 0)
                page = answer(200, b'{"status": "ok"}')
            except SpoolUnavailable as error:
                page = unavailable(error.reason, error.retry_after_seconds)
            self._probed = (now, page)
        return self._probed[1]

    async def _metrics(self) -> Answer:
        positions = await asyncio.to_thread(self._store.consumers.positions)
        text = render(self._store, positions, self._committer.waiting_bytes, self.statuses)
        return answer(200, text, content_type=b"text/plain; version=0.0.4; charset=utf-8")


def authenticate(source: Source, signature: bytes | None, signed: bytes) -> None:
    """Let a delivery pass that *source* may have sent.

    Raises:
        DeliveryRefused: 401.
    """
    if source.allow_unsigned:
        return
    if signature is None:
        raise DeliveryRefused(401, "X-Signature is missing. Set the shared secret in Segment.")
    if not verify(signed, signature, source.shared_secrets):
        count = len(source.shared_secrets)
        raise DeliveryRefused(401, f"X-Signature does not match ({count} secrets tried).")


def sort(source: str, elements: list[bytes], integration_name: str | None) -> Received:
    """Put each of *elements* into its lot: events, rejects, or counted as filtered."""
    events: list[Event] = []
    rejects: list[Reject] = []
    filtered = 0
    for element in elements:
        try:
            events.append(read_event(element))
        except InvalidEvent as error:
            rejects.append(Reject(error.reason, element))
    if integration_name is not None:
        meant = [event for event in events if not switched_off(event.body, integration_name)]
        events, filtered = meant, len(events) - len(meant)
    return Received(source, len(elements), events, rejects, filtered)
