"""Gathers events into batches, lets lanes deliver them, and says which state is true.

Everything here happens in the main thread: files and standard output have one
writer. Memory is bounded: when a lane is full, nothing more is read.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from target_segment_api.batch import Batch, Outgoing
from target_segment_api.books import Books, sentence
from target_segment_api.encoding import decode
from target_segment_api.errors import DeliveryStopped, FileUnusable
from target_segment_api.lane import Lane, Settled
from target_segment_api.ledger import Ledger
from target_segment_api.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_api.changes import Change, Changes
    from target_segment_api.client import Transport
    from target_segment_api.receipts import Notes
    from target_segment_api.rejects import SetsAside
    from target_segment_api.settings import Settings

_log = logging.getLogger("target-segment-api")

STOP_SECONDS: Final = 20.0
"""How long what is under way may take after a signal, or after something went wrong."""

_GATHER_SECONDS: Final = 1.0  # no event waits longer for others, unless its lane is busy
_LOOK_SECONDS: Final = 0.2
_REPORT_SECONDS: Final = 60.0
_SKEW: Final = 2.0  # a lane with so many times its share of the events
_PLACE: Final = attrgetter("epoch", "stream")


class Dispatcher:
    """Delivers events at least once, those of one user in order.

    Args:
        settings: the limits.
        transport: makes what carries the batches of one lane.
        write_state: called with each state that has become true, in order.
        rejects: where events are set aside.
        receipts: where accepted events are noted.
        changes: what remembers rows that were sent, or None.
        find_key: tells whether Segment knows the write key, or None if it cannot.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: Callable[[], Transport],
        write_state: Callable[[Any], None],
        rejects: SetsAside,
        receipts: Notes,
        changes: Changes | None = None,
        find_key: Callable[[], bool | None] | None = None,
    ) -> None:
        self._settings = settings
        self._max_events, self._max_bytes = settings.max_batch_events, settings.max_batch_bytes
        self._write_state = write_state
        self._find_key = find_key
        self.books = Books()
        self._rejects = rejects
        self._receipts = receipts
        self._changes = changes
        self._ledger = Ledger()
        self._patience = Patience(
            max_events_per_second=settings.max_events_per_second,
            retry_for_seconds=settings.retry_for_seconds,
        )
        self._settled: queue.SimpleQueue[Settled] = queue.SimpleQueue()
        count = settings.concurrency
        self._lanes = [
            Lane(number, transport(), self._patience, self._settled) for number in range(count)
        ]
        self._gathering = [Batch() for _ in range(count)]
        self._since = [0.0] * count
        self._taken = [0] * count
        self._blocked = [0.0] * count
        self._in_lane = [0] * count
        self.states_written = 0
        self._started_at = self._reported_at = time.monotonic()
        self._end_at = float("inf")
        self._error: DeliveryStopped | FileUnusable | None = None
        self._finished = False
        for lane in self._lanes:
            lane.start()

    def send(
        self,
        body: bytes,
        message_id: str,
        stream: str,
        key: Any,
        user: Any,
        *,
        change: Change | None = None,
    ) -> None:
        """Take one event; it is delivered after all earlier ones of the same *user*.

        Waits while its lane is full. *change* is that of the row that it was made
        of, which is confirmed when all of its events are settled.

        Raises:
            DeliveryStopped: something went wrong; call `finish`.
        """
        index = hash(user) % len(self._lanes)
        event = Outgoing(body, message_id, stream, key, self._ledger.take(), change)
        batch = self._gathering[index]
        if not batch.add(event, self._max_events, self._max_bytes):
            batch = self._hand_over(index)
            batch.add(event, self._max_events, self._max_bytes)
        count = len(batch.events)
        if count == 1:
            self._since[index] = time.monotonic()
        if count >= self._max_events:
            self._hand_over(index)

    def reject(
        self, *, event: Any, reasons: Sequence[str], stream: str, key: Any, message_id: str | None
    ) -> None:
        """Set an event aside.

        Raises:
            DeliveryStopped: there are too many; call `finish`.
            FileUnusable: it could not be written; call `finish`.
        """
        self._rejects.add(
            event=event, reasons=reasons, stream=stream, key=key, message_id=message_id
        )
        self.books.of(stream).rejected += 1
        self._rejects.check(self.books.total()["events"])

    def settle_row(self, change: Change | None) -> None:
        """Count one event of a row as settled; with the last of them its *change* is confirmed."""
        if change is None or self._changes is None:
            return
        change.outstanding -= 1
        if change.outstanding <= 0:
            self._changes.confirm(change)

    def end_epoch(self, state: Any) -> None:
        """Note that *state* is true once everything so far is settled."""
        self._ledger.end_epoch(state)

    def pause(self) -> None:
        """Do what is due: enter what was delivered, print states, send what has waited.

        Raises:
            DeliveryStopped: something went wrong; call `finish`.
        """
        self._reap()
        now = time.monotonic()
        for index, batch in enumerate(self._gathering):
            waited = batch.events and now - self._since[index] > _GATHER_SECONDS
            if waited and self._lanes[index].is_idle:
                self._hand_over(index)
        if now - self._reported_at > _REPORT_SECONDS:
            self._reported_at = now
            _log.info("So far: %s", sentence(self.books.total()))
        if self._error is not None:
            raise self._error

    def give_up_soon(self) -> None:
        """Let whatever is under way end within `STOP_SECONDS`; safe in a signal handler."""
        self._end_at = min(self._end_at, time.monotonic() + STOP_SECONDS)
        self._patience.give_up_at(self._end_at)

    def finish(self) -> None:
        """Deliver what was taken, print the last true state, and close the files.

        Raises:
            DeliveryStopped: not everything was delivered, and why.
            FileUnusable: what was set aside could not be written.
        """
        if self._finished:
            return
        self._finished = True
        try:
            self._deliver_rest()
        except (DeliveryStopped, FileUnusable) as error:
            self._error = self._error or error
        finally:
            self._report()
        if self._error is not None:
            raise self._error

    def _deliver_rest(self) -> None:
        if self._error is None:
            for index, batch in enumerate(self._gathering):
                if batch.events:
                    self._hand_over(index)
        while busy := [number for number, batches in enumerate(self._in_lane) if batches]:
            began = time.monotonic()
            self._wait()
            if len(busy) == 1:
                self._blocked[busy[0]] += time.monotonic() - began
        self._reap()
        for lane in self._lanes:
            lane.end()
        self._sync()
        self._rejects.close()
        self._receipts.close()
        if self._changes is not None:
            self._changes.close()

    def _hand_over(self, index: int) -> Batch:
        """Give a lane what has gathered for it; return the batch that gathers next."""
        self._check_key()
        self._mark()
        batch, fresh = self._gathering[index], Batch()
        self._gathering[index] = fresh
        self._taken[index] += len(batch)
        lane, blocked_at = self._lanes[index], 0.0
        while not lane.put(batch):
            blocked_at = blocked_at or time.monotonic()
            self._wait()
            if self._error is not None:
                raise self._error
        self._in_lane[index] += 1
        if blocked_at:
            self._blocked[index] += time.monotonic() - blocked_at
        self._reap()
        return fresh

    def _mark(self) -> None:
        """Let the memory of changes say what is on its way, before it is."""
        if self._changes is not None:
            try:
                self._changes.mark()
            except FileUnusable as error:
                raise self._fail(error) from error

    def _check_key(self) -> None:
        """Ask about the write key, once, before the first batch."""
        find_key, self._find_key = self._find_key, None
        mode = self._settings.check_write_key
        if find_key is None or mode == "off":
            return
        found = find_key()
        if found is None:
            _log.warning(
                "Segment could not be asked about the write key. Sending all the same; if the "
                "key is wrong, Segment answers 200 and drops the events."
            )
        elif not found:
            reason = (
                "Segment does not know this write key: it would answer 200 and drop the events. "
                "Copy the key from the source in Segment (a new one takes some minutes to be "
                "known), or set check_write_key."
            )
            if mode == "fail":
                raise self._fail(DeliveryStopped(f"{reason} Nothing was sent."))
            _log.warning("%s", reason)

    def _wait(self) -> None:
        """Wait a moment for something to be settled, and enter it."""
        try:
            settled = self._settled.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            if time.monotonic() > self._end_at:
                left = sum(self._in_lane)
                reason = f"{left} batches were still under way after {STOP_SECONDS:g} s."
                raise self._fail(DeliveryStopped(f"{reason} They were given up.")) from None
        else:
            self._enter(settled)
            self._reap()

    def _reap(self) -> None:
        """Enter all that was settled, and print the state that has become true."""
        while not self._settled.empty():
            self._enter(self._settled.get())
        state = self._ledger.reached()
        if self._settings.dry_run:
            return
        if state is not None or (self._changes is not None and self._changes.is_due):
            self._sync()
        if state is not None:
            self._write_state(state)
            self.states_written += 1

    def _sync(self) -> None:
        """Return when what was set aside, noted, and confirmed is on disk, in this order."""
        try:
            self._rejects.sync()
            self._receipts.sync()
            if self._changes is not None:
                self._changes.sync()
        except FileUnusable as error:
            raise self._fail(error) from error

    def _enter(self, settled: Settled) -> None:
        """Enter what became of one batch into files, books and ledger."""
        self._in_lane[settled.lane] -= 1
        try:
            for events in settled.accepted:
                self._receipts.add(events)
            for event, reason in settled.refused:
                self._rejects.add(
                    event=decode(event.body),
                    reasons=[reason],
                    stream=event.stream,
                    key=event.key,
                    message_id=event.message_id,
                )
        except FileUnusable as error:
            self._fail(error)
            return  # not settled, so no state passes it
        for events in settled.accepted:
            self._settle(events)
        for event, _ in settled.refused:
            event.epoch.outstanding -= 1
            self.settle_row(event.change)
            self.books.of(event.stream).rejected += 1
        if settled.error is not None:
            self._fail(settled.error)
        elif settled.refused:
            self._check_rejects()

    def _settle(self, events: Sequence[Outgoing]) -> None:
        """Enter *events*, which were accepted, into books and ledger."""
        for (epoch, stream), count in Counter(map(_PLACE, events)).items():
            epoch.outstanding -= count
            self.books.of(stream).sent += count
        if self._changes is not None:
            for event in events:
                self.settle_row(event.change)

    def _check_rejects(self) -> None:
        total = self.books.total()
        try:
            self._rejects.check(total["sent"] + total["rejected"])
        except DeliveryStopped as error:
            self._fail(error)
            # At once: what the lanes hold would mostly be refused as well, event by event.
            self._patience.give_up_at(time.monotonic())

    def _fail(self, error: DeliveryStopped | FileUnusable) -> DeliveryStopped | FileUnusable:
        """Keep the first *error*, and let what is under way end soon."""
        if self._error is None:
            self._error = error
            self.give_up_soon()
        return self._error

    def _report(self) -> None:
        for stream, tally in self.books.streams.items():
            _log.info("Stream %s: %s", stream, sentence(tally.as_dict()))
        _log.info("Altogether: %s", sentence(self.books.total()))
        self._report_skew()

    def _report_skew(self) -> None:
        """Say so if one lane, and so perhaps one user, held up all the others."""
        total, seconds = sum(self._taken), time.monotonic() - self._started_at
        index = max(range(len(self._lanes)), key=self._taken.__getitem__)
        share = self._taken[index] / total if total else 0.0
        blocked = self._blocked[index]
        if share * len(self._lanes) > _SKEW and blocked > max(seconds / 2, 1.0):
            _log.warning(
                "%.0f %% of the events went through one of %d lanes, and the others waited for "
                "it for %.0f of %.0f seconds. The events of a user are sent in order, one batch "
                "after the other; a larger max_batch_events makes that faster.",
                share * 100,
                len(self._lanes),
                blocked,
                seconds,
            )
