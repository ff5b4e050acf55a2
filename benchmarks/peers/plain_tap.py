"""The tap that the SDK's documentation leads to: decode, rename, yield a dictionary.

Reads events as JSON lines from the file that its config names; without one it
is an empty tap.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream, Tap
from singer_sdk import typing as th

if TYPE_CHECKING:
    from collections.abc import Iterable

TYPES = ("group", "identify", "page", "screen", "track")
TEXTS = ("message_id", "type", "user_id", "anonymous_id", "channel", "project_id")
TIMES = ("timestamp", "original_timestamp", "sent_at", "received_at")
OBJECTS = ("context", "integrations", "properties", "traits")
SCHEMA = th.PropertiesList(
    *(th.Property(name, th.StringType) for name in (*TEXTS, "event", "name", "group_id")),
    *(th.Property(name, th.DateTimeType) for name in TIMES),
    *(th.Property(name, th.ObjectType(additional_properties=True)) for name in OBJECTS),
    th.Property("position", th.IntegerType, required=True),
).to_dict()
COLUMNS = {
    re.sub("_(.)", lambda found: found[1].upper(), name): name for name in SCHEMA["properties"]
}


class EventStream(Stream):
    """The events of one type."""

    primary_keys = ("message_id",)
    replication_key = "position"
    is_sorted = True
    schema = SCHEMA

    def get_records(self, context: object) -> Iterable[dict[str, Any]]:
        """Yield a record for each event of this stream's type."""
        del context
        path = self.config.get("path")
        if path is None:
            return
        with Path(path).open("rb") as lines:
            for position, line in enumerate(lines, 1):
                event = json.loads(line)
                if event["type"] == self.name:
                    record = {
                        COLUMNS[name]: value for name, value in event.items() if name in COLUMNS
                    }
                    record["position"] = position
                    yield record


class PlainTap(Tap):
    """A tap like most others."""

    name = "plain-tap"
    config_jsonschema = th.PropertiesList(th.Property("path", th.StringType)).to_dict()

    def discover_streams(self) -> list[EventStream]:
        """Return one stream for each type."""
        return [EventStream(self, name=name) for name in TYPES]


if __name__ == "__main__":
    PlainTap.cli()
