"""`segment-receiver status`: what waits, what was confirmed, and the books."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from tap_segment_webhook import timestamp
from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.commands.console import balance, ensure_known, plainly
from tap_segment_webhook.commands.options import as_json, with_settings
from tap_segment_webhook.gaps import warnings
from tap_segment_webhook.spool.engine import confirmed_by_all
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.opening import open_reader

if TYPE_CHECKING:
    from tap_segment_webhook.settings import Settings
    from tap_segment_webhook.spool.engine import Reader


@click.command()
@with_settings
@as_json
@click.option("--forget", metavar="CONSUMER", help="Stop keeping events for a pipeline that ended.")
def status(settings: Settings, forget: str | None, *, as_json: bool) -> None:
    """Show what waits, what was confirmed, and the books."""
    with plainly(), closing(open_reader(settings.spool)) as reader:
        if forget is not None:
            ensure_known(forget, reader.consumers)
            reader.consumers.forget(forget)
            click.echo(f"Nothing is kept for {forget!r} any more.", err=True)
        found = _survey(reader)
    click.echo(json.dumps(found, indent=2) if as_json else _describe(found))


def _survey(reader: Reader) -> dict[str, Any]:
    head, positions = reader.head(), reader.consumers.positions()
    replays = reader.consumers.replays()
    floor = confirmed_by_all(reader.consumers)
    return {
        "spool_id": reader.spool_id,
        "head_position": head,
        "spool_bytes": reader.size(),
        "consumers": {
            name: {
                "confirmed_position": position,
                "waiting": head - position,
                "to_be_replayed": name in replays,
            }
            for name, position in positions.items()
        },
        "streams": {
            name: {
                "waiting": holding.waiting,
                "waiting_bytes": holding.waiting_bytes,
                "oldest_waiting_seconds": _age(holding.oldest_waiting_at),
                "confirmed": holding.confirmed,
            }
            for name, holding in reader.holdings(floor).items()
        },
        "rejects": reader.count_rejects(),
        "warnings": warnings(reader.signs(), now=now_ms(), delay=_delay(reader)),
        "books": {source: counts._asdict() for source, counts in reader.books().items()},
    }


def _delay(reader: Reader) -> int | None:
    """Return how many milliseconds after Segment we had the last event that says when that was."""
    from tap_segment_webhook.record import to_record  # noqa: PLC0415 - a fast --help

    unsaid = 0
    head = reader.head()
    for block in reader.blocks(head - 1, head):
        for body, position, source, stored_at in reversed(list(block.rows())):
            made = to_record(body, "track", position=position, source=source, received_at=unsaid)
            if (received_at := timestamp.to_ms(made["received_at"])) != unsaid:
                return stored_at - received_at
    return None


def _age(moment: int | None) -> int | None:
    return None if moment is None else max(now_ms() - moment, 0) // 1000


def _describe(found: dict[str, Any]) -> str:
    rows = [("stream", "waiting", "bytes", "oldest", "confirmed, kept")]
    for name, stream in found["streams"].items():
        age = stream["oldest_waiting_seconds"]
        rows.append(
            (
                name,
                f"{stream['waiting']:,}",
                f"{stream['waiting_bytes']:,}",
                "-" if age is None else f"{age:,} s",
                f"{stream['confirmed']:,}",
            )
        )
    lines = [f"{row[0]:<10}" + "".join(f"{cell:>17}" for cell in row[1:]) for row in rows]
    for name, consumer in found["consumers"].items():
        lines.append(
            f"consumer {name}: confirmed up to position {consumer['confirmed_position']:,}, "
            f"{consumer['waiting']:,} waiting"
            + (", with a replay to come" if consumer["to_be_replayed"] else "")
        )
    for source, books in found["books"].items():
        lines.append(f"source {source}: {balance(Counts(**books))}")
    lines += [f"WARNING: {warning}" for warning in found["warnings"]]
    lines.append(f"rejects kept: {found['rejects']:,}; spool: {found['spool_bytes']:,} bytes")
    return "\n".join(lines)
