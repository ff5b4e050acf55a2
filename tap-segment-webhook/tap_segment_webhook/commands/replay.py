"""`segment-receiver replay`: have a pipeline be given again what it had."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import click

from tap_segment_webhook import timestamp
from tap_segment_webhook.commands.console import ensure_known, plainly
from tap_segment_webhook.commands.options import with_settings
from tap_segment_webhook.event import CODES, NAMES, TYPES
from tap_segment_webhook.spool.model import Replay
from tap_segment_webhook.spool.opening import open_reader

if TYPE_CHECKING:
    from tap_segment_webhook.settings import Settings

_END_OF_TIME = 1 << 62


def _read_moment(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Return the milliseconds after 1970 of a date, or of a date with a time."""
    if text is None:
        return None
    reading = timestamp.read(f"{text}T00:00" if len(text) == len("2026-03-04") else text)
    if reading is None:
        raise click.BadParameter(f"{text!r} is no time. Write 2026-03-04 or 2026-03-04T11:20Z.")
    return timestamp.to_ms(reading.text)


@click.command(short_help="Have the next run emit again what was received.")
@with_settings
@click.option("--since", callback=_read_moment, metavar="TIME", help="Received then or later.")
@click.option("--until", callback=_read_moment, metavar="TIME", help="And before; else all since.")
@click.option(
    "--stream", "streams", type=click.Choice(TYPES), multiple=True, help="Only these. Repeatable."
)
@click.option("--consumer", help="Instead of the setting.")
@click.option("--undo", is_flag=True, help="Take back what was asked for and is not yet done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(
    *,
    settings: Settings,
    since: int | None,
    until: int | None,
    streams: tuple[str, ...],
    consumer: str | None,
    undo: bool,
    yes: bool,
) -> None:
    """Have the next run of a pipeline emit again what was received from a TIME on.

    TIME is in UTC unless it has a zone: 2026-03-04, 2026-03-04T11:20Z. Only
    what is retained can be emitted again; it is then kept until the pipeline's
    target has it. A target that upserts by message_id ends up as it was.
    """
    name = settings.consumer if consumer is None else consumer
    with plainly(), closing(open_reader(settings.spool)) as reader:
        if undo:
            if not reader.consumers.end_replay(name):
                raise click.ClickException(f"Nothing is to be replayed for {name!r}.")
            click.echo(f"Nothing is replayed for {name!r} any more.")
            return
        if since is None:
            raise click.UsageError("From when on? Give --since, or --undo.")
        ensure_known(name, reader.consumers)
        if name in reader.consumers.replays():
            raise click.ClickException(
                f"Something is to be replayed for {name!r} already. Run the pipeline twice, so "
                "that its state says it is done, or take it back with --undo."
            )
        until = _END_OF_TIME if until is None else until
        codes = "".join(CODES[stream] for stream in streams or TYPES)
        found = reader.find(since, until, codes)
        total = sum(found.counts.values())
        if not total:
            raise click.ClickException("No event that is retained was received then.")
        parts = ", ".join(f"{NAMES[code]} {n:,}" for code, n in sorted(found.counts.items()))
        click.echo(f"{total:,} retained events: {parts}.")
        if not yes:
            click.confirm(f"Have the next run of {name!r} emit them again?", abort=True)
        asked = Replay(str(uuid.uuid4()), found.first, found.last, since, until, codes)
        reader.consumers.ask_for(name, asked)
    click.echo(f"The next run of {name!r} emits them again. To take it back: replay --undo.")
