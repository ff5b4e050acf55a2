"""What a request to the Tracking API holds, as events that can be stored.

Pure. A webhook delivers events that Segment has already taken in. Here we take
them in ourselves, as Segment's own API does (facts of its HTTP API and its
SDKs): a call gets the `type` that its path says, what its batch shares, and a
`messageId` if it has none; its `timestamp` becomes `originalTimestamp`, from
which `timestamp` is computed when the event is read (`timestamp.corrected`).
Every value keeps the bytes that were sent; the write key is kept nowhere.
"""

from __future__ import annotations

import json
import uuid
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeGuard
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw

from tap_segment_webhook.delivery import split
from tap_segment_webhook.discard import MAX_BATCH_EVENTS, discarded
from tap_segment_webhook.errors import DeliveryRefused, InvalidEvent
from tap_segment_webhook.event import NAMES, read_event, read_tolerantly
from tap_segment_webhook.filter import switched_off
from tap_segment_webhook.spool.model import Received, Reject
from tap_segment_webhook.usual import take_in as take_in_usual

if TYPE_CHECKING:
    from tap_segment_webhook.event import Event

CALLS: Final = ("alias", "group", "identify", "page", "screen", "track")
"""The calls of the API. Not `delete`: every visitor of a page can read its write key."""

MAX_CALL_BYTES: Final = 32 << 10
MAX_BODY_BYTES: Final = 500 << 10
"""Segment's limits, 32 KB and 500 KB (its HTTP API's documentation), in the larger reading."""

Fields: TypeAlias = "dict[str, Raw]"


class _Batch(msgspec.Struct):
    """A batch as SDKs send it."""

    batch: list[Raw]
    writeKey: str | None = None  # noqa: N815 - Segment's names
    context: Raw = Raw()
    integrations: Raw = Raw()
    sentAt: Raw = Raw()  # noqa: N815


_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

_ABSENT: Final = (b"null", b'""')
_SHARED: Final[tuple[str, ...]] = ("context", "integrations", "sentAt")


class Request(NamedTuple):
    """What one request brings."""

    write_key: str | None
    """The key in the body, if there is one."""
    calls: list[bytes]
    """Each call, exactly as received."""
    kind: str | None = None
    """The type that the path says, or None: then each call says its own."""
    shared: Fields = {}  # noqa: RUF012 - never changed
    """`context`, `integrations` and `sentAt` of the whole batch."""
    fault: str | None = None
    """Why Segment would drop it whole, though it answers 200."""


def read_call(body: bytes, kind: str) -> Request:
    """Read the *body* of a single call of the type *kind*.

    Raises:
        InvalidEvent: it is no JSON object.
    """
    return Request(_text(_fields(body).get("writeKey")), [body], kind)


