"""What Segment makes of the body of a request: values in, values out."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType, ValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BODY_BYTES: Final = 500_000
MAX_EVENT_BYTES: Final = 32_000
MAX_EVENTS: Final = 2_500
MIN_KEY_LENGTH: Final = 7  # a key of six characters has been seen to give 400
TYPES: Final = ("track", "identify", "page", "screen", "group", "alias")
SINGLE: Final = {f"/v1/{name}": kind for kind in TYPES for name in (kind, kind[0])}
BATCHES: Final = ("/v1/batch", "/v1/import", "/v1/b")

Text: TypeAlias = Annotated[str, Meta(min_length=1)]


class Anything(Struct, gc=False):
    """A JSON object, whatever is in it."""


class Call(Struct, rename="camel", tag_field="type", kw_only=True, gc=False):
    """What Segment looks at in any event, of the types that it takes."""

    user_id: Text | None = None
    anonymous_id: Text | None = None
    message_id: Annotated[str, Meta(max_length=99)] | None = None
    timestamp: datetime | None = None
    properties: Anything | UnsetType = UNSET
    traits: Anything | UnsetType = UNSET


class Track(Call, tag="track", gc=False):
    """Something a user did."""

    event: Text


class Identify(Call, tag="identify", gc=False):
    """Who a user is."""


class Page(Call, tag="page", gc=False):
    """A page a user looked at."""

    name: Text | UnsetType = UNSET
    category: Text | UnsetType = UNSET


class Screen(Page, tag="screen", gc=False):
    """A screen a user looked at."""


class Group(Call, tag="group", gc=False):
    """The group a user belongs to."""

    group_id: Text


class Alias(Call, tag="alias", gc=False):
    """Another id of a user."""

    previous_id: Text


AnyCall: TypeAlias = Track | Identify | Page | Screen | Group | Alias

# Segment's own names for a reason where it has one.
WRONG: Final = {
    "anonymousId": "id_not_string",
    "category": "category_not_string",
    "event": "event_not_string",
    "groupId": "group_id_not_string",
    "messageId": "invalid_message_id",
    "name": "name_not_string",
    "previousId": "previous_id_not_string",
    "properties": "properties_not_object",
    "timestamp": "timestamp_not_iso_8601",
    "traits": "traits_not_object",
    "type": "unknown_type",
    "userId": "id_not_string",
}
MISSING: Final = {
    "event": "event_not_defined",
    "groupId": "group_id_required",
    "previousId": "previous_id_required",
    "type": "unknown_type",
}
_FIELD: Final = re.compile(r"`(?:\$\.)?(\w+)`$")


class _Calls(Struct):
    batch: list[AnyCall]


class Envelope(Struct, rename="camel", gc=False):
    """What stands in a batch beside its events."""

    context: Raw | UnsetType = UNSET
    integrations: Raw | UnsetType = UNSET
    sent_at: Raw | UnsetType = UNSET
    received_at: Raw | UnsetType = UNSET
    original_timestamp: Raw | UnsetType = UNSET

    def alone(self) -> Envelope:
        """Return a copy that does not keep the rest of the body in memory."""
        parts = msgspec.structs.astuple(self)[: len(Envelope.__struct_fields__)]
        return Envelope(*(part and part.copy() for part in parts))


class Body(Envelope, rename="camel", gc=False):
    """What a request consists of, apart from the content of its events."""

    batch: list[Raw] = []
    write_key: Any = None


_body: Final = msgspec.json.Decoder(Body)
_call: Final = msgspec.json.Decoder(AnyCall)
_calls: Final = msgspec.json.Decoder(_Calls)
_object: Final = msgspec.json.Decoder(dict[str, Raw])


class Refused(Exception):
    """A request is answered with 400; the message says why."""


class Parcel(NamedTuple):
    """A request that was read: its events, and of each the call it is, or why it is dropped."""

    key: str
    events: Sequence[Raw]
    calls: Sequence[Call | str]
    envelope: Envelope | None


def unpack(wire: bytes, encoding: bytes) -> bytes:
    """Return the body of a request as it was before *encoding*.

    Raises:
        Refused: it is too large, or no gzip.
    """
    body = wire
    if encoding == b"gzip":
        inflater = zlib.decompressobj(wbits=31)
        try:
            body = inflater.decompress(wire, MAX_BODY_BYTES + 1)
        except zlib.error as error:
            raise Refused("The body is no gzip.") from error
        if len(body) <= MAX_BODY_BYTES and (not inflater.eof or inflater.unused_data):
            raise Refused("The gzip ends too early, or too late.")
    if len(body) > MAX_BODY_BYTES:
        raise Refused(f"The body exceeds the limit of {MAX_BODY_BYTES} bytes.")
    return body


def parse(path: str, key: str, body: bytes) -> Parcel:
    """Read the *body* of a call or a batch; the *key* of its header goes before its own.

    Raises:
        Refused: it is no JSON, too large, or has no write key.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec skips strings without a look at their encoding
        read = _body.decode(body)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("The body is no valid JSON.") from error
    kind = SINGLE.get(path)
    events = [Raw(body)] if kind else read.batch
    if max(map(len, events), default=0) > MAX_EVENT_BYTES:
        raise Refused(f"An event exceeds the limit of {MAX_EVENT_BYTES} bytes.")
    found = key or read.write_key
    if not isinstance(found, str) or len(found) < MIN_KEY_LENGTH:
        raise Refused("The write key is invalid.")
    if kind:
        return Parcel(found, events, [judge(events[0], kind)], None)
    return Parcel(found, events, judge_all(body, events), read.alone())


def basic_key(authorization: bytes) -> str:
    """Return the user's name in a header of Basic authorization, with or without a colon."""
    scheme, _, code = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return ""
    try:
        return base64.b64decode(code).partition(b":")[0].decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def judge_all(body: bytes, events: Sequence[Raw]) -> Sequence[Call | str]:
    """Return what `judge` says of each of the *events* in *body*, all at once if all are good."""
    if len(events) > MAX_EVENTS:
        return ["too_many_events"] * len(events)
    try:
        return _calls.decode(body).batch
    except ValidationError:
        return [judge(event) for event in events]


def judge(event: Raw, kind: str | None = None) -> Call | str:
    """Return the call that *event* is, or the reason why Segment drops it.

    Args:
        event: the event as it came.
        kind: its type, if the path has said it.
    """
    try:
        fields = _object.decode(event)
    except ValidationError:
        return "not_an_object"
    if kind:
        fields["type"] = Raw(f'"{kind}"')
    if is_iso_8601(fields.get("timestamp")):
        del fields["timestamp"]  # msgspec knows fewer forms
    try:
        call: Call = _call.decode(msgspec.json.encode(fields))
    except ValidationError as error:
        field = _FIELD.findall(str(error))[-1]
        return (MISSING if "missing" in str(error) else WRONG)[field]
    return call


def lacks_id(call: Call) -> str | None:
    """Return the reason to drop *call* if nobody is named whom it is about."""
    if call.user_id is not None:
        return None
    if call.anonymous_id is None:
        return "no_user_anon_id"
    return "user_id_required" if isinstance(call, Alias) else None


def is_iso_8601(value: Raw | None) -> bool:
    """Whether *value* is a JSON string that is a date or a time."""
    text = msgspec.json.decode(value) if value else None
    if not isinstance(text, str):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
