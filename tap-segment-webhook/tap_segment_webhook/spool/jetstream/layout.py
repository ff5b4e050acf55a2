"""The streams of a spool: how they are made, and what of an existing one is not good enough."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from tap_segment_webhook.errors import NoSpool, SpoolUnusable
from tap_segment_webhook.event import CODES, NAMES
from tap_segment_webhook.spool.jetstream.link import START_SECONDS, Away, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_segment_webhook.spool.jetstream.link import Link
    from tap_segment_webhook.spool.model import Location

_log = logging.getLogger("segment-receiver")

_SECOND: Final = 1_000_000_000
_OVERHEAD_BYTES: Final = 4096  # of a message beside the event
_IN_USE: Final = 10058
_UNLIMITED: Final = (None, 0, -1)
_STATE_DEDUP_SECONDS: Final = 120
_UNFIT: Final = ("no_ack", "sealed", "deny_delete", "deny_purge", "mirror", "sources")
_MIN_VERSION: Final = (2, 10)

MAX_REASON: Final = 1000


class Names:
    """What the streams and subjects of the spool on *stream* are called."""

    def __init__(self, stream: str) -> None:
        self.events = stream
        self.every_event = f"{stream}.*.*"
        """The subjects of all events."""
        self.rejects = f"{stream}_rejects"
        self.bucket = f"{stream}_state"
        self.state = f"KV_{self.bucket}"  # as NATS calls the stream of a bucket

    def event(self, source: str, code: str) -> str:
        """Return the subject of an event of *source* whose type has the letter *code*."""
        return f"{self.events}.{token(source)}.{NAMES[code]}"

    def reject(self, source: str) -> str:
        """Return the subject of a reject of *source*."""
        return f"{self.rejects}.{token(source)}"

    def value(self, key: str) -> str:
        """Return the subject of the value of *key*."""
        return f"$KV.{self.bucket}.{key}"


def token(text: str) -> str:
    """Return *text* as one part of a subject."""
    return quote(text, safe="").replace(".", "%2E").replace("~", "%7E") or "%"


def text_of(part: str) -> str:
    """Return what `token` made a *part* of a subject of."""
    return "" if part == "%" else unquote(part)


def code_of(subject: str) -> str:
    """Return the letter of the type that the *subject* of an event names."""
    return CODES[subject.rpartition(".")[2]]


def source_of(subject: str) -> str:
    """Return the source that the *subject* of an event names."""
    return text_of(subject.split(".")[-2])


def to_ms(moment: str) -> int:
    """Return how many milliseconds after 1970 the *moment* is, as servers write it: UTC, with Z."""
    seconds, _, fraction = moment.removesuffix("Z").partition(".")
    whole = datetime.fromisoformat(seconds).replace(tzinfo=timezone.utc)
    return int(whole.timestamp()) * 1000 + int(f"{fraction}000"[:3])


def ensure(link: Link, location: Location, *, create: bool) -> None:
    """See that the streams are there and keep what was promised; make absent ones.

    Raises:
        NoSpool: they are absent, and *create* is false.
        SpoolUnusable: they are not good enough, and why; or they cannot be made.
    """
    if link.version < _MIN_VERSION:
        raise SpoolUnusable(
            f"The server at {location.url} has version {'.'.join(map(str, link.version))}; "
            "2.10 or newer is needed."
        )
    if link.max_payload < location.max_event_bytes + _OVERHEAD_BYTES:
        raise SpoolUnusable(
            f"The server at {location.url} takes messages of {link.max_payload:,} bytes, and an "
            f"event may have {location.max_event_bytes:,}. Set max_body_bytes to at most "
            f"{link.max_payload - _OVERHEAD_BYTES}, or raise max_payload in the server."
        )
    for config in _configs(Names(link.stream), location):
        found = _find(link, config["name"])
        if found is None:
            if not create:
                raise no_spool(location)
            found = _create(link, config, location)
        if reasons := list(_faults(found, config)):
            raise SpoolUnusable(
                f"The stream {config['name']} at {location.url} would not keep what is promised: "
                f"{'; '.join(reasons)}. Change it with the server's own tools, or choose another "
                "stream."
            )
        if found.get("num_replicas", 1) == 1 and config["name"] == link.stream:
            _log.warning(
                "The stream %s has 1 replica: a 200 means that one server has the event, and that "
                "it is on a disk only where that server's sync_interval is always, which cannot be "
                "seen from here. Otherwise a power cut loses what came since it last synced, "
                "2 minutes by default.",
                link.stream,
            )


def ensure_exists(link: Link, location: Location) -> None:
    """See that there is a spool.

    Raises:
        NoSpool: there is none.
        SpoolUnusable: that cannot be known now.
    """
    names = Names(link.stream)
    for name in (names.events, names.rejects, names.state):
        if _find(link, name) is None:
            raise no_spool(location)


def no_spool(location: Location) -> NoSpool:
    """Return the error that says so."""
    return NoSpool(f"There is no spool at {location.url} yet.")


def _configs(names: Names, location: Location) -> Iterator[dict[str, Any]]:
    common = {
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": location.replicas,
        "max_age": 0,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_consumers": -1,
    }
    window = location.dedup_seconds * _SECOND
    yield {
        **common,
        "name": names.events,
        "description": "Events of Segment, kept by tap-segment-webhook",
        "subjects": [names.every_event],
        "max_bytes": location.max_bytes or -1,
        "duplicate_window": window,
    }
    yield {
        **common,
        "name": names.rejects,
        "description": "What was no event, kept by tap-segment-webhook",
        "subjects": [f"{names.rejects}.*"],
        "max_bytes": location.max_bytes or -1,
        "duplicate_window": window,
    }
    yield {
        **common,
        "name": names.state,
        "description": "Books and positions, kept by tap-segment-webhook",
        "subjects": [f"$KV.{names.bucket}.>"],
        "max_bytes": -1,
        "max_msgs_per_subject": 1,  # what makes a stream a bucket of keys and values
        "allow_rollup_hdrs": True,
        "duplicate_window": _STATE_DEDUP_SECONDS * _SECOND,
    }


def _find(link: Link, name: str) -> dict[str, Any] | None:
    """Return the configuration of the stream *name*, or None."""
    try:
        found: dict[str, Any] = link.api(f"STREAM.INFO.{name}", seconds=START_SECONDS)["config"]
    except Refused as error:
        if error.is_absent:
            return None
        raise SpoolUnusable(f"The stream {name} cannot be looked at: {error}.") from error
    except Away as error:
        raise SpoolUnusable(
            f"The stream {name} at {link.place} has no leader now: {error}."
        ) from error
    return found


def _create(link: Link, config: dict[str, Any], location: Location) -> dict[str, Any]:
    name = config["name"]
    try:
        made: dict[str, Any] = link.api(f"STREAM.CREATE.{name}", config, seconds=START_SECONDS)
    except Refused as error:
        if error.code == _IN_USE and (found := _find(link, name)):
            return found  # somebody else has made it meanwhile
        advice = (
            " Run as many servers, or set nats_replicas to 1 and the server's sync_interval to "
            "always."
            if location.replicas > 1
            else ""
        )
        raise SpoolUnusable(
            f"The stream {name} cannot be made with {location.replicas} replicas: {error}.{advice}"
        ) from error
    except Away as error:
        raise SpoolUnusable(f"The stream {name} cannot be made: {error}.") from error
    found = made["config"]
    return dict(found)


def _faults(found: dict[str, Any], asked: dict[str, Any]) -> Iterator[str]:
    """Say what of the configuration *found* is weaker than what was *asked* for."""
    for name, right in (("storage", "file"), ("retention", "limits"), ("discard", "new")):
        if found.get(name) != right:
            yield f"{name} is {found.get(name)}, not {right}"
    if found.get("num_replicas", 1) < asked["num_replicas"]:
        yield (
            f"it has {found.get('num_replicas', 1)} replicas, and nats_replicas is "
            f"{asked['num_replicas']}"
        )
    yield from (
        f"{name} deletes events that no pipeline has confirmed"
        for name in ("max_age", "max_msgs_per_subject")
        if asked[name] in _UNLIMITED and found.get(name) not in _UNLIMITED
    )
    window, least = (config.get("duplicate_window", 0) // _SECOND for config in (found, asked))
    if window < least:
        yield f"duplicate_window is {window:,} seconds, and {least:,} are asked for"
    if not set(asked["subjects"]) <= set(found.get("subjects") or ()):
        yield f"its subjects lack {asked['subjects'][0]}"
    yield from (f"{name} is set" for name in _UNFIT if found.get(name))
    if found.get("persist_mode") == "async":
        yield "persist_mode is async: it acknowledges what it has not written"
