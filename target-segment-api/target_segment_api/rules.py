"""What Segment refuses, or accepts with 200 and then drops. Pure.

Segment answers 200 to almost anything, so an event is checked before it is
sent. The rules are those of its list of discard reasons (`no_user_anon_id`,
`id_not_string`, `event_not_defined`, `properties_not_object`, …, in Segment's
documentation of source debugging), of the HTTP API's limits, and of the
JavaScript SDKs' validator. They stand here twice: as `SCHEMAS`, for anybody to
read and for `jsonschema` to check, and as `problems`, a hundred times as fast.
A test holds both to the same verdicts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jsonschema

from target_segment_api import timestamp
from target_segment_api.event import CALLS

if TYPE_CHECKING:
    from target_segment_api.event import Event

MAX_ID_CHARACTERS: Final = 99
"""Of a `messageId`: "fewer than 100 characters" (Segment's HTTP API reference)."""

MAX_PROPERTIES: Final = 10_000
"""Of one event; Segment drops the rest of them."""

CONSENT_EVENT: Final = "Segment Consent Preference Updated"

_TEXT: Final = {"type": "string", "minLength": 1}
_OBJECT: Final = {"type": "object"}
_PAYLOAD: Final = {"type": "object", "maxProperties": MAX_PROPERTIES}
_EITHER_ID: Final = {"anyOf": [{"required": ["userId"]}, {"required": ["anonymousId"]}]}
_CONSENT: Final = {
    "required": ["consent"],
    "properties": {
        "consent": {
            "type": "object",
            "required": ["categoryPreferences"],
            "properties": {
                "categoryPreferences": {
                    "type": "object",
                    "additionalProperties": {"type": "boolean"},
                }
            },
        }
    },
}


def _schema(call: str, required: list[str], own: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", *required],
        "properties": {
            "type": {"const": call},
            "messageId": {**_TEXT, "maxLength": MAX_ID_CHARACTERS},
            "userId": _TEXT,
            "anonymousId": _TEXT,
            "timestamp": {"type": "string", "format": "date-time"},
            "context": _OBJECT,
            "integrations": _OBJECT,
            **own,
        },
        **more,
    }


_NAMED: Final = {"name": _TEXT, "category": _TEXT, "properties": _PAYLOAD}

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "alias": _schema("alias", ["userId", "previousId"], {"previousId": _TEXT}),
    "group": _schema("group", ["groupId"], {"groupId": _TEXT, "traits": _PAYLOAD}, **_EITHER_ID),
    "identify": _schema("identify", [], {"traits": _PAYLOAD}, **_EITHER_ID),
    "page": _schema("page", [], _NAMED, **_EITHER_ID),
    "screen": _schema("screen", [], _NAMED, **_EITHER_ID),
    "track": _schema(
        "track",
        ["event"],
        {"event": _TEXT, "properties": _PAYLOAD},
        **_EITHER_ID,
        **{
            "if": {"properties": {"event": {"const": CONSENT_EVENT}}, "required": ["event"]},
            "then": {"required": ["context"], "properties": {"context": _CONSENT}},
        },
    ),
}
"""A JSON Schema (draft 2020-12) for each call; `date-time` is as `timestamp.write` writes it."""

_FORMATS = jsonschema.FormatChecker(formats=())
_FORMATS.checks("date-time")(lambda value: not isinstance(value, str) or timestamp.written(value))

_VALIDATORS: Final = {
    call: jsonschema.Draft202012Validator(schema, format_checker=_FORMATS)
    for call, schema in SCHEMAS.items()
}

_TEXT_FIELDS: Final = {  # and whether they are required
    "alias": (("previousId", True),),
    "group": (("groupId", True),),
    "identify": (),
    "page": (("name", False), ("category", False)),
    "screen": (("name", False), ("category", False)),
    "track": (("event", True),),
}
_OBJECT_FIELDS: Final = {
    "alias": ("context", "integrations"),
    "group": ("traits", "context", "integrations"),
    "identify": ("traits", "context", "integrations"),
    "page": ("properties", "context", "integrations"),
    "screen": ("properties", "context", "integrations"),
    "track": ("properties", "context", "integrations"),
}
_KINDS: Final = {str: "text", bool: "true or false", list: "a list", dict: "an object"}


def explain(event: Event) -> list[str]:
    """Return what `problems` does, having asked the JSON Schema too: slow, and sure."""
    found = problems(event)
    if found or is_valid(event):
        return found
    faults = _VALIDATORS[event["type"]].iter_errors(event)
    return [f"Against the schema: {fault.json_path}, {fault.validator}." for fault in faults]


def is_valid(event: Event) -> bool:
    """Tell whether *event* keeps its JSON Schema."""
    call = event.get("type")
    return call in CALLS and _VALIDATORS[call].is_valid(event)


def problems(event: Event) -> list[str]:
    """Return every reason why Segment would not take *event*; none if it would.

    Names fields and kinds of values, never a value.
    """
    found: list[str] = []
    call = event.get("type")
    if call not in CALLS:
        return [f"type is not one of {', '.join(CALLS)}."]
    _check_ids(found, call, event)
    for field, required in _TEXT_FIELDS[call]:
        if field in event:
            _check_text(found, field, event[field])
        elif required:
            found.append(f"{field} is missing.")
    for field in _OBJECT_FIELDS[call]:
        if field in event:
            _check_object(found, field, event[field])
    if "timestamp" in event and not timestamp.written(event["timestamp"]):
        found.append("timestamp is no moment: ISO 8601 is needed, with a zone.")
    if call == "track" and event.get("event") == CONSENT_EVENT:
        _check_consent(found, event.get("context"))
    return found


def _check_ids(found: list[str], call: str, event: Event) -> None:
    for field in ("userId", "anonymousId", "messageId"):
        if field in event:
            _check_text(found, field, event[field])
    if call == "alias":
        if "userId" not in event:
            found.append("userId is missing.")
    elif "userId" not in event and "anonymousId" not in event:
        found.append("userId and anonymousId are missing: one of them is needed.")
    identifier = event.get("messageId")
    if isinstance(identifier, str) and len(identifier) > MAX_ID_CHARACTERS:
        found.append(
            f"messageId has {len(identifier)} characters; Segment takes {MAX_ID_CHARACTERS}."
        )


def _check_object(found: list[str], field: str, value: Any) -> None:
    if not isinstance(value, dict):
        found.append(f"{field} is {_kind(value)}, not an object.")
    elif len(value) > MAX_PROPERTIES and field in ("properties", "traits"):
        found.append(f"{field} has {len(value):,} entries; Segment keeps {MAX_PROPERTIES:,}.")


def _check_text(found: list[str], field: str, value: Any) -> None:
    if not isinstance(value, str):
        found.append(f"{field} is {_kind(value)}, not text.")
    elif not value:
        found.append(f"{field} is empty.")


def _check_consent(found: list[str], context: Any) -> None:
    if not isinstance(context, dict):
        if context is None:
            found.append("context.consent is missing, which this event is about.")
        return  # else it is named already
    consent = context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if not isinstance(preferences, dict):
        found.append("context.consent.categoryPreferences is no object.")
    elif not all(isinstance(choice, bool) for choice in preferences.values()):
        found.append("context.consent.categoryPreferences holds more than true and false.")


def _kind(value: Any) -> str:
    return "null" if value is None else _KINDS.get(type(value), "a number")
