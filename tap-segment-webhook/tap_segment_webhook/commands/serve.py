"""`segment-receiver serve`: receive until it is stopped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tap_segment_webhook.commands.console import plainly
from tap_segment_webhook.commands.options import with_settings
from tap_segment_webhook.settings import closed

if TYPE_CHECKING:
    from tap_segment_webhook.settings import Settings


@click.command()
@with_settings
@click.option("--host", help="Instead of the setting.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of the setting.")
def serve(settings: Settings, host: str | None, port: int | None) -> None:
    """Receive webhooks until SIGTERM or SIGINT.

    Exits with 0 after a stop that was asked for, with 1 if the spool failed.
    """
    from tap_segment_webhook.receiver.server import serve as run  # noqa: PLC0415 - a fast --help

    settings = settings._replace(
        host=settings.host if host is None else host, port=settings.port if port is None else port
    )
    if reasons := closed(settings.sources):
        raise click.ClickException("\n".join(reasons))
    with plainly():
        sys.exit(run(settings))
