"""The file that remembers rows: the only module that knows its tables.

One SQLite file, with a write-ahead log beside it while it is open, and after a
kill. A commit returns when it is on disk (`synchronous = FULL`).

The rows of each source of Segment are apart: what one has, another has not.

Format 1 had no `flight`, `version` and `source`, and is brought to format 2 when
it is opened: its rows are then those of the source that opens it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from target_segment_api.encoding import decode, encode
from target_segment_api.errors import FileUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FORMAT: Final = 2
_APPLICATION_ID: Final = 0x5E67_C4A6  # tells the file from any other SQLite file

_ROWS: Final = """
CREATE TABLE row (
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB,
    counter INTEGER NOT NULL,
    PRIMARY KEY (stream, key)
) WITHOUT ROWID;
"""
# A flight is many marks in one: a row for each would cost ten times as much.
_MORE: Final = """
CREATE TABLE {0}flight (id INTEGER PRIMARY KEY, source TEXT NOT NULL, marks TEXT NOT NULL);
CREATE TABLE {0}version (stream TEXT PRIMARY KEY, version NOT NULL) WITHOUT ROWID;
CREATE TABLE {0}source (id INTEGER PRIMARY KEY, namespace TEXT NOT NULL UNIQUE);
"""
_ADOPT: Final = "UPDATE row SET stream = '1:' || stream;"
_SEEN: Final = """
CREATE TEMP TABLE seen (
    stream TEXT, version, key TEXT, PRIMARY KEY (stream, version, key)
) WITHOUT ROWID;
"""
_FIND: Final = "SELECT digest, counter FROM row WHERE stream = ? AND key = ?"
_PUT: Final = """
INSERT INTO row VALUES (?, ?, ?, ?) ON CONFLICT (stream, key)
DO UPDATE SET digest = excluded.digest, counter = excluded.counter
WHERE excluded.counter > counter
"""
_HAS_SEEN: Final = "SELECT 1 FROM seen WHERE stream = ? AND version = ? AND key = ?"
_UNSEEN: Final = """
SELECT key FROM row WHERE stream = ? AND key > ? AND digest IS NOT NULL
AND key NOT IN (SELECT key FROM seen WHERE stream = ? AND version = ?)
ORDER BY key LIMIT 1000
"""


class Mark(NamedTuple):
    """One content of one row."""

    stream: str
    key: str
    """The values of its key, as JSON."""
    digest: bytes | None
    """What the content comes down to; None if the row is deleted."""
    counter: int
    """Which change of the row has made it so."""


class RowFile:
    """The file at *path*, which is made if it is absent, and locked.

    Every method raises `FileUnusable` if the file cannot be read or written.

    Args:
        path: the file.
        namespace: of the source whose rows are asked for.
        keep: False only looks: no file is made, and nothing in one is changed.

    Raises:
        FileUnusable: it cannot be used, or another target is using it.
    """

    def __init__(self, path: Path, namespace: str, *, keep: bool) -> None:
        self._path = path
        self._namespace = namespace
        self._keep = keep
        self._source = ""
        with ExitStack() as opened:
            try:
                is_new = not keep and not (path.exists() and path.stat().st_size)
                if not is_new:
                    self._lock(opened)
                connection = sqlite3.connect(":memory:" if is_new else path, isolation_level=None)
                opened.callback(connection.close)
                self._prepare(connection)
            except OSError as error:
                is_used = isinstance(error, BlockingIOError)
                why = "another target is using it" if is_used else error.strerror
                raise FileUnusable(f"changes_path {path} cannot be used: {why}.") from error
            except sqlite3.Error as error:
                raise FileUnusable(f"changes_path {path} cannot be used: {error}.") from error
            self._connection = connection
            self._opened = opened.pop_all()

    def _lock(self, opened: ExitStack) -> None:
        # A new file belongs to its user alone, since keys may be personal data.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        opened.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # It is locked for everybody else anyway; so the log needs no shared memory beside it.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and application != _APPLICATION_ID:
            raise FileUnusable(
                f"{self._path} is no memory of changes. Choose another changes_path."
            )
        if version > _FORMAT:
            raise FileUnusable(
                f"{self._path} was written by a newer version (format {version}; this one reads "
                f"up to {_FORMAT}). Upgrade target-segment-api. Nothing was changed."
            )
        if self._keep:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        if version < _FORMAT and (self._keep or not tables):
            connection.executescript(
                f"BEGIN; {_ADOPT if tables else _ROWS} {_MORE.format('')}"
                f"PRAGMA application_id = {_APPLICATION_ID};"
                f"PRAGMA user_version = {_FORMAT}; COMMIT;"
            )
        elif version < _FORMAT:
            connection.executescript(_MORE.format("temp."))
        connection.executescript(_SEEN)
        if self._keep or version == _FORMAT or not tables:
            self._source = f"{self._find_source(connection)}:"
        connection.execute("BEGIN")

    def _find_source(self, connection: sqlite3.Connection) -> int:
        """Return the number of the source, which gets one; 0 if it has none and we only look."""
        if self._keep:
            connection.execute(
                "INSERT OR IGNORE INTO source (namespace) VALUES (?)", (self._namespace,)
            )
        found = connection.execute(
            "SELECT id FROM source WHERE namespace = ?", (self._namespace,)
        ).fetchone()
        return int(found[0]) if found else 0

    def find(self, stream: str, key: str) -> tuple[bytes | None, int]:
        """Return digest and counter of what is remembered of a row; `(None, 0)` for nothing."""
        return self._execute(_FIND, (self._source + stream, key)).fetchone() or (None, 0)

    def launch(self, marks: Iterable[Mark]) -> int:
        """Note on disk that *marks* may be on their way from now on; return the flight's number."""
        written = [(*mark[:2], mark.digest and mark.digest.hex(), mark.counter) for mark in marks]
        number = self._execute(
            "INSERT INTO flight (source, marks) VALUES (?, ?)",
            (self._source, encode(written).decode()),
        ).lastrowid
        self._commit()
        assert number is not None  # noqa: S101 - only where nothing was inserted
        return number

    def flights(self) -> Iterator[tuple[int, list[Mark]]]:
        """Yield the number and the marks of each flight that has not landed, in order."""
        query = "SELECT id, marks FROM flight WHERE source = ? ORDER BY id"
        for number, marks in self._execute(query, (self._source,)).fetchall():
            yield (
                number,
                [
                    Mark(stream, key, None if digest is None else bytes.fromhex(digest), counter)
                    for stream, key, digest, counter in decode(marks)
                ],
            )

    def remember(self, rows: Iterable[Mark], landed: Iterable[int]) -> None:
        """Return when *rows* are on disk, where no later ones are, and *landed* flights off it."""
        try:
            self._connection.executemany(
                _PUT, [(self._source + row.stream, *row[1:]) for row in rows]
            )
            self._connection.executemany(
                "DELETE FROM flight WHERE id = ?", [(number,) for number in landed]
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._commit()

    def begin_version(self, stream: str, version: int) -> bool:
        """Note on disk that rows of *version* were seen; tell whether it is the first time."""
        stream = self._source + stream
        query = "SELECT version FROM version WHERE stream = ?"
        if self._execute(query, (stream,)).fetchone() == (version,):
            return False
        if self._keep:
            self._execute("INSERT OR REPLACE INTO version VALUES (?, ?)", (stream, version))
            self._commit()
        return True

    def note_seen(self, stream: str, version: int, key: str) -> None:
        """Note for this run that full-table *version* has the row *key*."""
        self._execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (stream, version, key))

    def has_seen(self, stream: str, version: int, key: str) -> bool:
        """Tell whether *version* has the row *key*."""
        return bool(self._execute(_HAS_SEEN, (stream, version, key)).fetchone())

    def unseen(self, stream: str, version: int) -> Iterator[str]:
        """Yield the key of each row that is remembered, not deleted, and not in *version*."""
        last = ""
        of = self._source + stream
        while keys := self._execute(_UNSEEN, (of, last, stream, version)).fetchall():
            for (key,) in keys:
                yield key
            last = keys[-1][0]

    def close(self) -> None:
        """Let another target use the file."""
        self._opened.close()

    def _commit(self) -> None:
        self._execute("COMMIT")
        self._execute("BEGIN")

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> FileUnusable:
        return FileUnusable(f"changes_path {self._path} failed: {error}.")
