"""HTTP to Segment: one request, and what its answer means. The only file that knows HTTP.

`requests` is right here although faster clients were measured (urllib3 by 10 to
15 %, aiohttp by half of the client's share): at any real distance the number of
lanes decides, not the client, whose part is 0.5 of about 1.5 CPU seconds per
100,000 events; and everybody knows its proxy, certificate and `.netrc` rules.
Each lane has a session of its own, whose connection stays open. What the
environment says about proxies and certificates is looked up once, not for each request.
"""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import requests

try:
    from isal import igzip as gzip
except ImportError:  # the extra `fast` is not installed
    import gzip  # type: ignore[no-redef]

from target_segment_api.encoding import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_segment_api.settings import Settings

_BYTE_ORDER_MARK: Final = "\ufeff".encode()
_ANSWER_BYTES: Final = 64 << 10  # Segment's answers have some tens of bytes
# Half the cost of level 6, and shrinks events to a sixth; with the extra `fast` it costs a seventh
# of that. Python's global lock is free meanwhile.
_GZIP_LEVEL: Final = 1
_MAX_WAIT_SECONDS: Final = 300.0  # no `Retry-After` is obeyed for longer: as in Segment's clients
_QUESTION_SECONDS: Final = 10.0  # nothing else goes on meanwhile, not even the end after a signal

# As in Segment's own clients of 2026; a message id makes it safe to send again.
_RETRIED: Final = frozenset({408, 410, 429, 460})
_NOT_RETRIED: Final = frozenset({501, 505, 511})
_REFUSED: Final = frozenset({400, 413, 422})


class Verdict(Enum):
    """What is to be done after an answer."""

    ACCEPTED = "accepted"
    """Segment has the batch."""
    REFUSED = "refused"
    """It will never take these bytes; part of them perhaps."""
    UNAVAILABLE = "unavailable"
    """Try again."""
    WRONG = "wrong"
    """Nothing sent this way will be taken: stop."""


class Answer(NamedTuple):
    """What became of one request."""

    verdict: Verdict
    reason: str = ""
    """A sentence for people; without the content of an event."""
    retry_after: float | None = None
    """So many seconds the server asks everybody to wait."""


class LookUp(NamedTuple):
    """What Segment says about a write key."""

    known: bool | None
    """None if it could not be asked."""
    reason: str = ""
    host: str | None = None
    """The Tracking API of the source's region, as `HOST/v1`; not every endpoint says so."""


ACCEPTED: Final = Answer(Verdict.ACCEPTED)


class Transport(Protocol):
    """What carries batches; used by one thread at a time."""

    def post(self, body: bytes) -> Answer:
        """Send one batch."""


