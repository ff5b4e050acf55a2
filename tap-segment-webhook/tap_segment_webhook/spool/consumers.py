"""How far each pipeline has confirmed, and what it is to be given again.

Written by taps and commands, read by the store.

A file of its own beside the spool, so that the spool has a single writer:
SQLite before 3.51.3 can damage a WAL file that two processes write and
checkpoint in the same instant (sqlite.org/wal.html, "the WAL-reset bug").
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tap_segment_webhook.errors import SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.spool.model import Replay

_TABLES = """
CREATE TABLE IF NOT EXISTS consumer (
    spool_id TEXT NOT NULL,
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    confirmed_at INTEGER,
    PRIMARY KEY (spool_id, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replay (
    spool_id TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    codes TEXT NOT NULL,
    PRIMARY KEY (spool_id, name)
) WITHOUT ROWID;
"""

_POSITIONS = "SELECT name, position FROM consumer WHERE spool_id = ? ORDER BY name"
_REPLAYS = "SELECT name, id, first, last, since, until, codes FROM replay WHERE spool_id = ?"
_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"


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
            self._write("DELETE FROM replay WHERE spool_id = ? AND name = ?", name)
            self._write("DELETE FROM consumer WHERE spool_id = ? AND name = ?", name)
        return known

    def ask_for(self, name: str, replay: Replay) -> None:
        """Have the next run of *name* emit *replay*, instead of any other; keep its events."""
        self._write("INSERT OR REPLACE INTO replay VALUES (?, ?, ?, ?, ?, ?, ?, ?)", name, *replay)

    def end_replay(self, name: str) -> bool:
        """Take back what *name* was to be given again; tell whether there was anything."""
        pending = name in self.replays()
        if pending:
            self._write("DELETE FROM replay WHERE spool_id = ? AND name = ?", name)
        return pending

    def positions(self) -> dict[str, int]:
        """Return the confirmed position of every known consumer.

        Raises:
            SpoolUnavailable: they cannot be read now, so nothing may be pruned.
        """
        return dict(self._read("consumer", _POSITIONS))

    def replays(self) -> dict[str, Replay]:
        """Return what each consumer is to be given again.

        Raises:
            SpoolUnavailable: it cannot be read now, so nothing may be pruned.
        """
        return {name: Replay(*rest) for name, *rest in self._read("replay", _REPLAYS)}

    def floor(self) -> int:
        """Return the position up to which no consumer needs an event; with none known, 0.

        Raises:
            SpoolUnavailable: it is not known now, so nothing may be pruned.
        """
        confirmed = self.positions().values()
        needed = [replay.first - 1 for replay in self.replays().values()]
        return min([*confirmed, *needed]) if confirmed else 0

    def _read(self, table: str, query: str) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        try:
            with closing(sqlite3.connect(self._path, timeout=5)) as connection:
                # A power cut in the very first write leaves no table, an older version not all.
                if connection.execute(_HAS_TABLE, (table,)).fetchone() is None:
                    return []
                return connection.execute(query, (self._spool_id,)).fetchall()
        except sqlite3.Error as error:
            raise SpoolUnavailable(f"{self._path} cannot be read: {error}.") from error

    def _write(self, statement: str, name: str, *values: int | str) -> None:
        try:
            with closing(sqlite3.connect(self._path, timeout=5)) as connection, connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.executescript(_TABLES)
                connection.execute(statement, (self._spool_id, name, *values))
        except sqlite3.Error as error:
            raise SpoolUnusable(f"{self._path} cannot be written: {error}.") from error
