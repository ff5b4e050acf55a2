"""`segment-sender check`: whether sending would work."""

from __future__ import annotations

import sys

import click

from target_segment_api.commands.options import read_settings, with_config


@click.command(short_help="Tell whether sending would work.")
@with_config
def check(config: tuple[str, ...]) -> None:
    """Tell whether sending would work: files, endpoint, write key, region.

    Sends nothing. Exits with 1 if something is wrong.
    """
    from target_segment_api.check import check as examine  # noqa: PLC0415 - a fast --help

    settings = read_settings(config)
    click.echo("settings    ok       They are complete.")
    wrong = False
    for finding in examine(settings):
        click.echo(f"{finding.what:<12}{finding.verdict:<9}{finding.reason}")
        wrong = wrong or finding.verdict == "wrong"
    sys.exit(1 if wrong else 0)
