"""`segment-receiver ids`: what is retained, without content."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.commands.console import plainly
from tap_segment_webhook.commands.options import with_settings
from tap_segment_webhook.spool.opening import open_reader

if TYPE_CHECKING:
    from tap_segment_webhook.settings import Settings


@click.command(short_help="Print id, type and time of each retained event.")
@with_settings
def ids(settings: Settings) -> None:
    """Print the message id, type and time of receipt of each retained event, as JSON lines.

    Without content, and while the receiver runs: for `segment-sender reconcile`.
    """
    from tap_segment_webhook.listing import list_ids  # noqa: PLC0415 - a fast --help

    with plainly(), closing(open_reader(settings.spool)) as reader:
        for lines in list_ids(reader, now_ms()):
            click.echo(lines, nl=False)
