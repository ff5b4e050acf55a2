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

from tap_segment_webhook.errors import NoSpool, SpoolBroken, SpoolUnavailable, SpoolUnusable

FORMAT: Final = 3
"""Kept in the file's `user_version`; a newer one is refused before any change.

Format 1 had no `block.checksum`, formats 1 and 2 no `reject.checksum`. They are
read as they are, and become format 3 when they are opened for writing; what
they hold stays without a checksum.
"""

_APPLICATION_ID: Final = 0x5E67_E277  # tells a spool from any other SQLite file
_BUSY_SECONDS: Final = 5
_JOURNAL_BYTES: Final = 64 << 20  # what the log is cut back to after a burst

SALVAGE: Final = "Stop the receiver and run `segment-receiver salvage`, which saves the rest."

_TABLES: Final = """
CREATE TABLE spool (id TEXT NOT NULL, created_at INTEGER NOT NULL, probed_at INTEGER);
CREATE TABLE block (
    position INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    codes TEXT NOT NULL,
    lengths BLOB NOT NULL,
    body BLOB NOT NULL,
    checksum INTEGER
);
CREATE TABLE reject (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    body BLOB NOT NULL,
    checksum INTEGER
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

_UPGRADES: Final = (
    "ALTER TABLE block ADD COLUMN checksum INTEGER;",
    "ALTER TABLE reject ADD COLUMN checksum INTEGER;",
)
"""From each format to the next, beginning with the first."""


def spool_path(url: str) -> Path:
    """Return the file of a `sqlite:///` *url*; three slashes are relative, four absolute.

    Raises:
        SpoolUnusable: it is another kind of URL.
    """
    scheme, separator, path = url.partition(":///")
    if scheme != "sqlite" or not separator or not path:
        raise SpoolUnusable(
            f"spool_url starts with {scheme!r}. A spool is in a SQLite file, sqlite:///PATH, or "
            "sqlite:////PATH for an absolute path; or on JetStream, nats://HOST:PORT/STREAM."
        )
    return Path(path).resolve()  # one name for one file, or its lock would not keep others out


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the existing spool file at *path*; never writes it, never blocks its writer.

    Raises:
        NoSpool: nothing is in the file yet.
        SpoolUnusable: it is no spool, or of a newer format.
    """
    _ensure_whole(path)
    connection = _connect(f"file:{quote(str(path.absolute()))}?mode=ro")
    try:
        found = check_format(connection, path)
    except BaseException:
        connection.close()
        raise
    if found == 0:
        connection.close()
        raise NoSpool(f"There is no spool in {path} yet: the file is empty.")
    return connection


def open_for_writing(path: Path, spool_id: str, now: int) -> sqlite3.Connection:
    """Open the spool file at *path*; create it with the identity *spool_id* if absent.

    A new file belongs to its user alone, since events are personal data.
    """
    _ensure_whole(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise SpoolUnusable(f"{path} cannot be written: {error.strerror}.") from error
    if (names := path.stat().st_nlink) > 1:
        raise SpoolUnusable(
            f"{path} has {names} names (hard links). By another name its log is not found, and "
            "events would be lost. Remove the other one, or copy the file and use the copy."
        )
    connection = _connect(f"file:{quote(str(path.absolute()))}?mode=rw")
    try:
        found = check_format(connection, path)
        if found == 0:
            connection.execute("PRAGMA journal_mode = WAL")
        if found < FORMAT:
            # In one transaction: whoever reads meanwhile finds no spool, or a whole one.
            tables = "".join(_UPGRADES[found - 1 :]) if found else _TABLES
            connection.executescript(f"BEGIN IMMEDIATE; {tables}")
            if not found:
                connection.execute("INSERT INTO spool VALUES (?, ?, NULL)", (spool_id, now))
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
        connection.execute(_ABSENCES)
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


def being_salvaged(path: Path) -> Path:
    """Return the file that a salvage writes, and that is there only while it does."""
    return Path(f"{path}-salvage")


def _ensure_whole(path: Path) -> None:
    if being_salvaged(path).exists():
        raise SpoolUnusable(
            f"A salvage of {path} is under way, or was interrupted: then run "
            "`segment-receiver salvage` again."
        )


def check_format(connection: sqlite3.Connection, path: Path) -> int:
    """Return the file's format, 0 if it is new and empty; change nothing.

    Raises:
        SpoolUnusable: it is no spool, or of a newer format.
    """
    try:
        # In one transaction, or the three would be of before and after another one's commit.
        connection.execute("BEGIN")
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("COMMIT")
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


def block_columns(connection: sqlite3.Connection) -> str:
    """Return what to select of `block`, in the order of `model.Block`, in any format."""
    return f"position, source, received_at, codes, lengths, body, {_checksum(connection, 2)}"


def reject_columns(connection: sqlite3.Connection) -> str:
    """Return what to select of `reject`, in the order of `model.KeptReject`, in any format."""
    return f"number, source, received_at, reason, body, {_checksum(connection, 3)}"


def _checksum(connection: sqlite3.Connection, since: int) -> str:
    """Return what to select for a checksum that there is *since* that format."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return "checksum" if version >= since else "NULL"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether *error* says that the file is not what SQLite has written."""
    return "malformed" in str(error) or "not a database" in str(error)


def diagnose(error: sqlite3.Error) -> SpoolUnavailable:
    """Say what a failed write means: try again later, or trust nothing any more."""
    reason = str(error)
    if is_damage(error):
        return SpoolBroken(f"The spool is damaged: {reason}. {SALVAGE}")
    if "full" in reason:
        return SpoolUnavailable("The disk is full.", retry_after_seconds=30)
    if "locked" in reason or "busy" in reason:
        return SpoolUnavailable("The spool is locked by another program.")
    return SpoolBroken(f"The spool failed: {reason}. Nothing more is assumed of it.")


def _connect(uri: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise SpoolUnusable(f"{uri} cannot be opened: {error}.") from error
    # Else the error about damaged text would hold the text; a checksum tells of it without.
    connection.text_factory = _text
    return connection


def _text(encoded: bytes) -> str:
    return encoded.decode(errors="replace")
