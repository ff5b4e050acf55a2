"""Spools made and read by hand, without a receiver and without a tap."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from harness import deliveries
from tap_segment_webhook.delivery import sort_events
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.reader import Reader
from tap_segment_webhook.spool.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tap_segment_webhook.event import Row
    from tap_segment_webhook.spool.model import Received

WINDOW = 10_000


def url_in(folder: Path) -> str:
    """Return the URL of a spool in *folder*."""
    return f"sqlite:///{folder / 'spool.db'}"


def event(number: int, kind: str = "track", **fields: Any) -> bytes:
    """Return the bytes of an event whose messageId is `m-` and *number*."""
    return deliveries.encode({"type": kind, "messageId": f"m-{number}", **fields})


def events(count: int, *, first: int = 1) -> list[bytes]:
    """Return *count* small events, numbered from *first*."""
    return [event(number) for number in range(first, first + count)]


def received(*bodies: bytes, source: str = "default", integration: str | None = None) -> Received:
    """Return what a delivery of *bodies* brings."""
    return sort_events(source, list(bodies), integration)


@contextmanager
def opened(url: str, *, window: int = WINDOW, max_bytes: int | None = None) -> Iterator[Store]:
    """Open the spool at *url* for writing."""
    with closing(Store(url, dedup_window_events=window, max_bytes=max_bytes)) as store:
        yield store


def fill(url: str, bodies: Iterable[bytes], *, source: str = "default") -> Counts:
    """Commit *bodies* as one delivery; return what became of them."""
    with opened(url) as store:
        return store.commit([received(*bodies, source=source)])[0]


def balanced(url: str) -> Counts:
    """Return what the books of the spool at *url* say altogether, and see that they add up."""
    with closing(Reader(url)) as reader:
        total = Counts(*map(sum, zip(*reader.books().values(), strict=True)))
    assert total.received == total.stored + total.duplicate + total.filtered + total.rejected
    return total


def rows(url: str, *, after: int = 0) -> list[Row]:
    """Return every retained event past the position *after*."""
    with closing(Reader(url)) as reader:
        return [
            row
            for block in reader.blocks(after, reader.head())
            for row in block.rows()
            if row[1] > after
        ]
