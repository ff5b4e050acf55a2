"""Which state may go out: one before which everything is settled. Pure.

An event is settled when Segment has accepted it, or when it was set aside in
the rejects file. The input is cut into epochs at its STATE messages; an
epoch's state is true as soon as it and every earlier epoch have nothing
outstanding, in whatever order the lanes finished.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

_FEW: Final = 64


class Epoch:
    """The events between two states, as far as they are not settled.

    Whoever settles one takes it off `outstanding`.
    """

    __slots__ = ("outstanding", "state")

    def __init__(self) -> None:
        self.outstanding = 0
        self.state: Any = None


class Ledger:
    """Keeps epochs, at most about twice as many as events were outstanding at once."""

    def __init__(self) -> None:
        self._epochs = deque([Epoch()])
        self._fold_at = _FEW

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
        if len(self._epochs) > self._fold_at:
            self._fold()
            self._fold_at = max(_FEW, 2 * len(self._epochs))

    def reached(self) -> Any:
        """Return the newest state that has become true since the last call, or None."""
        state = None
        while len(self._epochs) > 1 and self._epochs[0].outstanding == 0:
            state = self._epochs.popleft().state
        return state

    def _fold(self) -> None:
        """Forget epochs that wait only for an earlier one; their states are true with its own.

        One slow batch could else keep every state of the minutes that it takes.
        """
        current = self._epochs.pop()
        kept: deque[Epoch] = deque()
        for epoch in self._epochs:
            if kept and epoch.outstanding == 0:
                kept[-1].state = epoch.state
            else:
                kept.append(epoch)
        self._epochs = kept
        self._epochs.append(current)

    @property
    def outstanding(self) -> int:
        """How many events are not settled."""
        return sum(epoch.outstanding for epoch in self._epochs)
