"""SDKs that are not ours: what they are told to send, and what has to arrive of it.

A call is told under Segment's names, in JSON. `{"$date": …}` is a date of the
SDK's language, `{"$decimal": …}` a Decimal. What an SDK makes of a call is
written out from its documentation and its source.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from harness import clients, rows
from harness.deliveries import EMOJI, NESTED, events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.deliveries import Event
    from harness.rows import Row

Call = dict[str, Any]
GivenUp = list[Any]
"""The reason, which is a status if there was an answer, and the ids of what will not be sent."""

UUID_LENGTH = 36
LARGE_BYTES = 32_000  # with 32 KiB for all of the call
PYTHON_SCRIPT = clients.REPOSITORY / "tests" / "clients" / "send.py"
NODE_SCRIPT = clients.LOCKED / "send.mjs"

PAYLOAD = {
    "group": "traits",
    "identify": "traits",
    "page": "properties",
    "screen": "properties",
    "track": "properties",
}
COMMON = ("type", "messageId", "userId", "context", "integrations")
OWN = {
    "alias": ("previousId",),
    "group": ("anonymousId", "groupId", "traits"),
    "identify": ("anonymousId", "traits"),
    "page": ("anonymousId", "name", "category", "properties"),
    "screen": ("anonymousId", "name", "category", "properties"),
    "track": ("anonymousId", "event", "properties"),
}
"""The arguments of each call, beside `COMMON` and `timestamp`."""

RICH: Call = {
    "context": {"ip": "203.0.113.24", "groupId": "acct_908", "campaign": {"source": "rádio"}},
    "integrations": {"All": True, "Salesforce": False, "Amplitude": {"session_id": 7}},
}
VALUES: Call = {
    "tenth": 0.1,
    "tiny": 5e-324,
    "negative": -273.15,
    "large": 9007199254740991,
    "none": None,
    "empty": {"": [], "text": ""},
    "whole": EMOJI,
    "nested": NESTED,
    "seen": {"$date": "2026-03-04T11:22:33.444+00:00"},
}
ZONED = {"$date": "2026-03-04T23:30:00.123+02:00"}
UNUSUAL: tuple[Call, ...] = (
    {"type": "identify", "userId": "usr_1", "traits": VALUES, "timestamp": ZONED, **RICH},
    {"type": "track", "userId": "usr_1", "event": "Größe gewählt", "properties": VALUES, **RICH},
    {"type": "page", "userId": "usr_1", "name": "検索", "properties": VALUES, **RICH},
    {"type": "screen", "userId": "usr_1", "category": "Sales", "properties": VALUES, **RICH},
    {"type": "group", "userId": "usr_1", "groupId": "acct_1", "traits": VALUES, **RICH},
    {"type": "alias", "userId": "usr_1", "previousId": "日本", **RICH},
    {"type": "track", "anonymousId": "device-1", "event": "Seen", "timestamp": ZONED},
)
"""Calls with what a program may get wrong."""

BARE: tuple[Call, ...] = (
    {"type": "identify", "userId": "bare-identify"},
    {"type": "track", "userId": "bare-track", "event": "Seen"},
    {"type": "page", "userId": "bare-page"},
    {"type": "screen", "userId": "bare-screen"},
    {"type": "group", "userId": "bare-group", "groupId": "acct_1"},
    {"type": "alias", "userId": "bare-alias", "previousId": "device-1"},
)
"""Calls with nothing but what they must have: the SDK chooses their ids and times."""


class Sdk(NamedTuple):
    """One SDK."""

    words: Callable[[], list[str | Path]]
    """Return the program that sends with it, but for its last arguments."""
    event: Callable[[Call], Event]
    """Return the event that it makes of a call: what was told, and what it adds."""
    date: Callable[[str], str]
    """Return how it writes a date, which is told as this text."""
    settings: Mapping[str, Any] = {}
    """What the README says to set, beside the address and the key."""

    def send(self, url: str, key: str, calls: Iterable[Call], **settings: Any) -> list[GivenUp]:
        """Have it send *calls* to *url* until it has no more to do; return what it gave up."""
        given = json.dumps({**self.settings, **settings})
        return clients.run([*self.words(), url, key, given], calls)

    def expected(self, call: Call) -> Row:
        """Return the row of what it makes of *call*; what it has to choose is None."""
        told = {"integrations": {}, "context": {}, **call}
        moment = told.pop("timestamp", None)
        if payload := PAYLOAD.get(call["type"]):
            told.setdefault(payload, {})
        row = rows.expected(self.event(self._written(told)))
        return {**row, "original_timestamp": moment and _utc(moment["$date"])}

    def _written(self, value: Any) -> Any:
        """Return *value* as it stands in the JSON that the SDK sends."""
        if isinstance(value, list):
            return [self._written(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$date" in value:
            return self.date(value["$date"])
        return {name: self._written(item) for name, item in value.items()}


def told(count: int) -> list[Call]:
    """Return *count* ordinary calls of all types, then the unusual, then the bare ones."""
    unusual = [{**call, "messageId": f"unusual-{n}"} for n, call in enumerate(UNUSUAL)]
    return [*ordinary(count), *unusual, *BARE]


def ordinary(count: int, *, seed: int = 0) -> list[Call]:
    """Return *count* calls as a company's servers make them; another *seed* has other ids."""
    every = (event for event in events(2 * count, seed=seed) if event["type"] != "delete")
    return [_call(event) for event in islice(every, count)]


