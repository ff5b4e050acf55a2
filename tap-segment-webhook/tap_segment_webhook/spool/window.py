"""The latest message ids, by which Segment's retries are recognised.

Kept as sets of digests, about 100 bytes an id. The oldest set is dropped
whole, so nothing has to be remembered about the order inside a set.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

_GENERATIONS: Final = 4


class _Generation(NamedTuple):
    mark: int
    digests: set[bytes]


class Window:
    """Remembers at least the latest *size* digests, and at most a quarter and five commits more.

    A commit goes into one set whole, so each of the five sets may end late by one.
    """

    def __init__(self, size: int) -> None:
        self._generation_size = size / _GENERATIONS
        self._generations = deque([_Generation(0, set())], maxlen=_GENERATIONS + 1)

    @property
    def oldest_mark(self) -> int:
        """The mark before which every digest was forgotten."""
        return self._generations[0].mark

    def known(self, digests: set[bytes]) -> set[bytes]:
        """Return those of *digests* that are remembered."""
        return set().union(*(digests & generation.digests for generation in self._generations))

    def add(self, digests: Collection[bytes], mark: int) -> None:
        """Remember *digests*; *mark* is a number that only grows and says where they came from."""
        if not self._generation_size:
            self._generations.append(_Generation(mark + 1, set()))
            return
        if len(self._generations[-1].digests) >= self._generation_size:
            self._generations.append(_Generation(mark, set()))
        self._generations[-1].digests.update(digests)