class Client:
    """Sends batches over one connection, and asks about the write key."""

    def __init__(self, settings: Settings) -> None:
        self._base_url = settings.endpoint
        self._url = f"{settings.endpoint}/batch"
        self._settings_url = settings.settings_url
        self._timeout = settings.timeout_seconds
        self._compression = settings.compression
        # At DEBUG it writes every URL, and in that of the settings is the write key.
        logging.getLogger("urllib3").setLevel(logging.WARNING)
        self._session = session = requests.Session()
        found = session.merge_environment_settings(self._url, {}, None, None, None)
        session.proxies.update(found["proxies"])
        session.verify, session.cert = found["verify"], found["cert"]
        session.trust_env = False
        session.auth = (settings.write_key, "")
        session.headers.update(
            {
                "Content-Type": "application/json",
                "User-Agent": f"target-segment-api/{version('target-segment-api')}",
            }
        )
        if settings.compression:
            session.headers["Content-Encoding"] = "gzip"
        # Prepared once: its URL, headers and authorization are those of every batch.
        self._request = session.prepare_request(requests.Request("POST", self._url))

    def post(self, body: bytes) -> Answer:
        """Send one batch; never raises for what the network or the server does."""
        if self._compression:
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        self._request.prepare_body(body, None)
        try:
            with closing(
                self._session.send(
                    self._request, timeout=self._timeout, allow_redirects=False, stream=True
                )
            ) as response:
                text = response.raw.read(_ANSWER_BYTES, decode_content=True)
                return read_answer(response.status_code, response.headers, text)
        except requests.exceptions.SSLError:
            return Answer(Verdict.WRONG, "The server's certificate cannot be verified.")
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidProxyURL):
            return Answer(Verdict.WRONG, "The endpoint, or the proxy's address, is no URL.")
        except (requests.RequestException, OSError, ValueError) as error:
            return Answer(Verdict.UNAVAILABLE, f"No answer: {_name(error)}.")
        except Exception as error:  # noqa: BLE001 - urllib3's own, while the answer was read
            return Answer(Verdict.UNAVAILABLE, f"The answer broke off: {_name(error)}.")

    def look_up(self) -> LookUp:
        """Ask Segment what it knows of the write key, and where its source lives."""
        try:
            response = self._ask(self._settings_url, min(self._timeout, _QUESTION_SECONDS))
        except requests.RequestException as error:
            return LookUp(None, f"No answer: {_name(error)}.")
        status = response.status_code
        known = {200: True, 404: False}.get(status)
        if not known:
            return LookUp(known, f"The settings URL answered {status}.")
        try:
            segment = response.json()["integrations"]["Segment.io"]
            host = str(segment["apiHost"])
        except (ValueError, LookupError, TypeError):
            host = None
        return LookUp(known, host=host)

    def reach(self) -> Answer:
        """Try whether anybody answers at the endpoint; send nothing."""
        try:
            response = self._ask(self._base_url, self._timeout)
        except requests.exceptions.SSLError:
            return Answer(Verdict.WRONG, "The server's certificate cannot be verified.")
        except (requests.RequestException, ValueError) as error:
            return Answer(Verdict.UNAVAILABLE, f"No answer: {_name(error)}.")
        return Answer(Verdict.ACCEPTED, f"It answers (with {response.status_code} to a bare GET).")

    def _ask(self, url: str, timeout: float) -> requests.Response:
        """Get *url*, without the key and what only a batch needs."""
        return self._session.get(
            url,
            timeout=timeout,
            allow_redirects=False,
            headers={"Content-Type": None, "Content-Encoding": None},
            auth=_no_authorization,
        )


def _no_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no key along with *request*: what it asks is public."""
    return request


class Silent:
    """Carries nothing anywhere: for a dry run."""

    def post(self, body: bytes) -> Answer:  # noqa: ARG002 - a Transport takes it
        """Take the batch as accepted."""
        return ACCEPTED


def read_answer(status: int, headers: Mapping[str, str], text: bytes) -> Answer:
    """Return what an answer of Segment, or of somebody between us, means."""
    if 200 <= status < 300:  # noqa: PLR2004
        return _read_success(status, text)
    said = f"Segment answered {status}"
    if status in _REFUSED:
        return Answer(Verdict.REFUSED, f"{said}.")
    if status in _RETRIED or (status >= 500 and status not in _NOT_RETRIED):  # noqa: PLR2004
        return Answer(Verdict.UNAVAILABLE, f"{said}.", _retry_after(headers))
    if status in (401, 403):
        return Answer(Verdict.WRONG, f"{said}: check write_key and region.")
    if 300 <= status < 400:  # noqa: PLR2004
        return Answer(Verdict.WRONG, f"{said}, a redirect: check endpoint, and its https.")
    return Answer(Verdict.WRONG, f"{said}: check endpoint and region.")


def _read_success(status: int, text: bytes) -> Answer:
    if text.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1] == b"<":
        return Answer(
            Verdict.WRONG,
            f"{status} came with an HTML page: that was not Segment but a proxy, or endpoint "
            "is wrong.",
        )
    try:
        answer = decode(text)
    except ValueError:
        return ACCEPTED  # other endpoints say OK
    if isinstance(answer, dict) and answer.get("success") is False:
        return Answer(Verdict.REFUSED, f"Segment answered {status} and success: false.")
    return ACCEPTED


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After`, or else `X-RateLimit-Reset`, asks for."""
    for name in ("Retry-After", "X-RateLimit-Reset"):
        text = headers.get(name, "").strip()
        if text.isdecimal():
            return min(float(text), _MAX_WAIT_SECONDS)
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            continue
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
        return min(max(seconds, 0.0), _MAX_WAIT_SECONDS)
    return None


def _name(error: BaseException) -> str:
    """Return the innermost cause's name, which unlike its text holds no URL or content."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    reason = getattr(error, "strerror", None)
    return reason or type(error).__name__
