"""Reads a spool in the order of positions, beside its writer and without holding it up."""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter, defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tap_segment_webhook.errors import SpoolDamaged, SpoolUnusable
from tap_segment_webhook.event import CODES
from tap_segment_webhook.spool.consumers import Consumers
from tap_segment_webhook.spool.layout import (
    SALVAGE,
    block_columns,
    is_damage,
    open_for_reading,
    reject_columns,
    spool_path,
)
from tap_segment_webhook.spool.model import (
    Absence,
    Block,
    Counts,
    Found,
    Holding,
    KeptReject,
    Signs,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


_PAUSES = """
SELECT max(received_at - before), max(received_at) FROM (
    SELECT received_at, lag(received_at) OVER (ORDER BY position) AS before FROM block
)
"""


class Reader:
    """An existing spool, opened read-only.

    No transaction outlives a call or one step of an iterator, else the
    writer's log could not be folded back into the file and would grow.

    Raises:
        SpoolUnusable: the file is no spool, or of a newer format; later, it cannot be read.
        SpoolDamaged: here or later, what was to be read is not what was written.
    """

    def __init__(self, url: str) -> None:
        self._path = path = spool_path(url)
        self._connection = open_for_reading(path)
        try:
            with self._told():
                self._block_columns = block_columns(self._connection)
                self._reject_columns = reject_columns(self._connection)
                (self.spool_id,) = self._connection.execute("SELECT id FROM spool").fetchone()
        except TypeError as error:
            self._connection.close()
            raise SpoolUnusable(f"{path} has no identity: {error}.") from error
        except BaseException:
            self._connection.close()
            raise
        self.consumers = Consumers(path, self.spool_id)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def head(self) -> int:
        """Return the last position given out, 0 if none ever was."""
        return sum(counts.stored for counts in self.books().values())

    def oldest(self) -> int | None:
        """Return the lowest position still retained, or None."""
        with self._told():
            row = self._connection.execute(
                "SELECT position - length(codes) + 1 FROM block ORDER BY position LIMIT 1"
            ).fetchone()
        return row and int(row[0])

    def blocks(self, after: int, until: int) -> Iterator[Block]:
        """Yield the blocks that hold an event with *after* < position <= *until*, in order.

        Raises:
            SpoolDamaged: what comes next is not what was written.
        """
        position = after
        query = (
            f"SELECT {self._block_columns} FROM block"  # noqa: S608 - a constant of ours
            " WHERE position > ? ORDER BY position LIMIT 1"
        )
        while position < until:
            with self._told(f" after position {position}"):
                row = self._connection.execute(query, (position,)).fetchone()
            if row is None:
                return
            block = Block(*row)
            if not block.is_intact:
                raise SpoolDamaged(
                    f"The spool {self._path} is damaged: the events after position {position}, up "
                    f"to {block.position}, are not as they were written. They are not passed on. "
                    f"{SALVAGE}"
                )
            position = block.position
            yield block

    def find(self, since: int, until: int, codes: str) -> Found:
        """Find the events committed from *since* until before *until* whose type is in *codes*.

        Both in milliseconds since 1970. Times are those of the clock then, so
        the events need not lie side by side.
        """
        counts: Counter[str] = Counter()
        first = last = 0
        with self._told():
            for position, received_at, block_codes in self._connection.execute(
                "SELECT position, received_at, codes FROM block ORDER BY position"
            ):
                found = Counter(code for code in block_codes if code in codes)
                if found and since <= received_at < until:
                    counts += found
                    first = first or position - len(block_codes) + 1
                    last = position
        return Found(counts, first, last)

    def holdings(self, floor: int) -> dict[str, Holding]:
        """Return what is retained of each stream, where all up to *floor* is confirmed."""
        found: defaultdict[str, Holding] = defaultdict(Holding)
        with self._told():
            for row in self._connection.execute(
                "SELECT position, source, received_at, codes, lengths, x'', NULL FROM block"
                " ORDER BY position"
            ):
                _count(Block(*row), floor, found)
        return {name: found[code] for name, code in CODES.items()}

    def books(self) -> dict[str, Counts]:
        """Return the counts of every source since the spool was created."""
        with self._told():
            rows = self._connection.execute("SELECT * FROM book ORDER BY source").fetchall()
        books = {source: Counts(*counts) for source, *counts in rows}
        if not all(counts.add_up for counts in books.values()):
            raise SpoolDamaged(
                f"The spool {self._path} is damaged: its books do not add up. {SALVAGE}"
            )
        return books

    def signs(self) -> Signs:
        """Return the traces that the receiver and its visitors have left."""
        execute = self._connection.execute
        absences = []
        with self._told():
            ((last_sign,),) = execute("SELECT ifnull(probed_at, created_at) FROM spool")
            ((pause, last_event),) = execute(_PAUSES)
            if execute("SELECT 1 FROM sqlite_master WHERE name = 'absence'").fetchone():
                rows = execute("SELECT * FROM absence ORDER BY since")
                absences = [Absence(*row) for row in rows]
        return Signs(max(last_sign, last_event or 0), last_event, pause, absences)

    def rejects(self) -> Iterator[KeptReject]:
        """Yield the kept rejects, oldest first.

        Raises:
            SpoolDamaged: the next one is not what was written.
        """
        number = 0
        query = (
            f"SELECT {self._reject_columns} FROM reject"  # noqa: S608 - a constant of ours
            " WHERE number > ? ORDER BY number LIMIT 1"
        )
        while True:
            with self._told(f" after reject {number}"):
                row = self._connection.execute(query, (number,)).fetchone()
            if row is None:
                return
            reject = KeptReject(*row)
            number = reject.number
            if not reject.is_intact:
                raise SpoolDamaged(
                    f"The spool {self._path} is damaged: reject {number} is not as it was written. "
                    f"It is not passed on. {SALVAGE}"
                )
            yield reject

    def count_rejects(self) -> int:
        """Return how many rejects are kept."""
        with self._told():
            (count,) = self._connection.execute("SELECT count(*) FROM reject").fetchone()
        return int(count)

    def size(self) -> int:
        """Return how many bytes of the file are in use."""
        with self._told():
            (used,) = self._connection.execute(
                "SELECT (page_count - freelist_count) * page_size"
                " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
            ).fetchone()
        return int(used)

    @contextmanager
    def _told(self, where: str = "") -> Iterator[None]:
        """Say what a failed read means, and *where* it failed."""
        try:
            yield
        except sqlite3.Error as error:
            if is_damage(error):
                raise SpoolDamaged(
                    f"The spool {self._path} is damaged{where}: {error}. {SALVAGE}"
                ) from error
            raise SpoolUnusable(
                f"The spool {self._path} cannot be read{where}: {error}."
            ) from error


def _count(block: Block, floor: int, found: defaultdict[str, Holding]) -> None:
    """Add the events of *block* to what was *found* of each stream, by code."""
    try:
        sizes = block.sizes()
    except (struct.error, TypeError):
        return  # damaged: `blocks` refuses it, and says which positions those are
    for position, (code, size) in enumerate(
        zip(block.codes, sizes, strict=True), block.first_position
    ):
        waiting, total, oldest, confirmed = found[code]
        found[code] = (
            Holding(waiting, total, oldest, confirmed + 1)
            if position <= floor
            else Holding(waiting + 1, total + size, oldest or block.received_at, confirmed)
        )
