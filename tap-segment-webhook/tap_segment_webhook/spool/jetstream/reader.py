"""Reads a spool on JetStream, beside its receivers and without holding them up."""

from __future__ import annotations

import base64
import heapq
import json
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tap_segment_webhook.errors import SpoolUnusable
from tap_segment_webhook.event import CODES, Event
from tap_segment_webhook.spool.jetstream import identity
from tap_segment_webhook.spool.jetstream.consumers import JetStreamConsumers
from tap_segment_webhook.spool.jetstream.cursor import Cursor
from tap_segment_webhook.spool.jetstream.layout import (
    Names,
    code_of,
    ensure_exists,
    source_of,
    to_ms,
)
from tap_segment_webhook.spool.jetstream.ledger import Ledger, total
from tap_segment_webhook.spool.jetstream.link import (
    PATIENCE_SECONDS,
    Away,
    Link,
    Refused,
    followers,
)
from tap_segment_webhook.spool.jetstream.state import State
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
    from collections.abc import Iterable, Iterator

    from tap_segment_webhook.spool.jetstream.cursor import Stored
    from tap_segment_webhook.spool.model import Location

_PAUSE_MS: Final = 20 * 60_000  # what `gaps` warns of is never less than three of them
_BLOCK_BYTES: Final = 256 << 10
_OUSTED_SECONDS: Final = 2.0  # a leader of before hears of the next one once a second (raft.go)


