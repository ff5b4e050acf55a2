"""The words that the spool and its users share; plain values, no I/O."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from tap_segment_webhook.event import digest, identity

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from tap_segment_webhook.event import Event, Row

SEPARATOR = b",\n"

PATIENCE_MS = 4 * 3_600_000
"""How long Segment tries a webhook again (its documentation of destinations)."""

_HELD_BYTES = 5 << 10  # of which zlib takes a checksum without letting go of Python's lock


class Reject(NamedTuple):
    """One element that was authentic and is no event, kept with the reason."""

    reason: str
    body: bytes

    @property
    def digest(self) -> bytes:
        """What it is recognised by when it comes again; never equal to an event's."""
        return digest("reject-" + identity(None, self.body))


class Received(NamedTuple):
    """What one delivery brought: `elements` of it, each in exactly one of the three lots."""

    source: str
    elements: int
    events: list[Event]
    rejects: list[Reject]
    filtered: int = 0


class Counts(NamedTuple):
    """The books: `received = stored + duplicate + filtered + rejected`, always."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    filtered: int = 0
    rejected: int = 0

    @property
    def add_up(self) -> bool:
        """Whether they do; where not, something else than the receiver has changed them."""
        if any(type(figure) is not int for figure in self):
            return False  # a damaged record may hold anything
        return self.received == self.stored + self.duplicate + self.filtered + self.rejected

    def plus(self, other: Counts) -> Counts:
        """Return the sum of both, figure by figure."""
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Block(NamedTuple):
    """Events of one source that were committed together, in the order of their positions."""

    position: int
    """The position of the last event; they are numbered without gaps."""
    source: str
    received_at: int
    """When they were committed, in milliseconds since 1970, UTC."""
    codes: str
    """The letter of each event's type."""
    lengths: bytes
    """The length of each event's body, 32 bits little-endian."""
    body: bytes
    """The bodies, separated by `SEPARATOR`, so that any SQLite tool can show them."""
    checksum: int | None
    """The CRC-32 of all the rest; None if it was written by format 1, which had none."""

    @classmethod
    def of(cls, position: int, source: str, received_at: int, events: list[Event]) -> Block:
        """Make the block whose last event has *position*."""
        codes, _, bodies = zip(*events, strict=True)
        block = cls(
            position,
            source,
            received_at,
            "".join(codes),
            struct.pack(f"<{len(bodies)}I", *map(len, bodies)),
            SEPARATOR.join(bodies),
            None,
        )
        return block._replace(checksum=block.computed())

    def computed(self) -> int:
        """Return what `checksum` has to be."""
        head = f"{self.position} {self.received_at} {self.source} {self.codes}"
        checksum = crc32(self.lengths, crc32(head.encode()))
        # In pieces: a commit that lets go of Python's lock waits for it behind a busy event loop.
        body = memoryview(self.body)
        for start in range(0, len(body), _HELD_BYTES):
            checksum = crc32(body[start : start + _HELD_BYTES], checksum)
        return checksum

    @property
    def is_intact(self) -> bool:
        """Whether it is what was written, as far as its checksum or its lengths can tell."""
        if [type(self.codes), type(self.lengths), type(self.body)] != [str, bytes, bytes]:
            return False  # a damaged record may hold anything
        if self.checksum is not None:
            return self.checksum == self.computed()
        return (
            len(self.lengths) == 4 * len(self.codes)
            and sum(self.sizes()) + len(SEPARATOR) * (len(self.codes) - 1) == len(self.body)
            and bool(self.codes)
        )

    @property
    def first_position(self) -> int:
        """The position of the first event."""
        return self.position - len(self.codes) + 1

    def sizes(self) -> tuple[int, ...]:
        """Return the length of each event's body in bytes."""
        return struct.unpack(f"<{len(self.codes)}I", self.lengths)

    def rows(self) -> Iterator[Row]:
        """Yield each event exactly as it was received, in the order of positions."""
        start, body, gap = 0, self.body, len(SEPARATOR)
        source, received_at = self.source, self.received_at
        for position, size in enumerate(self.sizes(), self.first_position):
            yield body[start : start + size], position, source, received_at
            start += size + gap


