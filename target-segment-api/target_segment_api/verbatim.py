"""The fast way for the tap's own columns: what is inside an event's objects passes as bytes. Pure.

Nothing has to be known of `properties` but that they are an object, so they are
neither taken apart nor put together again: that is half of the work. Anything
unusual is left to the careful way (`event`, `rules`), which a test holds to the
same events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from target_segment_api import timestamp
from target_segment_api.loop import CHAIN
from target_segment_api.rules import CONSENT_EVENT

if TYPE_CHECKING:
    from collections.abc import Callable

_NOTHING: Final = msgspec.Raw(b"")
_EMPTY: Final = (b"", b"null", b"{}")
_CHAIN: Final = CHAIN.encode()
_COMPACT: Final = b'{"type":"'


class Columns(msgspec.Struct, gc=False):
    """A record with the tap's columns, its objects as they came."""

    message_id: Any = msgspec.UNSET
    user_id: Any = None
    anonymous_id: Any = None
    timestamp: Any = None
    channel: Any = None
    context: msgspec.Raw = _NOTHING
    integrations: msgspec.Raw = _NOTHING
    extra: msgspec.Raw = _NOTHING
    event: Any = None
    name: Any = None
    category: Any = None
    group_id: Any = None
    previous_id: Any = None
    properties: msgspec.Raw = _NOTHING
    traits: msgspec.Raw = _NOTHING


class Message(msgspec.Struct, gc=False):
    """A Singer message, as far as a RECORD of an event needs it."""

    type: str
    stream: str = ""
    record: Columns | None = None


class _Event(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    type: str
    user_id: str | None = None
    anonymous_id: str | None = None
    timestamp: str | None = None
    channel: str | None = None
    context: msgspec.Raw | None = None
    integrations: msgspec.Raw | None = None
    previous_id: str | None = None
    group_id: str | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: msgspec.Raw | None = None
    traits: msgspec.Raw | None = None


class Verbatim(NamedTuple):
    """An event that is ready but for its message id."""

    content: bytes
    key: str
    """The record's `message_id`."""
    user: str
    """Whose events it stays in order with."""
    ids: dict[str, str]
    """As a budget asks for them."""


class _Unusual(Exception):
    """The careful way has to look at this record."""


_decode = msgspec.json.Decoder(Message).decode
_encode = msgspec.json.Encoder().encode


def read_message(line: bytes) -> Message | None:
    """Return the message of *line*, or None if the careful way has to read it."""
    # What passes unread has to be as the careful way would write it, for the message id depends
    # on it; and right: UTF-8, and no half of a surrogate pair.
    if not line.startswith(_COMPACT) or (b"\\" in line and b"\\u" in line):
        return None
    try:
        if not line.isascii():
            line.decode()
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def make_verbatim(call: str, namespace: str) -> Callable[[Columns], Verbatim | None]:
    """Return what makes an event of *call* from a record, or None if it is an unusual one."""
    mark = b'"%b":["%b"]}' % (_CHAIN, namespace.encode())

    def make(record: Columns) -> Verbatim | None:
        try:
            return _make(call, record, mark)
        except (_Unusual, ValueError):
            return None

    return make


def _make(call: str, record: Columns, mark: bytes) -> Verbatim:
    key, user, anonymous = record.message_id, _text(record.user_id), _text(record.anonymous_id)
    if type(key) is not str or not key or bytes(record.extra) not in _EMPTY:
        raise _Unusual
    event = _Event(
        call,
        user,
        anonymous,
        _moment(record.timestamp),
        _text(record.channel),
        msgspec.Raw(_marked(bytes(record.context), mark)),
        _object(record.integrations),
    )
    owner = user or anonymous
    if call == "alias":
        event.previous_id = owner = _text(record.previous_id)
        if user is None:
            raise _Unusual
    elif call == "track":
        event.event = _required(record.event)
        event.properties = _object(record.properties)
        if event.event == CONSENT_EVENT:
            raise _Unusual
    elif call in ("page", "screen"):
        event.name, event.category = _text(record.name), _text(record.category)
        event.properties = _object(record.properties)
    else:
        event.traits = _object(record.traits)
        if call == "group":
            event.group_id = _required(record.group_id)
    if owner is None:
        raise _Unusual
    ids = {"userId": user} if user else {"anonymousId": owner}
    return Verbatim(_encode(event), key, owner, ids)


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if type(value) is not str:
        raise _Unusual
    return value


def _moment(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not str:
        raise _Unusual  # a number has lost digits here
    return timestamp.write(value)


def _required(value: Any) -> str:
    if type(value) is not str or not value:
        raise _Unusual
    return value


def _object(raw: msgspec.Raw) -> msgspec.Raw | None:
    text = bytes(raw)
    if text[:1] == b"{":
        return raw
    if text in _EMPTY:
        return None
    raise _Unusual


def _marked(context: bytes, mark: bytes) -> bytes:
    """Return *context* with the namespace in it, as `loop.mark` puts it there."""
    if context[:1] != b"{":
        if context not in _EMPTY:
            raise _Unusual
        return b"{" + mark
    if _CHAIN in context:
        raise _Unusual
    inside = context[:-1].rstrip()
    return inside + (mark if inside == b"{" else b"," + mark)
