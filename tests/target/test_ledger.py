"""A state goes out when everything before it is settled, not earlier, and at the end for sure."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.ledger import Epoch, Ledger

if TYPE_CHECKING:
    from random import Random

STEPS = st.lists(
    st.sampled_from(["take", "take", "state", "reached"]) | st.integers(0, 30), max_size=80
)


class Run:
    """A run of the target: events are taken and settled, states come in and go out."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.open: dict[int, Epoch] = {}
        self.taken = 0
        self.states: list[int] = []
        """How many events were taken before each state."""
        self.out: list[int] = []
        """The states that went out, by their numbers."""

    def do(self, step: str | int) -> None:
        """Take an event, end an epoch, look, or settle the event at that place of the open."""
        if step == "take":
            self.open[self.taken] = self.ledger.take()
            self.taken += 1
        elif step == "state":
            self.states.append(self.taken)
            self.ledger.end_epoch(len(self.states) - 1)
        elif step == "reached":
            if (number := self.ledger.reached()) is not None:
                self.out.append(number)
        elif self.open:
            self.settle([*self.open][int(step) % len(self.open)])

    def settle(self, event: int) -> None:
        """Let *event* be accepted, or set aside."""
        self.open.pop(event).outstanding -= 1


class State:
    """A state whose life can be watched."""


@given(STEPS)
def test_no_state_goes_out_before_its_time(steps: list[str | int]) -> None:
    """Whatever the order of settlement, nothing before a state that went out is outstanding."""
    run = Run()
    for step in steps:
        run.do(step)
        if step == "reached" and run.out:
            assert all(event >= run.states[run.out[-1]] for event in run.open)

    assert run.out == sorted(set(run.out))
    assert run.ledger.outstanding == len(run.open)


@given(STEPS, st.randoms(use_true_random=False))
def test_newest_true_state_goes_out(steps: list[str | int], random: Random) -> None:
    """What can be told is told: no later state was true, and at the end it is the last one."""
    run = Run()
    for step in [*steps, "reached"]:
        run.do(step)
    first_open = min(run.open, default=run.taken)
    true = [number for number, taken in enumerate(run.states) if taken <= first_open]
    assert run.out[-1:] == true[-1:]

    rest = [*run.open]
    random.shuffle(rest)
    for event in rest:
        run.settle(event)
    run.do("reached")

    assert run.out[-1:] == [*range(len(run.states))][-1:]
    assert run.ledger.reached() is None


def test_state_without_events_goes_out_at_once() -> None:
    """A tap that has nothing new still gets its state back, once."""
    ledger = Ledger()

    ledger.end_epoch({"n": 1})
    ledger.end_epoch({"n": 2})

    assert ledger.reached() == {"n": 2}
    assert ledger.reached() is None


def test_states_do_not_gather_behind_a_slow_batch() -> None:
    """While one event waits for minutes and all others pass it, memory does not grow."""
    ledger, alive = Ledger(), weakref.WeakSet[State]()
    slow, last = ledger.take(), State()
    for _ in range(200):
        epochs = []
        for _ in range(50):
            epochs.append(ledger.take())
            last = State()
            alive.add(last)
            ledger.end_epoch(last)
        for epoch in epochs:
            epoch.outstanding -= 1
    assert ledger.reached() is None
    assert len(alive) < 200

    slow.outstanding -= 1

    assert ledger.reached() is last


def test_many_states_in_a_row_are_one() -> None:
    """A tap that prints a state after each record of a skipped stream costs no memory."""
    ledger, alive = Ledger(), weakref.WeakSet[State]()
    slow = ledger.take()
    for _ in range(1000):
        last = State()
        alive.add(last)
        ledger.end_epoch(last)
    assert len(alive) <= 2

    slow.outstanding -= 1

    assert ledger.reached() is last
