"""The one writer of a spool: commits, prunes, keeps the books.

`commit` returns only when everything it was given is fsynced, so a 200 that
follows it survives `kill -9` and a power cut. All or nothing of it is kept.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.errors import SpoolBroken, SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.event import DIGEST_BYTES
from tap_segment_webhook.spool.consumers import Consumers
from tap_segment_webhook.spool.erasure import left_of
from tap_segment_webhook.spool.layout import SALVAGE, diagnose, open_for_writing, spool_path
from tap_segment_webhook.spool.lock import Lock
from tap_segment_webhook.spool.log import fold
from tap_segment_webhook.spool.model import (
    PATIENCE_MS,
    Absence,
    Block,
    Counts,
    KeptReject,
    Received,
)
from tap_segment_webhook.spool.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tap_segment_webhook.event import Event

    _BySource = dict[str, list[tuple[Received, Counts]]]

_log = logging.getLogger("segment-receiver")

MAX_BLOCK_BYTES: Final = 256 << 10  # what a reader holds at once, unless one event is larger
_RESERVE_BYTES: Final = 64 << 20  # 503 before the disk is full: SQLite needs room to tidy up
_MEASURE_SECONDS: Final = 1.0
_PRUNE_BLOCKS: Final = 64
_FORGET_ROWS: Final = 1000
_ONE_STORED: Final = Counts(1, 1)
_NO_LONGER_REJECTED: Final = Counts(received=-1, rejected=-1)  # it was received once already

_INSERT_BLOCK: Final = "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?)"
_INSERT_REJECT: Final = "INSERT INTO reject VALUES (NULL, ?, ?, ?, ?, ?)"
_INSERT_RECENT: Final = "INSERT INTO recent VALUES (?, ?)"
_PUT_BOOK: Final = "INSERT OR REPLACE INTO book VALUES (?, ?, ?, ?, ?, ?)"

_LAST_STORED: Final = (
    "SELECT ifnull((SELECT received_at FROM block ORDER BY position DESC LIMIT 1), 0)"
)
_LAST_SIGN: Final = "SELECT max(created_at, ifnull(probed_at, 0)) FROM spool"
_DELETE_REJECT: Final = "DELETE FROM reject WHERE number = ?"

# The usual commit as one statement, which is one transaction: the thread then waits for Python's
# global lock once, not five times, each behind a busy event loop.
_TAKE_IN: Final = "INSERT INTO temp.intake VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INTAKE: Final = """
CREATE TEMP VIEW intake AS SELECT
    0 AS position, 0 AS source, 0 AS received_at, 0 AS codes, 0 AS lengths, 0 AS body,
    0 AS checksum, 0 AS mark, 0 AS digests,
    0 AS received, 0 AS stored, 0 AS duplicate, 0 AS filtered, 0 AS rejected;
CREATE TEMP TRIGGER take_in INSTEAD OF INSERT ON intake BEGIN
    INSERT INTO block VALUES (
        new.position, new.source, new.received_at, new.codes, new.lengths, new.body, new.checksum
    );
    INSERT INTO recent VALUES (new.mark, new.digests);
    INSERT OR REPLACE INTO book VALUES (
        new.source, new.received, new.stored, new.duplicate, new.filtered, new.rejected
    );
