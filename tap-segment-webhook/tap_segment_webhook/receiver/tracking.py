"""Segment's Tracking API, so that whatever speaks to Segment can be pointed at the receiver.

Paths, forms, limits and answers are those of Segment's HTTP API and of what its
SDKs send (its documentation, and its open SDKs). Two answers differ on purpose:
an unknown write key gets 401, not 200; and what Segment takes and drops in
silence is kept in rejects, with the reason, behind the same 200.
"""

from __future__ import annotations

import json
from base64 import b64decode
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tap_segment_webhook.call import (
    CALLS,
    MAX_BODY_BYTES,
    read_batch,
    read_call,
    read_pixel,
    sort_calls,
)
from tap_segment_webhook.errors import DeliveryRefused, InvalidEvent
from tap_segment_webhook.event import digest
from tap_segment_webhook.receiver.answer import Answer, answer, refused, settled
from tap_segment_webhook.receiver.body import BodyTooLarge
from tap_segment_webhook.receiver.credential import given_secret
from tap_segment_webhook.receiver.intake import Intake, Reading
from tap_segment_webhook.spool.model import Received

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tap_segment_webhook.settings import Settings, Source

    Scope: TypeAlias = Mapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[Any]]

PREFIX: Final = "/v1/"

_KINDS: Final = {**{name: name for name in CALLS}, **{name[0]: name for name in CALLS}}
_BATCHES: Final = ("batch", "b", "import")
_METRICS: Final = "m"
_PIXEL: Final = "pixel/"
_PROJECTS, _SETTINGS = "projects/", "/settings"
_DAY_SECONDS: Final = b"86400"
_GIF: Final = b64decode("R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==")
_UNKEPT: Final = (b"cache-control", b"no-store")
_NO_KEY: Final = "No source has this write key. Set write_key, or write_keys of a source."


