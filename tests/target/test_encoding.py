"""JSON comes in however a tap wrote it, and goes out strict, with every digit."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from harness.values import ANYTHING, JSON
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.encoding import decode, encode

DEEP = 500  # levels; a tap of ours takes 100


def strict(text: bytes) -> Any:
    """Read *text* as the strictest reader would."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text.decode("utf-8"), parse_float=Decimal, parse_constant=refuse)


@given(JSON)
def test_value_comes_back(value: Any) -> None:
    """Whatever JSON can say is the same after it was written and read."""
    assert decode(encode(value)) == value
    assert strict(encode(value)) == value


@given(ANYTHING)
def test_output_is_strict_json(value: Any) -> None:
    """Whatever a tap sends, Segment's reader takes it."""
    text = encode(value)

    assert decode(text) == strict(text)


@given(ANYTHING)
def test_sloppy_input_is_read(value: Any) -> None:
    """What Python's own writer writes for the same value is read as well."""
    text = json.dumps(value, default=str)

    assert decode(text.encode()) == decode(text)
    assert strict(encode(decode(text))) == strict(encode(decode(encode(decode(text)))))


@pytest.mark.parametrize(
    "number",
    [
        *("0.1", "64.90", "12345678901234567890.123456789", "-0.0", "1E-7", "5E-324", "1E+400"),
        *("9007199254740993", "-9223372036854775809", "1" * 400, "1" * 5000, "0." + "3" * 5000),
    ],
    ids=lambda number: number[:30],
)
def test_number_keeps_its_digits(number: str) -> None:
    """No number goes through a float, however long it is, and whatever stands beside it."""
    assert encode(decode(number)) == number.encode()
    assert encode(["NaN", decode(number)]) == b'["NaN",' + number.encode() + b"]"
    assert encode(["\ud83d", decode(number)]) == '["\ufffd",'.encode() + number.encode() + b"]"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_number_that_is_none_becomes_null(number: str) -> None:
    """As in JavaScript, what JSON cannot say is null."""
    assert decode(f'{{"a":{number}}}') == {"a": None}
    assert encode({"a": float(number), "b": ["\ud83d", number]}) == (
        f'{{"a":null,"b":["\ufffd","{number}"]}}'.encode()
    )


@pytest.mark.parametrize("exponent", ["9" * 20, "-" + "9" * 20])
def test_number_beyond_all_numbers_becomes_null(exponent: str) -> None:
    """A number that not even a `Decimal` holds does not end the run."""
    assert decode(f'{{"a":1e{exponent},"b":0.10}}') == {"a": None, "b": Decimal("0.10")}


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    """A cut emoji does not cost the event, neither in a value nor in a name."""
    value = decode(r'{"a\ud83d":["\udc00x","\ud83d\ude00"]}')

    assert encode(value) == '{"a\ufffd":["\ufffdx","😀"]}'.encode()


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    """A wrong encoding in one value does not end the run."""
    assert decode(b'{"a":"\xff\xe9","b":0.10}') == {"a": "\ufffd\ufffd", "b": Decimal("0.10")}


@pytest.mark.parametrize("leaf", ["1", '"NaN"', r'"\ud83d"'])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_read_and_written(opening: str, closing: str, leaf: str) -> None:
    """Depth that can be read can be written, whatever lies at the bottom."""
    text = opening * DEEP + leaf + closing * DEEP

    assert encode(decode(text)).decode() == text.replace(r"\ud83d", "\ufffd")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{'a':1}", '{"a":01}', '{"a":1}{', "nul", '"\x01"', '{"a":1,}', "\ufeff{}"),
        *("[" * 1_000_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000),
    ],
    ids=lambda text: text[:10],
)
def test_anything_else_is_a_value_error(text: str) -> None:
    """What is no JSON, or nested without end, is told as one kind of error."""
    with pytest.raises(ValueError, match=r"."):
        decode(text)
    with pytest.raises(ValueError, match=r"."):
        decode(text.encode())


@given(st.binary(max_size=40))
def test_no_bytes_end_in_another_error(text: bytes) -> None:
    """Whatever comes in, there is a value or a `ValueError`."""
    try:
        value = decode(text)
    except ValueError:
        return
    assert strict(encode(value)) == value or "\ufffd" in encode(value).decode()


def test_tuple_and_floats_are_written_as_json_has_them() -> None:
    """Values that came from a stream map, not from JSON, are taken too."""
    assert encode(("a", 1.5, True, None, float("nan"))) == b'["a",1.5,true,null,null]'
