"""The latest message ids are remembered, as many as were asked for and not many more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tap_segment_webhook.event import digest
from tap_segment_webhook.spool.window import Window


def ids(first: int, last: int) -> list[bytes]:
    """Return the digests of the ids *first* to *last*."""
    return [digest(str(number)) for number in range(first, last + 1)]


def test_new_ids_are_unknown_until_added() -> None:
    """Only what was added is known."""
    window = Window(100)
    assert window.known(set(ids(1, 3))) == set()

    window.add(ids(1, 2), 1)

    assert window.known(set(ids(1, 3))) == set(ids(1, 2))


@given(st.integers(1, 200), st.lists(st.integers(1, 40), max_size=60))
def test_latest_ids_are_known_and_the_oldest_forgotten(size: int, lots: list[int]) -> None:
    """The window's size is a promise, and bounded above."""
    window, last = Window(size), 0
    for mark, lot in enumerate(lots, 1):
        window.add(ids(last + 1, last + lot), mark)
        last += lot

    known = window.known(set(ids(1, last)))

    assert known >= set(ids(max(1, last - size + 1), last))
    assert len(known) <= size * 1.25 + 5 * 40
    assert known == set(ids(last - len(known) + 1, last))


def test_oldest_mark_tells_what_may_be_deleted() -> None:
    """What was added under an older mark is not known any more."""
    window = Window(8)
    for mark in range(1, 31):
        window.add(ids(mark, mark), mark)

    assert window.oldest_mark > 1
    assert window.known(set(ids(1, window.oldest_mark - 1))) == set()
    assert window.known(set(ids(window.oldest_mark, 30))) == set(ids(window.oldest_mark, 30))


def test_window_of_zero_remembers_nothing() -> None:
    """Looking for duplicates can be switched off."""
    window = Window(0)

    window.add(ids(1, 3), 1)

    assert window.known(set(ids(1, 3))) == set()
