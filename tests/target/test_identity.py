"""A message id is the same in every run, and another for everything that differs."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from harness.values import JSON, WRITABLE
from hypothesis import assume, given
from hypothesis import strategies as st
from target_segment_api.encoding import encode
from target_segment_api.identity import message_id, namespace_of
from target_segment_api.rules import MAX_ID_CHARACTERS

Place = tuple[str, str, Any, Any]

KEY = "not-a-real-write-key-of-a-source"
PLACES = st.tuples(WRITABLE, WRITABLE, JSON, JSON, JSON.map(encode))


@given(PLACES)
def test_id_is_the_same_each_time_and_takes_little_room(place: tuple[Any, ...]) -> None:
    """It depends on nothing but what it is given, and Segment takes it."""
    identifier = message_id(*place)

    assert identifier == message_id(*copy.deepcopy(place))
    assert 0 < len(identifier) <= MAX_ID_CHARACTERS
    assert identifier.isascii()
    assert identifier.isalnum()


@given(PLACES, PLACES, st.integers(0, 4))
def test_every_part_makes_another_id(
    place: tuple[Any, ...], other: tuple[Any, ...], part: int
) -> None:
    """Namespace, stream, key, version or content: if one differs, so does the id."""
    changed = (*place[:part], other[part], *place[part + 1 :])
    assume(encode(changed[:4]) + changed[4] != encode(place[:4]) + place[4])

    assert message_id(*changed) != message_id(*place)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("n", "ab", "c", None), ("n", "a", "bc", None)),
        (("n", "a", ["b"], "c"), ("n", "a", ["b", "c"], None)),
        (("n", "a", 1, None), ("n", "a", "1", None)),
        (("n", "a", None, 1), ("n", "a", 1, None)),
        (("n", "a", Decimal("0.1"), None), ("n", "a", Decimal("0.10"), None)),
        (("n", "a", '","b', None), ("n", "a", "", "b")),
    ],
)
def test_parts_do_not_run_into_each_other(one: Place, other: Place) -> None:
    """The same letters in other places are another id."""
    assert message_id(*one, b"{}") != message_id(*other, b"{}")


def test_ids_never_change() -> None:
    """Ids made by an earlier version stay what they were, or an upgrade would send twice."""
    assert namespace_of(KEY) == "4d52e1b76b34eadc"
    identifier = message_id("0123456789abcdef", "track", "m-1", None, b'{"type":"track"}')
    assert identifier == "55727e627fc9996a50514fa54fc8054c"


@given(st.sets(WRITABLE, min_size=2, max_size=2))
def test_each_write_key_has_a_namespace_of_its_own(keys: set[str]) -> None:
    """A development source does not swallow what the production source sends."""
    one, other = map(namespace_of, keys)

    assert one != other
    assert len(one) == len(other) == 16
