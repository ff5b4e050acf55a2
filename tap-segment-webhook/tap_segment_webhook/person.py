"""Whose events these are, when somebody is to be forgotten.

Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tap_segment_webhook.event import read_tolerantly, writable

if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")


class _Ids(msgspec.Struct, gc=False):
    userId: Any = None  # noqa: N815 - Segment's names
    anonymousId: Any = None  # noqa: N815
    previousId: Any = None  # noqa: N815


_decode = msgspec.json.Decoder(_Ids).decode


class People(NamedTuple):
    """Those who are looked for: by ids as they stand in the columns of a record."""

    users: frozenset[str]
    """Looked for in `userId`, `anonymousId` and `previousId`."""
    devices: frozenset[str]
    """Looked for in `anonymousId` and `previousId` alone."""

    @classmethod
    def of(cls, users: Iterable[str], devices: Iterable[str]) -> People:
        """Take ids as somebody wrote them down."""
        return cls(frozenset(map(writable, users)), frozenset(map(writable, devices)))

    def own(self, body: bytes) -> bool:
        """Tell whether the event in *body*, which was stored, is of one of them."""
        user, *others = map(_text, _ids(body))
        everybody = self.users | self.devices
        return user in self.users or not everybody.isdisjoint(others)

    def are_mentioned(self, body: bytes) -> bool:
        """Tell whether one of the ids stands in *body* as a word, whatever *body* is.

        It need not be JSON: an escape is read as in JSON wherever it is.
        """
        text = body.decode(errors="replace")
        if "\\" in text:
            text = _ESCAPE.sub(_unescape, text)
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return any(
            known in text and re.search(rf"(?<![\w-]){re.escape(known)}(?![\w-])", text)
            for known in self.users | self.devices
        )


def _ids(body: bytes) -> tuple[Any, Any, Any]:
    try:
        ids = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        fields = read_tolerantly(body)
        return fields.get("userId"), fields.get("anonymousId"), fields.get("previousId")
    return ids.userId, ids.anonymousId, ids.previousId


def _text(value: object) -> str | None:
    """Return an id as its column holds it: numbers as text, nothing for anything else."""
    if isinstance(value, str):
        return writable(value)
    return str(value) if isinstance(value, int | float) and value is not True else None


def _unescape(match: re.Match[str]) -> str:
    code, character = match.groups()
    return chr(int(code, 16)) if code else str(character)
