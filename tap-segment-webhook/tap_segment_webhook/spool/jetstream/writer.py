"""Writes a spool on JetStream, beside any number of others: commits, prunes, keeps its page.

A commit publishes every event and every reject at once, waits until as many
servers as was asked for keep them, and then enters the counts. What comes
between, also the end of this process, leaves events stored that were not
answered; Segment sends them again, and they are counted as duplicates then.
"""

from __future__ import annotations

import base64
import json
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.errors import SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.spool.jetstream import identity
from tap_segment_webhook.spool.jetstream.consumers import JetStreamConsumers
from tap_segment_webhook.spool.jetstream.layout import MAX_REASON, Names, ensure, to_ms
from tap_segment_webhook.spool.jetstream.ledger import Ledger, add, total
from tap_segment_webhook.spool.jetstream.link import Away, Link, Message, Refused
from tap_segment_webhook.spool.jetstream.state import State
from tap_segment_webhook.spool.model import PATIENCE_MS, Absence, Counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tap_segment_webhook.event import Event
    from tap_segment_webhook.spool.jetstream.link import Ack
    from tap_segment_webhook.spool.model import Block, KeptReject, Location, Received, Reject

_COMMIT_SECONDS: Final = 3.5  # below `committer.ANSWER_SECONDS`
_BOOK_SECONDS: Final = 2.0
_CLOSE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 1.0
_TIDY_SECONDS: Final = 30.0


