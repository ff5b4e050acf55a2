"""A path finds what Segment's mapping kit finds."""

from __future__ import annotations

from typing import Any

import pytest
from harness.values import ANY_TEXT, ANYTHING
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.mapping.path import MAX_KEYS, compile_path, find
from target_segment_api.mapping.value import MISSING, Mistake, ValueFailed

ROOT: dict[str, Any] = {
    "a": {"b": {"c": 1}, "x y": 2, "0": "zero"},
    "list": [{"id": 7}, [8, 9]],
    "none": None,
    "zero": 0,
    "empty": "",
    "no": False,
    "text": "naïve😀",
    "$": {"a": "dollar"},
    "$each": {"name": "Ada"},
    "k[x]": "brackets",
}


def at(path: str, root: Any = ROOT) -> Any:
    """Return what *path* finds, which has no mistake in it."""
    mistakes: list[Mistake] = []
    resolve = compile_path(path, (), mistakes, strict=False)
    assert mistakes == []
    return resolve(root)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *[("$.a.b.c", 1), ("a.b.c", 1), ("$.a.x y", 2), ('$.a["x y"]', 2), ("$.a['b'].c", 1)],
        *[("$.list[0].id", 7), ("$.list.0.id", 7), ("list[1][1]", 9), ("$.list[2]", MISSING)],
        *[("$.list[-1]", MISSING), ("$.list[00]", MISSING), ("$.list.id", MISSING)],
        *[("$.a.0", "zero"), ("$.a[0]", "zero"), ("$.k[x]", "brackets"), ("$.nope", MISSING)],
        *[("$.nope.deeper.still", MISSING), ("$each.name", "Ada"), ("$each", {"name": "Ada"})],
        *[("$", {"a": "dollar"}), ("$[0]", MISSING), ("$..a.b.c", 1), ("$.a..b", {"c": 1})],
        *[("$.$.a", "dollar"), ("a$.a.b", MISSING), ("$.list.length", 2), ("$.text.length", 7)],
        *[("$.text[0]", "n"), ("$.text.x", MISSING), ("$.a.length", MISSING)],
    ],
)
def test_path_finds(path: str, value: Any) -> None:
    """Dots, indexes and quoted keys lead to a value, and elsewhere is nothing."""
    assert at(path) == value


@pytest.mark.parametrize("path", ["", ".", "$.", ".."])
def test_path_to_the_root(path: str) -> None:
    """A path without keys is the whole record."""
    assert at(path) is ROOT


@pytest.mark.parametrize("key", ["none", "zero", "empty", "no"])
def test_falsy_value_on_the_way_is_the_result(key: str) -> None:
    """A path ends where JavaScript would: at null, zero, empty text or false."""
    assert at(f"$.{key}.b.c") == ROOT[key]
    assert at("$.b", ROOT[key]) == ROOT[key]


def test_first_dollar_and_dot_are_dropped_wherever_they_stand() -> None:
    """As in Segment, `x$.y` is the key `xy`."""
    assert at("x$.y", {"xy": 1}) == 1


@pytest.mark.parametrize("path", ["$.a.b.c", "a.0", "list[0].id", "$each.name", "", "text.length"])
def test_path_of_a_record_finds_the_same(path: str) -> None:
    """It makes no difference whether the mapping gives a path or a record does."""
    assert find(ROOT, path.replace("$.", "", 1)) == at(path)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("$.items[*].id", "A path has no wildcards. Use for_each or @arrayPath."),
        ("$.items.*", "A path has no wildcards. Use for_each or @arrayPath."),
        ("$.items[?(@.a)]", "A path has no wildcards. Use for_each or @arrayPath."),
        ("$.a..b", "A path has a key between two dots. Write the key, or one dot."),
        (
            '$["a.b"]',
            "A key with a dot cannot be named in a path. Rename the column, or map its parent.",
        ),
    ],
)
def test_what_segment_would_take_for_a_key_is_told(path: str, told: str) -> None:
    """In YAML a path that could find nothing is a mistake; Segment is silent of it."""
    mistakes: list[Mistake] = []
    compile_path(path, ("user_id",), mistakes, strict=True)

    assert mistakes == [Mistake(("user_id",), told)]
    at(path)


def test_long_path_is_refused() -> None:
    """A path has a hundred keys at most, whoever gives it."""
    mistakes: list[Mistake] = []
    compile_path("a." * (MAX_KEYS + 1), (), mistakes, strict=False)

    assert [mistake.reason for mistake in mistakes] == [
        "The path has 101 keys. Use no more than 100."
    ]
    with pytest.raises(ValueFailed, match="101 keys"):
        find({}, "a." * 101)


@given(ANY_TEXT | st.sampled_from(["$.a[0]", "length", "a.b.c", "0.1"]), ANYTHING, st.booleans())
def test_any_path_finds_something_or_nothing(path: str, root: Any, strict: bool) -> None:  # noqa: FBT001 - drawn
    """No path fails on any root."""
    resolve = compile_path(path, (), [], strict=strict)
    again = find(root, path.replace("$.", "", 1))

    assert repr(resolve(root)) == repr(again)
