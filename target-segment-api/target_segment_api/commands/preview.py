"""`segment-sender preview`: what would be sent."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stdout
from typing import IO

import click

from target_segment_api.commands.options import as_json, make, with_config
from target_segment_api.encoding import encode


@click.command(short_help="Tell what would be sent, from Singer messages.")
@with_config
@as_json
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
    from target_segment_api.preview import PreviewTarget, describe  # noqa: PLC0415 - a fast --help

    target = make(PreviewTarget, config)
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