class Holding(NamedTuple):
    """What the spool retains of one stream."""

    waiting: int = 0
    """Events that some consumer has not confirmed."""
    waiting_bytes: int = 0
    oldest_waiting_at: int | None = None
    """When the oldest of them was committed, in milliseconds since 1970."""
    confirmed: int = 0
    """Events that every consumer has confirmed and that are kept for replay."""


class Replay(NamedTuple):
    """What a consumer is to be given again, once."""

    id: str
    """Tells this request from any other; a state that holds it says that it was done."""
    first: int
    """The position of the first event."""
    last: int
    """The position of the last."""
    since: int
    """Only events that were committed at this time or later, in milliseconds since 1970."""
    until: int
    """And before this one."""
    codes: str
    """And whose type has one of these letters."""

    def names(self, code: str, row: Row) -> bool:
        """Tell whether the event in *row*, of the type *code*, is one of them."""
        _, position, _, received_at = row
        return (
            code in self.codes
            and self.first <= position <= self.last
            and self.since <= received_at < self.until
        )


class Absence(NamedTuple):
    """A time in which no receiver ran, longer than `PATIENCE_MS`."""

    since: int
    """The last sign of the receiver before, in milliseconds since 1970."""
    until: int
    """When the next one began."""


class KeptReject(NamedTuple):
    """A reject as it lies in the spool."""

    number: int
    source: str
    received_at: int
    reason: str
    body: bytes
    checksum: int | None = None
    """The CRC-32 of all the rest but the number; None where nobody has computed one."""

    @classmethod
    def of(cls, source: str, received_at: int, reject: Reject) -> KeptReject:
        """Make what is kept of *reject*; it has the number 0 until it is stored."""
        kept = cls(0, source, received_at, *reject)
        return kept._replace(checksum=kept.computed())

    def computed(self) -> int:
        """Return what `checksum` has to be."""
        head = f"{self.received_at} {self.source} {self.reason}"
        return crc32(self.body, crc32(head.encode()))

    @property
    def is_intact(self) -> bool:
        """Whether it is what was written, as far as its checksum or its types can tell."""
        if [type(self.source), type(self.reason), type(self.body)] != [str, str, bytes]:
            return False  # a damaged record may hold anything
        return self.checksum is None or self.checksum == self.computed()


class Signs(NamedTuple):
    """When something last happened; times in milliseconds since 1970."""

    receiver_at: int
    """When a receiver certainly ran; one that runs leaves a sign every minute."""
    event_at: int | None
    """When the last retained event was committed."""
    longest_pause: int | None
    """The longest time between two commits that are retained, in milliseconds."""
    absences: list[Absence]
    """When no receiver ran for too long, oldest first."""


class Found(NamedTuple):
    """Events that somebody looked for."""

    counts: Counter[str]
    """How many there are, by the letter of their type."""
    first: int
    """A position that none of them lies before."""
    last: int
    """And one that none lies after."""


class Location(NamedTuple):
    """Where a spool is, and how it is kept there; what one engine does not know, it ignores."""

    url: str
    """`sqlite:///PATH` or `nats://HOST:PORT/STREAM`."""
    dedup_window_events: int = 1_000_000
    max_bytes: int | None = None
    """Refuse to store more than this."""
    max_event_bytes: int = 1 << 19
    """The longest body of an event that may come."""
    replicas: int = 3
    """On how many servers each event is kept."""
    dedup_seconds: int = 14_400
    """For how long servers remember an event's id."""
    user: str | None = None
    password: str | None = None
    credentials: str | None = None
    """The path of a file with the credentials of a NATS user."""

    @property
    def is_remote(self) -> bool:
        """Whether it is on JetStream."""
        return self.url.startswith(("nats://", "tls://"))
