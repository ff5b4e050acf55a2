"""What came back of what was sent: message ids, read from wherever they are kept.

The two plugins share no code, and the spool's file is nobody else's to read. So
ids come as JSON lines: of a file, of a pipe, or of the program that owns the spool.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from target_segment_api import timestamp
from target_segment_api.encoding import decode
from target_segment_api.errors import InputUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_RECEIVER: Final = "segment-receiver"
_PREFIX: Final = "TAP_SEGMENT_WEBHOOK_"


class Arrival(NamedTuple):
    """One event that came back."""

    message_id: str
    received_at: int | None
    """When, in milliseconds since 1970, if that is known."""


class Retained(NamedTuple):
    """Of what came back before *since*, in milliseconds, not all is there any more."""

    since: int


class _Usual(msgspec.Struct, gc=False):
    message_id: str
    received_at: datetime


class _Line(msgspec.Struct, gc=False):
    message_id: Any = None
    received_at: Any = None
    retained_since: Any = None


_read_usual: Final = msgspec.json.Decoder(_Usual).decode


def read_lines(lines: Iterable[bytes], name: str) -> Iterator[Arrival | Retained]:
    """Read JSON *lines* with a `message_id` each, and a `received_at` where it is known.

    As `segment-receiver ids` prints them, and targets that write files. *name*
    is where they come from.

    Raises:
        InputUnusable: a line is something else.
    """
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            try:
                yield _read(line)
            except ValueError as error:
                raise InputUnusable(
                    f"Line {number:,} of {name} is no JSON object with a message_id, and a "
                    "moment as received_at if it has one."
                ) from error


def _read(line: bytes) -> Arrival | Retained:
    try:
        usual = _read_usual(line)
        if usual.received_at.tzinfo is not None:
            return Arrival(usual.message_id, round(usual.received_at.timestamp() * 1000))
    except (UnicodeDecodeError, msgspec.MsgspecError):
        pass  # it may still be what others write
    found = msgspec.convert(decode(line), _Line)
    if isinstance(found.message_id, str | int) and not isinstance(found.message_id, bool):
        moment = found.received_at
        return Arrival(_text(found.message_id), None if moment is None else _moment(moment))
    return Retained(_moment(found.retained_since))


def _text(message_id: str | int) -> str:
    """Return *message_id* as it was sent: half a surrogate pair had become U+FFFD."""
    text = str(message_id)
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _moment(value: Any) -> int:
    if isinstance(value, str | int | float | Decimal):
        return timestamp.to_ms(value)
    raise ValueError("no moment")


def read_spool(url: str) -> Iterator[Arrival | Retained]:
    """Read what the spool at *url* retains, by asking the program that it belongs to.

    Raises:
        InputUnusable: that program is not installed, or cannot read it.
    """
    program = shutil.which(_RECEIVER, path=Path(sys.executable).parent) or shutil.which(_RECEIVER)
    if program is None:
        raise InputUnusable(
            f"--spool asks {_RECEIVER} (of tap-segment-webhook), which is neither beside this "
            f"program nor on the PATH. Let it answer elsewhere: {_RECEIVER} ids | "
            "segment-sender reconcile --arrived -"
        )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
    with subprocess.Popen(  # noqa: S603 - our own program, and no shell
        [program, "ids"], stdout=subprocess.PIPE, env={**kept, f"{_PREFIX}SPOOL_URL": url}
    ) as process:
        yield from read_lines(process.stdout or (), f"{_RECEIVER} ids")
    if process.returncode != 0:
        raise InputUnusable(f"{_RECEIVER} ids ended with {process.returncode}: see above.")
