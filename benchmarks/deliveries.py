"""Segment deliveries to measure with: realistic, signed, every event with its own message id.

Requests are built once as templates. For each one only the number inside its
message ids and its signature are written anew, which takes about 6 µs (18 µs
for an array of 100). Ready requests would save that, and hold 20 MB of memory
for each second of a run. Batches for the Tracking API hold the calls of those
events, as large as they are, and show a write key instead of a signature.
"""

from __future__ import annotations

import hmac
import itertools
import json
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Event = dict[str, Any]

# Stands in a template where the request's number goes: same length, and nowhere else in an event.
NUMBER = b"~~~~~~~~~~~~"
# What Segment adds to a call, and no SDK says.
OF_SEGMENT = ("originalTimestamp", "projectId", "receivedAt", "sentAt", "version")
# In its place, so that calls are as large as deliveries.
CAMPAIGN = {
    "name": "spring-tide-2026",
    "source": "harbour-radio-newsletter",
    "medium": "email",
    "term": "mooring ropes, 12 mm",
    "content": "second button",
}
# Different contents in the pool; the number makes each event one of its own.
POOL_EVENTS = 400

CITIES = ("Santos", "Tromsø", "Galway", "Izmir", "Hobart", "Győr", "Nagoya")
PLANS = ("solo", "team", "harbour", "fleet")
PAGES = ("pricing", "berths", "tide-tables", "checkout", "docs/moorings")
PRODUCTS = ("ROPE-12", "BUOY-3", "CLEAT-40", "ANCHOR-7", "LAMP-2")
AGENT = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/139.0.0.0 Safari/537.36"
)


@dataclass(frozen=True, slots=True)
class Template:
    """A request without its number: what comes before, between and after it."""

    head: bytes
    signature: hmac.HMAC | None
    signed_rest: bytes
    pieces: list[bytes]

    def request(self, number: int) -> bytes:
        """Return the whole HTTP request under *number*."""
        digits = b"%012d" % number
        body = digits.join(self.pieces)
        if self.signature is None:
            return b"%b\r\n\r\n%b" % (self.head, body)
        signature = self.signature.copy()
        signature.update(digits + self.signed_rest)
        return b"%b%b\r\n\r\n%b" % (self.head, signature.hexdigest().encode(), body)


def requests(
    target: str, host: str, array: int, *, secret: str, key: str | None, seed: int
) -> Iterator[bytes]:
    """Yield whole HTTP requests without end, *array* events in each (1: a single object).

    With a write *key* they are batches for the Tracking API, else webhooks signed
    with *secret*. No message id comes twice under one *seed*.
    """
    form = call if key else dict
    pool = [
        batch(target, host, group, key) if key else template(target, host, group, secret)
        for group in groups(array, seed, form)
    ]
    for number, each in enumerate(itertools.cycle(pool)):
        yield each.request(number)


def template(target: str, host: str, group: list[bytes], secret: str) -> Template:
    """Return the request that posts *group* to *target*: a single object if it is only one."""
    body = group[0] if len(group) == 1 else b"[%b]" % b",".join(group)
    # Segment signs an array over its first element alone.
    start, rest = group[0].split(NUMBER)
    signature = hmac.new(secret.encode(), start, "sha1")
    head = _head(target, host, len(body)) + b"X-Signature: "
    return Template(head, signature, rest, body.split(NUMBER))


def batch(target: str, host: str, group: list[bytes], key: str) -> Template:
    """Return the request that posts *group* to *target* as an SDK does."""
    body = b'{"batch":[%b],"sentAt":"2026-03-04T11:20:31.640Z"}' % b",".join(group)
    shown = b"Authorization: Basic " + b64encode(f"{key}:".encode())
    return Template(_head(target, host, len(body)) + shown, None, b"", body.split(NUMBER))


def groups(array: int, seed: int, form: Callable[[Event], Event] = dict) -> Iterator[list[bytes]]:
    """Yield different encoded events in the *form* wanted, *array* at a time."""
    every = [encode(form(event)) for event in events(max(POOL_EVENTS, array), seed)]
    for start in range(0, len(every) - array + 1, array):
        yield every[start : start + array]