class JetStreamWriter:
    """A spool on JetStream, opened for writing (see `engine.Writer`).

    Args:
        location: where it is and how it is kept.
        create: make the streams if they are absent.

    Raises:
        SpoolUnusable: no server answers, or the streams do not keep what is promised.
    """

    def __init__(self, location: Location, *, create: bool) -> None:
        self._location = location
        self._link = Link(location)
        try:
            self._names = Names(self._link.stream)
            ensure(self._link, location, create=create)
            self._state = State(self._link, self._names)
            try:
                found = identity.establish(self._link, self._state, self._names)
                self.spool_id: str = found["id"]
                self._ledger = Ledger(self._state, self.spool_id)
                self._created_at: int = found["created_at"]
                self.head = self.stored_at = self.used_bytes = self.rejects = 0
                self.books: dict[str, Counts] = {}
                self._look(seconds=5)
            except (Away, Refused) as error:
                raise SpoolUnusable(f"The spool {location.url} cannot be read: {error}.") from error
        except BaseException:
            self._link.close()
            raise
        self.consumers = JetStreamConsumers(self._state, self.spool_id, is_patient=False)
        self._tidy_at = 0.0

    def close(self) -> None:
        """Give the page back and hang up."""
        with suppress(Away, Refused):
            self._ledger.close(_CLOSE_SECONDS)
        self._link.close()

    def commit(self, batch: Sequence[Received]) -> list[Counts]:
        """Store *batch* on as many servers as was asked for; return what became of each part.

        Raises:
            SpoolUnavailable: some of it may be stored, and is then recognised.
        """
        self._ensure_room()
        seen: set[bytes] = set()
        messages: list[Message] = []
        places: list[tuple[list[int], list[int]]] = []
        for part in batch:
            own: tuple[list[int], list[int]] = ([], [])
            for event in part.events:
                if event.digest not in seen:
                    seen.add(event.digest)
                    own[0].append(len(messages))
                    messages.append(self._event(part.source, event))
            for reject in part.rejects:
                if reject.digest not in seen:
                    seen.add(reject.digest)
                    own[1].append(len(messages))
                    messages.append(self._reject(part.source, reject))
            places.append(own)
        with self._told():
            until = time.monotonic() + _COMMIT_SECONDS
            before = self.head
            acks = self._link.publish(messages, _COMMIT_SECONDS) if messages else []
            new = [_is_new(ack, before) for ack in acks]
            outcomes = [
                _count(part, sum(new[i] for i in events), sum(new[i] for i in rejects))
                for part, (events, rejects) in zip(batch, places, strict=True)
            ]
            stored = [acks[i].sequence for events, _ in places for i in events if new[i]]
            counts: dict[str, Counts] = {}
            for part, outcome in zip(batch, outcomes, strict=True):
                counts = add(counts, {part.source: outcome})
            # At least once, or what is durable by now would have been stored for nothing.
            left = max(until - time.monotonic(), _CLOSE_SECONDS / 4)
            self._enter(counts, max(stored, default=0), left)
        return outcomes

    def begin_receiving(self) -> Absence | None:
        """Note that a receiver runs from now on; return the absence of all before it."""
        now = now_ms()
        with self._told():
            signs = [page["at"] for page in self._ledger.pages(seconds=_BOOK_SECONDS)]
            seen = max(*signs, self._created_at, self.stored_at, 0)
            absence = Absence(seen, now) if now - seen > PATIENCE_MS else None
            if absence is not None:
                identity.note_absence(self._state, *absence, _BOOK_SECONDS)
            self._enter({}, 0, _BOOK_SECONDS)
        return absence

    def probe(self) -> None:
        """Sign the page, which takes a majority, and see that the events have a leader and room.

        Nothing is published to the events, where it would take a position.
        """
        self._looked_at = 0.0
        self._ensure_room()
        with self._told():
            self._enter({}, 0, _BOOK_SECONDS)

    def tidy(self, retention_ms: int) -> int:
        """Purge what no consumer needs and is older than *retention_ms*, twice a minute.

        Ids are remembered at least as long, also by servers that are started anew.
        """
        if time.monotonic() < self._tidy_at:
            return 0
        self._tidy_at = time.monotonic() + _TIDY_SECONDS
        floor = self.consumers.floor()
        with self._told():
            self._look()
            last = self._last_before(floor, now_ms() - retention_ms)
            if not last:
                return 0
            answer = self._link.api(f"STREAM.PURGE.{self._names.events}", {"seq": last + 1})
            self._looked_at = 0.0
            return int(answer["purged"])

    def retry_rejects(self, lot: Sequence[tuple[KeptReject, Event]]) -> int:
        """Move rejects, each now read as the event beside it, to the events.

        Only who deletes a reject counts it, so that it is counted once however
        many writers retry it. Who ends between the two leaves the books saying
        that it is a reject.
        """
        self._ensure_room()
        unique: dict[bytes, tuple[str, Event]] = {}
        for reject, event in lot:
            unique.setdefault(event.digest, (reject.source, event))
        with self._told():
            before = self.head
            messages = [self._event(source, event) for source, event in unique.values()]
            acks = self._link.publish(messages, _COMMIT_SECONDS)
            stored = {
                digest: ack.sequence
                for digest, ack in zip(unique, acks, strict=True)
                if _is_new(ack, before)
            }
            fresh = set(stored)
            counts: dict[str, Counts] = {}
            for reject, event in lot:
                new = event.digest in fresh
                fresh.discard(event.digest)
                if self._delete(self._names.rejects, reject.number):
                    change = Counts(rejected=-1, stored=int(new), duplicate=int(not new))
                    counts = add(counts, {reject.source: change})
            self._enter(counts, max(stored.values(), default=0), _BOOK_SECONDS)
        return len(stored)

    def purge_rejects(self) -> int:
        """Delete every reject; return how many there were."""
        with self._told():
            purged = int(self._link.api(f"STREAM.PURGE.{self._names.rejects}")["purged"])
        self.rejects = 0
        return purged

    def erase(self, lot: Sequence[tuple[Block, Sequence[int]]]) -> None:
        """Delete events for good; the server overwrites their bytes where they lie."""
        with self._told():
            for _, gone in lot:
                for position in gone:
                    self._delete(self._names.events, position)

    def delete_rejects(self, numbers: Sequence[int]) -> int:
        """Delete the rejects with these *numbers*; return how many there were."""
        with self._told():
            deleted = sum(self._delete(self._names.rejects, number) for number in numbers)
        self.rejects -= deleted
        return deleted

    def scrub(self) -> None:
        """Do nothing: only the servers can rewrite their files, and do so in their own time."""

    def _event(self, source: str, event: Event) -> Message:
        id_ = base64.b64encode(event.digest).decode()
        return Message(self._names.event(source, event.code), id_, event.body, {})

    def _reject(self, source: str, reject: Reject) -> Message:
        id_ = base64.b64encode(reject.digest).decode()
        headers = {"Reason": json.dumps(reject.reason[:MAX_REASON])}
        return Message(self._names.reject(source), id_, reject.body, headers)

    def _enter(self, counts: dict[str, Counts], head: int, seconds: float) -> None:
        self._ledger.enter(counts, head, seconds)
        self.books = dict(sorted(add(self.books, counts).items()))
        self.rejects += sum(outcome.rejected for outcome in counts.values())
        if head > self.head:
            self.head, self.stored_at = head, now_ms()

    def _delete(self, stream: str, sequence: int) -> bool:
        """Delete a message and overwrite its bytes; tell whether it was there."""
        try:
            self._link.api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence}, seconds=_BOOK_SECONDS)
        except Refused as error:
            if error.is_absent or error.status in (400, 500):
                return self._gone(stream, sequence)
            raise
        return True

    def _gone(self, stream: str, sequence: int) -> bool:
        """Return false if the message is not there, and raise if it is."""
        if self._link.message(stream, {"seq": sequence}) is None:
            return False
        raise Away("a message cannot be deleted now")

    def _last_before(self, floor: int, moment: int) -> int:
        """Return the last position up to *floor* of an event before *moment*; 0 if there is none.

        Found by halving, since the servers know times only by position.
        """
        state = self._link.info(self._names.events, seconds=_LOOK_SECONDS)["state"]
        low, high = int(state["first_seq"]), min(floor, int(state["last_seq"]))
        found = 0
        while low <= high:
            middle = (low + high) // 2
            message = self._link.message(
                self._names.events, {"seq": middle, "next_by_subj": self._names.every_event}
            )
            if message is not None and to_ms(message["time"]) < moment:
                found = min(max(int(message["seq"]), middle), high)
                low = found + 1
            else:
                high = middle - 1
        return found

    def _ensure_room(self) -> None:
        """Refuse before the stream is full, so that none of a delivery is stored."""
        if time.monotonic() - self._looked_at > _LOOK_SECONDS:
            with self._told():
                self._look()
        limit = self._location.max_bytes
        if limit is not None and self.used_bytes >= limit:
            raise SpoolUnavailable(
                f"The spool holds {self.used_bytes:,} of {limit:,} max_spool_bytes. Run the tap, "
                "or raise the setting.",
                retry_after_seconds=30,
            )

    def _look(self, seconds: float = _LOOK_SECONDS) -> None:
        """See what all writers together have done."""
        info = self._link.info(self._names.events, seconds=seconds)
        state, config = info["state"], info["config"]
        rejects = self._link.info(self._names.rejects, seconds=seconds)["state"]
        self.books = total(self._ledger.pages(seconds=seconds))
        self.head = max(self.head, int(state["last_seq"]))
        self.stored_at = to_ms(state["last_ts"]) if state["messages"] else 0
        self.used_bytes = int(state["bytes"])
        self.rejects = int(rejects["messages"])
        self._looked_at = time.monotonic()
        if 0 < config["max_bytes"] <= self.used_bytes:
            raise Refused({"err_code": 10077, "description": "maximum bytes exceeded"})

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what a failure means to a sender."""
        try:
            yield
        except Away as error:
            raise SpoolUnavailable(f"NATS JetStream cannot store now: {error}.") from error
        except Refused as error:
            if error.is_full:
                raise SpoolUnavailable(
                    f"NATS JetStream is full: {error}. Run the tap, or raise max_bytes of the "
                    "stream or the servers' limits.",
                    retry_after_seconds=30,
                ) from error
            raise SpoolUnavailable(f"NATS JetStream refused: {error}.") from error


def _is_new(ack: Ack, before: int) -> bool:
    """Tell whether *ack* is of a message that this commit has stored.

    One that had to be sent again may be a duplicate of itself: then it lies
    behind the position that was the last *before*.
    """
    return not ack.duplicate or (ack.attempts > 1 and ack.sequence > before)


def _count(part: Received, stored: int, rejected: int) -> Counts:
    duplicate = len(part.events) + len(part.rejects) - stored - rejected
    return Counts(part.elements, stored, duplicate, part.filtered, rejected)
