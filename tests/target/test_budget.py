"""A run costs no more than was allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.budget import Budget
from target_segment_api.errors import BudgetReached

IDS = st.sampled_from(["1", "2", "3", "a", "b", "u1", "a1"])
EVENTS = st.lists(
    st.fixed_dictionaries({}, optional={"userId": IDS, "anonymousId": IDS}), max_size=40
)


def billed(events: list[dict[str, str]]) -> int:
    """Return how many users Segment would bill *events* as."""
    users = {event["userId"] for event in events if "userId" in event}
    without = [event for event in events if "userId" not in event]
    return len(users) + len({event.get("anonymousId") for event in without})


def spent(budget: Budget, events: list[dict[str, str]]) -> int:
    """Return how many of *events* the *budget* allowed before it was reached."""
    for number, event in enumerate(events):
        try:
            budget.spend(event)
        except BudgetReached:
            return number
    return len(events)


@given(EVENTS, st.integers(1, 20))
def test_events_end_at_their_limit(events: list[dict[str, str]], most: int) -> None:
    """As many events as allowed go through, and not one more."""
    budget = Budget(max_events=most, max_new_users=None)

    assert spent(budget, events) == min(most, len(events))
    assert budget.users == 0


@given(EVENTS, st.integers(1, 6))
def test_users_end_at_their_limit(events: list[dict[str, str]], most: int) -> None:
    """Events go on as long as they are those of few enough users, as Segment bills them."""
    budget = Budget(max_events=None, max_new_users=most)

    count = spent(budget, events)

    assert billed(events[:count]) == budget.users <= most
    assert count == len(events) or billed(events[: count + 1]) == most + 1


@given(EVENTS)
def test_users_are_counted_without_a_limit(events: list[dict[str, str]]) -> None:
    """A preview says how many users a run would cost."""
    budget = Budget(max_events=None, max_new_users=None, count_users=True)

    assert spent(budget, events) == len(events)
    assert budget.users == billed(events)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ((1000, 2000), r"max_events \(1,000\) is reached\."),
        ((None, 1000), r"max_new_users \(1,000\) is reached\."),
    ],
)
def test_reason_names_the_limit(limits: tuple[int | None, int], reason: str) -> None:
    """Whoever wonders why a run ended early finds the setting, and no user."""
    budget = Budget(max_events=limits[0], max_new_users=limits[1])
    for number in range(1000):
        budget.spend({"userId": f"u{number}"})

    with pytest.raises(BudgetReached, match=reason):
        budget.spend({"userId": "one more"})
