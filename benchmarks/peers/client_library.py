"""What a user writes around a client library for Python: read a line, call track.

`client_library.py MODULE HOST KEY SETTINGS`, with the Python that has the module.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from importlib import import_module
from typing import Any


def main() -> None:
    """Send every record on standard input as a track event."""
    module, host, key, settings = sys.argv[1:]
    client = import_module(module).Client(key, host=host, **json.loads(settings))
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if message["type"] == "RECORD":
            # A full queue refuses an event, and says so only in what track returns.
            while client.queue.full():
                time.sleep(0.01)
            track(client, message["record"])
    client.flush()


def track(client: Any, record: dict[str, Any]) -> None:
    """Hand one event to the library."""
    client.track(
        record["user_id"],
        record["event"],
        record["properties"],
        context=record["context"],
        integrations=record["integrations"],
        anonymous_id=record["anonymous_id"],
        timestamp=datetime.fromisoformat(record["timestamp"].replace("Z", "+00:00")),
        message_id=record["message_id"],
    )


if __name__ == "__main__":
    main()
