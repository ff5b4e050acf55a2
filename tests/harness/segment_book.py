"""What the stand-in for Segment received: requests, and events accepted, known or dropped."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec
from harness.segment_calls import Envelope, lacks_id
from msgspec import Raw, Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from harness.segment_calls import Parcel

Bytes: TypeAlias = bytes  # where a field is called bytes


class Request(Struct, gc=False):
    """A request as the stand-in remembers it."""

    time: float
    method: str
    path: str
    port: int
    headers: Any
    n: int = 0
    key: str = ""
    mood: str | None = None
    status: int | None = None
    events: int = 0
    accepted: int = 0
    duplicates: int = 0
    dropped: int = 0
    bytes: int = 0
    wire_bytes: int = 0
    envelope: Envelope | None = None

    def line(self) -> Bytes:
        """Return it as a line of JSON."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in self.headers
            if name != b"authorization"
        }
        return msgspec.json.encode(msgspec.structs.replace(self, headers=headers)) + b"\n"


class Lot(NamedTuple):
    """The events of one request that were accepted together."""

    request: int
    key: str
    events: Sequence[Raw]

    def lines(self) -> bytes:
        """Return each event as a line of JSON."""
        end = b',"key":%b,"request":%d}\n' % (msgspec.json.encode(self.key), self.request)
        return b"".join(b'{"event":%b%b' % (_one_line(event), end) for event in self.events)


class Drop(Struct, gc=False):
    """An event that was answered with 200 and dropped."""

    reason: str
    event: Raw | None
    key: str
    request: int

    def line(self) -> bytes:
        """Return it as a line of JSON."""
        event = _one_line(self.event) if self.event else b"null"
        rest = msgspec.json.encode(
            {"reason": self.reason, "key": self.key, "request": self.request}
        )
        return b'{"event":%b,%b\n' % (event, rest[1:])


class _Line(Struct):
    event: Raw
    key: str
    request: int


class _Identified(Struct, rename="camel"):
    message_id: Any = None


class Book:
    """What was received, accepted and dropped.

    Args:
        keys: the write keys of sources that exist.
        count_only: keep message ids, but no events.
        journal: where accepted events are written to; what it holds already is accepted.
    """

    def __init__(self, keys: Iterable[str], *, count_only: bool, journal: Path | None) -> None:
        self.keys = frozenset(keys)
        self.count_only = count_only
        self._journal = journal.open("ab", buffering=0) if journal else None
        self._clear()
        if journal:
            with journal.open("rb") as lines:
                self._reload(lines)

    def _clear(self) -> None:
        self.requests: list[Request] = []
        self.lots: list[Lot] = []
        self.drops: list[Drop] = []
        self.reasons: Counter[str] = Counter()
        self.accepted = 0
        self.duplicates = 0
        self._known: set[str] = set()
        self._number = 0

    def _reload(self, lines: Iterable[bytes]) -> None:
        decoder = msgspec.json.Decoder(_Line)
        for line in map(decoder.decode, lines):
            if message_id := msgspec.json.decode(line.event, type=_Identified).message_id:
                self._known.add(message_id)
            self.accepted += 1
            self._number = line.request
            if not self.count_only:
                self.lots.append(Lot(line.request, line.key, [line.event]))

    def forget(self) -> None:
        """Forget everything, and empty the journal."""
        self._clear()
        if self._journal:
            self._journal.truncate(0)

    def note(self, request: Request) -> None:
        """Remember *request*, and give it a number."""
        self._number += 1
        request.n = self._number
        self.requests.append(request)

    def accept(self, request: Request, parcel: Parcel) -> None:
        """Accept what is good in *parcel*, or drop all of it if its key is of no source."""
        calls = parcel.calls
        if parcel.key not in self.keys:
            calls = ["unknown_write_key"] * len(parcel.events)
        known, good, repeated = self._known, [], 0
        dropped: list[tuple[str, Raw | None]] = [] if calls else [("empty_batch", None)]
        for event, call in zip(parcel.events, calls, strict=True):
            if isinstance(call, str):
                dropped.append((call, event))
            elif call.user_id is None and (why := lacks_id(call)):
                dropped.append((why, event))
            elif not call.message_id:
                good.append(event)  # Segment gives it an id that nobody knows
            elif call.message_id in known:
                repeated += 1
            else:
                known.add(call.message_id)
                good.append(event)
        request.accepted, request.duplicates, request.dropped = len(good), repeated, len(dropped)
        self.accepted += request.accepted
        self.duplicates += request.duplicates
        if good:
            self._keep(Lot(request.n, parcel.key, good))
        for why, bad in dropped:
            self.reasons[why] += 1
            if not self.count_only:
                self.drops.append(Drop(why, bad, parcel.key, request.n))

    def _keep(self, lot: Lot) -> None:
        if self._journal:
            self._journal.write(lot.lines())
        if not self.count_only:
            self.lots.append(lot)

    def counts(self) -> dict[str, Any]:
        """Return how many of everything there were."""
        statuses = Counter(str(request.status or request.mood) for request in self.requests)
        return {
            "requests": len(self.requests),
            "by_status": dict(sorted(statuses.items())),
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "dropped": dict(sorted(self.reasons.items())),
        }

    def summary(self) -> str:
        """Say in one line what came."""
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in self.reasons.most_common())
        return (
            f"{len(self.requests):,} requests: {self.accepted:,} events accepted, "
            f"{self.duplicates:,} duplicates, {self.reasons.total():,} dropped"
            + (f" ({reasons})." if reasons else ".")
        )


def _one_line(event: Raw) -> bytes:
    text = bytes(event)
    # White space of JSON only: within a string a line break is escaped.
    return msgspec.json.format(text, indent=-1) if b"\n" in text or b"\r" in text else text
