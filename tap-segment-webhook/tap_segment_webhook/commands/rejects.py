"""`segment-receiver rejects`: what was authentic and is no event."""

from __future__ import annotations

import json
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import click

from tap_segment_webhook import timestamp
from tap_segment_webhook.commands.console import plainly, progress
from tap_segment_webhook.commands.options import as_json, with_settings
from tap_segment_webhook.errors import InvalidEvent
from tap_segment_webhook.event import read_event
from tap_segment_webhook.spool.opening import open_reader, open_writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tap_segment_webhook.event import Event
    from tap_segment_webhook.settings import Settings
    from tap_segment_webhook.spool.engine import Writer
    from tap_segment_webhook.spool.model import KeptReject

_LOT_EVENTS = 1000  # of one commit
_LOT_BYTES = 4 << 20


@click.group()
def rejects() -> None:
    """What was authentic and is no event, kept with the reason."""


@rejects.command("list")
@with_settings
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the bytes.")
def list_rejects(settings: Settings, *, as_json: bool) -> None:
    """List the rejects, oldest first; their content only with --json."""
    empty = True
    with plainly(), closing(open_reader(settings.spool)) as reader:
        for reject in reader.rejects():
            empty = False
            click.echo(_json(reject) if as_json else _line(reject))
    if empty:
        click.echo("There are no rejects.", err=True)


@rejects.command("retry", short_help="Read them again, and store those that are events now.")
@with_settings
@as_json
def retry_rejects(settings: Settings, *, as_json: bool) -> None:
    """Read the rejects again, and store those that this version can read.

    Stopped before its end, it is to be run again: nothing is lost by that, or
    stored twice.
    """
    stored = duplicate = left = 0

    def so_far() -> str:
        if not stored + duplicate:
            return "Nothing was stored."
        return f"So far: {stored:,} stored, {duplicate:,} duplicates. Run it again for the rest."

    with (
        plainly(so_far),
        closing(_open_writer(settings, "rejects retry")) as writer,
        closing(open_reader(settings.spool)) as reader,
        progress(reader.count_rejects(), "Retrying") as bar,
    ):
        for lot, passed in _read_again(reader.rejects()):
            new = writer.retry_rejects(lot) if lot else 0
            stored, duplicate = stored + new, duplicate + len(lot) - new
            left += passed - len(lot)
            bar.update(passed)
    if as_json:
        click.echo(json.dumps({"stored": stored, "duplicate": duplicate, "left": left}))
    else:
        click.echo(f"{stored:,} stored, {duplicate:,} duplicates, {left:,} are still no events.")


@rejects.command("purge")
@with_settings
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge_rejects(settings: Settings, *, yes: bool) -> None:
    """Delete every reject for good."""
    with plainly(), closing(_open_writer(settings, "rejects purge")) as writer:
        if writer.rejects and not yes:
            click.confirm(f"Delete {writer.rejects:,} rejects for good?", abort=True)
        click.echo(f"{writer.purge_rejects():,} rejects deleted.")


def _open_writer(settings: Settings, purpose: str) -> Writer:
    return open_writer(settings.spool, purpose=f"segment-receiver {purpose}", create=False)


def _read_again(
    rejects: Iterable[KeptReject],
) -> Iterator[tuple[list[tuple[KeptReject, Event]], int]]:
    """Yield lots of those *rejects* that are events by now, and how many each lot went through."""
    lot: list[tuple[KeptReject, Event]] = []
    size = passed = 0
    for reject in rejects:
        passed += 1
        with suppress(InvalidEvent):
            lot.append((reject, read_event(reject.body)))
            size += len(reject.body)
        if passed >= _LOT_EVENTS or size >= _LOT_BYTES:
            yield lot, passed
            lot, size, passed = [], 0, 0
    if passed:
        yield lot, passed


def _line(reject: KeptReject) -> str:
    moment = timestamp.from_ms(reject.received_at)
    return f"{reject.number}  {moment}  {reject.source}  {len(reject.body)} bytes  {reject.reason}"


def _json(reject: KeptReject) -> str:
    """Return one line; bytes that are no UTF-8 are replaced in it, and only in it."""
    fields = {**reject._asdict(), "body": reject.body.decode(errors="replace")}
    return json.dumps({name: value for name, value in fields.items() if name != "checksum"})
