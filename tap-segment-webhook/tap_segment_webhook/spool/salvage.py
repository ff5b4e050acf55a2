"""Makes a whole spool of a damaged one: what can be vouched for is kept, the rest is named.

Positions, books and identity stay, so pipelines go on where they were. Where
identity or books cannot be read it becomes another spool, of which pipelines
take everything again. The damaged files stay, under another name.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tap_segment_webhook.errors import InvalidEvent, SpoolUnusable
from tap_segment_webhook.event import DIGEST_BYTES, read_event
from tap_segment_webhook.spool.folder import Folder
from tap_segment_webhook.spool.layout import (
    being_salvaged,
    block_columns,
    open_for_reading,
    open_for_writing,
    reject_columns,
    spool_path,
)
from tap_segment_webhook.spool.lock import Lock
from tap_segment_webhook.spool.model import Block, Counts, KeptReject, Reject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LOGS: Final = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file
_LOT_BYTES: Final = 4 << 20  # one transaction's size
_INSERT_BLOCK: Final = "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?)"
_INSERT_REJECT: Final = "INSERT INTO reject VALUES (?, ?, ?, ?, ?, ?)"
_UNKNOWN: Final = "(unknown)"  # the source of events of which only the positions are known


class Lost(NamedTuple):
    """Positions that could not be saved; pruned or erased ones may be among them."""

    first: int
    last: int


class Salvaged(NamedTuple):
    """What became of a damaged spool."""

    events: int
    """Events that were saved."""
    lost: list[Lost]
    """Where events were lost, in order."""
    rejects: int
    """Rejects that were saved."""
    lost_rejects: bool
    """Whether rejects may have been lost."""
    same: bool
    """Whether it is the same spool to its pipelines; else they emit all of it again."""
    damaged: Path
    """The file as it was. Nothing of ours looks at it any more."""


def salvage(url: str, now: int, folder: Folder | None = None) -> Salvaged:
    """Replace the spool at *url* by one with all that can be saved of it.

    Interrupted at any moment, it is to be run again; the spool is refused until then.

    Raises:
        SpoolUnusable: somebody else writes it, an earlier one is still kept, or
            too little can be read to begin with. Then nothing was changed.
    """
    path = spool_path(url)
    lock = Lock(Path(f"{path}-lock"), "segment-receiver salvage")
    try:
        return _Replacement(path, folder or Folder()).run(now)
    finally:
        lock.release()


class _Replacement:
    """The spool at *path* is replaced: its names in *folder*."""

    def __init__(self, path: Path, folder: Folder) -> None:
        self._path = path
        self._damaged, self._new = Path(f"{path}-damaged"), being_salvaged(path)
        self._folder = folder

    def run(self, now: int) -> Salvaged:
        path, damaged, new = self._path, self._damaged, self._new
        begins = not new.exists()
        if begins and damaged.exists():
            raise SpoolUnusable(
                f"{damaged} is still there from an earlier salvage. Move it away or delete it."
            )
        self._begin()
        try:
            result = _Rescue(damaged, now).into(new)
        except BaseException:
            if begins:
                self._remove(damaged)
                self._remove(new)
            raise
        self._remove(path, *_LOGS)  # or an old log would meet the new file
        self._folder.sync(path)
        self._folder.rename(new, path)
        self._folder.sync(path)
        return result

    def _begin(self) -> None:
        """Give the files a second name, under which they stay, and make the new one, empty.

        The one without a suffix is named last: once it is there, all are.
        """
        self._remove(self._new)
        self._folder.create(self._new)
        self._folder.sync(self._path)
        if not self._damaged.exists():
            self._remove(self._damaged, *_LOGS)
            for suffix in _LOGS:
                self._folder.link(Path(f"{self._path}{suffix}"), Path(f"{self._damaged}{suffix}"))
            self._folder.sync(self._path)
            self._folder.link(self._path, self._damaged)
        self._folder.sync(self._path)

    def _remove(self, path: Path, *suffixes: str) -> None:
        """Remove the file at *path* with all that SQLite keeps beside it, or only *suffixes*."""
        for suffix in suffixes or ("", *_LOGS):
            self._folder.remove(Path(f"{path}{suffix}"))


class _Rescue:
    """What is saved of the file *damaged*, at the time *now*."""

    def __init__(self, damaged: Path, now: int) -> None:
        self._damaged = damaged
        self._now = now
        self._lost: list[Lost] = []
        self._stored: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()

    def into(self, new: Path) -> Salvaged:
        """Write it to the empty file *new*.

        Raises:
            SpoolUnusable: too little can be read to begin with.
        """
        with (
            closing(open_for_reading(self._damaged)) as self._source,
            closing(open_for_writing(new, str(uuid.uuid4()), self._now)) as self._target,
        ):
            identity, _ = self._rows("SELECT id, created_at, probed_at FROM spool")
            rows, books_are_whole = self._rows("SELECT * FROM book")
            books = {source: Counts(*rest) for source, *rest in rows}
            books_are_whole = books_are_whole and all(book.add_up for book in books.values())
            self._recent = _Recent(self._rows("SELECT * FROM recent ORDER BY mark")[0])
            head = sum(counts.stored for counts in books.values()) if books_are_whole else 0
            last = self._copy_blocks(self._end(head))
            rejects_are_whole = self._copy_rejects()
            same = bool(identity) and books_are_whole and last <= head
            if same:
                self._target.execute("DELETE FROM spool")
                self._write("INSERT INTO spool VALUES (?, ?, ?)", identity)
            else:
                books = _rebuilt(self._stored, self._rejected, last)
            self._write("INSERT INTO book VALUES (?, ?, ?, ?, ?, ?)", _flat(books))
            self._write("INSERT INTO recent VALUES (?, ?)", self._recent.left())
            self._write("INSERT INTO absence VALUES (?, ?)", self._rows("SELECT * FROM absence")[0])
        return Salvaged(
            events=sum(self._stored.values()),
            lost=self._lost,
            rejects=sum(self._rejected.values()),
            lost_rejects=not rejects_are_whole,
            same=same,
            damaged=self._damaged,
        )

    def _end(self, head: int) -> int:
        """Return the position up to which there may be events."""
        (found, is_whole) = self._rows("SELECT ifnull(max(position), 0) FROM block")
        end = max(head, found[0][0] if is_whole else 0)
        if not end and not is_whole:
            raise SpoolUnusable(
                f"Neither the books nor the last events of {self._damaged} can be read. Nothing "
                "was changed. The `.recover` command of the sqlite3 shell may find more."
            )
        return end

    def _copy_blocks(self, end: int) -> int:
        """Copy every block that is as it was written; return the last position saved."""
        last, size, is_damaged = 0, 0, False
        lot: list[Block] = []
        columns = block_columns(self._source)
        for row in self._each(f"SELECT {columns} FROM block WHERE position ", end):  # noqa: S608 - constants of ours
            block = row and Block(*row)
            if not block or not block.is_intact or block.first_position <= last:
                is_damaged = True
                continue
            if is_damaged:
                self._lose(last + 1, block.first_position - 1)
                is_damaged = False
            for body, *_ in block.rows():
                with suppress(InvalidEvent):
                    self._recent.pass_by(read_event(body).digest)
            self._stored[block.source] += len(block.codes)
            last = block.position
            lot.append(block)
            size += len(block.body)
            if size > _LOT_BYTES:
                self._write(_INSERT_BLOCK, lot)
                lot, size = [], 0
        self._write(_INSERT_BLOCK, lot)
        if is_damaged:
            self._lose(last + 1, end)
        return last

    def _lose(self, first: int, last: int) -> None:
        if first <= last:
            self._lost.append(Lost(first, last))
            self._recent.lose()

    def _each(self, query: str, end: int) -> Iterator[Any]:
        """Yield the rows that can be read up to the one numbered *end*; None where one cannot.

        The *query* ends with their number, which is also the first that it selects.
        """
        number = 0
        while number < end:
            try:
                row = self._source.execute(query + "> ? ORDER BY 1 LIMIT 1", (number,)).fetchone()
            except sqlite3.DatabaseError:
                yield None
                row = self._next_readable(query + "= ?", number, end)
            if row is None:
                return
            number = row[0]
            yield row

    def _next_readable(self, query: str, number: int, end: int) -> Any:
        """Ask for each row after *number* by itself, some microseconds each."""
        for each in range(number + 1, end + 1):
            with suppress(sqlite3.DatabaseError):
                if row := self._source.execute(query, (each,)).fetchone():
                    return row
        return None

    def _copy_rejects(self) -> bool:
        """Copy every reject that is as it was written; tell whether those were all."""
        found, are_all = self._rows("SELECT ifnull(max(number), 0) FROM reject")
        if not are_all:
            found, _ = self._rows("SELECT number FROM reject ORDER BY number")
        end = found[-1][0] if found else 0
        lot: list[KeptReject] = []
        columns = reject_columns(self._source)
        self._recent.begin_again()
        for row in self._each(f"SELECT {columns} FROM reject WHERE number ", end):  # noqa: S608 - constants of ours
            reject = row and KeptReject(*row)
            if not reject or not reject.is_intact:
                are_all = False
                self._recent.lose()
                continue
            self._rejected[reject.source] += 1
            self._recent.pass_by(Reject(reject.reason, reject.body).digest)
            lot.append(reject)
        self._write(_INSERT_REJECT, lot)
        return are_all

    def _rows(self, query: str) -> tuple[list[Any], bool]:
        """Return the rows that *query* gives before it fails, and whether those are all."""
        rows: list[Any] = []
        try:
            rows.extend(self._source.execute(query))
        except sqlite3.DatabaseError:
            return rows, False
        return rows, True

    def _write(self, statement: str, rows: Iterable[Any]) -> None:
        self._target.execute("BEGIN")
        self._target.executemany(statement, rows)
        self._target.execute("COMMIT")


class _Recent:
    """The digests by which duplicates are recognised, without those of what was lost.

    Segment may send that again, and then it must not be taken for known. Which
    digest belongs to a lost event is not written anywhere; but digests lie in
    the order of commits, so it is one of those between the saved neighbours.

    Args:
        rows: marks with the digests of a commit each, in order.
    """

    def __init__(self, rows: list[tuple[int, bytes]]) -> None:
        self._rows = [
            (mark, [joined[i : i + DIGEST_BYTES] for i in range(0, len(joined), DIGEST_BYTES)])
            for mark, joined in rows
        ]
        self._marks = {digest: mark for mark, digests in self._rows for digest in digests}
        self._saved: set[bytes] = set()
        self._last = 0
        self._is_losing = False
        self._doubtful: list[tuple[int, float]] = []

    def keep(self, digest: bytes) -> None:
        """Keep *digest*, if it is known."""
        if digest in self._marks:
            self._saved.add(digest)

    def pass_by(self, digest: bytes) -> None:
        """Keep *digest*, which is that of the next event in the order of positions."""
        self.keep(digest)
        mark = self._marks.get(digest)
        if mark is None:
            return
        if self._is_losing:
            self._doubtful[-1] = (self._doubtful[-1][0], mark)
            self._is_losing = False
        self._last = mark

    def begin_again(self) -> None:
        """Go through them once more, in the order of something else."""
        self._last = 0
        self._is_losing = False

    def lose(self) -> None:
        """Forget what lies between the last one that was saved and the next one that will be."""
        if not self._is_losing:
            self._doubtful.append((self._last, float("inf")))
            self._is_losing = True

    def left(self) -> Iterator[tuple[int, bytes]]:
        """Yield marks with the digests that are left of a commit each."""
        for mark, digests in self._rows:
            doubtful = any(first <= mark <= last for first, last in self._doubtful)
            left = [digest for digest in digests if not doubtful or digest in self._saved]
            if left:
                yield mark, b"".join(left)


def _rebuilt(stored: Counter[str], rejected: Counter[str], last: int) -> dict[str, Counts]:
    """Return the books of what was saved, with as many events stored as positions were given."""
    stored = stored + Counter({_UNKNOWN: last - stored.total()})
    return {
        source: Counts(
            stored[source] + rejected[source], stored=stored[source], rejected=rejected[source]
        )
        for source in stored.keys() | rejected.keys()
    }


def _flat(books: dict[str, Counts]) -> Iterator[tuple[Any, ...]]:
    for source, counts in books.items():
        yield source, *counts
