"""The identity of a spool on JetStream, and when it has to be another one.

A stream that was deleted and made again, or that came back shorter than what
was acknowledged of it, gives out positions a second time: to pipelines it must
be another spool.
"""

from __future__ import annotations

import logging
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.spool.jetstream.layout import no_spool
from tap_segment_webhook.spool.jetstream.link import START_SECONDS
from tap_segment_webhook.spool.jetstream.state import Conflict

if TYPE_CHECKING:
    from tap_segment_webhook.spool.jetstream.layout import Names
    from tap_segment_webhook.spool.jetstream.link import Link
    from tap_segment_webhook.spool.jetstream.state import State
    from tap_segment_webhook.spool.model import Location

_log = logging.getLogger("segment-receiver")

KEY: Final = "spool"
_CATCH_UP_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.2


def read(link: Link, state: State, names: Names, location: Location) -> dict[str, Any]:
    """Return `id`, `created`, `created_at` and `absences` of the spool.

    Raises:
        NoSpool: it has no identity yet.
        Away, Refused: as the link does.
    """
    value = state.get(KEY, seconds=START_SECONDS).value
    if value is None or value["created"] != _info(link, names)["created"]:
        raise no_spool(location)
    return value


def establish(link: Link, state: State, names: Names) -> dict[str, Any]:
    """Return the identity of the spool; give it a new one where that is needed.

    Raises:
        Away, Refused: as the link does.
    """
    while True:
        value, revision = state.get(KEY, seconds=START_SECONDS)
        created = _info(link, names)["created"]
        if value is not None and value["created"] == created:
            acknowledged = _acknowledged(state, value["id"])
            head = _head_after_catching_up(link, names, acknowledged)
            if acknowledged <= head:
                return value
            _log.error(
                "The stream %s ends at position %d, but %d was acknowledged: it was put back, or "
                "its servers lost what they had not synced. It gets a new identity, so that the "
                "next run emits all that is retained.",
                names.events,
                head,
                acknowledged,
            )
        fresh = {
            "id": str(uuid.uuid4()),
            "created": created,
            "created_at": now_ms(),
            "absences": [],
        }
        try:
            state.put(KEY, fresh, revision, START_SECONDS)
        except Conflict:
            continue
        return fresh


def note_absence(state: State, since: int, until: int, seconds: float) -> None:
    """Add an absence to what is known of the spool."""
    while True:
        value, revision = state.get(KEY, seconds=seconds)
        if value is None:
            return
        noted = {**value, "absences": [*value["absences"], [since, until]]}
        try:
            state.put(KEY, noted, revision, seconds)
        except Conflict:
            continue
        return


def _info(link: Link, names: Names) -> dict[str, Any]:
    return link.info(names.events, seconds=START_SECONDS)


def _acknowledged(state: State, spool_id: str) -> int:
    """Return the highest position that a receiver or a pipeline was told of."""
    entries = state.under(f"{spool_id}.", seconds=START_SECONDS).values()
    values = [entry.value for entry in entries if entry.value is not None]
    return max((max(v.get("head", 0), v.get("position", 0)) for v in values), default=0)


def _head_after_catching_up(link: Link, names: Names, acknowledged: int) -> int:
    """Return the last position, once a new leader has had the time to see all there is."""
    until = time.monotonic() + _CATCH_UP_SECONDS
    while True:
        head = int(_info(link, names)["state"]["last_seq"])
        if head >= acknowledged or time.monotonic() > until:
            return head
        time.sleep(_LOOK_SECONDS)
