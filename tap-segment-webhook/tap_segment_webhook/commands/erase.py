"""`segment-receiver erase`: somebody out of the spool."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import click

from tap_segment_webhook.commands.console import plainly, progress
from tap_segment_webhook.commands.options import as_json, with_settings
from tap_segment_webhook.person import People
from tap_segment_webhook.spool.erasure import Erasure
from tap_segment_webhook.spool.opening import open_reader, open_writer

if TYPE_CHECKING:
    from tap_segment_webhook.settings import Settings
    from tap_segment_webhook.spool.erasure import Found


def _read_lines(_: click.Context, __: click.Parameter, name: str | None) -> list[str]:
    if name is None:
        return []
    try:
        with click.open_file(name, encoding="utf-8-sig") as file:
            return [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise click.BadParameter(
            f"{name} is not UTF-8: {error.reason} at byte {error.start:,}."
        ) from error


@click.command(short_help="Erase users from the spool for good.")
@with_settings
@as_json
@click.argument("users", nargs=-1, metavar="[USER_ID]...")
@click.option(
    "--from",
    "listed",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    callback=_read_lines,
    metavar="FILE",
    help="More user ids, one a line; - is standard input.",
)
@click.option("--anonymous-id", "devices", multiple=True, metavar="ID", help="Repeatable.")
@click.option("--requests", is_flag=True, help="Their delete events too, which else stay.")
@click.option("--yes", is_flag=True, help="Neither count first nor ask.")
def erase(
    *,
    settings: Settings,
    users: tuple[str, ...],
    listed: list[str],
    devices: tuple[str, ...],
    requests: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase every event of the users USER_ID from the spool, whether confirmed or not.

    Theirs is what has the id as userId, anonymousId or previousId (with
    --anonymous-id: as one of the last two), and any reject that mentions it.
    Their bytes are then in no file of the spool. Stop the receiver first.
    Killed, or with exit code 1, it is to be run again.
    """
    people = People.of(filter(None, (*users, *listed)), devices)
    if not people.users | people.devices:
        raise click.UsageError("Whose events? Give a USER_ID, --from or --anonymous-id.")
    begun = False

    def so_far() -> str:
        if begun:
            return "Some may be erased and some not: run it again."
        return "Nothing was erased."

    with (
        plainly(so_far),
        closing(
            open_writer(settings.spool, purpose="segment-receiver erase", create=False)
        ) as writer,
        closing(open_reader(settings.spool)) as reader,
    ):
        erasure = Erasure(writer, reader, people, requests=requests)
        if not yes:
            with progress(erasure.length, "Looking") as bar:
                found = erasure.find(bar.update)
            click.echo(f"Found {_findings(found)}", err=as_json)
            click.confirm("Erase them for good, and build the spool anew?", abort=True, err=as_json)
        begun, before = True, reader.size()
        with progress(erasure.length, "Erasing") as bar:
            found = erasure.run(bar.update)
        if as_json:
            click.echo(
                json.dumps({**found._asdict(), "events": dict(sorted(found.events.items()))})
            )
            return
        click.echo(f"Erased {_findings(found)}")
        if settings.spool.is_remote:
            click.echo("The servers' own logs may hold their bytes until the next snapshot.")
        else:
            click.echo(f"The spool was built anew: {before:,} bytes before, {reader.size():,} now.")


def _findings(found: Found) -> str:
    streams = ", ".join(f"{name} {count:,}" for name, count in sorted(found.events.items()))
    return (
        f"{found.events.total():,} events{streams and f' ({streams})'}, "
        f"{found.unconfirmed:,} of them not confirmed by every pipeline, and "
        f"{found.rejects:,} rejects. {found.requests:,} delete events stay."
    )
