"""Values that JSON has, and those that it should have had: for tests of properties."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

WRITABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
"""Text that every database takes."""

ANY_TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["NaN", "-Infinity", "\ud83d", "a\udc00\ud800b", '"\\u0000', "\u2028", "😀"]
)
"""Text with half a surrogate pair in it, or what looks like a number that is none."""

NUMBERS = (
    st.integers()
    | st.integers(-(2**70), 2**70)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["1E+400", "-0.0", "1e-400", "0.10", "9" * 40 + ".5"]).map(Decimal)
)


def values(leaves: SearchStrategy[Any], keys: SearchStrategy[str]) -> SearchStrategy[Any]:
    """Draw values made of lists, objects with *keys*, and *leaves*."""
    return st.recursive(
        st.none() | st.booleans() | leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )


JSON = values(WRITABLE | NUMBERS, WRITABLE)
"""What JSON can say."""

ANYTHING = values(ANY_TEXT | NUMBERS | st.floats(), ANY_TEXT)
"""What a tap may have meant by it."""
