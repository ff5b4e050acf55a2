"""Where in a mapping something stands that is being compiled, and what holds there."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

from target_segment_api.mapping.path import split
from target_segment_api.mapping.value import MISSING, Mistake, Place, Read, Resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class Scope(NamedTuple):
    """What a directive is compiled with."""

    place: Place
    mistakes: list[Mistake]
    shorthand: bool
    """Whether a text may be a path or a template without a directive."""
    level: int
    """How deep it stands in the mapping."""
    compiler: Callable[[Any, Scope], Resolve]
    reads: list[Read] | None = None
    """Which paths into the record are read; None where a path leads into something else."""

    def inner(self, *parts: str | int) -> Scope:
        """Return the scope of what stands at *parts* in this one."""
        return self._replace(place=(*self.place, *parts), level=self.level + 1)

    def compile(self, value: Any) -> Resolve:
        """Compile any *value* that stands here."""
        return self.compiler(value, self)

    def within(self, *parts: str | int) -> Scope:
        """Return the scope of what stands at *parts*, where paths lead into something else."""
        return self.inner(*parts)._replace(reads=None)

    def note(self, *paths: str) -> None:
        """Note that the record is read at *paths*, which have no `$.` before them."""
        if self.reads is not None:
            keys = [tuple(split(path)) for path in paths]
            self.reads.extend(Read(self.place, each) for each in keys if each)

    def blame(self, reason: str) -> Resolve:
        """Note a mistake, and return what stands in for the value."""
        self.mistakes.append(Mistake(self.place, reason))
        return nothing

    def arguments(
        self, given: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return the arguments that a directive is *given* here, the unknown ones left out."""
        known = (*required, *optional)
        if not isinstance(given, dict):
            self.blame(f"It must be an object with {', '.join(known)}.")
            return {}
        for name in given:
            if name not in known:
                self.inner(name).blame(f"There is no such argument.{suggest(name, known)}")
        for name in required:
            if name not in given:
                self.blame(f"{name} is missing.")
        return {name: value for name, value in given.items() if name in known}

    def choice(self, arguments: dict[str, Any], name: str, choices: tuple[str, ...]) -> str | None:
        """Return the argument *name*, which is one of *choices*."""
        value = arguments.get(name)
        if value in choices:
            return str(value)
        if name in arguments:
            self.inner(name).blame(f"It must be {' or '.join(choices)}.")
        return None

    def flag(self, arguments: dict[str, Any], name: str, *, default: bool) -> bool:
        """Return the argument *name*, which is true or false, and *default* without it."""
        value = arguments.get(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.inner(name).blame("It must be true or false.")
        return default


def is_directive(value: Any) -> bool:
    """Tell whether *value* is an object with an `@` before one of its keys."""
    return isinstance(value, dict) and any(name.startswith("@") for name in value)


def nothing(_: Any) -> Any:
    """Resolve to nothing, whatever the root is."""
    return MISSING


def suggest(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence about the unknown *name*: which is meant, or which there are."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Do you mean {near[0]}?" if near else f" There are {', '.join(known)}."