class JetStreamReader:
    """An existing spool on JetStream (see `engine.Reader`).

    Raises:
        NoSpool: no receiver has made it yet.
        SpoolUnusable: no server answers; later, what is asked for does not come.
    """

    def __init__(self, location: Location) -> None:
        self._link = Link(location)
        try:
            ensure_exists(self._link, location)
            self._names = Names(self._link.stream)
            self._state = State(self._link, self._names)
            with self._told():
                found = identity.read(self._link, self._state, self._names, location)
        except BaseException:
            self._link.close()
            raise
        self.spool_id: str = found["id"]
        self.consumers = JetStreamConsumers(self._state, self.spool_id, is_patient=True)
        self._ledger = Ledger(self._state, self.spool_id)

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def head(self) -> int:
        """Return the last position given out, 0 if none ever was."""
        return int(self._info()["last_seq"])

    def oldest(self) -> int | None:
        """Return the lowest position still retained, or None."""
        state = self._info()
        return int(state["first_seq"]) if state["messages"] else None

    def blocks(self, after: int, until: int) -> Iterator[Block]:
        """Yield the events with *after* < position <= *until*, packed into blocks."""
        with self._told():
            yield from _pack(self._messages(after, until))

    def find(self, since: int, until: int, codes: str) -> Found:
        """Find the events stored from *since* until before *until* whose type is in *codes*."""
        counts: Counter[str] = Counter()
        first = last = 0
        with self._told():
            for message in self._messages(0, self.head(), bodies=False):
                code = code_of(message.subject)
                if code in codes and since <= message.received_at < until:
                    counts[code] += 1
                    first = first or message.sequence
                    last = message.sequence
        return Found(counts, first, last)

    def holdings(self, floor: int) -> dict[str, Holding]:
        """Return what is retained of each stream; only what waits is gone through."""
        with self._told():
            head = self.head()
            retained = self._retained()
            found = dict.fromkeys(CODES.values(), Holding())
            for message in self._messages(floor, head, bodies=False):
                code = code_of(message.subject)
                waiting, size, oldest, _ = found[code]
                found[code] = Holding(
                    waiting + 1, size + message.size, oldest or message.received_at
                )
        return {
            name: found[code]._replace(confirmed=max(retained[code] - found[code].waiting, 0))
            for name, code in CODES.items()
        }

    def books(self) -> dict[str, Counts]:
        """Return the sum of the pages of all receivers."""
        with self._told():
            return total(self._ledger.pages(seconds=PATIENCE_SECONDS))

    def signs(self) -> Signs:
        """Return the traces that receivers have left."""
        with self._told():
            state = self._info()
            known = self._state.get(identity.KEY, seconds=PATIENCE_SECONDS).value or {}
            signs = [page["at"] for page in self._ledger.pages(seconds=PATIENCE_SECONDS)]
            event_at = to_ms(state["last_ts"]) if state["messages"] else None
            pause = self._longest_pause(state) if state["messages"] else None
        return Signs(
            max(*signs, event_at or 0, known.get("created_at", 0)),
            event_at,
            pause,
            sorted(Absence(*absence) for absence in known.get("absences", ())),
        )

    def rejects(self) -> Iterator[KeptReject]:
        """Yield the kept rejects, oldest first."""
        number = 0
        while True:
            with self._told():
                message = self._get(
                    self._names.rejects, seq=number + 1, next_by_subj=f"{self._names.rejects}.*"
                )
            if message is None:
                return
            number = int(message["seq"])
            yield KeptReject(
                number,
                source_of(f"{message['subject']}.reject"),
                to_ms(message["time"]),
                _reason(base64.b64decode(message["hdrs"])),
                base64.b64decode(message.get("data", "")),
            )

    def count_rejects(self) -> int:
        """Return how many rejects are kept."""
        with self._told():
            info = self._link.info(self._names.rejects, seconds=PATIENCE_SECONDS)
        return int(info["state"]["messages"])

    def size(self) -> int:
        """Return how many bytes the events take, on each server that keeps them."""
        return int(self._info()["bytes"])

    def _info(self) -> dict[str, Any]:
        with self._told():
            info = self._link.info(self._names.events, seconds=PATIENCE_SECONDS)
        state: dict[str, Any] = info["state"]
        return state

    def _messages(self, after: int, until: int, *, bodies: bool = True) -> Iterator[Stored]:
        after = max(after, 0)
        if after >= until:
            return
        cursor = Cursor(self._link, self._names.events, self._names.every_event, bodies=bodies)
        for message in cursor.read(after, self._end(until)):
            if message.sequence > until:
                return
            yield message

    def _end(self, until: int) -> int:
        """Return the position of the event at *until* or behind it, else of the newest; or 0.

        That there is none, because the newest were erased, may also be the
        answer of a server that lacks them, as long as it takes itself for the
        leader: only what is said once it must know better counts.
        """
        found = self._event_from(until)
        if found is None:
            if followers(self._link.info(self._names.events, seconds=PATIENCE_SECONDS)):
                time.sleep(_OUSTED_SECONDS)
            found = self._get(self._names.events, last_by_subj=self._names.every_event)
        return int(found["seq"]) if found else 0

    def _retained(self) -> Counter[str]:
        """Count what is retained, by the letter of the type."""
        body = {"subjects_filter": self._names.every_event}
        info = self._link.info(self._names.events, body, seconds=PATIENCE_SECONDS)
        counts: Counter[str] = Counter()
        for subject, count in (info["state"].get("subjects") or {}).items():
            counts[code_of(subject)] += count
        return counts

    def _longest_pause(self, state: dict[str, Any]) -> int:
        """Return the longest time between two events, 20 minutes standing for less.

        The longest span is halved until it is between neighbours.
        """
        first, last = int(state["first_seq"]), int(state["last_seq"])
        spans = [(to_ms(state["first_ts"]) - to_ms(state["last_ts"]), first, last)]
        while spans:
            span, low, high = heapq.heappop(spans)
            if -span <= _PAUSE_MS or high - low <= 1:
                return max(-span, 0)
            start, end = (self._moment(place) for place in (low, high))
            middle = self._event_from((low + high) // 2)
            if middle is None or start is None or end is None:
                return max(-span, 0)  # pruned meanwhile
            place, moment = int(middle["seq"]), to_ms(middle["time"])
            if place >= high:  # those between were erased
                place, moment = (low + high) // 2, start
            heapq.heappush(spans, (start - moment, low, place))
            heapq.heappush(spans, (moment - end, place, high))
        return 0

    def _moment(self, place: int) -> int | None:
        message = self._event_from(place)
        return None if message is None else to_ms(message["time"])

    def _event_from(self, place: int) -> dict[str, Any] | None:
        """Return the event at the position *place*, or else the next one."""
        return self._get(self._names.events, seq=place, next_by_subj=self._names.every_event)

    def _get(self, stream: str, **which: Any) -> dict[str, Any] | None:
        """Return one message, or None if there is none."""
        return self._link.message(stream, which, seconds=PATIENCE_SECONDS)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what a failure means to who reads."""
        try:
            yield
        except (Away, Refused) as error:
            raise SpoolUnusable(
                f"The spool {self._link.place} cannot be read: {error}. Run it again when the "
                "servers are well."
            ) from error


def _pack(messages: Iterable[Stored]) -> Iterator[Block]:
    """Put *messages* of one source and one millisecond, without a gap between, into blocks."""
    lot: list[Stored] = []
    size = 0
    for message in messages:
        if lot and not (_belong(lot[-1], message) and size + message.size <= _BLOCK_BYTES):
            yield _block(lot)
            lot, size = [], 0
        lot.append(message)
        size += message.size
    if lot:
        yield _block(lot)


def _belong(one: Stored, other: Stored) -> bool:
    return (
        other.sequence == one.sequence + 1
        and other.received_at == one.received_at
        and source_of(other.subject) == source_of(one.subject)
    )


def _block(lot: list[Stored]) -> Block:
    last = lot[-1]
    events = [Event(code_of(message.subject), b"", message.body) for message in lot]
    return Block.of(last.sequence, source_of(last.subject), last.received_at, events)


def _reason(headers: bytes) -> str:
    """Return what the header Reason says, of the *headers* as they lie in the stream."""
    for line in headers.decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name == "Reason":
            return str(json.loads(value))
    return ""
