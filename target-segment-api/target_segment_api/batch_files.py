"""The records of a Singer BATCH message, which come in files.

The SDK reads a whole file into memory, and hands its records on without stream
maps, and without the version that the message may tell; so they are read here,
one by one, and take the way of all records.
"""

from __future__ import annotations

import gzip
import zlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from singer_sdk.helpers._batch import StorageTarget
from singer_sdk.singerlib.exceptions import InvalidInputLine

from target_segment_api.encoding import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COMPRESSIONS: Final = (None, "none", "gzip")
# Of the storage, of its library that is not installed, of a file that was cut off.
_UNREADABLE: Final = (OSError, ImportError, EOFError, ValueError, zlib.error)


def read_records(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the records of a BATCH *message*, in order.

    Raises:
        InvalidInputLine: a file cannot be read, or holds what is no record; or is of
            another form than lines of JSON.
    """
    encoding, manifest = message["encoding"], message["manifest"]
    if not isinstance(encoding, dict) or not isinstance(manifest, list):
        raise InvalidInputLine("Its encoding is no object, or its manifest no list.")
    compression = encoding.get("compression")
    if encoding.get("format") != "jsonl" or compression not in _COMPRESSIONS:
        raise InvalidInputLine(
            "Its files are not in JSON lines, plain or with gzip. Set batch_config of the tap to "
            "format jsonl, or leave it out."
        )
    for number, url in enumerate(manifest, 1):
        what = f"File {number:,} of {len(manifest):,} in it"
        try:
            for line, text in enumerate(_lines(str(url), compression), 1):
                record = decode(text)
                if not isinstance(record, dict):
                    raise InvalidInputLine(f"{what} holds no record in line {line:,}.")
                yield record
        except _UNREADABLE as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise InvalidInputLine(f"{what} cannot be read: {reason}.") from error


def _lines(url: str, compression: str | None) -> Iterator[bytes]:
    folder, name = StorageTarget.split_url(url)
    with (
        StorageTarget.from_url(folder).open(name, mode="rb") as file,
        gzip.open(file) if compression == "gzip" else nullcontext(file) as lines,
    ):
        yield from (line for line in lines if not line.isspace())
