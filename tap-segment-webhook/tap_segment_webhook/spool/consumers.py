"""How far each pipeline has confirmed; written by taps, read by the store.

A file of its own beside the spool, so that the spool has a single writer:
SQLite before 3.51.3 can damage a WAL file that two processes write and
checkpoint in the same instant (sqlite.org/wal.html, "the WAL-reset bug").
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tap_segment_webhook.errors import SpoolUnavailable, SpoolUnusable

_TABLE = """
CREATE TABLE IF NOT EXISTS consumer (
    spool_id TEXT NOT NULL,
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    confirmed_at INTEGER,
    PRIMARY KEY (spool_id, name)
) WITHOUT ROWID
"""

_POSITIONS = "SELECT name, position FROM consumer WHERE spool_id = ? ORDER BY name"


class Consumers:
    """The consumers of the spool whose identity is *spool_id*."""

    def __init__(self, spool: Path, spool_id: str) -> None:
        self._path = Path(f"{spool}-consumers")
        self._spool_id = spool_id

    def register(self, name: str) -> None:
        """Make *name* known, so that nothing it has not confirmed is pruned."""
        self._write("INSERT INTO consumer VALUES (?, ?, 0, NULL) ON CONFLICT DO NOTHING", name)

    def confirm(self, name: str, position: int, now: int) -> None:
        """Record durably that all up to *position* has reached the target of *name*."""
        self._write(
            "INSERT INTO consumer VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET position = excluded.position, confirmed_at = excluded.confirmed_at",
            name,
            position,
            now,
        )

    def forget(self, name: str) -> bool:
        """Stop keeping events for *name*; tell whether it was known."""
        known = name in self.positions()
        if known:
            self._write("DELETE FROM consumer WHERE spool_id = ? AND name = ?", name)
        return known

    def positions(self) -> dict[str, int]:
        """Return the confirmed position of every known consumer.

        Raises:
            SpoolUnavailable: they cannot be read now, so nothing may be pruned.
        """
        if not self._path.exists():
            return {}
        try:
            with closing(sqlite3.connect(self._path, timeout=5)) as connection:
                return dict(connection.execute(_POSITIONS, (self._spool_id,)))
        except sqlite3.Error as error:
            raise SpoolUnavailable(f"{self._path} cannot be read: {error}.") from error

    def _write(self, statement: str, name: str, *values: int) -> None:
        try:
            with closing(sqlite3.connect(self._path, timeout=5)) as connection, connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute(_TABLE)
                connection.execute(statement, (self._spool_id, name, *values))
        except sqlite3.Error as error:
            raise SpoolUnusable(f"{self._path} cannot be written: {error}.") from error