class TrackingApi:
    """The endpoints under `/v1/`."""

    def __init__(self, settings: Settings, intake: Intake) -> None:
        self._intake = intake
        self._integration_name = settings.integration_name
        self._limit = min(settings.max_body_bytes, MAX_BODY_BYTES)
        # By digest: how long a look-up takes says nothing about the keys.
        self._sources = {
            digest(key.decode()): source for source in settings.sources for key in source.write_keys
        }

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """Answer a request, whose events are on disk if it is 200.

        Raises:
            DeliveryRefused, SpoolUnavailable, ClientGone: as `Intake.take` does.
        """
        name, method = scope["path"][len(PREFIX) :], scope["method"]
        if method == "OPTIONS":
            return _preflight(scope)
        if name in _KINDS or name in _BATCHES or name == _METRICS:
            if method != "POST":
                return refused(405, "Calls are posted.", (b"allow", b"POST, OPTIONS"))
            return await self._post(name, scope, receive)
        is_pixel = name.startswith(_PIXEL) and name[len(_PIXEL) :] in CALLS
        if not is_pixel and not (name.startswith(_PROJECTS) and name.endswith(_SETTINGS)):
            return refused(404, f"Under /v1 there are {', '.join(CALLS)}, batch and import.")
        if method != "GET":
            return refused(405, "This page is only read.", (b"allow", b"GET, OPTIONS"))
        return (
            await self._pixel(name[len(_PIXEL) :], scope) if is_pixel else self._show(name, scope)
        )

    async def _post(self, name: str, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        read = _skip if name == _METRICS else partial(self._read, name, headers)
        encoding = headers.get(b"content-encoding", b"")
        try:
            counts, fault = await self._intake.take(receive, encoding, self._limit, read)
        except BodyTooLarge as error:
            # Segment's status, which its SDKs know.
            reason = f"The body is larger than {self._limit:,} bytes, which is what Segment takes."
            raise DeliveryRefused(400, reason) from error
        return settled(counts, fault)

    def _read(self, name: str, headers: Mapping[bytes, bytes], body: bytes) -> Reading:
        """Read the calls in *body*, posted to *name*.

        Raises:
            DeliveryRefused: 401, nothing of it is kept.
        """
        shown = given_secret(headers.get(b"authorization", b""))
        try:
            request = read_call(body, _KINDS[name]) if name in _KINDS else read_batch(body)
        except InvalidEvent as error:
            source = self._authenticate(shown, None)
            return Reading.set_aside(source.name, error.reason, body)
        source = self._authenticate(shown, request.write_key)
        try:
            return Reading(sort_calls(source.name, request, self._integration_name))
        except DeliveryRefused as error:
            return Reading.set_aside(source.name, error.reason, body)

    def _authenticate(self, shown: bytes | None, write_key: str | None) -> Source:
        """Return the source whose key the header or the body holds.

        Raises:
            DeliveryRefused: 401.
        """
        for key in (shown and shown.decode("latin-1"), write_key):
            if key and (source := self._source(key)):
                return source
        if not shown and not write_key:
            raise DeliveryRefused(
                401, "The write key is missing: as the user of Basic, or `writeKey` in the body."
            )
        raise DeliveryRefused(401, _NO_KEY)

    def _source(self, key: str) -> Source | None:
        return self._sources.get(digest(key))

    async def _pixel(self, kind: str, scope: Scope) -> Answer:
        """Take a call from an address alone, as an image in a mail makes it."""
        query: bytes = scope["query_string"]
        try:
            request = read_pixel(query, kind)
        except InvalidEvent as error:
            raise DeliveryRefused(400, error.reason) from error
        source = self._authenticate(None, request.write_key)
        await self._intake.keep(
            sort_calls(source.name, request, self._integration_name), len(query)
        )
        return answer(200, _GIF, _UNKEPT, content_type=b"image/gif")

    def _show(self, name: str, scope: Scope) -> Answer:
        """Show the settings of a source, as Segment's CDN does; SDKs begin with it."""
        key = name[len(_PROJECTS) : -len(_SETTINGS)]
        if self._source(key) is None:
            return refused(404, _NO_KEY)
        headers = dict(scope["headers"])
        host = headers.get(b"x-forwarded-host") or headers.get(b"host", b"")
        protocol = headers.get(b"x-forwarded-proto") or scope["scheme"].encode()
        ours = {
            "apiKey": key,
            "apiHost": f"{_outermost(host)}{PREFIX.rstrip('/')}",
            "protocol": _outermost(protocol),
        }
        settings = json.dumps({**_PROJECT, "integrations": {"Segment.io": ours}}).encode()
        # Kept by nobody: a cache could give one visitor's forged host to all the others.
        return answer(200, settings, _UNKEPT)


_PROJECT: Final[dict[str, Any]] = {
    "plan": {name: {"__default": {"enabled": True}} for name in ("track", "identify", "group")},
    "edgeFunction": {},
    "analyticsNextEnabled": True,
    "middlewareSettings": {},
    "enabledMiddleware": {},
    "metrics": {"sampleRate": 0},
    "legacyVideoPluginsEnabled": False,
    "remotePlugins": [],
}
"""What analytics.js asks for beside the integrations: nothing is filtered, nothing is loaded."""


def _skip(_: bytes) -> Reading:
    """Read the metrics that SDKs send about themselves: they are no events."""
    return Reading(Received("", 0, [], []))


def _outermost(forwarded: bytes) -> str:
    """Return what the first of several proxies was asked for: each adds its own at the end."""
    return forwarded.partition(b",")[0].strip().decode("latin-1")


def shared(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a page of any origin read the answer to its request.

    Also a page whose requests carry cookies, as analytics.js does for a receiver
    under the site's own domain: then a browser takes no `*`. No cookie opens anything here.
    """
    exposed = (b"access-control-expose-headers", b"retry-after")
    origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
    if origin is None:
        return [(b"access-control-allow-origin", b"*"), exposed]
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"origin"),
        exposed,
    ]


def _preflight(scope: Scope) -> Answer:
    """Allow a page of any origin what it is about to do."""
    asked = dict(scope["headers"]).get(b"access-control-request-headers", b"content-type")
    return answer(
        204,
        b"",
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", asked),
        (b"access-control-max-age", _DAY_SECONDS),
    )
