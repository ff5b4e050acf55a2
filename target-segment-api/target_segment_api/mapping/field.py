"""The fields of Segment Connections' actions: their types, and what is made of other types. Pure.

The same five actions (identify, group, track, page, screen) with the same
fields, closed objects and coercions as in the code that Segment publishes
(`segmentio/action-destinations`, destination `segment`; the coercions are those
of its JSON Schema validator). `alias`, `context` and `integrations` are ours.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from target_segment_api.mapping.javascript import to_number, to_text
from target_segment_api.mapping.value import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable

Kind: TypeAlias = Literal["text", "number", "boolean", "free"]

SUB_FIELDS: Final[dict[str, dict[str, Kind]]] = {
    "application": {"name": "text", "version": "text", "build": "text", "namespace": "text"},
    "campaign_parameters": {
        "name": "text",
        "source": "text",
        "medium": "text",
        "term": "text",
        "content": "text",
    },
    "device": {
        "id": "text",
        "advertising_id": "text",
        "manufacturer": "text",
        "model": "text",
        "name": "text",
        "type": "text",
        "token": "text",
        "adTracking_Enabled": "boolean",
    },
    "location": {
        "city": "text",
        "country": "text",
        "latitude": "number",
        "longitude": "number",
        "speed": "number",
    },
    "network": {
        "bluetooth": "boolean",
        "cellular": "boolean",
        "wifi": "boolean",
        "carrier": "text",
    },
    "operating_system": {"name": "text", "version": "text"},
    "page": {"path": "text", "referrer": "text", "search": "text", "title": "text", "url": "text"},
    "screen": {"density": "number", "height": "number", "width": "number"},
    "address": {
        "street": "text",
        "city": "text",
        "state": "text",
        "country": "text",
        "postalCode": "text",
    },
}
"""The objects that hold these members and no others."""

_SHARED: Final = (
    "user_id",
    "anonymous_id",
    "group_id",
    "timestamp",
    "application",
    "campaign_parameters",
    "device",
    "ip_address",
    "locale",
    "location",
    "network",
    "operating_system",
    "page",
    "screen",
    "user_agent",
    "timezone",
    "message_id",
    "consent",
    "context",
    "integrations",
)

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "alias": (
        "user_id",
        "previous_id",
        "anonymous_id",
        "timestamp",
        "message_id",
        "context",
        "integrations",
    ),
    "group": (*_SHARED, "traits"),
    "identify": (*_SHARED, "traits", "address"),
    "page": (*_SHARED, "page_name", "page_category", "properties"),
    "screen": (*_SHARED, "screen_name", "properties"),
    "track": (*_SHARED, "event_name", "properties", "traits"),
}
"""The fields of each call."""

REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "alias": ("user_id", "previous_id"),
    "group": ("group_id",),
    "identify": (),
    "page": (),
    "screen": (),
    "track": ("event_name",),
}

_FREE: Final = frozenset({"properties", "traits", "consent", "context", "integrations"})
_WHAT: Final = {"text": "text", "number": "a number", "boolean": "true or false"}


def fit(field: str, value: Any, faults: list[str]) -> Any:
    """Return *value* as *field* takes it, or `MISSING`; add to *faults* if it cannot.

    Empty text and null count as missing. Unknown members of a closed object are
    dropped; free objects are passed on as they are, nulls and all.
    """
    if value is MISSING or value is None or value == "":
        return MISSING
    if field not in SUB_FIELDS and field not in _FREE:
        return _fit(field, "text", value, faults)
    if not isinstance(value, dict):  # of a list, one scalar is taken, and no object
        faults.append(f"{field} must be an object, not {name_kind(value)}.")
        return MISSING
    if field in _FREE:
        return value
    return _fit_members(field, value, faults)


def _fit_members(field: str, value: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    kinds, fitted = SUB_FIELDS[field], {}
    for name, member in value.items():
        kind = kinds.get(name)
        if kind is None or member is None or (member == "" and kind != "text"):
            continue
        found = _fit(f"{field}.{name}", kind, member, faults)
        if found is not MISSING:
            fitted[name] = found
    return fitted


def _fit(place: str, kind: Kind, value: Any, faults: list[str]) -> Any:
    """Return the scalar *value* as *kind*, as Segment's validator coerces it."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    fitted = _COERCE[kind](value)
    if fitted is not MISSING:
        return fitted
    faults.append(f"{place} must be {_WHAT[kind]}, not {name_kind(value)}.")
    return MISSING


def _as_text(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return to_text(value) if isinstance(value, bool | int | float | Decimal) else MISSING


def _as_number(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float | Decimal):
        return value
    number = to_number(value) if isinstance(value, str) else None
    return MISSING if number is None else number


def _as_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if value in ("true", 1):
        return True
    return False if value in ("false", 0) else MISSING


_COERCE: Final[dict[Kind, Callable[[Any], Any]]] = {
    "text": _as_text,
    "number": _as_number,
    "boolean": _as_boolean,
}


def name_kind(value: Any) -> str:
    """Return what kind of value *value* is, for people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float | Decimal):
        return "a number"
    kinds: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "something else")