def call(event: Event) -> Event:
    """Return the call of an SDK that becomes *event*."""
    own = {name: value for name, value in event.items() if name not in OF_SEGMENT}
    return own | {"context": event["context"] | {"campaign": CAMPAIGN}}


def encode(event: Event) -> bytes:
    """Return *event* as JavaScript would write it."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def events(count: int, seed: int) -> list[Event]:
    """Return *count* events of about 1 KB: half track, then page, identify, screen, group."""
    kinds = (_track, _page, _track, _identify, _track, _screen, _track, _page, _track, _group)
    return [kinds[place % len(kinds)](place, seed) for place in range(count)]


def _head(target: str, host: str, length: int) -> bytes:
    return (
        f"POST {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Segment (Actions)\r\n"
        "Accept: */*\r\nAccept-Encoding: gzip,deflate\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n"
    ).encode()


def _track(place: int, seed: int) -> Event:
    products = [
        {"product_id": f"p{step}", "sku": PRODUCTS[(place + step) % 5], "price": 32.45 + step}
        for step in range(1 + place % 3)
    ]
    order = {"order_id": f"ord_{place:07}", "total": 64.9 + place, "currency": "BRL"}
    own = {"event": "Order Completed", "properties": {**order, "products": products}}
    return _common("track", place, seed) | own


def _page(place: int, seed: int) -> Event:
    return _common("page", place, seed) | {
        "name": PAGES[place % 5],
        "category": None if place % 4 else "Shop",
        "properties": _location(place),
    }


def _screen(place: int, seed: int) -> Event:
    own = {"build": 4100 + place % 50, "orientation": "portrait", "from_push": place % 3 == 0}
    return _common("screen", place, seed) | {"name": PAGES[place % 5], "properties": own}


def _identify(place: int, seed: int) -> Event:
    traits = {
        "email": f"user{place}@harbor.example",
        "firstName": "Inês",
        "lastName": "Prado",
        "plan": PLANS[place % 4],
        "seats": 1 + place % 40,
        "address": {"city": CITIES[place % 7], "country": "BR"},
        "tags": ["beta", "press"],
    }
    return _common("identify", place, seed) | {"traits": traits}


def _group(place: int, seed: int) -> Event:
    traits = {"name": "Harbor Labs", "industry": "Shipping", "employees": 41, "total billed": 129.5}
    return _common("group", place, seed) | {"groupId": f"acct_{place % 900}", "traits": traits}


def _common(call: str, place: int, seed: int) -> Event:
    """Return what every event has, the message id with its NUMBER still open."""
    return {
        "anonymousId": f"6f0c2a1e-8f0b-4d9e-9a55-{place:012x}",
        "channel": "client",
        "context": {
            "ip": f"203.0.113.{place % 250}",
            "library": {"name": "analytics.js", "version": "next-1.81.0"},
            "locale": "pt-BR",
            "page": _location(place),
            "timezone": "America/Sao_Paulo",
            "userAgent": AGENT,
        },
        "integrations": {},
        "messageId": f"ajs-next-{seed:08x}-{place:06}-{NUMBER.decode()}",
        "originalTimestamp": "2026-03-04T11:20:31.402Z",
        "projectId": "hVq7wZexampleSrc",
        "receivedAt": "2026-03-04T11:20:31.911Z",
        "sentAt": "2026-03-04T11:20:31.640Z",
        "timestamp": "2026-03-04T11:20:31.673Z",
        "type": call,
        "userId": f"usr_{place:06}" if place % 3 else None,
        "version": 2,
    }


def _location(place: int) -> Event:
    path = f"/{PAGES[place % 5]}"
    return {
        "path": path,
        "referrer": "",
        "search": "?utm_source=radio",
        "title": CITIES[place % 7],
        "url": f"https://harbor.example{path}?utm_source=radio",
    }
