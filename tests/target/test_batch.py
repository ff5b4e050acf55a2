"""A batch never holds more than Segment takes, and loses nothing."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.batch import Batch, Outgoing
from target_segment_api.ledger import Epoch

EMPTY_BYTES = len(b'{"batch":[]}')
BODIES = st.integers(0, 60).map(lambda size: b'{"a":"' + b"x" * size + b'"}')


def outgoing(body: bytes) -> Outgoing:
    """Return an event with *body*."""
    return Outgoing(body, "m", "track", "k", Epoch())


def gathered(bodies: list[bytes], max_events: int, max_bytes: int) -> list[Batch]:
    """Put *bodies* into batches, one after the other."""
    batches = [Batch()]
    for event in map(outgoing, bodies):
        if not batches[-1].add(event, max_events, max_bytes):
            batches.append(Batch())
            assert batches[-1].add(event, max_events, max_bytes)
    return batches


def held(*batches: Batch) -> list[bytes]:
    """Return what is in *batches*, in order."""
    return [event.body for batch in batches for event in batch.events]


@given(st.lists(BODIES, min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 200))
def test_batches_keep_all_limits_and_every_event(
    bodies: list[bytes], max_events: int, room: int
) -> None:
    """Whatever comes in: nothing is lost, order stays, and no limit is passed."""
    max_bytes = EMPTY_BYTES + max(map(len, bodies)) + room  # as the settings are checked for

    batches = gathered(bodies, max_events, max_bytes)

    assert held(*batches) == bodies
    assert all(1 <= len(batch) <= max_events for batch in batches)
    assert all(len(batch.body()) == batch.body_bytes <= max_bytes for batch in batches)


@given(st.lists(BODIES, min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 200))
def test_batch_is_closed_only_when_it_is_full(
    bodies: list[bytes], max_events: int, room: int
) -> None:
    """The first event of the next batch would not have fitted in."""
    max_bytes = EMPTY_BYTES + max(map(len, bodies)) + room

    batches = gathered(bodies, max_events, max_bytes)

    for batch, following in pairwise(batches):
        more = Batch([*batch.events, following.events[0]])
        assert len(more) > max_events or len(more.body()) > max_bytes


@given(st.lists(BODIES, min_size=1, max_size=20))
def test_body_is_what_segment_reads(bodies: list[bytes]) -> None:
    """The body is a batch of the events, byte for byte, and has no `sentAt` to date them anew."""
    body = Batch([outgoing(body) for body in bodies]).body()

    assert json.loads(body) == {"batch": [json.loads(event) for event in bodies]}
    assert all(event in body for event in bodies)


@given(st.lists(BODIES, min_size=2, max_size=40))
def test_halves_are_the_whole(bodies: list[bytes]) -> None:
    """A refused batch is split into two that are smaller, in the same order."""
    batch = Batch([outgoing(body) for body in bodies])

    first, second = batch.halves()

    assert held(first, second) == bodies
    assert abs(len(first) - len(second)) <= 1
    for half in (first, second):
        assert 0 < len(half) < len(batch)
        assert len(half.body()) == half.body_bytes


def test_event_that_is_too_large_is_alone() -> None:
    """An event over the limit, which was to be set aside before, at least harms no other."""
    batches = gathered([b"{}", b'{"a":"xxxxxxxxxxxxxxxxxx"}', b"{}"], 10, 16)

    assert [len(batch) for batch in batches] == [1, 1, 1]
