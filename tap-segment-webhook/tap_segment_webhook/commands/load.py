"""`segment-receiver load`: events from files into the spool."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tap_segment_webhook.commands.console import balance, plainly, progress
from tap_segment_webhook.commands.options import as_json, with_settings
from tap_segment_webhook.delivery import sort_events
from tap_segment_webhook.settings import DEFAULT_SOURCE, SOURCE_NAME
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.opening import open_writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_segment_webhook.settings import Settings

_LOT_LINES = 1000  # of one commit
_LOT_BYTES = 4 << 20


def _check_source(_context: click.Context, _option: click.Parameter, name: str) -> str:
    if not re.fullmatch(SOURCE_NAME, name):
        raise click.BadParameter(f"{name!r} is not made of letters, digits, `_` and `-`.")
    return name


@click.command()
@with_settings
@as_json
@click.option(
    "--source",
    default=DEFAULT_SOURCE,
    show_default=True,
    callback=_check_source,
    help="Whose events they are.",
)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def load(settings: Settings, source: str, files: tuple[Path, ...], *, as_json: bool) -> None:
    """Put events from FILES into the spool: JSON lines, plain or gzip.

    For history, and for what another receiver has kept. Duplicates are
    recognised as in serve; a line that is no event goes to rejects. Stopped
    before its end, it is to be run again.
    """
    total = Counts()

    def so_far() -> str:
        if not total.received:
            return "Nothing was loaded."
        return (
            f"So far: {balance(total)}. Load the files again for the rest: what is in the spool "
            "is recognised."
        )

    with (
        plainly(so_far),
        closing(
            open_writer(settings.spool, purpose="segment-receiver load", create=True)
        ) as writer,
        progress(sum(path.stat().st_size for path in files), "Loading") as bar,
    ):
        for path in files:
            for lines, consumed in _read_lines(path):
                received = sort_events(source, lines, settings.integration_name)
                total = total.plus(writer.commit([received])[0])
                bar.update(consumed)
    click.echo(json.dumps(total._asdict()) if as_json else balance(total))


def _read_lines(path: Path) -> Iterator[tuple[list[bytes], int]]:
    """Yield lots of lines of *path*, and how many bytes of the file each lot took; 0 of a pipe.

    Raises:
        OSError: the file cannot be read to its end.
    """
    with path.open("rb") as raw:
        zipped = raw.peek(2)[:2] == b"\x1f\x8b"
        lines: list[bytes] = []
        size = done = 0
        try:
            for line in gzip.GzipFile(fileobj=raw) if zipped else raw:
                if stripped := line.strip():
                    lines.append(stripped)
                    size += len(stripped)
                if len(lines) >= _LOT_LINES or size >= _LOT_BYTES:
                    place = raw.tell() if raw.seekable() else 0
                    yield lines, place - done
                    lines, size, done = [], 0, place
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise OSError(
                0, f"It is damaged or cut off, as gzip says: {error}".rstrip("."), str(path)
            ) from error
        if lines:
            yield lines, raw.tell() - done if raw.seekable() else 0
