"""Reads Singer messages from standard input as they come, and notices when none comes.

The SDK's own reader waits for a line and cannot do anything meanwhile: neither
send what has gathered, nor say what has been delivered, nor stop.
"""

from __future__ import annotations

import os
import select
import sys
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final

from singer_sdk.exceptions import MissingKeyPropertiesError, RecordsWithoutSchemaException
from singer_sdk.io_base import GenericSingerReader, SingerMessageType
from singer_sdk.singerlib.exceptions import InvalidInputLine

from target_segment_api.encoding import decode
from target_segment_api.errors import DeliveryStopped

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_CHUNK_BYTES: Final = 256 << 10
_MAX_LINE_BYTES: Final = 64 << 20  # bounds memory; Meltano itself ends at about 50 MB
_MESSAGES: Final = tuple(kind.value for kind in SingerMessageType)
_IDLE_SECONDS: Final = 0.25
_UNREADABLE: Final = (InvalidInputLine, MissingKeyPropertiesError, RecordsWithoutSchemaException)


class Unreadable(DeliveryStopped, MissingKeyPropertiesError, RecordsWithoutSchemaException):
    """A message of the input cannot be read; also of the kinds that the SDK's own tests want."""


class Reader(GenericSingerReader[bytes]):
    """Hands messages to callbacks, one by one, until the input ends or `stop` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.pass_on: Callable[[bytes], Iterable[bytes]] = lines_of
        """Called with each block of whole lines; gives the lines that are left to the callbacks,
        each in its turn. What it deals with itself, it adds to `counts`."""
        self.on_pause: Callable[[], None] = lambda: None
        """Called after each chunk of input, and while none comes."""
        self.on_failure: Callable[[Exception], None] = lambda error: None  # noqa: ARG005
        """Called with the error that ends reading, before it goes on its way."""
        self.counts: Counter[str] = Counter()
        """How many messages were read, by type."""
        self.is_stopping = False

    def stop(self) -> None:
        """Read no further message; safe in a signal handler."""
        self.is_stopping = True

    @property
    @override
    def default_input(self) -> IO[bytes]:
        return sys.stdin.buffer if hasattr(sys.stdin, "buffer") else sys.stdin  # type: ignore[return-value]  # a test's StringIO

    @override
    def deserialize_json(self, line: bytes | str) -> dict[str, Any]:
        try:
            message = decode(line)
        except ValueError as error:
            raise InvalidInputLine("It is no JSON.") from error
        if not isinstance(message, dict):
            raise InvalidInputLine("It is no JSON object.")
        if message.get("type", "") not in _MESSAGES:
            raise InvalidInputLine("Its type is that of no Singer message.")
        return message

    @staticmethod
    @override
    def assert_line_requires(line_dict: Mapping[str, Any], requires: set[str]) -> None:
        # The SDK's own message quotes the line, and with it an event.
        if not isinstance(line_dict, dict):
            raise InvalidInputLine("Its schema is no object.")
        if missing := requires - line_dict.keys():
            raise InvalidInputLine(f"It lacks {', '.join(sorted(missing))}.")

    @override
    def process_lines(
        self,
        file_input: IO[bytes] | None,
        callbacks: Mapping[str, Callable[[dict[str, Any]], None]],
    ) -> Counter[str]:
        try:
            for block in self._blocks(file_input or self.default_input):
                for line in self.pass_on(block):
                    if self.is_stopping:
                        break
                    message = self.deserialize_json(line)
                    callbacks[message["type"]](message)
                    self.counts[message["type"]] += 1
        except _UNREADABLE as error:
            self.on_failure(error)
            raise Unreadable(
                f"Message {self.counts.total() + 1:,} of the input cannot be read. {error} "
                "What was read before it was delivered. Look at what the tap writes."
            ) from error
        except Exception as error:
            self.on_failure(error)
            raise
        return self.counts

    def _blocks(self, source: IO[bytes]) -> Iterator[bytes]:
        """Yield the input in blocks of whole lines."""
        try:
            descriptor = source.fileno()
        except (AttributeError, OSError):  # a test's StringIO
            lines: Iterable[bytes | str] = source
            yield from (line.encode() if isinstance(line, str) else line for line in lines)
            return
        parts: list[bytes] = []  # of a line whose end has not come; joined once, however long
        size = 0
        for chunk in self._chunks(descriptor):
            end = chunk.rfind(b"\n") + 1
            if end:
                yield b"".join((*parts, memoryview(chunk)[:end]))
                parts, size = [], 0
            parts.append(chunk[end:])
            size += len(chunk) - end
            if size > _MAX_LINE_BYTES:
                raise InvalidInputLine(f"It is longer than {_MAX_LINE_BYTES:,} bytes.")
        if not self.is_stopping:
            yield b"".join(parts)

    def _chunks(self, descriptor: int) -> Iterator[bytes]:
        while not self.is_stopping:
            if not select.select([descriptor], [], [], _IDLE_SECONDS)[0]:
                self.on_pause()
                continue
            chunk = os.read(descriptor, _CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
            self.on_pause()


def lines_of(block: bytes) -> list[bytes]:
    """Return the lines of *block* that hold something."""
    return [line for line in block.split(b"\n") if line and not line.isspace()]
