"""All mappings of a configuration: which calls a stream's rows become."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from target_segment_api.mapping.call import Call, compile_call
from target_segment_api.mapping.columns import missing
from target_segment_api.mapping.value import Mistake

if TYPE_CHECKING:
    from collections.abc import Mapping

_GLOB = "*?["


class Mappings:
    """The compiled calls of each stream, by name or glob.

    Args:
        config: stream, or glob of streams, to a list of calls.
        strict_parity: send what Segment Connections sends, where that is not Segment's spec.
    """

    def __init__(self, config: Mapping[str, Any], *, strict_parity: bool = False) -> None:
        self.mistakes: list[Mistake] = []
        """What is wrong, all of it; nothing may be sent while there is something."""
        self._calls: dict[str, tuple[Call, ...]] = {}
        self.missing: dict[str, list[Mistake]] = {}
        """The columns that are read and that a stream has not, by stream, as `check` found them."""
        self._unused = set(config)
        for stream, entries in config.items():
            place = ("mappings", stream)
            if not isinstance(entries, list) or not entries:
                self.mistakes.append(Mistake(place, "It must be a list of calls."))
                continue
            calls = (
                compile_call(entry, (*place, number), self.mistakes, strict_parity=strict_parity)
                for number, entry in enumerate(entries)
            )
            self._calls[stream] = tuple(call for call in calls if call is not None)

    def of(self, stream: str) -> tuple[Call, ...] | None:
        """Return the calls of *stream*, by its name or else the first glob that fits, or None."""
        name = stream if stream in self._calls else self._find(stream)
        if name is None:
            return None
        self._unused.discard(name)
        return self._calls[name]

    def check(self, stream: str, schema: Mapping[str, Any]) -> list[Mistake]:
        """Return the columns that the calls of *stream* read and *schema* has not, once."""
        if stream in self.missing:
            return []
        self.missing[stream] = [
            mistake
            for call in self.of(stream) or ()
            for mistake in missing(call.reads, stream, schema, is_exported=call.is_exported)
        ]
        return self.missing[stream]

    def _find(self, stream: str) -> str | None:
        globs = (name for name in self._calls if any(character in name for character in _GLOB))
        return next((glob for glob in globs if fnmatchcase(stream, glob)), None)

    @property
    def unused(self) -> list[str]:
        """The names and globs that no stream has come for."""
        return sorted(self._unused)