END;
"""


class Store:
    """A spool opened for writing; only one may be open at a time, in any process.

    Args:
        url: `sqlite:///PATH`; the file is created if it is absent.
        dedup_window_events: how many of the latest message ids are recognised;
            None opens it for pruning alone, without the time to load them.
        max_bytes: refuse to store more than this, or None.
        purpose: what holds the spool, for the message that another writer gets.

    Raises:
        SpoolUnusable: locked by another process, no spool, of a newer format,
            or not writable.
    """

    def __init__(
        self,
        url: str,
        *,
        dedup_window_events: int | None,
        max_bytes: int | None = None,
        purpose: str = "segment-receiver",
    ) -> None:
        self._path = spool_path(url)
        self._max_bytes = max_bytes
        if not self._path.parent.is_dir():
            raise SpoolUnusable(f"The folder {self._path.parent} of spool_url does not exist.")
        self._lock = Lock(Path(f"{self._path}-lock"), purpose)
        try:
            self._connection = open_for_writing(self._path, str(uuid.uuid4()), now_ms())
            try:
                self._load(dedup_window_events)
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def _load(self, window_events: int | None) -> None:
        execute = self._connection.execute
        try:
            self._connection.executescript(_INTAKE)
            (self.spool_id,) = execute("SELECT id FROM spool").fetchone()
            self.books = {source: Counts(*rest) for source, *rest in execute("SELECT * FROM book")}
            if not all(counts.add_up for counts in self.books.values()):
                raise SpoolUnusable(
                    f"The books of the spool {self._path} do not add up: another program changed "
                    f"them, or the disk did. {SALVAGE}"
                )
            self.head = sum(counts.stored for counts in self.books.values())
            (last,) = execute("SELECT ifnull(max(position), 0) FROM block").fetchone()
            (self.stored_at,) = execute(_LAST_STORED).fetchone()
            (self.rejects,) = execute("SELECT count(*) FROM reject").fetchone()
            (self._mark,) = execute("SELECT ifnull(max(mark), 0) FROM recent").fetchone()
            self._window = Window(window_events or 0)
            self._forgotten_mark = 0
            if window_events is None:
                self._forgotten_mark = self._mark
            else:
                for mark, digests in execute("SELECT * FROM recent ORDER BY mark"):
                    self._window.add(_cut(digests), mark)
        except (sqlite3.Error, TypeError) as error:
            raise SpoolUnusable(
                f"The spool {self._path} cannot be read: {error}. {SALVAGE}"
            ) from error
        if last > self.head:
            raise SpoolUnusable(
                f"The spool {self._path} holds position {last}, its books end at {self.head}: "
                f"another program changed it, or the disk did. {SALVAGE}"
            )
        self._inodes = self._find_files()
        self._measured_at = 0.0
        self.used_bytes = self._measure()
        self.consumers = Consumers(self._path, self.spool_id)
        self._ensure_it_never_went_back()

    def _ensure_it_never_went_back(self) -> None:
        """Take a new identity if positions were given out that are ahead of us now.

        A backup was put in our place, or the disk lost what it had synced. With
        the old identity a pipeline could pass over what gets those positions
        next; with a new one it takes its state for another spool's and starts anew.
        """
        reasons = []
        confirmed = lost = 0
        with suppress(SpoolUnavailable):  # else none is confirmed, as far as anybody can tell
            confirmed = max(self.consumers.positions().values(), default=0)
        if confirmed > self.head:
            reasons.append(f"a pipeline has confirmed {confirmed}: it is older than it was")
        with suppress(sqlite3.Error):  # a full disk: there will be another start
            lost = fold(self._connection, Path(f"{self._path}-wal"))
        if lost:
            reasons.append(
                f"its log was damaged: {lost} commits after that, which were acknowledged, are "
                "lost. A replay in Segment brings them back"
            )
        if not reasons:
            return
        _log.error(
            "The spool %s ends at position %d, but %s. It gets a new identity, so that the next "
            "run emits all that is retained.",
            self._path,
            self.head,
            "; ".join(reasons),
        )
        with self._transaction() as connection:
            connection.execute("UPDATE spool SET id = ?", (str(uuid.uuid4()),))
        (self.spool_id,) = self._connection.execute("SELECT id FROM spool").fetchone()
        self.consumers = Consumers(self._path, self.spool_id)

    def close(self) -> None:
        """Fold the log into the file and let another process write."""
        self._connection.close()
        self._lock.release()

    def commit(self, batch: Sequence[Received]) -> list[Counts]:
        """Store *batch* durably, in order; return what became of each part of it.

        Raises:
            SpoolUnavailable: nothing was stored, and it may be tried again.
            SpoolBroken: whether it was stored is unknown; close and start anew.
        """
        self._ensure_room()
        digests = _digests(batch)
        unique = set(digests)
        known = self._window.known(unique)
        fresh = batch
        if known or len(unique) < len(digests):
            fresh = [_without(part, known) for part in batch]
            digests = _digests(fresh)
        outcomes = [_count(part, new) for part, new in zip(batch, fresh, strict=True)]
        self._write(fresh, digests, outcomes)
        return outcomes

    def _write(
        self,
        fresh: Sequence[Received],
        digests: list[bytes],
        outcomes: list[Counts],
        *,
        moved: Sequence[int] = (),
    ) -> None:
        """Write what is new, what became of all of it, and that the rejects *moved* are gone."""
        now, mark = now_ms(), self._mark + 1
        by_source = _group(fresh, outcomes)
        blocks = list(_blocks(by_source, self.head, now))
        rejects = [
            KeptReject.of(part.source, now, item)[1:] for part in fresh for item in part.rejects
        ]
        recent = (mark, b"".join(digests))
        books = _add(self.books, by_source)
        touched = [(source, *books[source]) for source in by_source]
        if len(blocks) == len(touched) == 1 and not rejects and not moved:
            with self._diagnosed():
                # Not `execute`, which lets go of the lock once more, for a number nobody needs.
                row = (*blocks[0], *recent, *touched[0][1:])
                self._connection.executemany(_TAKE_IN, [row])
        else:
            with self._transaction() as connection:
                connection.executemany(_INSERT_BLOCK, blocks)
                connection.executemany(_INSERT_REJECT, rejects)
                connection.executemany(_DELETE_REJECT, [(number,) for number in moved])
                connection.executemany(_INSERT_RECENT, [recent] if digests else ())
                connection.executemany(_PUT_BOOK, touched)
        if blocks:
            self.head, self.stored_at = blocks[-1].position, now
        if digests:
            self._window.add(digests, mark)
            self._mark = mark
        self.books = books
        self.rejects += len(rejects) - len(moved)

    def begin_receiving(self) -> Absence | None:
        """Note that a receiver runs from now on; return the absence before it, if there was one.

        Raises:
            SpoolUnavailable: it could not be noted.
        """
        now = now_ms()
        (sign,) = self._connection.execute(_LAST_SIGN).fetchone()
        seen = max(sign, self.stored_at)
        absence = Absence(seen, now) if now - seen > PATIENCE_MS else None
        with self._transaction() as connection:
            if absence is not None:
                connection.execute("INSERT INTO absence VALUES (?, ?)", absence)
            connection.execute("UPDATE spool SET probed_at = ?", (now,))
        return absence

    def probe(self) -> None:
        """Commit a sign of life, also to learn whether a commit would succeed now.

        Raises:
            SpoolUnavailable: it would not.
        """
        self._measured_at = 0.0
        self._ensure_room()
        with self._transaction() as connection:
            connection.execute("UPDATE spool SET probed_at = ?", (now_ms(),))

    def tidy(self, retention_ms: int) -> int:
        """Do one small step of pruning and forgetting; return how many rows went.

        An event goes when every known consumer has confirmed it and it is older
        than *retention_ms*, and nobody is to be given it again. With no consumer
        known, none goes.
        """
        floor = self.consumers.floor()
        return self._prune(floor, now_ms() - retention_ms) + self._forget()

    def _prune(self, floor: int, before: int) -> int:
        last, blocks = 0, 0
        with self._diagnosed():
            oldest = self._connection.execute(
                "SELECT position, received_at FROM block WHERE position <= ?"
                " ORDER BY position LIMIT ?",
                (floor, _PRUNE_BLOCKS),
            ).fetchall()
        for position, received_at in oldest:
            if received_at >= before:
                break
            last, blocks = position, blocks + 1
        if blocks:
            with self._transaction() as connection:
                connection.execute("DELETE FROM block WHERE position <= ?", (last,))
            self._measured_at = 0.0
        return blocks

    def _forget(self) -> int:
        if self._window.oldest_mark <= self._forgotten_mark:
            return 0
        with self._transaction() as connection:
            gone = connection.execute(
                "DELETE FROM recent WHERE mark IN"
                " (SELECT mark FROM recent WHERE mark < ? ORDER BY mark LIMIT ?)",
                (self._window.oldest_mark, _FORGET_ROWS),
            ).rowcount
        if gone < _FORGET_ROWS:
            self._forgotten_mark = self._window.oldest_mark
        return gone

    def retry_rejects(self, lot: Sequence[tuple[KeptReject, Event]]) -> int:
        """Move rejects, each now read as the event beside it, to the events: all or none.

        Raises as `commit` does.
        """
        self._ensure_room()
        known = self._window.known({event.digest for _, event in lot})
        moved = [Received(reject.source, 1, [event], []) for reject, event in lot]
        fresh = [_without(part, known) for part in moved]
        outcomes = [
            _NO_LONGER_REJECTED.plus(_count(part, new))
            for part, new in zip(moved, fresh, strict=True)
        ]
        self._write(fresh, _digests(fresh), outcomes, moved=[reject.number for reject, _ in lot])
        return sum(outcome.stored for outcome in outcomes)

    def purge_rejects(self) -> int:
        """Delete every reject; return how many there were."""
        with self._transaction() as connection:
            purged = connection.execute("DELETE FROM reject").rowcount
        self.rejects -= purged
        return purged

    def replace(self, changes: Sequence[tuple[int, Sequence[Block]]]) -> None:
        """Put blocks in the place of the one that ends at a position; heads and books stay.

        What was in it is overwritten, not only forgotten: once `scrub` has
        folded the log, its bytes are in no file of the spool.
        """
        if not changes:
            return
        with self._overwriting() as connection:
            for position, blocks in changes:
                connection.execute("DELETE FROM block WHERE position = ?", (position,))
                connection.executemany(_INSERT_BLOCK, blocks)

    def erase(self, lot: Sequence[tuple[Block, Sequence[int]]]) -> None:
        """Delete the events at these positions of these blocks; see `replace`."""
        self.replace([(block.position, left_of(block, gone)) for block, gone in lot])

    def delete_rejects(self, numbers: Sequence[int]) -> int:
        """Delete the rejects with these *numbers*; return how many there were."""
        with self._overwriting() as connection:
            deleted = connection.executemany(
                _DELETE_REJECT, [(number,) for number in numbers]
            ).rowcount
        self.rejects -= max(deleted, 0)
        return max(deleted, 0)

    def scrub(self) -> None:
        """Build the file anew and empty the log, so that they hold nothing but what is kept.

        What was pruned or purged before lies in the file's free space until it is used again.

        Raises:
            SpoolUnavailable: there is no room for it, somebody reads in the log, or an old
                file of this spool lies beside it.
        """
        self._fold()
        with self._diagnosed():
            free, needed = self._free_bytes(), 2 * self._measure() + _RESERVE_BYTES
        if free < needed:
            raise SpoolUnavailable(
                f"Building the spool anew takes {needed:,} bytes of disk for the while, and "
                f"{free:,} are left. What was pruned earlier may still be in the file. Make room "
                "and run it again."
            )
        with self._diagnosed(), self._temporary_files_beside():
            self._connection.execute("VACUUM")
        self._fold()
        if (damaged := Path(f"{self._path}-damaged")).exists():
            raise SpoolUnavailable(
                f"{damaged}, which a salvage has left, may still hold what was erased here. Delete "
                "it and run it again."
            )

    def _fold(self) -> None:
        """Write the log into the file and cut it to nothing."""
        with self._diagnosed():
            busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise SpoolUnavailable(
                f"Another program reads the log of the spool, {self._path}-wal, so it cannot be "
                "emptied and may still hold what was erased. Stop that one and run it again."
            )

    @contextmanager
    def _overwriting(self) -> Iterator[sqlite3.Connection]:
        """As `_transaction`, and what is deleted in it is overwritten with zeros."""
        with self._diagnosed():
            self._connection.execute("PRAGMA secure_delete = ON")
        with self._transaction() as connection:
            yield connection

    @contextmanager
    def _temporary_files_beside(self) -> Iterator[None]:
        """Have SQLite keep temporary files, which hold events, on the spool's own disk."""
        folder = str(self._path.parent).replace("'", "''")
        self._connection.execute(f"PRAGMA temp_store_directory = '{folder}'")
        try:
            yield
        finally:
            self._connection.execute("PRAGMA temp_store_directory = ''")

    def _measure(self) -> int:
        """Return how many bytes of the file are in use."""
        pages, free, page = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * page)

    def _ensure_room(self) -> None:
        """Refuse before the disk is full, and when files were taken away under our feet."""
        if time.monotonic() - self._measured_at < _MEASURE_SECONDS:
            return
        try:
            inodes = self._find_files()
            free = self._free_bytes()
        except OSError as error:
            raise SpoolBroken(f"{error.filename} is gone: {error.strerror}.") from error
        for path, inode in inodes.items():
            if inode != self._inodes[path]:
                raise SpoolBroken(f"{path} was replaced by another file.")
        if free < _RESERVE_BYTES:
            raise SpoolUnavailable(
                f"The disk has {free:,} bytes left; {_RESERVE_BYTES:,} are kept in reserve.",
                retry_after_seconds=30,
            )
        self.used_bytes = self._measure()
        if self._max_bytes is not None and self.used_bytes >= self._max_bytes:
            raise SpoolUnavailable(
                f"The spool holds {self.used_bytes:,} of {self._max_bytes:,} max_spool_bytes. "
                "Run the tap, or raise the setting.",
                retry_after_seconds=30,
            )
        self._measured_at = time.monotonic()

    def _find_files(self) -> dict[Path, int]:
        """Return the inodes of the files that we have open: others must find those, too.

        Without its log the spool lacks its last events for anybody who opens
        it; without the index of the log (`-shm`) or the file of the lock, others
        would agree with nobody about who may do what.
        """
        paths = (Path(f"{self._path}{suffix}") for suffix in ("", "-wal", "-shm", "-lock"))
        return {path: path.stat().st_ino for path in paths}

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._path.parent).free

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._diagnosed():
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")

    @contextmanager
    def _diagnosed(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._measured_at = 0.0
            raise diagnose(error) from error


def _digests(parts: Sequence[Received]) -> list[bytes]:
    digests = [event.digest for part in parts for event in part.events]
    digests += [reject.digest for part in parts for reject in part.rejects]
    return digests


def _without(part: Received, known: set[bytes]) -> Received:
    """Return *part* without what is *known*; what is left is known from here on."""
    return part._replace(
        events=[event for event in part.events if _learn(event.digest, known)],
        rejects=[reject for reject in part.rejects if _learn(reject.digest, known)],
    )


def _learn(digest: bytes, known: set[bytes]) -> bool:
    """Add *digest* to *known*; tell whether it was new."""
    if digest in known:
        return False
    known.add(digest)
    return True


def _count(part: Received, new: Received) -> Counts:
    stored, rejected = len(new.events), len(new.rejects)
    if stored == part.elements == 1:
        return _ONE_STORED
    duplicate = len(part.events) + len(part.rejects) - stored - rejected
    return Counts(part.elements, stored, duplicate, part.filtered, rejected)


def _group(parts: Sequence[Received], outcomes: list[Counts]) -> _BySource:
    """Put *parts* together by source, in the order of names, each with its outcome."""
    by_source: _BySource = {}
    for part, counts in zip(parts, outcomes, strict=True):
        by_source.setdefault(part.source, []).append((part, counts))
    return dict(sorted(by_source.items()))


def _add(books: dict[str, Counts], by_source: _BySource) -> dict[str, Counts]:
    """Return *books* with the outcomes *by_source* entered."""
    entered = {}
    for source, parts in by_source.items():
        own = [counts for _, counts in parts]
        entered[source] = Counts(*map(sum, zip(books.get(source, Counts()), *own, strict=True)))
    return {**books, **entered}


def _blocks(by_source: _BySource, head: int, now: int) -> Iterator[Block]:
    """Number the events *by_source* after *head* and pack them, a source at a time."""
    for source, parts in by_source.items():
        for packed in _pack([event for part, _ in parts for event in part.events]):
            head += len(packed)
            yield Block.of(head, source, now, packed)


def _pack(events: list[Event]) -> Iterator[list[Event]]:
    """Cut *events* into lots of at most `MAX_BLOCK_BYTES`, a single larger event excepted."""
    start, size = 0, 0
    for index, event in enumerate(events):
        length = len(event[2])
        if size + length > MAX_BLOCK_BYTES and index > start:
            yield events[start:index]
            start, size = index, 0
        size += length
    if events:
        yield events[start:]


def _cut(digests: bytes) -> list[bytes]:
    return [digests[i : i + DIGEST_BYTES] for i in range(0, len(digests), DIGEST_BYTES)]
