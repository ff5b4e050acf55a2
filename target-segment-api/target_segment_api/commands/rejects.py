"""`segment-sender rejects`: what Segment would not take."""

from __future__ import annotations

import click

from target_segment_api.commands.console import progress, stoppable
from target_segment_api.commands.options import read_settings, with_config
from target_segment_api.journal import read


@click.group(short_help="Events that Segment would not take.")
def rejects() -> None:
    """Events that Segment would not take, or did not, kept with the reasons."""


@rejects.command("list")
@with_config
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the event.")
def list_rejects(config: tuple[str, ...], *, as_json: bool) -> None:
    """List the rejects, oldest first; their content only with --json."""
    settings = read_settings(config)
    unreadable = listed = 0
    for line in read(settings.rejects_path):
        if line.entry is None:
            unreadable += 1
            continue
        listed += 1
        if as_json:
            click.echo(line.text)
        else:
            entry = line.entry
            click.echo(
                f"{entry.get('rejected_at')}  {entry.get('stream')}  {entry.get('message_id')}  "
                f"{' '.join(entry.get('reasons') or ())}"
            )
    if not listed:
        click.echo(f"There are no rejects in {settings.rejects_path}.", err=True)
    if unreadable:
        click.echo(
            f"{unreadable} lines were cut off when a process was killed; their events were not "
            "confirmed and come again.",
            err=True,
        )


@rejects.command("retry")
@with_config
def retry_rejects(config: tuple[str, ...]) -> None:
    """Send the rejects again that keep Segment's rules by now; keep the others."""
    from target_segment_api.retry import retry  # noqa: PLC0415 - a fast --help

    settings = read_settings(config)
    count = sum(1 for line in read(settings.rejects_path) if line.entry)
    if not count:
        click.echo(f"There are no rejects in {settings.rejects_path}.")
        return
    after = f"What was accepted is no longer in {settings.rejects_path}. Run it again for the rest."
    with stoppable(after), progress(count, "Sending") as bar:
        outcome = retry(settings, bar.update)
    click.echo(f"{outcome.sent:,} sent, {outcome.left:,} left in {settings.rejects_path}.")
