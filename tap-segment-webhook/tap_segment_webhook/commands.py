"""`segment-receiver`: serve, load, status, replay, erase, and what to do with rejects."""

from __future__ import annotations

import gzip
import json
import logging
import os
import sys
import uuid
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
from singer_sdk.exceptions import ConfigValidationError

from tap_segment_webhook import timestamp
from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.delivery import sort_events
from tap_segment_webhook.errors import InvalidEvent, PortUnusable, SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.event import CODES, NAMES, TYPES, read_event
from tap_segment_webhook.gaps import warnings
from tap_segment_webhook.listing import list_ids
from tap_segment_webhook.person import People
from tap_segment_webhook.record import to_record
from tap_segment_webhook.settings import DEFAULT_SOURCE, Settings, closed
from tap_segment_webhook.spool.engine import confirmed_by_all
from tap_segment_webhook.spool.erasure import Erasure, Found
from tap_segment_webhook.spool.model import Counts, KeptReject, Replay
from tap_segment_webhook.spool.opening import open_reader, open_writer
from tap_segment_webhook.spool.salvage import Salvaged
from tap_segment_webhook.spool.salvage import salvage as salvage_spool
from tap_segment_webhook.tap import TapSegmentWebhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from tap_segment_webhook.event import Event
    from tap_segment_webhook.spool.engine import Reader, Writer

Command = TypeVar("Command", bound="Callable[..., Any]")

_LOT_EVENTS = 1000  # of one commit
_LOT_BYTES = 4 << 20
_END_OF_TIME = 1 << 62


def with_settings(command: Command) -> Command:
    """Give *command* a `--config` option, and the settings that it names as `settings`."""
    option = click.option(
        "--config",
        "settings",
        multiple=True,
        metavar="FILE|ENV",
        callback=_read_settings,
        help="A JSON file, or ENV for TAP_SEGMENT_WEBHOOK_* variables (the default). Repeatable.",
    )
    return option(command)


