"""What Segment's Tracking API answers 200 to and then drops, and why.

Pure. The names in parentheses are Segment's own codes, as its delivery
overview shows them (Segment's documentation, "Delivery overview", discards).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

MAX_BATCH_EVENTS: Final = 2500
"""A larger batch is answered with 200 and dropped (Segment's HTTP API, since 2024-09-11)."""

CONSENT_EVENT: Final = "Segment Consent Preference Updated"
"""The event whose context is looked into."""

_CONSENT_EVENT: Final = b'"%b"' % CONSENT_EVENT.encode()
_NULL: Final = b"null"
_OBJECT_OR_NULL: Final = (b"{", b"n")
_IDS: Final = ("userId", "anonymousId")
_PAYLOADS: Final = {"track": "properties", "page": "properties", "screen": "properties"}
_NAMES: Final = {"name": "name_not_string", "category": "category_not_string"}


def discarded(kind: str, fields: Mapping[str, Raw]) -> str | None:
    """Return why Segment would drop the event of the type *kind* with these *fields*, or None.

    Null counts as absent, as SDKs send it for what they do not know.
    """
    if kind == "delete":
        return "The Tracking API has no call `delete`: anybody may know a write key."
    return (
        _id_problem(fields)
        or (_event_problem(fields) if kind == "track" else None)
        or (_name_problem(fields) if kind in ("page", "screen") else None)
        or _payload_problem(_PAYLOADS.get(kind, "traits"), fields)
    )


def _id_problem(fields: Mapping[str, Raw]) -> str | None:
    ids = [bytes(fields[name]) for name in _IDS if name in fields]
    given = [value for value in ids if value != _NULL]
    if not given:
        return "It has neither userId nor anonymousId (no_user_anon_id)."
    if not all(map(_is_text, given)):
        return "A userId or anonymousId is empty or not a string (id_not_string)."
    return None


def _event_problem(fields: Mapping[str, Raw]) -> str | None:
    event = bytes(fields.get("event", _NULL))
    if event == _NULL:
        return "It has no event (event_not_defined)."
    if not _is_text(event):
        return "Its event is empty or not a string (event_not_string)."
    if event == _CONSENT_EVENT and (code := _consent_problem(fields)):
        return f"Its consent is not as Segment wants it ({code})."
    return None


def _name_problem(fields: Mapping[str, Raw]) -> str | None:
    for name, code in _NAMES.items():
        value = bytes(fields.get(name, _NULL))
        if value != _NULL and not _is_text(value):
            return f"Its {name} is empty or not a string ({code})."
    return None


def _payload_problem(name: str, fields: Mapping[str, Raw]) -> str | None:
    if bytes(fields.get(name, _NULL))[:1] not in _OBJECT_OR_NULL:
        return f"Its {name} is not an object ({name}_not_object)."
    return None


def _is_text(value: bytes) -> bool:
    return value.startswith(b'"') and value != b'""'


def _consent_problem(fields: Mapping[str, Raw]) -> str | None:
    """Return the code of what is wrong with the context of a consent event."""
    try:
        context: Any = msgspec.json.decode(fields.get("context", b"null"))
    except msgspec.MsgspecError:
        context = None
    context = context if isinstance(context, dict) else {}
    consent, device = context.get("consent"), context.get("device")
    if not isinstance(consent, dict) or "categoryPreferences" not in consent:
        return "consent_categorypreferences_should_exist"
    preferences, version = consent["categoryPreferences"], consent.get("version")
    if not isinstance(preferences, dict):
        return "consent_fields_should_be_object"
    if not all(isinstance(choice, bool) for choice in preferences.values()):
        return "consent_fields_should_be_bool"
    if version is not None and (isinstance(version, bool) or not isinstance(version, int | float)):
        return "consent_version_should_be_number"
    advertising_id = device.get("advertisingId") if isinstance(device, dict) else None
    if advertising_id is not None and not isinstance(advertising_id, str):
        return "device_advertisingid_should_be_string"
    return None
