"""Receipts beside arrivals: which events came back, by their message ids.

Everything lies in a temporary database that SQLite removes by itself, so that
memory does not grow with what is compared: ids are appended, sorted on disk,
and then merged.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from target_segment_api.arrivals import Retained
from target_segment_api.errors import InputUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from target_segment_api.arrivals import Arrival
    from target_segment_api.receipts import Receipt

HOUR_MS: Final = 3_600_000
_CACHE_KIB: Final = 32 << 10

_TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
CREATE TABLE receipt (id TEXT NOT NULL, stream INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE arrival (id TEXT NOT NULL, at INTEGER);
CREATE TABLE sent (
    id TEXT NOT NULL,
    stream INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (id, stream)
) WITHOUT ROWID;
CREATE TABLE seen (id TEXT PRIMARY KEY, at INTEGER, times INTEGER NOT NULL) WITHOUT ROWID;
"""
_SORT: Final = """
INSERT INTO sent SELECT id, stream, min(at), max(at) FROM receipt GROUP BY id, stream;
DROP TABLE receipt;
INSERT INTO seen SELECT id, min(at), count(*) FROM arrival GROUP BY id;
DROP TABLE arrival;
"""
# What became of an event that was sent. An event that has not come back is first of all young.
_JUDGED: Final = """
WITH judged AS (
    SELECT
        sent.id, stream, first,
        seen.id IS NOT NULL AS delivered,
        seen.id IS NULL AND last > :settled AS pending,
        seen.id IS NULL AND last <= :settled AND first < :retained AS unknown,
        seen.id IS NULL AND last <= :settled AND first >= :retained AS missing,
        coalesce(seen.at - first > :late, 0) AS late,
        coalesce(seen.times > 1, 0) AS duplicated
    FROM sent LEFT JOIN seen ON seen.id = sent.id
)
"""
_COUNT: Final = f"""
{_JUDGED}
SELECT stream, first / {HOUR_MS} * {HOUR_MS} AS hour, count(*), sum(delivered), sum(missing),
    sum(pending), sum(unknown), sum(late), sum(duplicated)
FROM judged GROUP BY 1, 2
"""  # noqa: S608 - of constants
_MISSING: Final = f"""
{_JUDGED}
SELECT id, stream, first FROM judged WHERE missing ORDER BY first, id LIMIT :count
"""  # noqa: S608
_OTHERS: Final = """
SELECT count(*) FROM seen WHERE NOT EXISTS (SELECT 1 FROM sent WHERE sent.id = seen.id)
"""


class Figures(NamedTuple):
    """The books of some events: `sent = delivered + missing + pending + unknown`, always."""

    sent: int = 0
    """Different message ids that have a receipt."""
    delivered: int = 0
    missing: int = 0
    pending: int = 0
    """Not there, but so young that they may still come."""
    unknown: int = 0
    """Not there, and so old that they may have been pruned."""
    late: int = 0
    """Of the delivered, those that took too long."""
    duplicated: int = 0
    """Of the delivered, those that are there more than once."""

    def plus(self, other: Figures) -> Figures:
        """Return the sum of both, figure by figure."""
        return Figures(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Hour(NamedTuple):
    """The figures of what one stream sent within an hour."""

    stream: str
    start: int
    """In milliseconds since 1970."""
    figures: Figures


class Missing(NamedTuple):
    """One event that was accepted and did not come back."""

    message_id: str
    stream: str
    accepted_at: int
    """In milliseconds since 1970."""


class Limits(NamedTuple):
    """What counts as late, and as too young to be missing; in milliseconds."""

    now: int
    late: int
    settle: int


class Period(NamedTuple):
    """From when until before when; in milliseconds since 1970."""

    since: int | None = None
    until: int | None = None

    def has(self, moment: int) -> bool:
        """Tell whether *moment* lies within it."""
        return (self.since is None or self.since <= moment) and (
            self.until is None or moment < self.until
        )


class Comparison:
    """Takes the receipts of a *period* and all arrivals, and then says how they compare.

    An event is one message id of one stream. Where it has several receipts, the
    first says when it was sent, and the last whether it may still come.

    Raises:
        InputUnusable: from any method: there is no room for the temporary files.
    """

    def __init__(self, period: Period) -> None:
        self.period = period
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.executescript(f"PRAGMA cache_size = -{_CACHE_KIB}; {_TABLES} BEGIN;")
        self._streams: dict[str, int] = {}
        self._retained = 0
        self.receipts = 0
        """Receipts of the period; more than events, where a run sent some again."""
        self.unreadable = 0
        """Receipts that were cut off."""
        self.arrivals = 0
        """Everything that came back, each time that it did."""

    def close(self) -> None:
        """Remove everything."""
        self._connection.close()

    @property
    def retained_since(self) -> int | None:
        """Since when all that came back is there, in milliseconds; None if from the beginning."""
        return self._retained or None

    def add_receipts(self, receipts: Iterable[Receipt | None]) -> None:
        """Take *receipts*, in any order; None is one that was cut off. Before `sort`."""
        with self._told():
            self._connection.executemany(
                "INSERT INTO receipt VALUES (?, ?, ?)", self._chosen(receipts)
            )

    def add_arrivals(self, arrivals: Iterable[Arrival | Retained]) -> None:
        """Take *arrivals*, in any order. Before `sort`."""
        with self._told():
            self._connection.executemany(
                "INSERT INTO arrival VALUES (?, ?)", self._noting(arrivals)
            )

    def sort(self) -> None:
        """Prepare the answers, once everything is there."""
        with self._told():
            self._connection.executescript(_SORT)

    def hours(self, limits: Limits) -> list[Hour]:
        """Return the figures of each stream and hour, in this order."""
        names = list(self._streams)
        with self._told():
            rows = self._connection.execute(_COUNT, self._values(limits)).fetchall()
        return sorted(Hour(names[stream], start, Figures(*rest)) for stream, start, *rest in rows)

    def missing(self, limits: Limits, count: int) -> list[Missing]:
        """Return the first *count* events that are missing, the oldest first."""
        names = list(self._streams)
        values = {**self._values(limits), "count": count}
        with self._told():
            rows = self._connection.execute(_MISSING, values).fetchall()
        return [Missing(message_id, names[stream], moment) for message_id, stream, moment in rows]

    def others(self) -> int:
        """Return how many different events came back that have no receipt."""
        with self._told():
            (count,) = self._connection.execute(_OTHERS).fetchone()
        return int(count)

    def _chosen(self, receipts: Iterable[Receipt | None]) -> Iterator[tuple[str, int, int]]:
        streams, period = self._streams, self.period
        for receipt in receipts:
            if receipt is None:
                self.unreadable += 1
            elif period.has(receipt.accepted_at):
                message_id, stream, moment = receipt
                self.receipts += 1
                yield message_id, streams.setdefault(stream, len(streams)), moment

    def _noting(self, arrivals: Iterable[Arrival | Retained]) -> Iterator[Arrival]:
        for each in arrivals:
            if isinstance(each, Retained):
                self._retained = max(self._retained, each.since)
            else:
                self.arrivals += 1
                yield each

    def _values(self, limits: Limits) -> dict[str, int]:
        # An event may be back before its receipt is written, by as long as its batch was retried.
        retained = self._retained + limits.settle if self._retained else -(1 << 62)
        return {
            "settled": limits.now - limits.settle,
            "late": limits.late,
            "retained": retained,
        }

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise InputUnusable(
                f"The temporary files failed: {error}. SQLITE_TMPDIR names the folder they are in."
            ) from error
