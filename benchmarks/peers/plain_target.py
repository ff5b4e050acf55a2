"""The target that the SDK's documentation leads to: gather records, post them, one batch at a time.

Its batches are as large as ours; what it sends is what the columns say, unchecked.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import requests
from singer_sdk import BatchSink, Target
from singer_sdk import typing as th

FIELDS = {
    "message_id": "messageId",
    "type": "type",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "event": "event",
    "properties": "properties",
    "context": "context",
    "integrations": "integrations",
    "timestamp": "timestamp",
}


class PlainSink(BatchSink):
    """Posts each batch and waits for the answer."""

    max_size = 225

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._session = requests.Session()
        self._session.auth = (self.config["write_key"], "")

    def process_batch(self, context: dict[str, Any]) -> None:
        """Send the records of one batch."""
        events = [
            {field: record[column] for column, field in FIELDS.items() if record[column]}
            for record in context["records"]
        ]
        response = self._session.post(
            f"{self.config['endpoint']}/batch",
            data=json.dumps({"batch": events}, default=plain),
            headers={"Content-Type": "application/json"},
            timeout=15,
        )
        response.raise_for_status()


def plain(value: object) -> float | str:
    """Return as JSON knows it what the SDK has read as something better."""
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


class PlainTarget(Target):
    """A target like most others."""

    name = "plain-target"
    config_jsonschema = th.PropertiesList(
        th.Property("write_key", th.StringType, required=True, secret=True),
        th.Property("endpoint", th.StringType, required=True),
    ).to_dict()
    default_sink_class = PlainSink


if __name__ == "__main__":
    PlainTarget.cli()
