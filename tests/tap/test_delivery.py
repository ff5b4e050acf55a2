"""A body is taken apart without changing a byte of any event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tap_segment_webhook.delivery import read_delivery, split

EVENT = b'{"type":"track","messageId":"m-1"}'
OTHER = b'{"type":"page","messageId":"m-2"}'

# JSON as text, since what matters is the bytes: also what no strict reader takes.
SCALARS = st.sampled_from(
    [
        *("null", "true", "0", "-0", "1.50", "1e400", "1" * 400, "NaN", "-Infinity", '""'),
        *('"]"', '"}{"', '","', r'"\""', r'"\\"', r'"\\\"]"', r'"\ud83d"', r'"\u0000"', '"é☕"'),
        "[" * 1500 + "]" * 1500,
    ]
)
SPACE = st.sampled_from(["", "", " ", "\n", "\r\n\t"])
KEYS = st.sampled_from(['"a"', '"a"', '"]"', r'"\"}"', '"\u2028"'])


def _list(items: list[str], space: str) -> str:
    return f"[{space}{f'{space},'.join(items)}{space}]"


def _object(items: list[tuple[str, str]], space: str) -> str:
    return f"{{{space}{f',{space}'.join(f'{key}:{space}{value}' for key, value in items)}}}"


VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(_list, st.lists(inner, max_size=4), SPACE)
        | st.builds(_object, st.lists(st.tuples(KEYS, inner), max_size=4), SPACE)
    ),
    max_leaves=12,
)


@given(st.lists(VALUES, min_size=1, max_size=6), SPACE, SPACE)
def test_elements_of_any_array_come_back_byte_for_byte(
    values: list[str], before: str, after: str
) -> None:
    """Whatever JSON an array holds, each element is cut out exactly."""
    body = f"{before}[{','.join(before + value + after for value in values)}]{after}"

    assert split(body.encode()) == [value.encode() for value in values]


def test_object_is_one_element_and_signed_as_a_whole() -> None:
    """A single event is signed over the whole body."""
    delivery = read_delivery(EVENT)

    assert delivery.elements == [EVENT]
    assert delivery.signed == EVENT
    assert delivery.fault is None


def test_array_is_signed_over_its_first_element() -> None:
    """Segment signs the first element of a batch only."""
    delivery = read_delivery(b"[" + EVENT + b"," + OTHER + b"]")

    assert delivery.elements == [EVENT, OTHER]
    assert delivery.signed == EVENT


def test_wrapped_elements_are_unwrapped() -> None:
    """The Extensible Webhook wraps each element, and signs what is inside."""
    delivery = read_delivery(b'[{"json":' + EVENT + b'},{"json":' + OTHER + b"}]")

    assert delivery.elements == [EVENT, OTHER]
    assert delivery.signed == EVENT


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(b'{"json":{"a":1},"type":"track","messageId":"m-1"}', id="first"),
        pytest.param(b'{"type":"track","json":{"a":1}}', id="last"),
    ],
)
def test_field_called_json_is_no_wrapper(event: bytes) -> None:
    """An event with a field of its own called json stays whole."""
    assert read_delivery(b"[" + event + b"]").elements == [event]


@pytest.mark.parametrize("space", [b" ", b"\n\t", b"\r\n"])
def test_space_around_the_body_does_not_matter(space: bytes) -> None:
    """A pretty-printed delivery is read like any other."""
    assert read_delivery(space + b"[" + EVENT + b"]" + space).elements == [EVENT]
    assert read_delivery(space + EVENT).fault is None


@pytest.mark.parametrize("body", [b"", b"  ", b"null", b"17", b'"text"', b"a=1&b=2", b"\xff\xfe"])
def test_body_that_is_neither_object_nor_array_is_a_fault(body: bytes) -> None:
    """It says why a body cannot be read, and what would have been signed."""
    delivery = read_delivery(body)

    assert delivery.fault
    assert delivery.elements == []
    assert delivery.signed == body


@pytest.mark.parametrize("body", [b"[]", b"[ \n ]"])
def test_empty_array_is_a_fault(body: bytes) -> None:
    """An empty batch is no delivery of nothing: it is refused with a reason."""
    assert read_delivery(body).fault == "The array is empty: it holds no event."


@pytest.mark.parametrize("rest", [b"", b",", b',{"type":"pa', b"]]", b"] more"])
def test_broken_array_is_a_fault_signed_over_its_first_element(rest: bytes) -> None:
    """A cut-off batch can still be told to be authentic."""
    delivery = read_delivery(b"[" + EVENT + b"," + OTHER + rest)

    assert delivery.fault
    assert delivery.elements == []
    assert delivery.signed == EVENT


def test_bad_element_does_not_cost_the_others() -> None:
    """What is between two commas is handed on as it is."""
    elements = [EVENT, b"nonsense", b"", OTHER]

    delivery = read_delivery(b"[" + b",".join(elements) + b"]")

    assert delivery.elements == elements
    assert delivery.signed == EVENT


def test_bad_element_that_looks_wrapped_does_not_cost_the_others() -> None:
    """What only begins and ends like a wrapper is one bad element among others."""
    elements = [EVENT, b'{"json":1}{"json":2}', OTHER]

    delivery = read_delivery(b"[" + b",".join(elements) + b"]")

    assert delivery.elements == elements
    assert delivery.signed == EVENT


def test_array_of_a_million_commas_is_read_in_bounded_memory() -> None:
    """An array that only holds commas is given up, not turned into millions of objects."""
    delivery = read_delivery(b"[" + EVENT + b"," + b"0," * 4_100_000 + b"0]")

    assert delivery.fault == "The array is not valid JSON."
    assert delivery.signed == EVENT
