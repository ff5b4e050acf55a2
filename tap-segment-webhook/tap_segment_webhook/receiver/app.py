"""The ASGI application: finds who answers a request, and turns what went wrong into an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tap_segment_webhook.errors import DeliveryRefused, SpoolUnavailable
from tap_segment_webhook.receiver.answer import Answer, answer, refused, settled, unavailable
from tap_segment_webhook.receiver.body import ClientGone
from tap_segment_webhook.receiver.intake import LARGE_BYTES, Intake
from tap_segment_webhook.receiver.metrics import render
from tap_segment_webhook.receiver.tracking import PREFIX, TrackingApi, shared
from tap_segment_webhook.receiver.webhook import Webhook
from tap_segment_webhook.spool.model import Received

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from tap_segment_webhook.settings import Settings, Source
    from tap_segment_webhook.spool.committer import Committer
    from tap_segment_webhook.spool.engine import Writer
    from tap_segment_webhook.spool.model import Counts

    Message = MutableMapping[str, Any]

_log = logging.getLogger("segment-receiver")

_PROBE_SECONDS: Final = 1.0
_PROBE: Final = Received("", 0, [], [])


class App:
    """Answers requests; every event of a 200 is on disk before it is sent."""

    def __init__(self, settings: Settings, store: Writer, committer: Committer) -> None:
        self._store = store
        self._committer = committer
        intake = Intake(committer, settings.max_body_bytes)
        self._webhook = Webhook(settings, intake)
        self._tracking = TrackingApi(settings, intake)
        self.urls = self._webhook.urls
        """Where `deliver` takes deliveries, and from which source."""
        self.max_whole_bytes = min(settings.max_body_bytes, LARGE_BYTES)
        """The longest body that `deliver` takes."""
        self._pages = {"/health": self._health, "/metrics": self._metrics}
        self._probed: tuple[float, Answer] = (0.0, refused(503, ""))
        self.statuses: Counter[int] = Counter()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one request (ASGI 3)."""
        path = scope["path"]
        try:
            if (source := self._webhook.source(path)) is not None:
                response = await self._webhook.receive(source, scope, receive)
            elif path.startswith(PREFIX):
                response = await self._tracking.answer(scope, receive)
            else:
                response = await self._show(path, scope["method"])
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - no request may go without an answer
            response = _explain(error)
        status, body, headers = response
        if path.startswith(PREFIX):
            headers = (*headers, *shared(scope))
        self.statuses[status] += 1
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def deliver(
        self,
        source: Source,
        headers: Mapping[bytes, bytes],
        body: bytes,
        respond: Callable[[Answer], None],
    ) -> None:
        """Answer a delivery from *source* whose *body* is there, small and not compressed.

        What `__call__` would answer is given to *respond*, in a later round of the loop.
        """
        try:
            committed, fault = self._webhook.take(source, headers, body)
        except Exception as error:  # noqa: BLE001 - as above
            asyncio.get_running_loop().call_soon(self._give, respond, _explain(error))
        else:
            committed.add_done_callback(partial(self._finish, respond, fault))

    def _finish(
        self,
        respond: Callable[[Answer], None],
        fault: str | None,
        committed: asyncio.Future[Counts],
    ) -> None:
        try:
            counts = committed.result()
        except Exception as error:  # noqa: BLE001 - as above
            response = _explain(error)
        else:
            response = settled(counts, fault)
        self._give(respond, response)

    def _give(self, respond: Callable[[Answer], None], response: Answer) -> None:
        self.statuses[response.status] += 1
        respond(response)

    async def _show(self, path: str, method: str) -> Answer:
        page = self._pages.get(path)
        if page is None:
            return refused(
                404, "Webhooks are posted to /webhook or /webhook/SOURCE, calls of SDKs to /v1/."
            )
        if method not in ("GET", "HEAD"):
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


def _explain(error: Exception) -> Answer:
    """Return the answer to a request that failed with *error*: nothing of it was acknowledged."""
    if isinstance(error, DeliveryRefused):
        return refused(error.status, error.reason)
    if isinstance(error, SpoolUnavailable):
        return unavailable(error.reason, error.retry_after_seconds)
    _log.error("A delivery could not be answered. Answered 503.", exc_info=error)
    return unavailable("The receiver failed.", 5)
