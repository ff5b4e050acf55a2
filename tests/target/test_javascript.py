"""Values become text, numbers and conditions as JavaScript makes them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from harness.values import ANYTHING
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.mapping.javascript import (
    is_blank,
    is_truthy,
    length,
    to_number,
    to_text,
)
from target_segment_api.mapping.value import MISSING


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[("x", "x"), ("", ""), (None, ""), (MISSING, ""), (True, "true"), (False, "false")],
        *[(0, "0"), (-0.0, "0"), (1.0, "1"), (-1.5, "-1.5"), (0.1, "0.1"), (100.0, "100")],
        *[(Decimal("1.50"), "1.5"), (Decimal("1E+3"), "1000"), (Decimal("0.00"), "0")],
        *[
            (10**20, "1" + "0" * 20),
            (10**21, "1e+21"),
            (-(10**21), "-1e+21"),
            (1.5e300, "1.5e+300"),
        ],
        *[(1e-6, "0.000001"), (1e-7, "1e-7"), (-1.25e-7, "-1.25e-7"), (5e-324, "5e-324")],
        *[(2**63 - 1, "9223372036854775807"), (Decimal("0.1234567890123456789"),) * 2],
        *[(float("nan"), "NaN"), (float("-inf"), "-Infinity"), (Decimal("sNaN"), "NaN")],
        *[(Decimal("1e999999999"), "1e+999999999")],
        *[
            ({}, "[object Object]"),
            ([], ""),
            ([None], ""),
            ([[], []], ","),
            ([1, [2, [3.0]]], "1,2,3"),
        ],
        ([None, True, {"a": 1}, "x"], ",true,[object Object],x"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_value_is_written_as_javascript_does(value: Any, text: Any) -> None:
    """Numbers have JavaScript's form, with all their digits; null is empty."""
    assert to_text(value) == str(text)


def test_number_longer_than_python_prints_has_a_text() -> None:
    """Python refuses to print an int of 5,000 digits, and this does not."""
    assert to_text(10**5000) == "1e+5000"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_written_number_is_read_again(number: float) -> None:
    """What a number is written as is that number."""
    assert float(json.loads(to_text(number))) == number
    assert float(to_number(to_text(number)) or 0) == number


@given(ANYTHING)
def test_any_value_has_a_text_and_a_truth(value: Any) -> None:
    """Nothing that a record holds makes a conversion fail."""
    assert isinstance(to_text(value), str)
    assert is_truthy(value) in (True, False)
    assert is_blank(value) in (True, False)


def test_deep_list_has_a_text() -> None:
    """A list may nest deeper than Python calls."""
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep, 1]

    assert to_text(deep) == ",1" * 10_000


@pytest.mark.parametrize("value", [None, MISSING, "", 0, 0.0, Decimal(0), False], ids=repr)
def test_nothing_is_false_and_blank(value: Any) -> None:
    """Null, empty text, zero and false are no condition, and loosely equal to empty text."""
    assert not is_truthy(value)
    assert is_blank(value)


@pytest.mark.parametrize("value", ["0", " ", 1, -1, Decimal("0.1"), {}, [0], [[], []]], ids=repr)
def test_something_is_true_and_not_blank(value: Any) -> None:
    """Any other value is both, even a space, the text 0, and an empty object."""
    assert is_truthy(value)
    assert not is_blank(value)


@pytest.mark.parametrize("value", [[], [[]], [None], [""]], ids=repr)
def test_empty_list_is_true_but_blank(value: Any) -> None:
    """A list is a condition, and is loosely equal to its text."""
    assert is_truthy(value)
    assert is_blank(value)


@pytest.mark.parametrize("value", [float("nan"), Decimal("NaN"), Decimal("sNaN")], ids=repr)
def test_nan_is_false_but_not_blank(value: Any) -> None:
    """NaN equals nothing, not even empty text."""
    assert not is_truthy(value)
    assert not is_blank(value)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("12", 12), (" 12\n", 12), ("-0", 0), ("+5", 5), ("007", 7), ("9" * 30, int("9" * 30))],
        *[("12.50", Decimal("12.50")), (".5", Decimal("0.5")), ("5.", Decimal(5)), ("1e3", 1000)],
        *[("0x10", 16), ("0B11", 3), ("0o17", 15), ("1e-999999999", 0)],
        *[("", None), (" ", None), ("x", None), ("1_000", None), ("1,5", None), ("NaN", None)],
        *[("Infinity", None), ("1e400", None), ("9" * 9999, None), ("-0x10", None), ("٣", None)],
        ("0x" + "f" * 999, None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_text_is_read_as_a_number(text: str, number: Any) -> None:
    """What JavaScript reads as a finite number is one, and nothing else."""
    assert to_number(text) == number


def test_length_counts_an_emoji_twice() -> None:
    """A length is that of UTF-16, which Segment's limits count."""
    assert [length(text) for text in ("", "ab", "é", "😀")] == [0, 2, 1, 2]
