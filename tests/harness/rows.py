"""The rows that events become, written out from the README: what tests expect of the tap."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from harness.deliveries import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.deliveries import Event
    from harness.singer import Run

Row = dict[str, Any]

TEXTS = {
    "message_id": "messageId",
    "type": "type",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "channel": "channel",
    "version": "version",
    "project_id": "projectId",
}
TIMES = {
    "timestamp": "timestamp",
    "original_timestamp": "originalTimestamp",
    "sent_at": "sentAt",
    "received_at": "receivedAt",
}
OWN_TEXTS = {
    "alias": {"previous_id": "previousId"},
    "group": {"group_id": "groupId"},
    "page": {"name": "name", "category": "category"},
    "screen": {"name": "name", "category": "category"},
    "track": {"event": "event"},
}
OBJECTS = ("context", "integrations")
OWN_OBJECTS = {
    "group": ("traits",),
    "identify": ("traits",),
    "page": ("properties",),
    "screen": ("properties",),
    "track": ("properties",),
}

UTC = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d\.\d{3})(?:Z| \+0000 UTC m=.+)")


def expected(event: Event) -> Row:
    """Return the row of *event*, as the README describes it, without its position."""
    kind = event["type"]
    fields = decode(encode(event))
    texts = {**TEXTS, **OWN_TEXTS.get(kind, {})}
    row: Row = {column: text(fields.pop(name, None)) for column, name in texts.items()}
    row |= {column: moment(fields.pop(name, None)) for column, name in TIMES.items()}
    for column in (*OBJECTS, *OWN_OBJECTS.get(kind, ())):
        value = fields.pop(column, None)
        row[column] = value if isinstance(value, dict) else None
        if value is not row[column]:
            fields[column] = value
    return {**row, "source": "default", "extra": fields or None}


def tables(run: Run) -> dict[str, list[Row]]:
    """Return the rows that a target makes of what a *run* of the tap wrote, stream by stream."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for message in run.of("RECORD"):
        record = decode(json.dumps(message["record"]))
        times = {column: moment(record[column]) for column in TIMES}
        found[message["stream"]].append(record | times)
    return dict(found)


def text(value: object) -> str | None:
    """Return *value* as a column of text holds it."""
    return None if value is None else str(value)


def moment(value: str | None) -> datetime | None:
    """Return the UTC time that *value* says to the millisecond, in Segment's form or Go's."""
    match = UTC.fullmatch(value or "")
    return datetime.fromisoformat(f"{match[1]} {match[2]}") if match else None


def plain(tables: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """Return *tables* without the columns that the target adds."""
    return {
        stream: [
            {column: value for column, value in row.items() if not column.startswith("_sdc_")}
            for row in rows
        ]
        for stream, rows in tables.items()
    }


def assert_equal(tables: Mapping[str, list[Row]], rows: Iterable[Row]) -> None:
    """Check that *tables* hold exactly *rows*, at the positions of their order."""
    wanted: defaultdict[str, list[Row]] = defaultdict(list)
    for position, row in enumerate(rows, 1):
        wanted[row["type"]].append({"spool_position": position, **row})
    for stream, found in plain(tables).items():
        assert len(found) == len(wanted[stream])
        for ours, theirs in zip(found, wanted[stream], strict=True):
            assert ours == theirs
