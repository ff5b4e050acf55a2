"""Writes Singer messages to standard output, whole lines only."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from singer_sdk.contrib.msgspec import MsgSpecWriter

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from singer_sdk.singerlib.encoding.simple import Message


class MessageWriter(MsgSpecWriter):
    """The SDK's fast writer, made safe against a signal in the middle of a line.

    With PYTHONUNBUFFERED=1 standard output is a raw file, whose `write` may
    take less than it was given when a signal arrives; the SDK's writers do not
    look at how much it took.
    """

    @override
    def write_message(self, message: Message) -> None:
        write_lines(self.format_message(message))


def write_lines(lines: bytes | bytearray) -> None:
    """Write finished lines, all of them, and flush."""
    out = sys.stdout.buffer  # looked up each time: test runners replace it
    rest = memoryview(lines)
    while rest:
        rest = rest[out.write(rest) or 0 :]
    out.flush()
