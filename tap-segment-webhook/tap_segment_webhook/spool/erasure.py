"""Takes somebody's events out of a spool, and their bytes out of its files.

Nothing else changes: the other events keep their positions, an erased one
leaves a hole that readers pass over, and the books still count it. Its digest
stays among the recent ones, so that Segment cannot bring it back by a retry.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from tap_segment_webhook.event import CODES, NAMES, Event
from tap_segment_webhook.spool.engine import confirmed_by_all
from tap_segment_webhook.spool.model import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from tap_segment_webhook.person import People
    from tap_segment_webhook.spool.engine import Reader, Writer

_LOT_BYTES: Final = 4 << 20  # one transaction's size
_LOT_REJECTS: Final = 500
_REQUEST: Final = CODES["delete"]


class Found(NamedTuple):
    """What a spool holds of somebody."""

    events: Counter[str]
    """Events that are, or were, erased, by stream."""
    unconfirmed: int
    """How many of those some pipeline has not confirmed."""
    requests: int
    """Deletions of theirs, as events, that stay."""
    rejects: int
    """What was set aside and mentions them."""


class _Hit(NamedTuple):
    block: Block
    gone: list[int]
    stays: int


class Erasure:
    """The events of *people* in the spool that *store* writes and *reader* reads.

    Args:
        store: open, so that no receiver runs.
        reader: of the same spool.
        people: whose events go.
        requests: whether their `delete` events go as well.
    """

    def __init__(self, store: Writer, reader: Reader, people: People, *, requests: bool) -> None:
        self._store = store
        self._reader = reader
        self._people = people
        self._requests = requests

    @property
    def length(self) -> int:
        """How far `find` and `run` go, in positions."""
        oldest = self._reader.oldest()
        return 0 if oldest is None else self._reader.head() - oldest + 1

    def find(self, advance: Callable[[int], object]) -> Found:
        """Count what `run` would erase; *advance* is told how many positions were passed."""
        return self._count(self._hits(advance), sum(1 for _ in self._rejects()))

    def run(self, advance: Callable[[int], object]) -> Found:
        """Erase, and build the files anew; return what went.

        Killed at any moment, the spool is whole, and another run completes it.

        Raises:
            SpoolUnavailable: some is erased, and another run is needed.
        """
        found = self._count(self._rewritten(self._hits(advance)), self._delete_rejects())
        self._store.scrub()
        return found

    def _count(self, hits: Iterator[_Hit], rejects: int) -> Found:
        floor = confirmed_by_all(self._reader.consumers)
        events: Counter[str] = Counter()
        unconfirmed = requests = 0
        for block, gone, stays in hits:
            codes = dict(enumerate(block.codes, block.first_position))
            events.update(NAMES[codes[position]] for position in gone)
            unconfirmed += sum(position > floor for position in gone)
            requests += stays
        return Found(events, unconfirmed, requests, rejects)

    def _hits(self, advance: Callable[[int], object]) -> Iterator[_Hit]:
        """Yield the blocks that hold events of theirs, in the order of positions."""
        passed = (self._reader.oldest() or 1) - 1
        for block in self._reader.blocks(0, self._reader.head()):
            theirs = [
                (position, code)
                for code, (body, position, *_) in zip(block.codes, block.rows(), strict=True)
                if self._people.own(body)
            ]
            gone = [place for place, code in theirs if self._requests or code != _REQUEST]
            if theirs:
                yield _Hit(block, gone, len(theirs) - len(gone))
            advance(block.position - passed)
            passed = block.position

    def _rewritten(self, hits: Iterator[_Hit]) -> Iterator[_Hit]:
        """Yield *hits* again, each lot of them once it is rewritten."""
        lot: list[_Hit] = []
        size = 0
        for hit in hits:
            if hit.gone:
                lot.append(hit)
                size += len(hit.block.body)
            else:
                yield hit
            if size >= _LOT_BYTES:
                yield from self._rewrite(lot)
                lot, size = [], 0
        yield from self._rewrite(lot)

    def _rewrite(self, lot: list[_Hit]) -> list[_Hit]:
        self._store.erase([(hit.block, hit.gone) for hit in lot])
        return lot

    def _rejects(self) -> Iterator[int]:
        for reject in self._reader.rejects():
            if self._people.are_mentioned(reject.body):
                yield reject.number

    def _delete_rejects(self) -> int:
        deleted = 0
        lot: list[int] = []
        for number in self._rejects():
            lot.append(number)
            if len(lot) >= _LOT_REJECTS:
                deleted += self._store.delete_rejects(lot)
                lot = []
        return deleted + self._store.delete_rejects(lot)


def left_of(block: Block, gone: Container[int]) -> list[Block]:
    """Return *block* without the positions in *gone*: a block for each run without a gap."""
    runs: list[tuple[int, list[Event]]] = []
    last = 0
    for code, (body, position, *_) in zip(block.codes, block.rows(), strict=True):
        if position in gone:
            continue
        if not runs or position != last + 1:
            runs.append((position, []))
        runs[-1][1].append(Event(code, b"", body))
        last = position
    return [
        Block.of(first + len(events) - 1, block.source, block.received_at, events)
        for first, events in runs
    ]
