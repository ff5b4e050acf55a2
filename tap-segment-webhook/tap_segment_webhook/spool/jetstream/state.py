"""Small values by key, changed by whoever holds the last revision: who comes late, reads again."""

from __future__ import annotations

import base64
import json
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from tap_segment_webhook.spool.jetstream.link import WRONG_LAST, Message, Refused

if TYPE_CHECKING:
    from tap_segment_webhook.spool.jetstream.layout import Names
    from tap_segment_webhook.spool.jetstream.link import Link


class Conflict(Exception):
    """Somebody else has changed it since it was read."""


class Entry(NamedTuple):
    """What lies under a key."""

    value: dict[str, Any] | None
    """None if it was deleted or never there."""
    revision: int
    """What the next `put` has to name; 0 if nothing ever lay there."""


class State:
    """The bucket of a spool.

    Every method raises `Away` or `Refused` as the link does. Reads are answered
    by the leader: what was put before is seen.
    """

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names

    def get(self, key: str, *, seconds: float = 0) -> Entry:
        """Return what lies under *key*."""
        return self._last(self._names.value(key), seconds)

    def put(self, key: str, value: dict[str, Any] | None, revision: int, seconds: float) -> int:
        """Put *value* durably where *revision* is the last; return the new revision.

        Raises:
            Conflict: another is the last.
        """
        message = Message(
            self._names.value(key),
            uuid.uuid4().hex,
            b"" if value is None else json.dumps(value).encode(),
            {"Nats-Expected-Last-Subject-Sequence": str(revision)}
            | ({"KV-Operation": "DEL"} if value is None else {}),
        )
        try:
            (ack,) = self._link.publish([message], seconds)
        except Refused as error:
            if error.code in WRONG_LAST:
                raise Conflict from error
            raise
        return ack.sequence

    def under(self, prefix: str, *, seconds: float = 0) -> dict[str, Entry]:
        """Return what lies under every key that starts with *prefix*, in the order of keys."""
        body = {"subjects_filter": self._names.value(f"{prefix}>")}
        info = self._link.info(self._names.state, body, seconds=seconds)
        subjects = sorted(info["state"].get("subjects") or ())
        start = len(self._names.value(""))
        found = {subject[start:]: self._last(subject, seconds) for subject in subjects}
        return {key: entry for key, entry in found.items() if entry.value is not None}

    def _last(self, subject: str, seconds: float) -> Entry:
        message = self._link.message(self._names.state, {"last_by_subj": subject}, seconds=seconds)
        if message is None:
            return Entry(None, 0)
        body = base64.b64decode(message.get("data", ""))
        return Entry(json.loads(body) if body else None, message["seq"])
