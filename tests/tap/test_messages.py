"""A line is written whole, whatever a signal or a slow reader does to a write."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tap_segment_webhook.messages import write_lines


class Reluctant(io.RawIOBase):
    """A raw file that takes no more of a write than it likes."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self._sizes = sizes
        self.taken = b""

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, data: object) -> int:
        """Take a part of *data*, at times nothing."""
        part = bytes(data)[: self._sizes.pop() if self._sizes else None]  # type: ignore[call-overload]
        self.taken += part
        return len(part)


class Output:
    """What stands in the place of standard output; only its buffer is asked for."""

    def __init__(self, buffer: Reluctant) -> None:
        self.buffer = buffer


@given(st.binary(max_size=200), st.lists(st.integers(0, 50), max_size=20))
def test_nothing_is_cut_off_or_repeated(data: bytes, sizes: list[int]) -> None:
    """With PYTHONUNBUFFERED a write may take less than it is given."""
    raw = Reluctant(sizes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", Output(raw))
        write_lines(data)

    assert raw.taken == data
