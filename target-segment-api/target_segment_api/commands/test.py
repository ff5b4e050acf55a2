"""`segment-sender test`: mappings on the cases of files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from target_segment_api.commands.options import read_config, with_config


@click.command("test", short_help="Try mappings on cases in YAML files.")
@with_config
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def run_cases(config: tuple[str, ...], files: tuple[Path, ...]) -> None:
    """Try mappings on the cases of FILES: YAML with records and the events they must become.

    Needs no write key and sends nothing. Exits with 1 if a case fails.
    """
    from target_segment_api.cases import run  # noqa: PLC0415 - a fast --help

    given = read_config(config)
    if not config and (mappings := os.environ.get("TARGET_SEGMENT_API_MAPPINGS")):
        try:
            given["mappings"] = json.loads(mappings)
        except ValueError as error:
            reason = f"TARGET_SEGMENT_API_MAPPINGS cannot be read as JSON: {error}"
            raise click.ClickException(reason) from error
    failed = count = 0
    for path in files:
        for result in run(path, given):
            count += 1
            failed += bool(result.faults)
            click.echo(f"{'FAILED' if result.faults else 'ok':<8}{path}: {result.name}")
            for fault in result.faults:
                click.echo(f"        {fault}")
    click.echo(f"{count:,} cases, {failed:,} failed.")
    sys.exit(1 if failed or not count else 0)
