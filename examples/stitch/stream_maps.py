"""Stream maps that give the tap's streams the columns of Stitch's tables.

Reads the columns of your tables in Stitch's schema, as CSV without a header
(table, column, data type; see README.md), and prints the tap's setting
`stream_maps`. What it cannot reproduce it says on standard error.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

COMMON = {
    *("message_id", "type", "user_id", "anonymous_id", "channel", "version", "project_id"),
    *("timestamp", "original_timestamp", "sent_at", "received_at"),
}
OWN = {
    "alias": {"previous_id"},
    "delete": set[str](),
    "group": {"group_id"},
    "identify": set[str](),
    "page": {"name", "category"},
    "screen": {"name", "category"},
    "track": {"event"},
}
OBJECTS = {"context", "integrations", "properties", "traits"}
TIMES = {"timestamp", "original_timestamp", "sent_at", "received_at"}
KINDS = {"bigint": "int", "integer": "int", "smallint": "int", "boolean": "bool"} | dict.fromkeys(
    ("double precision", "numeric", "real", "double"), "float"
)
# A column of several types is several in Stitch, each with what is of its type.
SPLIT = {"bigint": "int", "double": "float only", "boolean": "bool", "string": "text only"}

# Of expressions, stream maps know no functions of one's own, and no isinstance.
IS_OBJECT = "str({0})[:1] == '{{' and str({0}) != {0}"
NUMBER = "str(x) != x and str(x)[:1] in '-0123456789'"
BIGINT = "str(x) != x and str(x).strip('-').isdigit() and str(x)[18:] == ''"
GUARDS = {
    "text": "x is not None",
    "text only": "x is not None and str(x) == x",
    "bool": "x is True or x is False",
    "int": BIGINT,
    "float": NUMBER,
    "float only": f"{NUMBER} and not ({BIGINT})",
}


def main() -> None:
    """Print the stream maps for the columns that are read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="store_true", help="leave out all other columns")
    parser.add_argument("file", type=Path, nargs="?", help="CSV; default: standard input")
    options = parser.parse_args()
    with options.file.open(encoding="utf-8") if options.file else sys.stdin as lines:
        maps = stream_maps(csv.reader(lines))
    if options.only:
        maps = {stream: {**columns, "__else__": "__NULL__"} for stream, columns in maps.items()}
    print(json.dumps(maps, indent=2))


def stream_maps(rows: Iterable[list[str]]) -> dict[str, dict[str, str | None]]:
    """Return by stream an expression for each column in *rows*."""
    maps: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    for table, column, data_type in rows:
        if table not in OWN:
            print(f"{table}.{column}: not reproduced, {table} is no stream.", file=sys.stderr)
        elif not column.startswith("_sdc_"):  # the target adds them
            maps[table][column] = expression(table, column, data_type)
    return dict(maps)


def expression(table: str, column: str, data_type: str) -> str:
    """Return what makes the *column* of a Stitch *table* out of a record."""
    kind = KINDS.get(data_type, "text")
    if column in TIMES and not data_type.startswith("timestamp"):
        return f"str({column}) if {column} is not None else None"
    if column == "version" and kind == "int":
        return "int(version) if (version or '').isdigit() else None"
    if column in COMMON | OWN[table]:
        return column
    first, *path = column.split("__")
    if path and path[-1] in SPLIT:
        kind = SPLIT[path.pop()]
    if first in OBJECTS and path:
        return convert(first, path, kind)
    return convert("extra", [first, *path], kind)


def convert(top: str, path: list[str], kind: str) -> str:
    """Return what finds the value at *path* in the object *top*, if it is of the *kind*."""
    *parents, last = path
    steps, here = [], f"({top} or {{}})"
    for depth, part in enumerate(parents):
        steps.append(f"for p{depth} in [{look_up(here, part)}] if {IS_OBJECT.format(f'p{depth}')}")
        here = f"p{depth}"
    steps.append(f"for x in [{look_up(here, last)}] if {GUARDS[kind]}")
    if kind.startswith("text"):
        text = "x if str(x) == x else json.dumps(x, default=str)"
        return f"([{text} {' '.join(steps)}] or [None])[0]"
    found = f"[x {' '.join(steps)}]"
    function = kind.split(maxsplit=1)[0]
    return f"{function}({found}[0]) if {found} else None"  # the SDK takes the type from its start


def look_up(here: str, part: str) -> str:
    """Return what gets *part*, which Stitch wrote in snake case, from the object *here*."""
    first, *rest = part.split("_")
    camel = first + "".join(map(str.capitalize, rest)) if first else part
    found = "None"
    for name in dict.fromkeys((part.replace("_", " ") if first else part, part, camel)):
        found = f"{here}.get({name!r}, {found})" if found != "None" else f"{here}.get({name!r})"
    return found


if __name__ == "__main__":
    main()
