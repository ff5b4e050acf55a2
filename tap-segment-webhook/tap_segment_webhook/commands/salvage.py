"""`segment-receiver salvage`: a whole spool of a damaged one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.commands.console import plainly
from tap_segment_webhook.commands.options import as_json, with_settings
from tap_segment_webhook.spool.opening import open_reader
from tap_segment_webhook.spool.salvage import salvage as salvage_spool

if TYPE_CHECKING:
    from tap_segment_webhook.settings import Settings
    from tap_segment_webhook.spool.salvage import Salvaged


@click.command()
@with_settings
@as_json
def salvage(settings: Settings, *, as_json: bool) -> None:
    """Make a whole spool of a damaged one.

    Everything is kept whose checksum is right; the positions of the rest are
    printed. Pipelines go on where they were. The damaged file stays as it is,
    under another name.
    """
    if settings.spool.is_remote:
        raise click.ClickException(
            "salvage mends a SQLite file. Servers of NATS keep copies of one another: replace the "
            "damaged one by an empty one."
        )
    with plainly():
        open_reader(settings.spool).close()  # there is one
        found = salvage_spool(settings.spool_url, now_ms())
    if as_json:
        click.echo(json.dumps({**found._asdict(), "damaged": str(found.damaged)}))
    else:
        click.echo(_salvaged(found))


def _salvaged(found: Salvaged) -> str:
    lines = [f"{found.events:,} events and {found.rejects:,} rejects saved."]
    lines += [f"Lost: positions {first:,} to {last:,}." for first, last in found.lost]
    if found.lost:
        lines.append("A replay in Segment brings them back; they are no duplicates to the spool.")
    if found.lost_rejects:
        lines.append("Some rejects were damaged: those are lost.")
    if not found.same:
        lines.append(
            "The books or the identity could not be read: to pipelines it is a new spool, and "
            "they emit all of it again."
        )
    lines.append(f"The file as it was is kept as {found.damaged}; delete it when it is of no use.")
    return "\n".join(lines)
