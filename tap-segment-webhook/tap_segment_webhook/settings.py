"""The settings after they were read and checked: frozen values, no dictionaries.

The public schema, with every default, is `config.SCHEMA`;
the SDK checks a configuration against it and fills in the defaults before
`Settings.from_config` sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tap_segment_webhook.spool.model import Location

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_SOURCE = "default"
SOURCE_NAME = r"^[A-Za-z0-9_-]+$"  # it stands in addresses


class Source(NamedTuple):
    """One Segment source that may send to the receiver."""

    name: str
    shared_secrets: tuple[bytes, ...] = ()
    """In UTF-8. Any of them may sign: two allow rotation without a gap."""
    write_keys: tuple[bytes, ...] = ()
    """In UTF-8. Any of them names this source to the Tracking API."""
    allow_unsigned: bool = False


class Settings(NamedTuple):
    """Every setting, in its unit; see the table in the README."""

    spool_url: str
    host: str
    port: int
    sources: tuple[Source, ...]
    integration_name: str | None
    listen_seconds: int
    dedup_window_events: int
    retention_days: int
    max_spool_bytes: int | None
    max_body_bytes: int
    payload_format: str
    consumer: str

    spool: Location
    """Where events wait, and how."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read a *config* that the plugin's schema has accepted."""
        return cls(
            spool_url=config["spool_url"],
            host=config["host"],
            port=int(config["port"]),
            sources=tuple(read_sources(config)),
            integration_name=config.get("integration_name"),
            listen_seconds=int(config["listen_seconds"]),
            dedup_window_events=int(config["dedup_window_events"]),
            retention_days=int(config["retention_days"]),
            max_spool_bytes=config.get("max_spool_bytes"),
            max_body_bytes=int(config["max_body_bytes"]),
            payload_format=config["payload_format"],
            consumer=config["consumer"],
            spool=spool_location(config),
        )


def spool_location(config: Mapping[str, Any]) -> Location:
    """Return where the spool of *config* is, and how it is kept."""
    return Location(
        config["spool_url"],
        dedup_window_events=int(config["dedup_window_events"]),
        max_bytes=config.get("max_spool_bytes"),
        max_event_bytes=int(config["max_body_bytes"]),
        replicas=int(config["nats_replicas"]),
        dedup_seconds=int(config["nats_dedup_seconds"]),
        user=config.get("nats_user"),
        password=config.get("nats_password"),
        credentials=config.get("nats_credentials"),
    )


def read_sources(config: Mapping[str, Any]) -> list[Source]:
    """Return the sources of *config*: the `default` one, if it is used, and the named ones."""
    sources = [
        Source(
            entry["name"],
            tuple(secret.encode() for secret in entry.get("shared_secrets") or ()),
            tuple(key.encode() for key in entry.get("write_keys") or ()),
            bool(entry.get("allow_unsigned")),
        )
        for entry in config.get("sources") or ()
    ]
    default = Source(
        DEFAULT_SOURCE,
        tuple(secret.encode() for secret in [config.get("shared_secret")] if secret),
        tuple(key.encode() for key in [config.get("write_key")] if key),
        bool(config["allow_unsigned"]),
    )
    return [default, *sources] if any(default[1:]) else sources


def mistakes(config: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with *config* beyond what a JSON Schema can say."""
    names = [str(entry.get("name")) for entry in config.get("sources") or ()]
    found = [
        f"sources: two of them are named {name!r}. Give each its own name."
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if DEFAULT_SOURCE in names:
        found.append(
            f"sources: {DEFAULT_SOURCE!r} is the source of shared_secret and write_key. "
            "Choose another name."
        )
    found += _shared_keys(config)
    if config.get("flattening_enabled") and config.get("payload_format") == "object":
        found.append(
            "flattening_enabled: the SDK flattens only what a schema declares and drops open "
            "objects (context, properties, traits) without a word. Set payload_format: "
            "json_string to keep them as text, or let the target flatten."
        )
    return found


def _shared_keys(config: Mapping[str, Any]) -> list[str]:
    """Say which sources share a write key, which would have to tell them apart."""
    holders: dict[str, list[str]] = {}
    if key := config.get("write_key"):
        holders[key] = [DEFAULT_SOURCE]
    for entry in config.get("sources") or ():
        for key in set(entry.get("write_keys") or ()):
            holders.setdefault(key, []).append(str(entry.get("name")))
    return [
        f"sources: {' and '.join(map(repr, names))} have a write key in common, so it could not "
        "tell whose an event is. Give each its own."
        for names in holders.values()
        if len(names) > 1
    ]


def closed(sources: tuple[Source, ...]) -> list[str]:
    """Return what keeps the receiver from starting: sources that nobody could send to."""
    if not sources:
        reason = (
            "Neither shared_secret nor write_key is set, so nothing could be accepted. Copy "
            "shared_secret from the webhook destination in Segment, choose a write_key for SDKs, "
            "or set allow_unsigned: true to accept any webhook."
        )
        return [reason]
    return [
        f"sources: {source.name!r} has no shared_secrets, no write_keys and no allow_unsigned, "
        "so nobody could send to it. Set one of them."
        for source in sources
        if not any(source[1:])
    ]
