"""Tells whether SQLite has left out commits of a damaged write-ahead log.

SQLite takes a log up to the first frame whose checksum is wrong, and that for
its end: after a power cut it is. But each of our commits is synced before the
next one begins, so a cut leaves at most one commit behind that place. Where
there are more, the log itself was changed, and they had been acknowledged.
(The file's format: sqlite.org/walformat.html.)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_HEADER: Final = struct.Struct(">8xI4x8s8x")  # the size of a page, and the salts of this log
_FRAME: Final = struct.Struct(
    ">4xI8s8x"
)  # pages of the database if it ends a commit, and the salts


def fold(connection: sqlite3.Connection, log: Path) -> int:
    """Fold *log* into its database, which was just opened; return how many commits it has lost.

    Raises:
        sqlite3.Error: the database cannot be written.
    """
    _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    behind = _commits_behind(log, frames)
    if behind:  # then the next one who looks must not find it again
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return behind if behind > 1 else 0


def _commits_behind(log: Path, frames: int) -> int:
    """Return how many frames behind the first *frames* of *log* end a commit, by their headers."""
    with log.open("rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return 0
        page_size, salts = _HEADER.unpack(header)
        file.seek(_HEADER.size + max(frames, 0) * (_FRAME.size + page_size))
        commits = 0
        while len(frame := file.read(_FRAME.size)) == _FRAME.size:
            pages, own = _FRAME.unpack(frame)
            commits += bool(pages) and own == salts
            file.seek(page_size, 1)
        return commits
