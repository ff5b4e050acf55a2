"""A lane: one thread that delivers batches in order, one request in flight.

The only layer of retries is here. The same bytes are sent each time, so
Segment recognises by its message ids what it has taken already.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from target_segment_api.client import Verdict
from target_segment_api.errors import DeliveryStopped

if TYPE_CHECKING:
    from target_segment_api.batch import Batch, Outgoing
    from target_segment_api.client import Transport
    from target_segment_api.patience import Patience

_log = logging.getLogger("target-segment-api.lane")

_WAITING_BATCHES: Final = 2
_REPORT_ATTEMPT: Final = 3  # a single failure is nothing to tell


class Settled(NamedTuple):
    """What became of one batch: all of it, or a reason to stop."""

    lane: int
    batch: Batch
    accepted: list[list[Outgoing]]
    """The events of each request that Segment accepted."""
    refused: list[tuple[Outgoing, str]]
    """The events that it refused alone, with what it said."""
    error: DeliveryStopped | None = None
    """Why the rest of the batch was not delivered, or None."""


class Lane:
    """Delivers what is put into it, and reports each batch to *settled*."""

    def __init__(
        self,
        number: int,
        transport: Transport,
        patience: Patience,
        settled: queue.SimpleQueue[Settled],
    ) -> None:
        self._number = number
        self._transport = transport
        self._patience = patience
        self._settled = settled
        self._batches: queue.Queue[Batch | None] = queue.Queue(_WAITING_BATCHES)
        # A daemon: a server that never ends its answer must not keep the process.
        self._thread = threading.Thread(target=self._run, name="lane", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def put(self, batch: Batch) -> bool:
        """Hand *batch* over; False if the lane is full."""
        try:
            self._batches.put_nowait(batch)
        except queue.Full:
            return False
        return True

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits in it."""
        return self._batches.empty()

    def end(self) -> None:
        """End the thread once everything in it was delivered or given up."""
        if self._thread.is_alive():
            self._batches.put(None)

    def _run(self) -> None:
        stopped: DeliveryStopped | None = None
        while (batch := self._batches.get()) is not None:
            outcome = Settled(self._number, batch, [], [], stopped)
            if stopped is None:
                try:
                    self._deliver(batch, outcome)
                except DeliveryStopped as error:
                    stopped = error
                    outcome = outcome._replace(error=error)
            self._settled.put(outcome)

    def _deliver(self, batch: Batch, outcome: Settled) -> None:
        """Send *batch*; if it is refused, its halves, until what is refused is alone."""
        reason = self._send(batch)
        if reason is None:
            outcome.accepted.append(batch.events)
        elif len(batch) == 1:
            outcome.refused.append((batch.events[0], reason))
        else:
            for half in batch.halves():
                self._deliver(half, outcome)

    def _send(self, batch: Batch) -> str | None:
        """Send *batch* until it is accepted or refused; return why it was refused, or None.

        Raises:
            DeliveryStopped: it was neither.
        """
        body, since, attempt = batch.body(), time.monotonic(), 0
        while True:
            if not self._patience.admit(len(batch)):
                raise DeliveryStopped("Stopped before everything was delivered.")
            answer = self._transport.post(body)
            if answer.verdict is Verdict.ACCEPTED:
                self._patience.succeeded()
                return None
            if answer.verdict is Verdict.REFUSED:
                return answer.reason
            if answer.verdict is Verdict.WRONG:
                raise DeliveryStopped(
                    f"{answer.reason} Nothing of this batch of {len(batch)} events was "
                    "confirmed; the next run sends them again."
                )
            attempt += 1
            if answer.retry_after is not None:
                self._patience.hold(answer.retry_after)
            if attempt == _REPORT_ATTEMPT:
                _log.warning("%s Trying a batch of %d events again.", answer.reason, len(batch))
            if not self._patience.wait(attempt, since):
                raise DeliveryStopped(
                    f"{answer.reason} A batch of {len(batch)} events was tried {attempt} times "
                    f"in {time.monotonic() - since:,.0f} seconds (retry_for_seconds: "
                    f"{self._patience.retry_for_seconds:,.0f}). Nothing of it was confirmed; the "
                    "next run sends it again."
                )