def _read_settings(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> Settings:
    config: dict[str, Any] = {}
    for name in names:
        if name != "ENV":
            try:
                config.update(json.loads(Path(name).read_bytes()))
            except (OSError, ValueError) as error:
                raise click.BadParameter(f"{name} cannot be read as JSON: {error}") from error
    try:
        tap = TapSegmentWebhook(
            config=config, parse_env_config=not names or "ENV" in names, setup_mapper=False
        )
    except ConfigValidationError as error:
        raise click.ClickException("\n".join(error.errors)) from error
    return Settings.from_config(tap.config)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tap-segment-webhook")
def main() -> None:
    """Receive Segment webhooks, and look after what was received."""
    level = os.environ.get("TAP_SEGMENT_WEBHOOK_LOGLEVEL", "INFO").upper()
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    logging.getLogger(TapSegmentWebhook.name).setLevel(logging.WARNING)
    # The SDK tells of each setting that it finds in the environment, before every command.
    logging.getLogger("singer_sdk.configuration._dict_config").setLevel(logging.WARNING)


@main.command()
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
    with _plainly():
        sys.exit(run(settings))


@main.command()
@with_settings
@click.option("--source", default=DEFAULT_SOURCE, show_default=True, help="Whose events they are.")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def load(settings: Settings, source: str, files: tuple[Path, ...]) -> None:
    """Put events from FILES into the spool: JSON lines, plain or gzip.

    For history, and for what another receiver has kept. Duplicates are
    recognised as in serve; a line that is no event goes to rejects.
    """
    total = Counts()
    with (
        _plainly(),
        closing(_open_store(settings, "load", create=True)) as store,
        _bar(sum(path.stat().st_size for path in files), "Loading") as bar,
    ):
        for path in files:
            for lines, consumed in _read_lines(path):
                received = sort_events(source, lines, settings.integration_name)
                total = total.plus(store.commit([received])[0])
                bar.update(consumed)
    click.echo(_balance(total))


@main.command()
@with_settings
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--forget", metavar="CONSUMER", help="Stop keeping events for a pipeline that ended.")
def status(settings: Settings, as_json: bool, forget: str | None) -> None:  # noqa: FBT001
    """Show what waits, what was confirmed, and the books."""
    with _plainly(), closing(_open_reader(settings)) as reader:
        if forget is not None and not reader.consumers.forget(forget):
            raise click.ClickException(f"No consumer is called {forget!r}.")
        found = _survey(reader)
    click.echo(json.dumps(found, indent=2) if as_json else _describe(found))


@main.command()
@with_settings
def ids(settings: Settings) -> None:
    """Print the message id, type and time of receipt of each retained event, as JSON lines.

    Without content, and while the receiver runs: for `segment-sender reconcile`.
    """
    with _plainly(), closing(_open_reader(settings)) as reader:
        for lines in list_ids(reader, now_ms()):
            click.echo(lines, nl=False)


@main.command()
@with_settings
def salvage(settings: Settings) -> None:
    """Make a whole spool of a damaged one.

    Everything is kept whose checksum is right; the positions of the rest are
    printed. Pipelines go on where they were. The damaged file stays as it is,
    under another name.
    """
    if settings.spool.is_remote:
        raise click.ClickException(
            "salvage mends a SQLite file. Servers of NATS keep copies of one another: replace the "
            "damaged one by an empty one."
        )
    with _plainly():
        _open_reader(settings).close()  # there is one
        click.echo(_salvaged(salvage_spool(settings.spool_url, now_ms())))


@main.group()
def rejects() -> None:
    """What was authentic and is no event, kept with the reason."""


@rejects.command("list")
@with_settings
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the bytes.")
def list_rejects(settings: Settings, as_json: bool) -> None:  # noqa: FBT001
    """List the rejects, oldest first; their content only with --json."""
    with _plainly(), closing(_open_reader(settings)) as reader:
        for reject in reader.rejects():
            click.echo(_reject_json(reject) if as_json else _reject_line(reject))


@rejects.command("retry")
@with_settings
def retry_rejects(settings: Settings) -> None:
    """Read the rejects again, and store those that this version can read.

    Killed, or with exit code 1, it is to be run again: nothing is lost by it, or stored twice.
    """
    stored = duplicate = left = 0
    with (
        _plainly(),
        closing(_open_store(settings, "rejects retry")) as store,
        closing(_open_reader(settings)) as reader,
        _bar(reader.count_rejects(), "Retrying") as bar,
    ):
        for lot, passed in _read_again(reader.rejects()):
            new = store.retry_rejects(lot) if lot else 0
            stored, duplicate = stored + new, duplicate + len(lot) - new
            left += passed - len(lot)
            bar.update(passed)
    click.echo(f"{stored:,} stored, {duplicate:,} duplicates, {left:,} are still no events.")


@rejects.command("purge")
@with_settings
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge_rejects(settings: Settings, yes: bool) -> None:  # noqa: FBT001
    """Delete every reject for good."""
    with _plainly(), closing(_open_store(settings, "rejects purge")) as store:
        if not yes:
            click.confirm(f"Delete {store.rejects} rejects for good?", abort=True)
        click.echo(f"{store.purge_rejects()} rejects deleted.")


@main.command()
@with_settings
@click.argument("users", nargs=-1, metavar="[USER_ID]...")
@click.option(
    "--from",
    "file",
    type=click.File(encoding="utf-8"),
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
    file: TextIO | None,
    devices: tuple[str, ...],
    requests: bool,
    yes: bool,
) -> None:
    """Erase every event of the users USER_ID from the spool, whether confirmed or not.

    Theirs is what has the id as userId, anonymousId or previousId (with
    --anonymous-id: as one of the last two), and any reject that mentions it.
    Their bytes are then in no file of the spool. Stop the receiver first.
    Killed, or with exit code 1, it is to be run again.
    """
    listed = () if file is None else [line.strip() for line in file]
    people = People.of(filter(None, (*users, *listed)), devices)
    if not people.users | people.devices:
        raise click.UsageError("Whose events? Give a USER_ID, --from or --anonymous-id.")
    with (
        _plainly(),
        closing(_open_store(settings, "erase")) as store,
        closing(_open_reader(settings)) as reader,
    ):
        erasure = Erasure(store, reader, people, requests=requests)
        if not yes:
            with _bar(erasure.length, "Looking") as bar:
                found = erasure.find(bar.update)
            click.echo(f"Found {_findings(found)}")
            click.confirm("Erase them for good, and build the spool anew?", abort=True)
        before = reader.size()
        with _bar(erasure.length, "Erasing") as bar:
            found = erasure.run(bar.update)
        click.echo(f"Erased {_findings(found)}")
        if settings.spool.is_remote:
            click.echo("The servers' own logs may hold their bytes until the next snapshot.")
        else:
            click.echo(f"The spool was built anew: {before:,} bytes before, {reader.size():,} now.")


def _read_moment(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Return the milliseconds after 1970 of a date, or of a date with a time."""
    if text is None:
        return None
    reading = timestamp.read(f"{text}T00:00" if len(text) == len("2026-03-04") else text)
    if reading is None:
        raise click.BadParameter(f"{text!r} is no time. Write 2026-03-04 or 2026-03-04T11:20Z.")
    return timestamp.to_ms(reading.text)


@main.command()
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
    with _plainly(), closing(_open_reader(settings)) as reader:
        if undo:
            if not reader.consumers.end_replay(name):
                raise click.ClickException(f"Nothing is to be replayed for {name!r}.")
            click.echo(f"Nothing is replayed for {name!r} any more.")
            return
        if since is None:
            raise click.UsageError("From when on? Give --since, or --undo.")
        if name not in (known := reader.consumers.positions()):
            names = ", ".join(map(repr, known)) or "none, before the first run of a pipeline"
            raise click.ClickException(f"No consumer is called {name!r}. There are: {names}.")
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


@contextmanager
def _plainly() -> Iterator[None]:
    """Turn what a user can mend into one line instead of a traceback."""
    try:
        yield
    except (PortUnusable, SpoolUnusable, SpoolUnavailable) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.strerror or error}.") from error


def _bar(length: int, label: str) -> AbstractContextManager[Any]:
    return click.progressbar(length=length, label=label, file=sys.stderr)


def _open_store(settings: Settings, purpose: str, *, create: bool = False) -> Writer:
    return open_writer(settings.spool, purpose=f"segment-receiver {purpose}", create=create)


def _open_reader(settings: Settings) -> Reader:
    return open_reader(settings.spool)


def _read_lines(path: Path) -> Iterator[tuple[list[bytes], int]]:
    """Yield lots of lines of *path*, and how many bytes of the file each lot took."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        lines: list[bytes] = []
        size = done = 0
        for line in gzip.GzipFile(fileobj=raw) if zipped else raw:
            if stripped := line.strip():
                lines.append(stripped)
                size += len(stripped)
            if len(lines) >= _LOT_EVENTS or size >= _LOT_BYTES:
                place = raw.tell()
                yield lines, place - done
                lines, size, done = [], 0, place
        if lines:
            yield lines, raw.tell() - done


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


def _survey(reader: Reader) -> dict[str, Any]:
    head, positions = reader.head(), reader.consumers.positions()
    replays = reader.consumers.replays()
    floor = confirmed_by_all(reader.consumers)
    return {
        "spool_id": reader.spool_id,
        "head_position": head,
        "spool_bytes": reader.size(),
        "consumers": {
            name: {
                "confirmed_position": position,
                "waiting": head - position,
                "to_be_replayed": name in replays,
            }
            for name, position in positions.items()
        },
        "streams": {
            name: {
                "waiting": holding.waiting,
                "waiting_bytes": holding.waiting_bytes,
                "oldest_waiting_seconds": _age(holding.oldest_waiting_at),
                "confirmed": holding.confirmed,
            }
            for name, holding in reader.holdings(floor).items()
        },
        "rejects": reader.count_rejects(),
        "warnings": warnings(reader.signs(), now=now_ms(), delay=_delay(reader)),
        "books": {source: counts._asdict() for source, counts in reader.books().items()},
    }


def _findings(found: Found) -> str:
    streams = ", ".join(f"{name} {count:,}" for name, count in sorted(found.events.items()))
    return (
        f"{found.events.total():,} events{streams and f' ({streams})'}, "
        f"{found.unconfirmed:,} of them not confirmed by every pipeline, and "
        f"{found.rejects:,} rejects. {found.requests:,} delete events stay."
    )


def _delay(reader: Reader) -> int | None:
    """Return how many milliseconds after Segment we had the last event that says when that was."""
    unsaid = 0
    head = reader.head()
    for block in reader.blocks(head - 1, head):
        for body, position, source, stored_at in reversed(list(block.rows())):
            made = to_record(body, "track", position=position, source=source, received_at=unsaid)
            if (received_at := timestamp.to_ms(made["received_at"])) != unsaid:
                return stored_at - received_at
    return None


def _age(moment: int | None) -> int | None:
    return None if moment is None else max(now_ms() - moment, 0) // 1000


def _describe(found: dict[str, Any]) -> str:
    rows = [("stream", "waiting", "bytes", "oldest", "confirmed, kept")]
    for name, stream in found["streams"].items():
        age = stream["oldest_waiting_seconds"]
        rows.append(
            (
                name,
                f"{stream['waiting']:,}",
                f"{stream['waiting_bytes']:,}",
                "-" if age is None else f"{age:,} s",
                f"{stream['confirmed']:,}",
            )
        )
    lines = [f"{row[0]:<10}" + "".join(f"{cell:>17}" for cell in row[1:]) for row in rows]
    for name, consumer in found["consumers"].items():
        lines.append(
            f"consumer {name}: confirmed up to position {consumer['confirmed_position']:,}, "
            f"{consumer['waiting']:,} waiting"
            + (", with a replay to come" if consumer["to_be_replayed"] else "")
        )
    for source, books in found["books"].items():
        lines.append(f"source {source}: {_balance(Counts(**books))}")
    lines += [f"WARNING: {warning}" for warning in found["warnings"]]
    lines.append(f"rejects kept: {found['rejects']:,}; spool: {found['spool_bytes']:,} bytes")
    return "\n".join(lines)


def _salvaged(found: Salvaged) -> str:
    lines = [f"{found.events:,} events and {found.rejects:,} rejects saved."]
    lines += [f"Lost: positions {first:,} to {last:,}." for first, last in found.lost]
    if found.lost:
        lines.append("A replay in Segment brings them back; they are no duplicates to the spool.")
    if found.lost_rejects:
        lines.append("Some rejects were damaged: those are lost.")
    if not found.same:
        lines.append(
            "The books or the identity could not be read: to pipelines it is a new spool, and "
            "they emit all of it again."
        )
    lines.append(f"The damaged file is kept as {found.damaged}; delete it when it is of no use.")
    return "\n".join(lines)


def _balance(counts: Counts) -> str:
    return (
        f"{counts.received:,} received = {counts.stored:,} stored + {counts.duplicate:,} duplicate "
        f"+ {counts.filtered:,} filtered + {counts.rejected:,} rejected"
    )


def _reject_line(reject: KeptReject) -> str:
    moment = timestamp.from_ms(reject.received_at)
    return f"{reject.number}  {moment}  {reject.source}  {len(reject.body)} bytes  {reject.reason}"


def _reject_json(reject: KeptReject) -> str:
    """Return one line; bytes that are no UTF-8 are replaced in it, and only in it."""
    fields = {**reject._asdict(), "body": reject.body.decode(errors="replace")}
    return json.dumps({name: value for name, value in fields.items() if name != "checksum"})
