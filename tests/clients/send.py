"""A program that has an SDK for Python send what it is told to, as its user would write it.

`send.py MODULE URL KEY SETTINGS`, with the Python that has the module. A line of
JSON in: the fields of a call under Segment's names, `{"$date": …}` for a datetime
and `{"$decimal": …}` for a Decimal. A line out for each batch that the SDK gives
up: the reason and the ids.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MAKE: dict[str, Callable[[str], Any]] = {"$date": datetime.fromisoformat, "$decimal": Decimal}


def main() -> None:
    """Send every call on standard input."""
    module, host, key, settings = sys.argv[1:]
    client = import_module(module).Client(key, host=host, on_error=give_up, **json.loads(settings))
    for line in sys.stdin:
        fields = json.loads(line, object_hook=native)
        arguments = {snake_case(name): value for name, value in fields.items()}
        getattr(client, arguments.pop("type"))(**arguments)
    client.shutdown()


def give_up(error: Exception, batch: list[dict[str, Any]]) -> None:
    """Write down which calls will not be sent."""
    reason = getattr(error, "status", None) or repr(error)
    sys.stdout.write(json.dumps([reason, [call["messageId"] for call in batch]]) + "\n")


def native(value: dict[str, Any]) -> Any:
    """Return what the JSON object *value* stands for."""
    ((name, given), *_) = (*value.items(), ("", None))
    return MAKE[name](given) if name in MAKE else value


def snake_case(name: str) -> str:
    """Return the argument of the SDK for Segment's field *name*."""
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


if __name__ == "__main__":
    main()
