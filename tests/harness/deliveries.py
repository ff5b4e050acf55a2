"""Webhook deliveries as Segment makes them: events of every type, encoded and signed.

Everything is drawn from a seed, so that a failure can be repeated; people,
companies and addresses are invented.
"""

from __future__ import annotations

import hmac
import json
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Event = dict[str, Any]

FIRST_EVENT = datetime(2026, 3, 4, 11, 0, tzinfo=timezone.utc)
PROJECT_ID = "hVq7wZexampleSrc"
IDS = uuid.UUID("4d2f3c58-52a3-4c4e-9d0c-0e6b7a1f8c21")

# How many of each twenty events are of a type; every twenty from the first hold all seven.
MIX = Counter(track=9, identify=3, page=3, screen=2, group=1, alias=1, delete=1)


class Person(NamedTuple):
    """Somebody whose events are sent; *number* tells namesakes apart."""

    first_name: str
    last_name: str
    city: str
    locale: str
    timezone: str
    number: int = 0

    @property
    def user_id(self) -> str:
        """The id of this person in the customer's database."""
        return f"usr_{self.number}"

    @property
    def anonymous_id(self) -> str:
        """The id of this person's device, the same in each event."""
        return str(uuid.uuid5(IDS, self.user_id))

    @property
    def email(self) -> str:
        """An address that can belong to nobody."""
        return f"{self.user_id}@harbor.example"

    @property
    def page(self) -> Event:
        """The page this person looks at, as analytics.js describes it."""
        path, search, title, _ = PAGES[self.number % len(PAGES)]
        return {
            "path": path,
            "referrer": "https://harbor.example/",
            "search": search,
            "title": title,
            "url": f"https://harbor.example{path}{search}",
        }


PEOPLE = (
    Person("Inês", "Prado", "São Paulo", "pt-BR", "America/Sao_Paulo"),
    Person("Jürgen", "Groß", "Köln", "de-DE", "Europe/Berlin"),
    Person("Zoë", "O'Neill", "Dún Laoghaire", "en-IE", "Europe/Dublin"),
    Person("さくら", "田中", "京都市", "ja-JP", "Asia/Tokyo"),
    Person("Łukasz", "Wójcik", "Łódź", "pl-PL", "Europe/Warsaw"),
    Person("نور", "حداد", "بيروت", "ar-LB", "Asia/Beirut"),
    Person("Ada", 'Quinn "Q"', "Santa Fe", "en-US", "America/Denver"),
)
COMPANIES = (
    ("Harbor Labs", "Shipping"),
    ("Crème & Crumb", "Bakery"),
    ("北山書店", "Books"),
    ("Polder\\Post", "Logistics"),
)
PAGES = (
    ("/", "", "Home", None),
    ("/precos", "?utm_source=radio", "Preços", "Sales"),
    ("/docs/größen", "?q=a&b=c", "Größen 📏", "Docs"),
    ("/ブログ", "", "ブログ", "Docs"),
)
SCREENS = ("Cart", "Einstellungen", "Profile 👤", "検索")
PRODUCTS = (
    ("ROPE-12", "Rope, 12 mm"),
    ("CAFÉ-1", "Café ☕ Crème"),
    ("TEA-9", "お茶 🍵"),
    ("KIT-3", "Starter kit 👩\u200d🔧"),
)
NOTES = ("Leave it at the door\nthank you", "“quoted”\tand tabbed", "", "👍🏽", "line\u2028break")
INTEGRATIONS: tuple[Event, ...] = (
    {},
    {},
    {"All": True, "Salesforce": False},
    {"All": False, "Webhooks": True},
)
PLANS = ("solo", "team", "enterprise", None)

# What a reader of JSON, a database or a target may get wrong.
EMOJI = "👩\u200d🔧"
NESTED = {"": [], "a.b": {"c d": [{"é": [[1, None], {}]}, EMOJI]}, 'q"uote': {"$x": {"É": ""}}}
NUMBERS = {
    "tenth": 0.1,
    "tiny": 5e-324,
    "huge": 1.5e300,
    "negative": -273.15,
    "beyond a float": 9007199254740993,
    "beyond 64 bit": 123456789012345678901234567890,
}


class Delivery(NamedTuple):
    """The body of one request and the part of it that Segment signs."""

    body: bytes
    signed: bytes

    def headers(self, secret: str) -> dict[str, str]:
        """Return the request headers of a destination that shares *secret* with us."""
        return {
            "Content-Type": "application/json",
            "User-Agent": "Segment (Actions)",
            "X-Signature": sign(self.signed, secret),
        }


