"""The books of any number of receivers: each writes a page of its own, and the sum is the books.

A page is taken by naming its last revision, so two receivers never write the
same one; who finds that his was taken, because he had not signed it for so
long, goes on with another. There are as many pages as receivers ever ran at
the same time.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.spool.jetstream.state import Conflict
from tap_segment_webhook.spool.model import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tap_segment_webhook.spool.jetstream.state import State

_ABANDONED_MS: Final = 10 * 60_000  # a receiver signs its page every minute


class Ledger:
    """The page of one writer, and a look at the others.

    Methods raise `Away` or `Refused` as the link does. What was entered is
    durable when `enter` returns; when it raises, it may have been entered or not.
    """

    def __init__(self, state: State, spool_id: str) -> None:
        self._state = state
        self._prefix = f"{spool_id}.receiver."
        self._owner = uuid.uuid4().hex
        self._key = ""
        self._revision = 0
        self._page: dict[str, Any] = {}

    def enter(self, new: Mapping[str, Counts], head: int, seconds: float) -> None:
        """Add *new* counts by source, and that *head* was acknowledged; leave a sign of life."""
        until = time.monotonic() + seconds
        while True:
            if not self._key and not self._take():
                continue
            books = add(_books(self._page), new)
            page = {
                "owner": self._owner,
                "at": now_ms(),
                "head": max(head, self._page["head"]),
                "books": {source: list(counts) for source, counts in books.items()},
            }
            try:
                left = max(until - time.monotonic(), 0)
                self._revision = self._state.put(self._key, page, self._revision, left)
            except Conflict:
                # Taken by another, or a write of ours came late: then it stands, counts and all.
                self._reread()
                continue
            self._page = page
            return

    def close(self, seconds: float) -> None:
        """Let another writer have the page at once."""
        if not self._key:
            return
        with suppress(Conflict):  # another has it already
            self._state.put(self._key, {**self._page, "owner": None}, self._revision, seconds)

    def pages(self, *, seconds: float = 0) -> list[dict[str, Any]]:
        """Return the pages of all writers."""
        found = self._state.under(self._prefix, seconds=seconds)
        return [entry.value for entry in found.values() if entry.value is not None]

    def _reread(self) -> None:
        value, self._revision = self._state.get(self._key)
        if value is None or value["owner"] != self._owner:
            self._key = ""
        else:
            self._page = value

    def _take(self) -> bool:
        """Take a page that nobody has signed lately, or a new one; tell whether that worked."""
        now = now_ms()
        found = self._state.under(self._prefix)
        free = {
            key: entry
            for key, entry in found.items()
            if entry.value
            and (entry.value["owner"] is None or now - entry.value["at"] > _ABANDONED_MS)
        }
        key, page, revision = f"{self._prefix}{len(found) + 1}", _blank(), 0
        if free:
            key, entry = next(iter(free.items()))
            page, revision = entry.value or page, entry.revision
        page = {**page, "owner": self._owner, "at": now}
        try:
            self._revision = self._state.put(key, page, revision, 2.0)
        except Conflict:
            return False  # somebody was faster
        self._key, self._page = key, page
        return True


def total(pages: Iterable[Mapping[str, Any]]) -> dict[str, Counts]:
    """Return the books that *pages* make together, in the order of sources."""
    books: dict[str, Counts] = {}
    for page in pages:
        books = add(books, _books(page))
    return dict(sorted(books.items()))


def add(books: Mapping[str, Counts], new: Mapping[str, Counts]) -> dict[str, Counts]:
    """Return *books* with *new* counts entered."""
    entered = {source: books.get(source, Counts()).plus(counts) for source, counts in new.items()}
    return {**books, **entered}


def _books(page: Mapping[str, Any]) -> dict[str, Counts]:
    return {source: Counts(*counts) for source, counts in page["books"].items()}


def _blank() -> dict[str, Any]:
    return {"owner": None, "at": 0, "head": 0, "books": {}}
