"""`segment-sender`: check, preview, and what to do with rejects."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click
from singer_sdk.exceptions import ConfigValidationError

from target_segment_api.cases import run
from target_segment_api.check import check as examine
from target_segment_api.encoding import encode
from target_segment_api.journal import read
from target_segment_api.preview import PreviewTarget, describe
from target_segment_api.retry import retry
from target_segment_api.target import TargetSegmentApi

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., Any]")
AnyTarget = TypeVar("AnyTarget", bound=TargetSegmentApi)


def with_config(command: Command) -> Command:
    """Give *command* a `--config` option, and what it names as `config`."""
    option = click.option(
        "--config",
        "config",
        multiple=True,
        metavar="FILE|ENV",
        help="A JSON file, or ENV for TARGET_SEGMENT_API_* variables (the default). Repeatable.",
    )
    return option(command)


def _read(names: tuple[str, ...]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name in names:
        if name != "ENV":
            try:
                config.update(json.loads(Path(name).read_bytes()))
            except (OSError, ValueError) as error:
                raise click.BadParameter(f"{name} cannot be read as JSON: {error}") from error
    return config


def _make(kind: type[AnyTarget], names: tuple[str, ...]) -> AnyTarget:
    """Return a target with the settings that *names* name."""
    try:
        return kind(config=_read(names), parse_env_config=not names or "ENV" in names)
    except ConfigValidationError as error:
        raise click.ClickException("\n".join(error.errors)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="target-segment-api")
def main() -> None:
    """Look before you send to Segment, and after what it would not take."""
    level = os.environ.get("TARGET_SEGMENT_API_LOGLEVEL", "WARNING").upper()
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    for name in ("singer_sdk", "singer_sdk.metrics", TargetSegmentApi.name):
        logging.getLogger(name).setLevel(level)


@main.command()
@with_config
def check(config: tuple[str, ...]) -> None:
    """Tell whether sending would work: files, endpoint, write key, region.

    Sends nothing. Exits with 1 if something is wrong.
    """
    target = _make(TargetSegmentApi, config)
    click.echo("settings    ok       They are complete.")
    wrong = False
    for finding in examine(target.settings):
        click.echo(f"{finding.what:<12}{finding.verdict:<9}{finding.reason}")
        wrong = wrong or finding.verdict == "wrong"
    sys.exit(1 if wrong else 0)


@main.command()
@with_config
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--show-values", is_flag=True, help="Show the values of the sample events.")
@click.argument("file", type=click.File("rb"), default="-")
def preview(
    config: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
    show_values: bool,  # noqa: FBT001
    file: IO[bytes],
) -> None:
    """Tell what the target would send, from the Singer messages in FILE or standard input.

    Sends nothing and writes no file. Exits with 1 if an event would be set aside.
    """
    target = _make(PreviewTarget, config)
    length = os.fstat(file.fileno()).st_size
    with (
        click.progressbar(
            length=length, label="Reading", file=sys.stderr, hidden=not length
        ) as bar,
        redirect_stdout(io.StringIO()),
    ):
        pause = target.message_reader.on_pause

        def advance() -> None:
            pause()
            if length:
                bar.update(os.lseek(file.fileno(), 0, os.SEEK_CUR) - bar.pos)

        target.message_reader.on_pause = advance
        target.listen(file)  # type: ignore[arg-type]  # the reader takes bytes
    findings = target.findings(show_values=show_values)
    click.echo(encode(findings) if as_json else describe(findings))
    sys.exit(1 if findings["invalid"] else 0)


@main.command("test")
@with_config
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def run_cases(config: tuple[str, ...], files: tuple[Path, ...]) -> None:
    """Try mappings on the cases of FILES: YAML with records and the events they must become.

    Needs no write key and sends nothing. Exits with 1 if a case fails.
    """
    given = _read(config)
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


@main.group()
def rejects() -> None:
    """Events that Segment would not take, or did not, kept with the reasons."""


@rejects.command("list")
@with_config
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the event.")
def list_rejects(config: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001
    """List the rejects, oldest first; their content only with --json."""
    settings = _make(TargetSegmentApi, config).settings
    unreadable = 0
    for line in read(settings.rejects_path):
        if line.entry is None:
            unreadable += 1
        elif as_json:
            click.echo(line.text)
        else:
            entry = line.entry
            click.echo(
                f"{entry.get('rejected_at')}  {entry.get('stream')}  {entry.get('message_id')}  "
                f"{' '.join(entry.get('reasons') or ())}"
            )
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
    settings = _make(TargetSegmentApi, config).settings
    count = sum(1 for line in read(settings.rejects_path) if line.entry)
    if not count:
        click.echo(f"There are no rejects in {settings.rejects_path}.")
        return
    with click.progressbar(length=count, label="Sending", file=sys.stderr) as bar:
        outcome = retry(settings, bar.update)
    click.echo(f"{outcome.sent:,} sent, {outcome.left:,} left in {settings.rejects_path}.")