def events(count: int, *, seed: int = 0) -> Iterator[Event]:
    """Draw *count* events of all seven types, each with its own messageId.

    The same *seed* gives the same events; a smaller *count* gives the first of them.
    """
    random = Random(seed)  # noqa: S311 - test data
    for number, kind in enumerate(islice(_kinds(random), count)):
        person = _person(random)
        sender = random.choice(SENDERS[kind])
        event = {
            "type": kind,
            "userId": person.user_id,
            "projectId": PROJECT_ID,
            "version": 2,
            "integrations": random.choice(INTEGRATIONS).copy(),
            **_times(random, FIRST_EVENT + timedelta(milliseconds=640 * number)),
            **sender(random, person),
            **CALLS[kind](random, person),
        }
        yield dict(sorted(event.items()))


def single(event: Event) -> Delivery:
    """Return the delivery of one *event*."""
    body = encode(event)
    return Delivery(body, body)


def array(batch: Iterable[Event]) -> Delivery:
    """Return the delivery of *batch* as one array, of which only the first element is signed."""
    encoded = [encode(event) for event in batch]
    return Delivery(b"[" + b",".join(encoded) + b"]", encoded[0])


def encode(event: Event) -> bytes:
    """Encode *event* as JavaScript's JSON.stringify would, to the byte.

    Numbers that only JavaScript writes with an exponent, or only Python, are the exception.
    """
    text = json.dumps(
        _javascript(event), separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", "backslashreplace")  # only lone surrogates are escaped


def decode(encoded: bytes | str) -> Event:
    """Read an event, or a part of one, without rounding a number."""
    fields: Event = json.loads(encoded, parse_float=Decimal)
    return fields


def sign(body: bytes, secret: str) -> str:
    """Return the X-Signature of *body*, which is one event's bytes: HMAC-SHA1 in hex."""
    return hmac.new(secret.encode(), body, "sha1").hexdigest()


def _javascript(value: Any) -> Any:
    """Return *value* with whole floats as integers: JavaScript knows no 1.0."""
    if isinstance(value, dict):
        return {key: _javascript(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_javascript(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _kinds(random: Random) -> Iterator[str]:
    """Deal the types in shuffled rounds of the mix, for ever."""
    while True:
        deck = list(MIX.elements())
        random.shuffle(deck)
        yield from deck


def _person(random: Random) -> Person:
    number = random.randrange(500)
    return PEOPLE[number % len(PEOPLE)]._replace(number=number)


def _times(random: Random, original: datetime) -> Event:
    """Return the four timestamps of an event from a device whose clock is off."""
    on_the_way = timedelta(milliseconds=random.randrange(5, 900))
    skew = timedelta(milliseconds=random.randrange(-250, 250))
    sent = original + on_the_way
    return {
        "originalTimestamp": _iso(original),
        "sentAt": _iso(sent),
        "receivedAt": _iso(sent + skew),
        "timestamp": _iso(original + skew),  # Segment takes the clock's error out
    }


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _browser(random: Random, person: Person) -> Event:
    event: Event = {
        "messageId": f"ajs-next-{random.getrandbits(128):032x}",
        "anonymousId": person.anonymous_id,
        "userId": random.choice((person.user_id, None)),
        "channel": "client",
        "context": {
            "ip": f"203.0.113.{random.randrange(256)}",
            "library": {"name": "analytics.js", "version": "next-1.81.0"},
            "locale": person.locale,
            "page": person.page,
            "timezone": person.timezone,
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) ExampleBrowser/1.0",
            "consent": {"categoryPreferences": {"analytics": True, "ads": False}},
        },
    }
    if random.random() < 0.3:
        event["_metadata"] = {"bundled": ["Segment.io"], "unbundled": ["Webhook"], "bundledIds": []}
    return event


def _mobile(random: Random, person: Person) -> Event:
    return {
        "messageId": _uuid(random).upper(),
        "anonymousId": person.anonymous_id.upper(),
        "channel": "mobile",
        "context": {
            "app": {"name": "Harbor", "version": "4.2.0", "build": "420"},
            "device": {"manufacturer": "Apple", "model": "iPhone16,2", "type": "ios"},
            "library": {"name": "analytics-swift", "version": "1.5.1"},
            "locale": person.locale,
            "network": {"carrier": "Vivo", "cellular": True, "wifi": False},
            "os": {"name": "iOS", "version": "18.1"},
            "screen": {"density": 3, "height": 852, "width": 393},
            "timezone": person.timezone,
        },
    }


def _server(random: Random, person: Person) -> Event:
    return {
        "messageId": random.choice(("", "node-next-1772623530000-")) + _uuid(random),
        "anonymousId": random.choice((person.anonymous_id, None)),
        "channel": "server",
        "context": {
            "library": {"name": "@segment/analytics-node", "version": "3.1.0"},
            "traits": {"email": person.email},
        },
    }


def _engage(random: Random, _: Person) -> Event:
    return {
        "messageId": f"personas_{random.getrandbits(128):032x}",
        "anonymousId": None,
        "channel": "server",
        "sentAt": None,
        "context": {
            "library": {"name": "unknown", "version": "unknown"},
            "personas": {
                "computation_class": "audience",
                "computation_id": "aud_2mExampleQ9",
                "computation_key": "bought_rope_30_days",
                "namespace": "spa_7kExampleT1",
                "space_id": "spa_7kExampleT1",
            },
        },
        "integrations": {"All": False, "Webhooks": True},
    }


def _privacy(random: Random, _: Person) -> Event:
    """Return what Segment's own deletion service sends: no context, and a time as Go prints it."""
    seconds = random.randrange(100_000_000_000) / 1_000_000
    return {
        "messageId": f"delete-{random.getrandbits(128):032x}",
        "channel": "server",
        "context": random.choice((None, None, [])),
        "integrations": random.choice((None, [])),
        "originalTimestamp": f"2026-03-04 11:40:10.208 +0000 UTC m=+{seconds:.9f}",
        "sentAt": None,
    }


def _track(random: Random, _: Person) -> Event:
    sku, name = random.choice(PRODUCTS)
    price = random.randrange(100, 20_000) / 100
    quantity = random.randrange(1, 5)
    return {
        "event": random.choice(("Order Completed", "Product Viewed", "Größe gewählt")),
        "properties": {
            "order_id": f"ord_{random.randrange(100_000)}",
            "total": round(price * quantity, 2),
            "currency": "EUR",
            "coupon": random.choice((None, "SPRING")),
            "note": random.choice(NOTES),
            "gift": random.random() < 0.2,
            "products": [{"sku": sku, "name": name, "price": price, "quantity": quantity}],
        },
    }


def _identify(random: Random, person: Person) -> Event:
    return {
        "traits": {
            "email": person.email,
            "firstName": person.first_name,
            "lastName": person.last_name,
            "plan": random.choice(PLANS),
            "seats": random.randrange(1, 40),
            "address": {"city": person.city, "country": person.locale[-2:]},
            "tags": random.choice(([], ["beta", "press"])),
            "bought_rope_30_days": random.random() < 0.5,
        }
    }


def _page(_random: Random, person: Person) -> Event:
    *_, title, category = PAGES[person.number % len(PAGES)]
    return {"name": title, "category": category, "properties": {**person.page, "name": title}}


def _screen(random: Random, _: Person) -> Event:
    return {"name": random.choice(SCREENS), "properties": {"items": random.randrange(4)}}


def _group(random: Random, _: Person) -> Event:
    number = random.randrange(len(COMPANIES))
    name, industry = COMPANIES[number]
    return {
        "groupId": f"acct_{900 + number}",
        "traits": {
            "name": name,
            "industry": industry,
            "employees": random.randrange(1, 5_000),
            "plan": random.choice(PLANS),
            "total billed": random.randrange(1_000_000) / 100,
        },
    }


def _alias(_: Random, person: Person) -> Event:
    return {"previousId": person.anonymous_id}


def _delete(_: Random, __: Person) -> Event:
    return {}


Part = Callable[[Random, Person], Event]

CALLS: dict[str, Part] = {
    "track": _track,
    "identify": _identify,
    "page": _page,
    "screen": _screen,
    "group": _group,
    "alias": _alias,
    "delete": _delete,
}

SENDERS: dict[str, tuple[Part, ...]] = {
    "track": (_browser, _mobile, _server),
    "identify": (_browser, _server, _engage),
    "page": (_browser,),
    "screen": (_mobile,),
    "group": (_server,),
    "alias": (_server,),
    "delete": (_privacy,),
}
