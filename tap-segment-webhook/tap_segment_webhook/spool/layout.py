"""The spool file: its tables, how it is opened, and what its errors mean.

One SQLite file in WAL mode with synchronous=FULL: a commit returns when the
write-ahead log was fsynced. With synchronous=NORMAL a power cut loses
acknowledged events; that was measured before this was written.

Events of one commit lie in one row (`block`), not in one row each: that makes
a commit of 100 events about as cheap as one of a single event. Positions are
the running number of a stored event, so the last one ever given is the sum of
`book.stored`, which no deletion touches: a position is never used again.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tap_segment_webhook.errors import SpoolBroken, SpoolUnavailable, SpoolUnusable

FORMAT: Final = 1
"""Kept in the file's `user_version`; a newer one is refused before any change."""

_APPLICATION_ID: Final = 0x5E67_E277  # tells a spool from any other SQLite file
_BUSY_SECONDS: Final = 5
_JOURNAL_BYTES: Final = 64 << 20  # what the log is cut back to after a burst

_TABLES: Final = """
CREATE TABLE spool (id TEXT NOT NULL, created_at INTEGER NOT NULL, probed_at INTEGER);
CREATE TABLE block (
    position INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    codes TEXT NOT NULL,
    lengths BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE reject (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE recent (mark INTEGER PRIMARY KEY, digests BLOB NOT NULL);
CREATE TABLE book (
    source TEXT PRIMARY KEY,
    received INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    duplicate INTEGER NOT NULL,
    filtered INTEGER NOT NULL,
    rejected INTEGER NOT NULL
) WITHOUT ROWID;
"""

# Added later, to spools of the same format: who does not know it leaves it alone.
_ABSENCES: Final = """
CREATE TABLE IF NOT EXISTS absence (since INTEGER NOT NULL, until INTEGER NOT NULL)
"""


def spool_path(url: str) -> Path:
    """Return the file of a `sqlite:///` *url*; three slashes are relative, four absolute.

    Raises:
        SpoolUnusable: it is another kind of URL.
    """
    scheme, separator, path = url.partition(":///")
    if scheme != "sqlite" or not separator or not path:
        raise SpoolUnusable(
            f"spool_url starts with {scheme!r}. This version keeps a spool in a SQLite file: "
            "sqlite:///PATH, or sqlite:////PATH for an absolute path."
        )
    return Path(path).resolve()  # one name for one file, or its lock would not keep others out


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the existing spool file at *path*; never writes it, never blocks its writer."""
    connection = _connect(f"file:{quote(str(path.absolute()))}?mode=ro")
    try:
        check_format(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_writing(path: Path, spool_id: str, now: int) -> sqlite3.Connection:
    """Open the spool file at *path*; create it with the identity *spool_id* if absent.

    A new file belongs to its user alone, since events are personal data.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise SpoolUnusable(f"{path} cannot be written: {error.strerror}.") from error
    connection = _connect(f"file:{quote(str(path.absolute()))}?mode=rw")
    try:
        if check_format(connection, path) == 0:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {_APPLICATION_ID};"
                f"PRAGMA user_version = {FORMAT}; COMMIT;"
            )
        connection.execute(_ABSENCES)
        if connection.execute("SELECT count(*) FROM spool").fetchone() == (0,):
            connection.execute("INSERT INTO spool VALUES (?, ?, NULL)", (spool_id, now))
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "fullfsync = ON",  # macOS: fsync alone does not reach the disk there
            "checkpoint_fullfsync = ON",
            f"journal_size_limit = {_JOURNAL_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error as error:
        connection.close()
        raise SpoolUnusable(f"The spool {path} cannot be opened: {error}.") from error
    except BaseException:
        connection.close()
        raise
    return connection


def check_format(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's format, 0 if it is new and empty; change nothing.

    Raises:
        SpoolUnusable: it is no spool, or of a newer format.
    """
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise SpoolUnusable(f"{path} cannot be read as a spool: {error}.") from error
    if application == 0 and tables == 0:
        return 0
    if application != _APPLICATION_ID:
        raise SpoolUnusable(f"{path} is a SQLite file but no spool. Choose another spool_url.")
    if version > FORMAT:
        raise SpoolUnusable(
            f"{path} was written by a newer version (format {version}; this one reads up to "
            f"{FORMAT}). Upgrade tap-segment-webhook. Nothing was changed."
        )
    return int(version)


def diagnose(error: sqlite3.Error) -> SpoolUnavailable:
    """Say what a failed write means: try again later, or trust nothing any more."""
    reason = str(error)
    if "full" in reason:
        return SpoolUnavailable("The disk is full.", retry_after_seconds=30)
    if "locked" in reason or "busy" in reason:
        return SpoolUnavailable("The spool is locked by another program.")
    return SpoolBroken(f"The spool failed: {reason}. Nothing more is assumed of it.")


def _connect(uri: str) -> sqlite3.Connection:
    try:
        return sqlite3.connect(
            uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise SpoolUnusable(f"{uri} cannot be opened: {error}.") from error
