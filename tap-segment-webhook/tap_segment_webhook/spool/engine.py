"""What a spool can do, whatever it is made of: the contract that every engine keeps.

An engine is three classes: one that writes, one that reads beside it, and one
that knows the pipelines. `opening` chooses by the URL; `tests/spool` holds
each engine to what is said here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tap_segment_webhook.event import Event
    from tap_segment_webhook.spool.model import (
        Absence,
        Block,
        Counts,
        Found,
        Holding,
        KeptReject,
        Received,
        Replay,
        Signs,
    )


class Consumers(Protocol):
    """How far each pipeline has confirmed, and what it is to be given again.

    Every change is durable when the method returns, and one of a name never
    undoes one of another, whoever makes them at the same time. All of it
    belongs to one identity of the spool: to another, no name is known.

    Reading raises `SpoolUnavailable` if it cannot be known now: then nothing
    may be pruned. Writing raises that or `SpoolUnusable`.
    """

    def register(self, name: str) -> None:
        """Make *name* known, at position 0 if it was not; else change nothing."""

    def confirm(self, name: str, position: int, now: int) -> None:
        """Record that all up to *position* has reached the target of *name*, at *now* in ms.

        A lower position than before counts, too: its target was put back.
        """

    def forget(self, name: str) -> bool:
        """Stop keeping events for *name*, and its replay; tell whether it was known."""

    def ask_for(self, name: str, replay: Replay) -> None:
        """Have the next run of *name* emit *replay*, instead of any other; keep its events."""

    def end_replay(self, name: str) -> bool:
        """Take back what *name* was to be given again; tell whether there was anything."""

    def positions(self) -> dict[str, int]:
        """Return the confirmed position of every known consumer, by name; 0 if never confirmed."""

    def replays(self) -> dict[str, Replay]:
        """Return what consumers are to be given again; without an entry, nothing."""

    def floor(self) -> int:
        """Return the position up to which no consumer needs an event; with none known, 0."""


def confirmed_by_all(consumers: Consumers) -> int:
    """Return the position up to which every known consumer has confirmed; with none known, 0."""
    return min(consumers.positions().values(), default=0)


class Writer(Protocol):
    """Commits, prunes, keeps the books. Used by one thread at a time.

    What changes something raises `SpoolUnavailable` when it could not be done
    now and may be tried again, and `SpoolBroken` when the writer is to be
    closed and opened anew before anything is assumed.
    """

    @property
    def spool_id(self) -> str:
        """The identity; positions of one never mean anything in another."""

    @property
    def head(self) -> int:
        """The last position given out, as far as this writer knows; 0 if none ever was."""

    @property
    def stored_at(self) -> int:
        """When an event was last stored, in milliseconds since 1970; 0 if none is retained."""

    @property
    def rejects(self) -> int:
        """How many rejects are kept."""

    @property
    def used_bytes(self) -> int:
        """How many bytes the events take."""

    @property
    def books(self) -> dict[str, Counts]:
        """The counts of every source since the spool was created."""

    @property
    def consumers(self) -> Consumers:
        """The pipelines of this spool."""

    def close(self) -> None:
        """Give back what is held. What was committed stays committed."""

    def commit(self, batch: Sequence[Received]) -> list[Counts]:
        """Store *batch* durably; return what became of each part of it, in its order.

        Each event gets one position, above every one that was ever given out,
        also to events that are gone. An event or a reject whose digest is
        remembered is counted as a duplicate and not stored again; those of the
        same call, too. When it returns, all of it survives the end of this
        process and of the machine, as far as the engine promises that. When it
        raises, what was stored of it is recognised when it comes again.
        """

    def begin_receiving(self) -> Absence | None:
        """Note durably that a receiver runs; return the absence before it, if there was one."""

    def probe(self) -> None:
        """Leave a durable sign of life; raise if a commit would fail now, as far as that shows."""

    def tidy(self, retention_ms: int) -> int:
        """Do one small step of pruning; return how much went, 0 when there is no more to do now.

        An event goes when no consumer needs it (`Consumers.floor`) and it is
        older than *retention_ms*. It goes for good, and its position is not
        given out again.
        """

    def retry_rejects(self, lot: Sequence[tuple[KeptReject, Event]]) -> int:
        """Move rejects, each now read as the event beside it, to the events, durably.

        Return how many ids were new; the others are duplicates, also of one
        another. Interrupted, each reject is in one of the two places or in
        both, never in none; retried again, none becomes a second event.
        """

    def purge_rejects(self) -> int:
        """Delete every reject; return how many there were. The books still count them."""

    def erase(self, lot: Sequence[tuple[Block, Sequence[int]]]) -> None:
        """Delete the events at these positions of these blocks, durably, confirmed or not.

        The others keep their positions; heads and books stay.
        """

    def delete_rejects(self, numbers: Sequence[int]) -> int:
        """Delete the rejects with these *numbers*; return how many there were."""

    def scrub(self) -> None:
        """See that what was deleted is in no file, as far as the engine can; else say so."""


class Reader(Protocol):
    """Reads beside any number of writers, and holds none of them up.

    A method raises `SpoolUnusable` if the spool cannot be read.
    """

    @property
    def spool_id(self) -> str:
        """The identity that the spool had when it was opened."""

    @property
    def consumers(self) -> Consumers:
        """The pipelines of this spool."""

    def close(self) -> None:
        """Give back what is held."""

    def head(self) -> int:
        """Return the last position given out, 0 if none ever was. All before it are readable."""

    def oldest(self) -> int | None:
        """Return the lowest position still retained, or None."""

    def blocks(self, after: int, until: int) -> Iterator[Block]:
        """Yield the blocks that hold an event with *after* < position <= *until*, in order.

        Every retained event with such a position is in exactly one of them; the
        first and the last block may hold others as well. What is not retained
        is passed over. A memory of one block is all that a step takes, or of
        the few that one request brings.

        Raises:
            SpoolDamaged: what comes next is not what was written.
        """

    def find(self, since: int, until: int, codes: str) -> Found:
        """Find the events committed from *since* until before *until* whose type is in *codes*.

        Both in milliseconds since 1970. Times are those of the clock then, so
        the events need not lie side by side.
        """

    def holdings(self, floor: int) -> dict[str, Holding]:
        """Return what is retained of each stream, by name, where all up to *floor* is confirmed."""

    def books(self) -> dict[str, Counts]:
        """Return the counts of every source since the spool was created."""

    def signs(self) -> Signs:
        """Return the traces that receivers and their visitors have left."""

    def rejects(self) -> Iterator[KeptReject]:
        """Yield the kept rejects, oldest first."""

    def count_rejects(self) -> int:
        """Return how many rejects are kept."""

    def size(self) -> int:
        """Return how many bytes the spool takes."""
