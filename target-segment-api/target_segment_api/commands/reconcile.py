"""`segment-sender reconcile`: which events have come back."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from target_segment_api import timestamp
from target_segment_api.arrivals import read_lines, read_spool
from target_segment_api.commands.options import as_json, read_config, with_config
from target_segment_api.comparison import Comparison, Limits, Period
from target_segment_api.encoding import encode
from target_segment_api.errors import InputUnusable
from target_segment_api.receipts import read_receipts, size_of
from target_segment_api.reconciliation import Reconciliation
from target_segment_api.warehouse import read_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from target_segment_api.arrivals import Arrival, Retained

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGE: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_BAR_STEPS: Final = 1 << 14  # of what a progress bar counts, between two looks at it


def _read_moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Return what was typed, ISO 8601 or how long ago, in milliseconds since 1970."""
    if value is None:
        return None
    if age := _AGE.fullmatch(value):
        return max(0, _now() - int(age[1]) * _UNIT_SECONDS[age[2]] * 1000)
    try:
        return timestamp.to_ms(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is neither ISO 8601 nor an age such as 90m, 24h or 7d."
        ) from error


@click.command(short_help="Tell which events have come back.")
@with_config
@click.option(
    "--receipts",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file of receipts, instead of the setting receipts_path. Repeatable.",
)
@click.option("--spool", metavar="URL", help="Came back: what this spool of segment-receiver has.")
@click.option(
    "--arrived",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Came back: JSON lines with message_id and received_at; - for standard input. Repeatable.",
)
@click.option("--database", metavar="URL", help="Came back: rows in this PostgreSQL.")
@click.option("--schema", default="segment", show_default=True, help="Of the tables.")
@click.option("--table", "tables", multiple=True, help="Instead of those named after the calls.")
@click.option("--id-column", default="message_id", show_default=True, help="Of the tables.")
@click.option("--time-column", default="received_at", show_default=True, help="Of the tables.")
@click.option(
    "--since",
    metavar="TIME|AGE",
    callback=_read_moment,
    help="Only receipts from then on: ISO 8601, or an age such as 24h.",
)
@click.option(
    "--until", metavar="TIME|AGE", callback=_read_moment, help="Only receipts from before that."
)
@click.option(
    "--late",
    metavar="SECONDS",
    type=click.IntRange(0),
    default=300,
    show_default=True,
    help="What comes back later than that is counted as late.",
)
@click.option(
    "--settle",
    metavar="SECONDS",
    type=click.IntRange(0),
    help="What was sent less long ago may still come: pending, not missing.  [default: as --late]",
)
@click.option(
    "--missing",
    metavar="N",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="How many ids of missing events are shown.",
)
@as_json
def reconcile(
    *,
    config: tuple[str, ...],
    receipts: tuple[Path, ...],
    spool: str | None,
    arrived: tuple[str, ...],
    database: str | None,
    schema: str,
    tables: tuple[str, ...],
    id_column: str,
    time_column: str,
    since: int | None,
    until: int | None,
    late: int,
    settle: int | None,
    missing: int,
    as_json: bool,
) -> None:
    """Tell which events that Segment accepted have come back, by stream and hour.

    Compares the receipts (setting receipts_path) with what a webhook has brought
    back: into a spool, a file, or a warehouse. Needs no write key and sends nothing.
    Exits with 1 if an event is missing, and with 2 if nothing can be compared.
    """
    if sum(map(bool, (spool, arrived, database))) != 1:
        raise click.UsageError("Say where what came back is: --spool, --arrived or --database.")
    paths = receipts or _receipts_of(config)
    if spool:
        arrivals: Iterable[Arrival | Retained] = read_spool(spool)
    elif database:
        arrivals = read_warehouse(database, schema, tables, id_column, time_column)
    else:
        arrivals = chain.from_iterable(map(_read_arrived, arrived))
    limits = Limits(_now(), late * 1000, (late if settle is None else settle) * 1000)
    bar: dict[str, Any] = {
        "file": sys.stderr,
        "hidden": not sys.stderr.isatty(),
        "update_min_steps": _BAR_STEPS,
    }
    with closing(Comparison(Period(since, until))) as comparison:
        # The receipts first: what is accepted meanwhile is not taken for missing.
        with click.progressbar(length=sum(map(size_of, paths)), label="Receipts", **bar) as reading:
            for path in paths:
                comparison.add_receipts(read_receipts(path, reading.update))
        with click.progressbar(arrivals, label="Arrivals", show_pos=True, **bar) as counted:
            comparison.add_arrivals(counted)
        comparison.sort()
        result = Reconciliation.of(comparison, limits, missing)
    click.echo(encode(result.as_dict()) if as_json else str(result))
    sys.exit(1 if result.total.missing else 0)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _read_arrived(name: str) -> Iterator[Arrival | Retained]:
    with click.open_file(name, "rb") as file:
        yield from read_lines(file, "standard input" if name == "-" else name)


def _receipts_of(config: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the setting `receipts_path`, which needs none of the others."""
    path = read_config(config).get("receipts_path")
    if not config or "ENV" in config:
        path = os.environ.get("TARGET_SEGMENT_API_RECEIPTS_PATH") or path
    if not path:
        raise InputUnusable(
            "There are no receipts to compare: receipts_path is not set. Set it, so that each run "
            "notes what Segment accepted, or name a file with --receipts."
        )
    return (Path(path),)
