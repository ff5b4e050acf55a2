"""Deliveries of Segment's webhook destinations: verify, read, have them committed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tap_segment_webhook.delivery import read_delivery, sort_events
from tap_segment_webhook.errors import DeliveryRefused
from tap_segment_webhook.receiver.answer import Answer, refused, settled
from tap_segment_webhook.receiver.credential import given_secret
from tap_segment_webhook.receiver.intake import Intake, Reading
from tap_segment_webhook.settings import DEFAULT_SOURCE
from tap_segment_webhook.signature import same, verify

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    from tap_segment_webhook.settings import Settings, Source
    from tap_segment_webhook.spool.model import Counts

_METHODS: Final = ("POST", "PUT", "PATCH")
_FORMS: Final = (b"application/x-www-form-urlencoded", b"multipart/")


class Webhook:
    """The endpoints `/webhook` and `/webhook/SOURCE`."""

    def __init__(self, settings: Settings, intake: Intake) -> None:
        self._settings = settings
        self._intake = intake
        self._sources = {f"/webhook/{source.name}": source for source in settings.sources}
        if default := self._sources.get(f"/webhook/{DEFAULT_SOURCE}"):
            self._sources["/webhook"] = default
        self.urls = {path.encode(): source for path, source in self._sources.items()}
        """The source that posts to each address, as it stands in a request."""

    def source(self, path: str) -> Source | None:
        """Return the source that posts to *path*, or None."""
        return self._sources.get(path)

    async def receive(
        self, source: Source, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]]
    ) -> Answer:
        """Answer a delivery from *source*, whose events are on disk if it is 200.

        Raises:
            DeliveryRefused, SpoolUnavailable, ClientGone: as `Intake.take` does.
        """
        if scope["method"] not in _METHODS:
            allow = (b"allow", b"POST, PUT, PATCH")
            return refused(405, "Deliveries are POST, PUT or PATCH.", allow)
        headers = dict(scope["headers"])
        _refuse_forms(headers)
        counts, fault = await self._intake.take(
            receive,
            headers.get(b"content-encoding", b""),
            self._settings.max_body_bytes,
            partial(self._read, source, headers),
        )
        return settled(counts, fault)

    def take(
        self, source: Source, headers: Mapping[bytes, bytes], body: bytes
    ) -> tuple[asyncio.Future[Counts], str | None]:
        """Have the events of a delivery committed whose *body* is there, small and not compressed.

        Returns what becomes of them, and the fault for which it is 400 then.

        Raises:
            DeliveryRefused, SpoolUnavailable: as `Intake.take` does.
        """
        _refuse_forms(headers)
        received, fault = self._read(source, headers, body)
        return self._intake.append(received, len(body)), fault

    def _read(self, source: Source, headers: Mapping[bytes, bytes], body: bytes) -> Reading:
        """Read and verify one delivery.

        Raises:
            DeliveryRefused: it is not authentic, so nothing of it is kept.
        """
        delivery = read_delivery(body)
        _authenticate(source, headers, delivery.signed)
        if delivery.fault is not None:
            return Reading.set_aside(source.name, delivery.fault, body)
        received = sort_events(source.name, delivery.elements, self._settings.integration_name)
        single = delivery.signed is body
        return Reading(
            received, received.rejects[0].reason if single and received.rejects else None
        )


def _refuse_forms(headers: Mapping[bytes, bytes]) -> None:
    if headers.get(b"content-type", b"").lower().startswith(_FORMS):
        raise DeliveryRefused(
            415, "A form cannot be verified. Send JSON, and Content-Type: application/json."
        )


def _authenticate(source: Source, headers: Mapping[bytes, bytes], signed: bytes) -> None:
    """Let a delivery pass that *source* may have sent: signed with a secret, or showing it.

    Raises:
        DeliveryRefused: 401.
    """
    if source.allow_unsigned:
        return
    signature = headers.get(b"x-signature")
    if signature is not None and verify(signed, signature, source.shared_secrets):
        return
    shown = given_secret(headers.get(b"authorization", b""))
    if shown is not None and same(shown, source.shared_secrets):
        return
    if signature is None and shown is None:
        raise DeliveryRefused(401, "X-Signature is missing. Set the shared secret in Segment.")
    name = "Authorization" if signature is None else "X-Signature"
    count = len(source.shared_secrets)
    raise DeliveryRefused(401, f"{name} does not match ({count} secrets tried).")
