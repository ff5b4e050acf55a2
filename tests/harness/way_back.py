"""What Segment has of events that a webhook brought and that are sent to it again."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from harness.deliveries import PROJECT_ID, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.deliveries import Event
    from harness.segment import Segment

NAMESPACE = "way-back"
CALLS = ("alias", "group", "identify", "page", "screen", "track")
STAYS = ("originalTimestamp", "projectId", "receivedAt", "sentAt", "version", "writeKey")

_BOOKS = re.compile(
    r"Altogether: .*; ([\d,]+) events = ([\d,]+) sent \+ ([\d,]+) rejected "
    r"\+ ([\d,]+) looped \+ ([\d,]+) pending"
)
_FIGURES = ("events", "sent", "rejected", "looped", "pending")


def returned(events: Iterable[Event]) -> list[Event]:
    """Return *events* as they have to arrive, without ids, sorted: what has no call is left out.

    All that they had is there, but for what would re-date them, what belongs to
    the source that they came from, and what was empty.
    """
    return _sorted(_returned(event) for event in events if event["type"] in CALLS)


def arrived(segment: Segment, *pages: str) -> list[Event]:
    """Return what *segment* has accepted, without ids, sorted; its numbers are exact.

    Or what is on those *pages*: also what it has dropped, say.
    """
    lines = [line for page in pages or ("events",) for line in segment.lines(page)]
    events = [decode(line)["event"] for line in lines]
    ids = [event.pop("messageId") for event in events]
    assert len(set(ids)) == len(ids)
    return _sorted(events)


def forwarded(segment: Segment) -> list[Event]:
    """Return what *segment* has accepted as its webhook destination delivers it."""
    now = _utc(datetime.now(timezone.utc).isoformat())
    times = {"originalTimestamp": now, "receivedAt": now, "sentAt": None}
    more: Event = {**times, "projectId": PROJECT_ID, "version": 2}
    return [{**event, **more} for event in segment.events()]


def books(log: str) -> dict[str, int]:
    """Return the figures that the target's last run has closed with, from the *log* of a run."""
    *_, figures = _BOOKS.findall(log)
    return {name: int(text.replace(",", "")) for name, text in zip(_FIGURES, figures, strict=True)}


def _returned(event: Event) -> Event:
    fields = {
        name: value
        for name, value in decode(encode(event)).items()
        if name not in {*STAYS, "messageId"} and value not in (None, "")
    }
    for name in fields.keys() & {"userId", "anonymousId", "groupId", "previousId"}:
        fields[name] = str(fields[name])
    if "timestamp" in fields:
        fields["timestamp"] = _utc(fields["timestamp"])
    fields["context"] = {
        **fields.get("context", {}),
        "sentThrough": [NAMESPACE],
    }
    return fields


def _utc(time: str) -> str:
    moment = datetime.fromisoformat(time.replace("Z", "+00:00")).astimezone(timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sorted(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: json.dumps(event, sort_keys=True, default=str))
