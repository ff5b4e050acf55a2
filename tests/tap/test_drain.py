"""A pass goes page by page, so that a stop is heeded and memory stays bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tap_segment_webhook.drain import pages
from tap_segment_webhook.spool.model import Block

PAGE_BYTES = 1 << 20
PAGE_EVENTS = 4096


def block(position: int, codes: int, size: int) -> Block:
    """Return a block of *codes* events and *size* bytes that ends at *position*."""
    return Block(position, "default", 0, "t" * codes, bytes(4 * codes), bytes(size), None)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 100_000)), max_size=60))
def test_pages_hold_every_block_once_in_bounded_parts(sizes: list[tuple[int, int]]) -> None:
    """Nothing is left out, the order stays, and no page is larger than it may be."""
    blocks = [block(position, *size) for position, size in enumerate(sizes, 1)]

    found = list(pages(blocks))

    assert [block for page in found for block in page] == blocks
    for page in found:
        assert page
        assert len(page) == 1 or sum(len(block.body) for block in page) <= PAGE_BYTES
        assert sum(len(block.codes) for block in page) <= PAGE_EVENTS


def test_block_larger_than_a_page_is_a_page() -> None:
    """An event of any size gets through."""
    blocks = [block(1, 1, 10), block(2, 1, 4 * PAGE_BYTES), block(3, 1, 10)]

    assert [len(page) for page in pages(blocks)] == [1, 1, 1]


def test_pages_are_made_as_they_are_read() -> None:
    """No more than a page, and the block after it, is taken from the spool at once."""
    taken = []

    def read() -> object:
        for position in range(1, 1000):
            taken.append(position)
            yield block(position, 1, 100_000)

    next(pages(read()))  # type: ignore[arg-type]

    assert len(taken) < 20
