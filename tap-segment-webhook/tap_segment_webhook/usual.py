"""The call that nearly all calls of a batch are, taken in without taking it apart.

Pure. `call` defines what becomes of a call; this does the same faster for one
with nothing unusual in it: its id and its `timestamp` are given, no field is
one that Segment would drop it for, and its batch shares nothing but `sentAt`.
Its bytes stay as they are but for that, and the new name of its timestamp.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from tap_segment_webhook.discard import CONSENT_EVENT
from tap_segment_webhook.event import CODES, MAX_DEPTH, Event, digest, writable

_GIVEN: Final = b'"timestamp"'
_PARTS: Final = 2  # before it and after it: it stands nowhere else
_KEPT: Final = b'"originalTimestamp"'
# With these a name could be written that is not found as it is.
_ESCAPED_LETTERS: Final = (b"\\u006", b"\\u007")

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Never = Annotated[str, msgspec.Meta(min_length=1, max_length=0)]  # no value is one


class _Object(msgspec.Struct):
    """Any object: what is in it is skipped."""


class _Usual(msgspec.Struct, gc=False):
    """A call as SDKs send it; another is no mistake, but is not decoded."""

    type: Literal["alias", "group", "identify", "page", "screen", "track"]
    messageId: _Text  # noqa: N815 - Segment's names
    timestamp: _Text
    userId: _Text | None = None  # noqa: N815
    anonymousId: _Text | None = None  # noqa: N815
    event: _Text | None = None
    name: _Text | None = None
    category: _Text | None = None
    properties: _Object | None = None
    traits: _Object | None = None
    originalTimestamp: _Never = ""  # noqa: N815
    sentAt: _Never = ""  # noqa: N815
    writeKey: _Never = ""  # noqa: N815


_decode = msgspec.json.Decoder(_Usual).decode


def take_in(call: bytes, start: bytes) -> Event | None:
    """Return the event that *call* becomes, with *start* before its first field, if it is usual.

    None says nothing about it but that somebody else has to read it.
    """
    try:
        usual = _decode(call)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    parts = call.split(_GIVEN)
    if (
        len(parts) != _PARTS
        or (usual.userId is None and usual.anonymousId is None)
        or (usual.type == "track" and (usual.event is None or usual.event == CONSENT_EVENT))
        or (b"\\" in call and any(letter in call for letter in _ESCAPED_LETTERS))
        or call.count(b"{") + call.count(b"[") > MAX_DEPTH
    ):
        return None
    body = b"".join((start, parts[0][1:], _KEPT, parts[1]))
    return Event(CODES[usual.type], digest(writable(usual.messageId)), body)
