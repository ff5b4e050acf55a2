"""The words that the parts of a mapping share. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias


class Missing(Enum):
    """What JavaScript calls undefined: there is no value, not even null."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING

Resolve: TypeAlias = Callable[[Any], Any]
"""Takes the root (a record, or one element of it) and returns a value, or `MISSING`."""

Place: TypeAlias = tuple[str | int, ...]
"""Where in a configuration something stands: `("traits", "name", "@if")`."""


class Mistake(NamedTuple):
    """One thing that is wrong in a mapping; they are told all at once."""

    place: Place
    reason: str
    """A sentence, with what to do about it."""

    def __str__(self) -> str:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.place)
        return f"{where.lstrip('.')}: {self.reason}" if where else self.reason


class Read(NamedTuple):
    """One path into the record that a mapping reads, as far as it is known before there is one."""

    place: Place
    """Where in the mapping it stands."""
    keys: tuple[str, ...]
    """The column, and what leads into its value."""


MAX_CHARACTERS: Final = 1_000_000
"""Of what one value may become: an event has 32,000, and a record must not cost the run."""

MAX_DEPTH: Final = 100
"""How deep an object may nest that is taken apart."""


class ValueFailed(Exception):
    """A value cannot be made of this record: the event is set aside, with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """A sentence that names the directive, and nothing of the record."""
