"""What this target has sent does not go through it again; everything else does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from harness.values import JSON
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.loop import CHAIN, has_passed, mark
from target_segment_api.rules import problems

Json = dict[str, Any]

OURS = "0123456789abcdef"
THEIRS = "fedcba9876543210"
CONTEXTS = st.dictionaries(st.sampled_from(["library", "page", "x", CHAIN]), JSON)


@given(CONTEXTS)
def test_marked_event_has_passed(context: Json) -> None:
    """Whatever its context held, an event that was sent is known when it comes back."""
    event = {"type": "identify", "userId": "u", "context": context}
    assert not has_passed(event, OURS)

    mark(event, OURS)

    assert has_passed(event, OURS)
    assert not has_passed(event, THEIRS)
    assert problems(event) == []


@given(CONTEXTS)
def test_context_is_kept(context: Json) -> None:
    """A mark takes nothing away, and leaves the record that the event was made of as it is."""
    before = copy.deepcopy(context)
    event: Json = {"type": "identify", "context": context}

    mark(event, OURS)

    assert context == before
    assert {**event["context"], CHAIN: 0} == {**before, CHAIN: 0}


def test_event_without_context_gets_one() -> None:
    """Such an event is guarded as well."""
    event: Json = {"type": "identify"}

    mark(event, OURS)

    assert event["context"] == {CHAIN: [OURS]}


def test_chain_grows_by_each_target() -> None:
    """Of two targets that send to each other's sources, both know the event."""
    event: Json = {"type": "identify"}

    mark(event, OURS)
    mark(event, THEIRS)

    assert event["context"][CHAIN] == [OURS, THEIRS]
    assert has_passed(event, OURS)
    assert has_passed(event, THEIRS)


def test_same_event_is_marked_the_same_way_each_time() -> None:
    """A mark depends on nothing else, or a repeated event would have another message id."""
    events: list[Json] = [{"context": {"page": {}}}, {"context": {"page": {}}}]

    for event in events:
        mark(event, OURS)

    assert events[0] == events[1]


@pytest.mark.parametrize("context", [None, [], "x", 5, [CHAIN], {CHAIN: OURS}, {CHAIN: {OURS: 1}}])
def test_context_of_another_kind_is_left_for_the_rules(context: Any) -> None:
    """What is no context has not passed, and is neither mended nor an error."""
    event = {"type": "identify", "userId": "u", "context": context}
    assert not has_passed(event, OURS)

    mark(event, OURS)

    assert has_passed(event, OURS) is isinstance(context, dict)
    assert event["context"] == context or isinstance(context, dict)
