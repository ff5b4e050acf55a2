"""What was last sent of each row, so that only what has changed is sent again.

Nothing is written into the warehouse: a file of ours has it (`row_file`). What
was sent enters it only after Segment has accepted it, or it was set aside. And
before a change may leave, the file says that it is on its way. So a run that
was killed leaves no row of which Segment could hold what we do not know of:
what was on its way is in doubt, and whatever comes of such a row is a change.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from target_segment_api.encoding import decode, encode
from target_segment_api.row_file import Mark, RowFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_DIGEST_BYTES: Final = 12
_METADATA: Final = "_sdc_"
_SYNC_ROWS: Final = 5000  # confirmed rows that are held in memory at most, or nearly


class _Flight:
    """Changes that the file says to be on their way, together."""

    __slots__ = ("left", "number")

    def __init__(self, number: int, left: int) -> None:
        self.number = number
        self.left = left
        """How many of its changes are not settled for good."""


class Change:
    """One row that is another than it was, until it is confirmed."""

    __slots__ = ("counter", "digest", "flights", "key", "outstanding", "state", "stream")

    def __init__(
        self, stream: str, key: str, state: str, digest: bytes | None, counter: int
    ) -> None:
        self.stream = stream
        self.key = key
        self.state = state
        """`added`, `updated` or `deleted`."""
        self.digest = digest
        """What its content comes down to; None if it is deleted."""
        self.counter = counter
        """How often this row has changed: part of the message ids, so that a change back to an
        earlier content is sent too."""
        self.outstanding = 0
        """How many of its events are not settled."""
        self.flights: list[_Flight] = []
        """What is settled with it: its own flight, and those of an earlier run."""

    @property
    def mark(self) -> Mark:
        """What the file says of it."""
        return Mark(self.stream, self.key, self.digest, self.counter)


class _Known(NamedTuple):
    """What is known of a row."""

    digest: bytes | None
    """The last content that was sent, or may have been; None for none, or deleted."""
    counter: int
    may_lack: bool
    """Whether Segment may not have the row."""
    is_sure: bool = True
    """Whether `digest` is what Segment has."""
    flights: tuple[_Flight, ...] = ()
    """Those of an earlier run that the row is on."""


class Changes:
    """Remembers rows in the file at *path*, which is made if it is absent.

    Args:
        path: the file.
        namespace: of the source of Segment: what one has, another has not.
        keep: False only looks: nothing that is confirmed is remembered, and no file is made.

    Raises:
        FileUnusable: it cannot be used, or another target is using it. So does every method.
    """

    def __init__(self, path: Path, namespace: str = "", *, keep: bool = True) -> None:
        self._keep = keep
        self._pending: dict[tuple[str, str], Change] = {}
        self._waiting: list[Change] = []  # to leave, and not yet in the file
        self._confirmed: list[Change] = []
        self._versions: dict[str, int] = {}
        self._partial: dict[str, str] = {}
        self._file = RowFile(path, namespace, keep=keep)
        self._in_doubt = _read_doubts(self._file)

    def see(
        self, stream: str, key: Any, record: Mapping[str, Any], *, version: int | None
    ) -> Change | None:
        """Return how the row *key* of *stream* has changed, or None if it has not.

        Columns that start with `_sdc_` do not count, but for a row whose
        `_sdc_deleted_at` is set: it is deleted. A row that was never sent is
        not deleted either.

        A row in doubt has always changed. It has the counter that it had on its
        way if it is what it was then, so that Segment recognises it; else a new
        one. It is `added` unless Segment is sure to have it.
        """
        text = encode(key).decode()
        if record.get("_sdc_deleted_at") is not None:
            return self._delete(stream, text)
        self._note_version(stream, version, text)
        known, now = self._known(stream, text), _digest(record)
        if known.is_sure and known.digest == now:
            return None
        return self._change(stream, text, "added" if known.may_lack else "updated", now, known)

    def gone(self, stream: str, version: int) -> Iterator[tuple[Any, Change]]:
        """Yield the key and the change of each row that full-table *version* no longer has.

        None, if no row of that version was seen: some taps announce it first.
        None either, if `doubt` says why that cannot be known.
        """
        if self._versions.get(stream) != version or self.doubt(stream):
            return
        unsettled = [key for of, key in (*self._pending, *self._in_doubt) if of == stream]
        for text in unsettled:
            if not self._file.has_seen(stream, version, text):
                yield from self._gone(stream, text)
        for text in self._file.unseen(stream, version):
            yield from self._gone(stream, text)

    def _gone(self, stream: str, text: str) -> Iterator[tuple[Any, Change]]:
        change = self._delete(stream, text)
        if change is not None:
            yield decode(text), change

    def doubt(self, stream: str) -> str | None:
        """Return why this run cannot know which rows of *stream* are gone, or None if it can."""
        return self._partial.get(stream)

    @property
    def is_due(self) -> bool:
        """Whether so much was confirmed that it should be synced."""
        return len(self._confirmed) >= _SYNC_ROWS

    def expect(self, change: Change, events: int) -> None:
        """Note that *change* is settled with so many *events*; `mark` it before one leaves."""
        change.outstanding = events
        if events and self._keep:
            self._waiting.append(change)

    def mark(self) -> None:
        """Return when the file says of everything that was expected that it is on its way."""
        leaving = [change for change in self._waiting if change.outstanding]
        if leaving:
            number = self._file.launch(change.mark for change in leaving)
            flight = _Flight(number, len(leaving))
            for change in leaving:
                change.flights.append(flight)
        self._waiting.clear()

    def confirm(self, change: Change) -> None:
        """Remember *change*, from the next `sync` on for good."""
        if self._keep:
            self._confirmed.append(change)

    def sync(self) -> None:
        """Return when everything that was confirmed is on disk."""
        if not self._confirmed:
            return
        landed = []
        for flight in (flight for change in self._confirmed for flight in change.flights):
            flight.left -= 1
            if not flight.left:
                landed.append(flight.number)
        self._file.remember((change.mark for change in self._confirmed), landed)
        for change in self._confirmed:
            if self._pending.get((change.stream, change.key)) is change:
                del self._pending[change.stream, change.key]
        self._confirmed.clear()
        self._waiting = [change for change in self._waiting if change.outstanding]

    def close(self) -> None:
        """Sync, and let another target use the file."""
        self.sync()
        self._file.close()

    def _known(self, stream: str, key: str) -> _Known:
        pending = self._pending.get((stream, key))
        if pending is not None:
            return _Known(pending.digest, pending.counter, pending.digest is None)
        if self._in_doubt and (doubt := self._in_doubt.get((stream, key))) is not None:
            return doubt
        digest, counter = self._file.find(stream, key)
        return _Known(digest, counter, digest is None)

    def _delete(self, stream: str, key: str) -> Change | None:
        known = self._known(stream, key)
        if known.is_sure and known.digest is None:
            return None
        return self._change(stream, key, "deleted", None, known)

    def _change(
        self, stream: str, key: str, state: str, digest: bytes | None, known: _Known
    ) -> Change:
        is_same = not known.is_sure and digest == known.digest
        change = Change(stream, key, state, digest, known.counter + (not is_same))
        change.flights += known.flights
        self._pending[stream, key] = change
        self._in_doubt.pop((stream, key), None)
        return change

    def _note_version(self, stream: str, version: int | None, key: str) -> None:
        """Note that *version* has the row; and if this run cannot see all that it has."""
        if version is None:
            self._partial.setdefault(
                stream, "rows of it came without a version, as those of BATCH files do"
            )
            return
        if self._versions.get(stream) != version:
            self._versions[stream] = version
            if not self._file.begin_version(stream, version):
                self._partial[stream] = (
                    f"an earlier run has begun version {version} of it, and this one goes on"
                )
        self._file.note_seen(stream, version, key)


def _read_doubts(file: RowFile) -> dict[tuple[str, str], _Known]:
    """Return what is known of the rows that were on their way when an earlier run ended."""
    found: dict[tuple[str, str], _Known] = {}
    for number, marks in file.flights():
        flight = _Flight(number, 0)
        for stream, key, digest, counter in marks:
            remembered, settled = file.find(stream, key)
            if counter <= settled:
                continue  # what came later was confirmed
            flight.left += 1
            known = found.get((stream, key)) or _Known(None, 0, remembered is None)
            last = known if known.counter > counter else _Known(digest, counter, digest is None)
            found[stream, key] = last._replace(
                may_lack=known.may_lack or digest is None,
                is_sure=False,
                flights=(*known.flights, flight),
            )
    return found


def _digest(record: Mapping[str, Any]) -> bytes:
    content = {name: record[name] for name in sorted(record) if not name.startswith(_METADATA)}
    return blake2b(encode(content), digest_size=_DIGEST_BYTES).digest()