def read_batch(body: bytes) -> Request:
    """Read the *body* of a batch.

    Raises:
        InvalidEvent: it is no JSON object.
    """
    try:
        usual = _decode_batch(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _read_unusual_batch(body)
    shared = {name: raw for name in _SHARED if bytes(raw := getattr(usual, name))}
    return Request(usual.writeKey, list(map(bytes, usual.batch)), shared=shared)


def _read_unusual_batch(body: bytes) -> Request:
    fields = _fields(body)
    write_key = _text(fields.pop("writeKey", None))
    batch = bytes(fields.pop("batch", b""))
    if not batch.startswith(b"["):
        return Request(write_key, [body], fault="It has no array `batch` (empty_batch).")
    calls = split(batch)
    shared = {name: fields[name] for name in _SHARED if name in fields}
    return Request(write_key, calls, shared=shared)


def read_pixel(query: bytes, kind: str) -> Request:
    """Read the *query* of a pixel: `data`, base64 of JSON, or parameters with dotted names.

    Raises:
        InvalidEvent: `data` is no base64 of a JSON object.
    """
    parameters = dict(parse_qsl(query.decode("latin-1"), encoding="utf-8"))
    if "data" in parameters:
        try:
            data = parameters["data"].translate(str.maketrans("-_ ", "+/+")).rstrip("=")
            return read_call(b64decode(data + "=" * (-len(data) % 4), validate=True), kind)
        except ValueError as error:
            raise InvalidEvent("`data` is not base64.") from error
    fields: dict[str, Any] = {}
    for name, value in parameters.items():
        *path, last = name.split(".")
        place = fields
        for part in path:
            inner = place.setdefault(part, {})
            place = inner if isinstance(inner, dict) else {}
        place[last] = value
    return read_call(json.dumps(fields).encode(), kind)


def sort_calls(source: str, request: Request, integration_name: str | None) -> Received:
    """Put each call of *request* into its lot: events, rejects, or counted as filtered.

    Raises:
        DeliveryRefused: 400, as Segment answers, if one is larger than `MAX_CALL_BYTES`.
    """
    calls, fault = request.calls, request.fault
    largest = max(map(len, calls), default=0)
    if largest > MAX_CALL_BYTES and fault is None:
        raise DeliveryRefused(
            400,
            f"A call has {largest:,} bytes; Segment takes {MAX_CALL_BYTES:,}. "
            "Nothing of this request was taken.",
        )
    if len(calls) > MAX_BATCH_EVENTS:
        fault = f"Its batch has {len(calls):,} calls; Segment takes {MAX_BATCH_EVENTS:,}."
    events: list[Event] = []
    rejects: list[Reject] = []
    filtered = 0
    start = _usual_start(request) if fault is None else None
    for call in calls:
        usual = None if start is None else take_in_usual(call, start)
        taken = usual or _take_in(call, request, fault)
        if isinstance(taken, Reject):
            rejects.append(taken)
        elif integration_name is not None and switched_off(taken.body, integration_name):
            filtered += 1
        else:
            events.append(taken)
    return Received(source, len(calls), events, rejects, filtered)


def _usual_start(request: Request) -> bytes | None:
    """Return how a usual call of *request* begins as an event; None if it has none."""
    if request.kind is not None or request.shared.keys() > {"sentAt"}:
        return None
    sent = request.shared.get("sentAt")
    return b"{" if sent is None else b'{"sentAt":%b,' % sent


def _take_in(call: bytes, request: Request, fault: str | None) -> Event | Reject:
    """Return the event that *call* becomes, or why there is none."""
    body = call
    try:
        fields = _as_event(_fields(call), request)
        body = _encoded(fields)
        event = read_event(body)
        reason = fault or discarded(NAMES[event.code], fields)
    except InvalidEvent as error:
        reason = fault or error.reason
    return event if reason is None else Reject(reason, body)


def _as_event(fields: Fields, request: Request) -> Fields:
    """Turn the *fields* of one call into those of the event that Segment makes of it."""
    fields.pop("writeKey", None)
    if request.kind is not None:
        fields["type"] = Raw(b'"%b"' % request.kind.encode())
    if _present(given := fields.pop("timestamp", None)):
        fields["originalTimestamp"] = given
    if not _present(fields.get("messageId")):
        fields["messageId"] = Raw(b'"%b"' % str(uuid.uuid4()).encode())
    for name, shared in request.shared.items():
        own = fields.get(name)
        if name == "sentAt" or not _present(own):
            fields[name] = shared
        else:
            fields[name] = _merged(bytes(shared), bytes(own))
    return fields


def _present(given: Raw | None) -> TypeGuard[Raw]:
    return given is not None and bytes(given) not in _ABSENT


def _merged(shared: bytes, own: bytes) -> Raw:
    """Return the object *own* with the fields of *shared* that it lacks."""
    if shared == b"{}" or not (shared.startswith(b"{") and own.startswith(b"{")):
        return Raw(own)
    return Raw(_encoded({**_fields(shared), **_fields(own)}))


def _fields(body: bytes) -> Fields:
    """Return the fields of the JSON object *body*, each with the bytes of its value.

    Raises:
        InvalidEvent: it is no JSON object.
    """
    try:
        return _decode_fields(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # JavaScript may have sent half an emoji, which that reader refuses.
        given = read_tolerantly(body)
        return {name: Raw(json.dumps(value).encode()) for name, value in given.items()}


def _encoded(fields: Fields) -> bytes:
    try:
        return _encode(fields)
    except UnicodeEncodeError:  # half an emoji in a name
        pairs = [json.dumps(name).encode() + b":" + bytes(raw) for name, raw in fields.items()]
        return b"{%b}" % b",".join(pairs)


def _text(raw: Raw | None) -> str | None:
    if raw is None or not bytes(raw).startswith(b'"'):
        return None
    try:
        return _decode_text(raw)
    except msgspec.MsgspecError:
        return None
