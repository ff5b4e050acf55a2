"""What was last sent of each row, so that only what has changed is sent again.

One SQLite file of ours: nothing is written into the warehouse. What was sent
enters it only after Segment has accepted it, or it was set aside; a run that
was killed therefore sends again what it had not confirmed, with the same
message ids.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from target_segment_api.encoding import decode, encode
from target_segment_api.errors import FileUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_FORMAT: Final = 1
_APPLICATION_ID: Final = 0x5E67_C4A6  # tells the file from any other SQLite file
_DIGEST_BYTES: Final = 12
_METADATA: Final = "_sdc_"
_SYNC_ROWS: Final = 5000  # confirmed rows that are held in memory at most, or nearly

_TABLES: Final = """
CREATE TABLE row (
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB,
    counter INTEGER NOT NULL,
    PRIMARY KEY (stream, key)
) WITHOUT ROWID;
"""
_FIND: Final = "SELECT digest, counter FROM row WHERE stream = ? AND key = ?"
_PUT: Final = """
INSERT INTO row VALUES (?, ?, ?, ?) ON CONFLICT (stream, key)
DO UPDATE SET digest = excluded.digest, counter = excluded.counter
WHERE excluded.counter > counter
"""
_SEEN: Final = "SELECT 1 FROM seen WHERE stream = ? AND version = ? AND key = ?"
_GONE: Final = """
SELECT key FROM row WHERE stream = ? AND key > ? AND digest IS NOT NULL
AND key NOT IN (SELECT key FROM seen WHERE stream = ? AND version = ?)
ORDER BY key LIMIT 1000
"""


class Change:
    """One row that is another than it was, until it is confirmed."""

    __slots__ = ("counter", "digest", "key", "outstanding", "state", "stream")

    def __init__(
        self, stream: str, key: str, state: str, digest: bytes | None, counter: int
    ) -> None:
        self.stream = stream
        self.key = key
        self.state = state
        """`added`, `updated` or `deleted`."""
        self.digest = digest
        """What its content comes down to; None if it is deleted."""
        self.counter = counter
        """How often this row has changed: part of the message ids, so that a change back to an
        earlier content is sent too."""
        self.outstanding = 0
        """How many of its events are not settled."""


class Changes:
    """Remembers rows in the file at *path*, which is made if it is absent.

    Args:
        path: the file.
        keep: False only looks: nothing that is confirmed is remembered, and no file is made.

    Raises:
        FileUnusable: it cannot be used, or another target is using it.
    """

    def __init__(self, path: Path, *, keep: bool = True) -> None:
        self._path = path
        self._keep = keep
        self._pending: dict[tuple[str, str], Change] = {}
        self._confirmed: list[Change] = []
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
        if not tables:
            connection.executescript(
                f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID};"
                f"PRAGMA user_version = {_FORMAT}; COMMIT;"
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(
            "CREATE TEMP TABLE seen (stream TEXT, version, key TEXT,"
            " PRIMARY KEY (stream, version, key)) WITHOUT ROWID"
        )
        connection.execute("BEGIN")

    def see(
        self, stream: str, key: Any, record: Mapping[str, Any], *, version: int | None
    ) -> Change | None:
        """Return how the row *key* of *stream* has changed, or None if it has not.

        Columns that start with `_sdc_` do not count, but for a row whose
        `_sdc_deleted_at` is set: it is deleted. A row that was never sent is
        not deleted either.
        """
        with self._diagnosed():
            return self._see(stream, encode(key).decode(), record, version)

    def _see(
        self, stream: str, text: str, record: Mapping[str, Any], version: int | None
    ) -> Change | None:
        deleted = record.get("_sdc_deleted_at") is not None
        if version is not None and not deleted:
            self._connection.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (stream, version, text)
            )
        digest, counter = self._last(stream, text)
        if deleted:
            return self._delete(stream, text, digest, counter)
        now = _digest(record)
        if now == digest:
            return None
        state = "added" if digest is None else "updated"
        return self._change(Change(stream, text, state, now, counter + 1))

    def gone(self, stream: str, version: int) -> Iterator[tuple[Any, Change]]:
        """Yield the key and the change of each row that full-table *version* no longer has.

        None, if no row of that version was seen: some taps announce it first.
        """
        with self._diagnosed():
            yield from self._gone(stream, version)

    def _gone(self, stream: str, version: int) -> Iterator[tuple[Any, Change]]:
        saw = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM seen WHERE stream = ? AND version = ?)",
            (stream, version),
        ).fetchone()
        if not saw[0]:
            return
        for (of, text), pending in [*self._pending.items()]:
            if of == stream and not self._has_seen(stream, version, text):
                change = self._delete(stream, text, pending.digest, pending.counter)
                if change is not None:
                    yield decode(text), change
        last = ""
        while keys := self._connection.execute(_GONE, (stream, last, stream, version)).fetchall():
            for (text,) in keys:
                change = self._delete(stream, text, *self._last(stream, text))
                if change is not None:
                    yield decode(text), change
            last = keys[-1][0]

    def _has_seen(self, stream: str, version: int, key: str) -> bool:
        return bool(self._connection.execute(_SEEN, (stream, version, key)).fetchone())

    @property
    def is_due(self) -> bool:
        """Whether so much was confirmed that it should be synced."""
        return len(self._confirmed) >= _SYNC_ROWS

    def confirm(self, change: Change) -> None:
        """Remember *change*, from the next `sync` on for good."""
        if self._keep:
            self._confirmed.append(change)

    def sync(self) -> None:
        """Return when everything that was confirmed is on disk.

        Raises:
            FileUnusable: it cannot be written.
        """
        if not self._confirmed:
            return
        with self._diagnosed():
            self._connection.executemany(
                _PUT, [(it.stream, it.key, it.digest, it.counter) for it in self._confirmed]
            )
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN")
        for change in self._confirmed:
            if self._pending.get((change.stream, change.key)) is change:
                del self._pending[change.stream, change.key]
        self._confirmed.clear()

    def close(self) -> None:
        """Sync, and let another target use the file."""
        self.sync()
        self._opened.close()

    @contextmanager
    def _diagnosed(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise FileUnusable(f"changes_path {self._path} failed: {error}.") from error

    def _last(self, stream: str, key: str) -> tuple[bytes | None, int]:
        pending = self._pending.get((stream, key))
        if pending is not None:
            return pending.digest, pending.counter
        return self._connection.execute(_FIND, (stream, key)).fetchone() or (None, 0)

    def _delete(self, stream: str, key: str, digest: bytes | None, counter: int) -> Change | None:
        if digest is None:
            return None
        return self._change(Change(stream, key, "deleted", None, counter + 1))

    def _change(self, change: Change) -> Change:
        self._pending[change.stream, change.key] = change
        return change


def _digest(record: Mapping[str, Any]) -> bytes:
    content = {name: record[name] for name in sorted(record) if not name.startswith(_METADATA)}
    return blake2b(encode(content), digest_size=_DIGEST_BYTES).digest()