def large(count: int) -> list[Call]:
    """Return *count* calls that are almost as large as one may be."""
    properties = {"text": "x" * LARGE_BYTES}
    call = {"type": "track", "userId": "usr_1", "event": "Seen", "properties": properties}
    return [{**call, "messageId": f"large-{number}"} for number in range(count)]


def now() -> datetime:
    """Return the time in UTC, to the millisecond, as rows have it."""
    moment = datetime.now(timezone.utc).replace(tzinfo=None)
    return _to_the_millisecond(moment)


def assert_arrived(
    tables: Mapping[str, list[Row]], sdk: Sdk, calls: Sequence[Call], since: datetime
) -> None:
    """Check that *tables* hold each of *calls* once, every field of it, sent after *since*."""
    found = [(stream, row) for stream, part in rows.plain(tables).items() for row in part]
    assert sorted(row.pop("spool_position") for _, row in found) == [*range(1, len(calls) + 1)]
    by_call = {_key(row["message_id"], row["user_id"]): (stream, row) for stream, row in found}
    for call in calls:
        stream, row = by_call.pop(_key(call.get("messageId"), call.get("userId")))
        assert stream == call["type"]
        assert _rounded(row) == _completed(sdk.expected(call), row, since)


def _call(event: Event) -> Call:
    """Return the call that leads to *event*."""
    names = (*COMMON, *OWN[event["type"]])
    given = {name: event[name] for name in names if event.get(name) is not None}
    return {**given, "timestamp": {"$date": event["originalTimestamp"].replace("Z", "+00:00")}}


def _key(message_id: str | None, user_id: str | None) -> str | None:
    """Return what a call is known by: its id, or its user if the SDK chooses the id."""
    return user_id if (user_id or "").startswith("bare-") else message_id


def _completed(expected: Row, row: Row, since: datetime) -> Row:
    """Return *expected* with what was chosen for *row* by others, once that is right."""
    message_id, original = expected["message_id"], expected["original_timestamp"]
    sent, received = row["sent_at"], row["received_at"]
    assert since <= sent <= received <= now()
    if message_id is None:
        message_id = row["message_id"]
        assert len(message_id) >= UUID_LENGTH
    if original is None:
        original = row["original_timestamp"]
        assert since <= original <= sent
    return {
        **expected,
        "message_id": message_id,
        "original_timestamp": original,
        "sent_at": sent,
        "received_at": received,
        "timestamp": received - (sent - original),  # Segment takes the clock's error out
    }


def _rounded(row: Row) -> Row:
    """Return *row* without the times in `extra` that are more exact than milliseconds."""
    extra = dict(row["extra"] or {})
    for column, name in rows.TIMES.items():
        if name in extra:
            assert _utc(extra.pop(name)) == row[column]
    return {**row, "extra": extra or None}


def _utc(text: str) -> datetime:
    """Return the time in UTC, to the millisecond, that *text* says."""
    moment = datetime.fromisoformat(text).astimezone(timezone.utc)
    return _to_the_millisecond(moment.replace(tzinfo=None))


def _to_the_millisecond(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _python(module: str) -> list[str | Path]:
    return [clients.python(), PYTHON_SCRIPT, f"{module}.client"]


def _node() -> list[str | Path]:
    return [clients.NODE, NODE_SCRIPT, clients.modules()]


def _isoformat(date: str) -> str:
    """Return *date* as Python's `isoformat` writes it."""
    return datetime.fromisoformat(date).isoformat()


def _json_date(date: str) -> str:
    """Return *date* as JavaScript's `toJSON` writes it."""
    return f"{_utc(date).isoformat(timespec='milliseconds')}Z"


def _with_library(call: Call, name: str, version: str) -> Event:
    """Return *call* with the name and *version* of the library in its context."""
    return {**call, "context": {**call["context"], "library": {"name": name, "version": version}}}


def _of_analytics_python(call: Call) -> Event:
    return _with_library(call, "analytics-python", clients.FOR_PYTHON[clients.ANALYTICS_PYTHON])


def _of_rudder_python(call: Call) -> Event:
    """Its traits of a user are in the context, where RudderStack looks for them."""
    event = _with_library(call, "analytics-python", clients.FOR_PYTHON[clients.RUDDER_PYTHON])
    if event["type"] == "identify":
        event["context"]["traits"] = event.pop("traits")
    return {**event, "channel": "server", "integrations": event["integrations"] or {"All": True}}


def _of_analytics_node(call: Call) -> Event:
    """It repeats the category of a page among the properties."""
    releases = clients.releases_for_node(clients.ANALYTICS_NODE)
    event = _with_library(call, clients.ANALYTICS_NODE, releases[clients.ANALYTICS_NODE])
    if event["type"] == "page" and "category" in event:
        event["properties"] = {**event["properties"], "category": event["category"]}
    return {
        **event,
        "_metadata": {"jsRuntime": "node", "nodeVersion": releases["node"]},
    }


ANALYTICS_PYTHON = Sdk(partial(_python, "segment.analytics"), _of_analytics_python, _isoformat)
RUDDER_PYTHON = Sdk(
    partial(_python, "rudderstack.analytics"), _of_rudder_python, _isoformat, {"upload_size": 15}
)
ANALYTICS_NODE = Sdk(_node, _of_analytics_node, _json_date)
