"""`segment-sender`: check, preview, and what to do with rejects."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import time
from contextlib import closing, redirect_stdout
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

import click
from singer_sdk.exceptions import ConfigValidationError

from target_segment_api import timestamp
from target_segment_api.arrivals import read_lines, read_spool
from target_segment_api.cases import run
from target_segment_api.check import check as examine
from target_segment_api.comparison import Comparison, Limits, Period
from target_segment_api.encoding import encode
from target_segment_api.errors import InputUnusable
from target_segment_api.journal import read
from target_segment_api.preview import PreviewTarget, describe
from target_segment_api.receipts import read_receipts, size_of
from target_segment_api.reconciliation import Reconciliation
from target_segment_api.retry import retry
from target_segment_api.target import TargetSegmentApi
from target_segment_api.warehouse import read_warehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from target_segment_api.arrivals import Arrival, Retained

Command = TypeVar("Command", bound="Callable[..., Any]")
AnyTarget = TypeVar("AnyTarget", bound=TargetSegmentApi)

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGE: Final = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_BAR_STEPS: Final = 1 << 14  # of what a progress bar counts, between two looks at it


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


def _read_moment(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Return what was typed, ISO 8601 or how long ago, in milliseconds since 1970."""
    if value is None:
        return None
    if age := _AGE.fullmatch(value):
        return max(0, _now() - int(age[1]) * _UNIT_SECONDS[age[2]] * 1000)
    try:
        return timestamp.to_ms(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is neither ISO 8601 nor an age such as 90m, 24h or 7d."
        ) from error


@main.command()
@with_config
@click.option(
    "--receipts",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file of receipts, instead of the setting receipts_path. Repeatable.",
)
@click.option("--spool", metavar="URL", help="Came back: what this spool of segment-receiver has.")
@click.option(
    "--arrived",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Came back: JSON lines with message_id and received_at; - for standard input. Repeatable.",
)
@click.option("--database", metavar="URL", help="Came back: rows in this PostgreSQL.")
@click.option("--schema", default="segment", show_default=True, help="Of the tables.")
@click.option("--table", "tables", multiple=True, help="Instead of those named after the calls.")
@click.option("--id-column", default="message_id", show_default=True, help="Of the tables.")
@click.option("--time-column", default="received_at", show_default=True, help="Of the tables.")
@click.option(
    "--since",
    metavar="TIME|AGE",
    callback=_read_moment,
    help="Only receipts from then on: ISO 8601, or an age such as 24h.",
)
@click.option(
    "--until", metavar="TIME|AGE", callback=_read_moment, help="Only receipts from before that."
)
@click.option(
    "--late",
    metavar="SECONDS",
    type=click.IntRange(0),
    default=300,
    show_default=True,
    help="What comes back later than that is counted as late.",
)
@click.option(
    "--settle",
    metavar="SECONDS",
    type=click.IntRange(0),
    help="What was sent less long ago may still come: pending, not missing.  [default: as --late]",
)
@click.option(
    "--missing",
    metavar="N",
    type=click.IntRange(0),
    default=5,
    show_default=True,
    help="How many ids of missing events are shown.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def reconcile(
    *,
    config: tuple[str, ...],
    receipts: tuple[Path, ...],
    spool: str | None,
    arrived: tuple[str, ...],
    database: str | None,
    schema: str,
    tables: tuple[str, ...],
    id_column: str,
    time_column: str,
    since: int | None,
    until: int | None,
    late: int,
    settle: int | None,
    missing: int,
    as_json: bool,
) -> None:
    """Tell which events that Segment accepted have come back, by stream and hour.

    Compares the receipts (setting receipts_path) with what a webhook has brought
    back: into a spool, a file, or a warehouse. Needs no write key and sends nothing.
    Exits with 1 if an event is missing, and with 2 if nothing can be compared.
    """
    if sum(map(bool, (spool, arrived, database))) != 1:
        raise click.UsageError("Say where what came back is: --spool, --arrived or --database.")
    paths = receipts or _receipts_of(config)
    if spool:
        arrivals: Iterable[Arrival | Retained] = read_spool(spool)
    elif database:
        arrivals = read_warehouse(database, schema, tables, id_column, time_column)
    else:
        arrivals = chain.from_iterable(map(_read_arrived, arrived))
    limits = Limits(_now(), late * 1000, (late if settle is None else settle) * 1000)
    bar: dict[str, Any] = {
        "file": sys.stderr,
        "hidden": not sys.stderr.isatty(),
        "update_min_steps": _BAR_STEPS,
    }
    with closing(Comparison(Period(since, until))) as comparison:
        # The receipts first: what is accepted meanwhile is not taken for missing.
        with click.progressbar(length=sum(map(size_of, paths)), label="Receipts", **bar) as reading:
            for path in paths:
                comparison.add_receipts(read_receipts(path, reading.update))
        with click.progressbar(arrivals, label="Arrivals", show_pos=True, **bar) as counted:
            comparison.add_arrivals(counted)
        comparison.sort()
        result = Reconciliation.of(comparison, limits, missing)
    click.echo(encode(result.as_dict()) if as_json else str(result))
    sys.exit(1 if result.total.missing else 0)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _read_arrived(name: str) -> Iterator[Arrival | Retained]:
    with click.open_file(name, "rb") as file:
        yield from read_lines(file, "standard input" if name == "-" else name)


def _receipts_of(config: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the setting `receipts_path`, which needs none of the others."""
    path = _read(config).get("receipts_path")
    if not config or "ENV" in config:
        path = os.environ.get("TARGET_SEGMENT_API_RECEIPTS_PATH") or path
    if not path:
        raise InputUnusable(
            "There are no receipts to compare: receipts_path is not set. Set it, so that each run "
            "notes what Segment accepted, or name a file with --receipts."
        )
    return (Path(path),)
