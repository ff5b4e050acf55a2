"""Which state may go out: one before which everything is settled. Pure.

An event is settled when Segment has accepted it, or when it was set aside in
the rejects file. The input is cut into epochs at its STATE messages; an
epoch's state is true as soon as it and every earlier epoch have nothing
outstanding, in whatever order the lanes finished.
"""

from __future__ import annotations

from collections import deque
from typing import Any


class Epoch:
    """The events between two states, as far as they are not settled.

    Whoever settles one takes it off `outstanding`.
    """

    __slots__ = ("outstanding", "state")

    def __init__(self) -> None:
        self.outstanding = 0
        self.state: Any = None


class Ledger:
    """Keeps one epoch for each state that waits, never more than events are outstanding."""

    def __init__(self) -> None:
        self._epochs = deque([Epoch()])

    def take(self) -> Epoch:
        """Count one event as outstanding; return what it has to be settled with."""
        epoch = self._epochs[-1]
        epoch.outstanding += 1
        return epoch

    def end_epoch(self, state: Any) -> None:
        """Note that *state* is true once everything taken so far is settled."""
        current = self._epochs[-1]
        if current.outstanding == 0 and len(self._epochs) > 1:
            self._epochs[-2].state = state  # nothing came in between: the newer one says more
            return
        current.state = state
        self._epochs.append(Epoch())

    def reached(self) -> Any:
        """Return the newest state that has become true since the last call, or None."""
        state = None
        while len(self._epochs) > 1 and self._epochs[0].outstanding == 0:
            state = self._epochs.popleft().state
        return state

    @property
    def outstanding(self) -> int:
        """How many events are not settled."""
        return sum(epoch.outstanding for epoch in self._epochs)
