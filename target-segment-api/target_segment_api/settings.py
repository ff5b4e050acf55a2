"""The settings after they were read and checked: frozen values, no dictionaries.

The public schema, with every default, is `config.SCHEMA`; the SDK checks a
configuration against it and fills in the defaults before `Settings.from_config`
sees it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from target_segment_api.identity import namespace_of

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDPOINTS: Final = {
    "us": "https://api.segment.io/v1",
    "eu": "https://events.eu1.segmentapis.com/v1",
}
"""Base URLs of the Tracking API (Segment's documentation of regional workspaces)."""

_CDN: Final = "https://cdn.segment.com/v1"


class Settings(NamedTuple):
    """Every setting, in its unit; see the table in the README."""

    write_key: str
    region: str | None
    """None if another endpoint was given."""
    endpoint: str
    settings_url: str
    """Answers 404 to a write key that Segment does not know."""
    strict_parity: bool
    changes_path: Path | None
    """None unless `changed_only` is set."""
    max_batch_events: int
    max_batch_bytes: int
    max_event_bytes: int
    concurrency: int
    max_events_per_second: int
    on_unmapped: str
    on_invalid: str
    max_rejects: int
    check_write_key: str
    rejects_path: Path
    receipts_path: Path | None
    message_id: str
    namespace: str
    compression: bool
    retry_for_seconds: int
    timeout_seconds: int
    max_events: int | None
    max_new_users: int | None
    dry_run: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read a *config* that the plugin's schema has accepted."""
        write_key = config["write_key"]
        endpoint = (config.get("endpoint") or "").rstrip("/")
        receipts = config.get("receipts_path")
        return cls(
            write_key=write_key,
            region=None if endpoint else config["region"],
            endpoint=endpoint or ENDPOINTS[config["region"]],
            settings_url=f"{endpoint or _CDN}/projects/{write_key}/settings",
            strict_parity=bool(config["strict_parity"]),
            changes_path=Path(config["changes_path"]) if config["changed_only"] else None,
            max_batch_events=int(config["max_batch_events"]),
            max_batch_bytes=int(config["max_batch_bytes"]),
            max_event_bytes=int(config["max_event_bytes"]),
            concurrency=int(config["concurrency"]),
            max_events_per_second=int(config["max_events_per_second"]),
            on_unmapped=config["on_unmapped"],
            on_invalid=config["on_invalid"],
            max_rejects=int(config["max_rejects"]),
            check_write_key=config["check_write_key"],
            rejects_path=Path(config["rejects_path"]),
            receipts_path=Path(receipts) if receipts else None,
            message_id=config["message_id"],
            namespace=config.get("message_id_namespace") or namespace_of(write_key),
            compression=bool(config["compression"]),
            retry_for_seconds=int(config["retry_for_seconds"]),
            timeout_seconds=int(config["timeout_seconds"]),
            max_events=_optional(config.get("max_events")),
            max_new_users=_optional(config.get("max_new_users")),
            dry_run=bool(config["dry_run"]),
        )


def _optional(value: Any) -> int | None:
    return None if value is None else int(value)


def mistakes(config: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with *config* beyond what a JSON Schema can say."""
    found = []
    if config["max_event_bytes"] + len('{"batch":[]}') > config["max_batch_bytes"]:
        found.append(
            f"max_event_bytes ({config['max_event_bytes']:,}) does not fit into max_batch_bytes "
            f"({config['max_batch_bytes']:,}). Raise the one or lower the other."
        )
    receipts = config.get("receipts_path")
    if receipts and Path(receipts).absolute() == Path(config["rejects_path"]).absolute():
        found.append("rejects_path and receipts_path are the same file. Give each its own.")
    key = config["write_key"]
    if not (key.isascii() and key.isprintable()) or any(sign in key for sign in ":/?# "):
        found.append("write_key holds a character that no write key has. Copy it from Segment.")
    return found
