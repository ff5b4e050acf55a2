"""One Segment call as it was received: its bytes, its type and its identity.

Pure. `read_event` looks only at the envelope; the bytes stay as Segment sent
them, so that a corrected reading can be replayed over them (see `record`).
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from tap_segment_webhook.errors import InvalidEvent

TYPES: Final = ("alias", "delete", "group", "identify", "page", "screen", "track")
"""Segment's calls, which are also the names of the streams, in stream order."""

CODES: Final = {name: name[0] for name in TYPES}
"""One letter a type, as in the Tracking API's short paths `/v1/t`, `/v1/i`."""

NAMES: Final = {code: name for name, code in CODES.items()}
"""The type of each letter."""

MAX_DEPTH: Final = 100
"""Deeper nesting aborts JSON readers further on, whose limit is about 1,000 levels."""

DIGEST_BYTES: Final = 15

_UNWRITABLE: Final = re.compile("[\0\ud800-\udfff]")

_TOKEN = re.compile(rb'"[^"]*"|[\[\]{}]|,')


Row: TypeAlias = tuple[bytes, int, str, int]
"""A stored event: its body, position, source, and time of receipt in milliseconds since 1970."""


class Event(NamedTuple):
    """An event that can be stored."""

    code: str
    """The letter of its type, see `CODES`."""
    digest: bytes
    """15 bytes that stand for its `messageId` when duplicates are looked for."""
    body: bytes
    """The event exactly as received."""


# Python refuses to make an int of more than 4,300 digits; nobody needs its value here.
_HOOKS: Final = {"parse_int": lambda digits: int(digits) if len(digits) < 4000 else digits}  # noqa: PLR2004


class _Envelope(msgspec.Struct, gc=False):
    type: Any = None
    messageId: Any = None  # noqa: N815 - Segment's name


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def read_event(body: bytes) -> Event:
    """Read the envelope of the event in *body*.

    Raises:
        InvalidEvent: it is no JSON object, nested deeper than `MAX_DEPTH`, or
            its `type` is not one of `TYPES`.
    """
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and depth(body) > MAX_DEPTH:
        raise InvalidEvent(f"It is nested deeper than {MAX_DEPTH} levels.")
    kind, message_id = _read_envelope(body)
    code = CODES.get(kind) if isinstance(kind, str) else None
    if code is None:
        raise InvalidEvent(f"Its type is not one of {', '.join(TYPES)}.")
    return Event(code, digest(identity(message_id, body)), body)


def read_identity(body: bytes) -> str:
    """Return the id of the event in *body*, by which duplicates are recognised.

    Raises:
        InvalidEvent: it is no JSON object.
    """
    return identity(_read_envelope(body)[1], body)


def _read_envelope(body: bytes) -> tuple[Any, Any]:
    try:
        envelope = _decode_envelope(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        fields = read_tolerantly(body)
        return fields.get("type"), fields.get("messageId")
    return envelope.type, envelope.messageId


def read_tolerantly(body: bytes, **hooks: Any) -> dict[str, Any]:
    r"""Read an event that the fast reader refuses, as JavaScript may have sent it.

    A cut emoji is legal in `JSON.stringify` (a lone surrogate, `"\ud83d"`); so is
    a number that no float can hold in JSON itself. Bytes that are no UTF-8 are
    replaced. *hooks* are those of `json.loads`.

    Raises:
        InvalidEvent: it is no JSON object.
    """
    try:
        fields = json.loads(body.decode(errors="replace"), **{**_HOOKS, **hooks})
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("It is not valid JSON.") from error
    if not isinstance(fields, dict):
        raise InvalidEvent("It is not a JSON object.")
    return fields


def identity(message_id: object, body: bytes) -> str:
    """Return the event's *message_id*, or a stable one made from its *body*.

    Whole numbers are taken as text. What is missing, empty or of another kind is
    replaced by `derived-` and 32 hex digits that depend on the bytes alone.
    """
    if isinstance(message_id, str) and message_id:
        return writable(message_id)
    if isinstance(message_id, int) and not isinstance(message_id, bool):
        return str(message_id)
    return "derived-" + blake2b(body, digest_size=16).hexdigest()


def writable(text: str) -> str:
    """Return *text* with U+FFFD for what databases refuse: NUL, and half a surrogate pair."""
    return text if text.isascii() and "\0" not in text else _UNWRITABLE.sub("\ufffd", text)


def digest(message_id: str) -> bytes:
    """Return the 15 bytes that stand for *message_id* in the window of recent ids.

    A cryptographic hash, since an accidental or forged collision would make
    two events one. 15 bytes, because Python keeps them in 48 bytes, and 16 in 64.
    """
    return blake2b(message_id.encode(), digest_size=DIGEST_BYTES).digest()


def tokens(body: bytes) -> Any:
    """Find the brackets, commas and strings of *body*, at their places, in order.

    Escaped quotes are blanked out before the search, byte for byte, so places
    stay true and no expression has to step through a string's escapes.
    """
    return _TOKEN.finditer(body.replace(b"\\\\", b"  ").replace(b'\\"', b"  "))


def depth(body: bytes) -> int:
    """Return how many levels *body* is nested; stop counting past `MAX_DEPTH`."""
    level = deepest = 0
    for token in tokens(body):
        mark = body[token.start()]
        if mark in b"[{":
            level += 1
            deepest = max(deepest, level)
            if deepest > MAX_DEPTH:
                break
        elif mark in b"]}":
            level -= 1
    return deepest
