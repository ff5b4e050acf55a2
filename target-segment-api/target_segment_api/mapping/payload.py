"""From the fields of a mapping to the event that Segment Connections would send. Pure.

Where Segment Connections departs from Segment's own spec, the spec is followed,
unless `strict_parity` asks for the departure: it sends `context.device.advertising_id`
and `adTracking_Enabled` (spec: `advertisingId`, `adTrackingEnabled`), leaves out
`context.timezone` of a screen, the `category` of a page, and `context.groupId` of a
group, and sends empty `context.traits` and `context.consent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from target_segment_api.event import Event

_TOP: Final = (
    ("user_id", "userId"),
    ("anonymous_id", "anonymousId"),
    ("previous_id", "previousId"),
    ("timestamp", "timestamp"),
    ("message_id", "messageId"),
    ("integrations", "integrations"),
)
_CONTEXT: Final = (
    ("application", "app"),
    ("campaign_parameters", "campaign"),
    ("device", "device"),
    ("ip_address", "ip"),
    ("locale", "locale"),
    ("location", "location"),
    ("network", "network"),
    ("operating_system", "os"),
    ("page", "page"),
    ("screen", "screen"),
    ("user_agent", "userAgent"),
    ("timezone", "timezone"),
    ("group_id", "groupId"),
)
_DEVICE: Final = {"advertising_id": "advertisingId", "adTracking_Enabled": "adTrackingEnabled"}
_PAGE: Final = ("path", "referrer", "search", "title", "url")


def build(call: str, fields: dict[str, Any], *, strict_parity: bool) -> Event:
    """Return the event that *fields*, already fitted, make of *call*."""
    event: Event = {"type": call}
    for field, name in _TOP:
        if field in fields:
            event[name] = fields[field]
    context = _context(call, fields, strict_parity=strict_parity)
    if call == "group":
        event["groupId"] = fields.get("group_id")
    if call == "track":
        event["event"] = fields.get("event_name")
        event["properties"] = fields.get("properties", {})
        if "traits" in fields or strict_parity:
            context["traits"] = fields.get("traits", {})
    elif call in ("identify", "group"):
        event["traits"] = _traits(fields)
    elif call == "page":
        _add_page(event, fields, strict_parity=strict_parity)
    elif call == "screen":
        named = {"name": fields["screen_name"]} if "screen_name" in fields else {}
        event.update(named)
        event["properties"] = {**named, **fields.get("properties", {})}
    if context:
        event["context"] = context
    return {name: value for name, value in event.items() if value is not None}


def _context(call: str, fields: dict[str, Any], *, strict_parity: bool) -> dict[str, Any]:
    context = {name: fields[field] for field, name in _CONTEXT if field in fields}
    consent = fields.get("consent", {})
    if not _is_consent(consent):
        consent = {}
    if consent or (strict_parity and call != "alias"):
        context["consent"] = consent
    if strict_parity:
        if call == "screen":
            context.pop("timezone", None)
        if call == "group":
            context.pop("groupId", None)
    elif "device" in context:
        device = context["device"]
        context["device"] = {_DEVICE.get(name, name): value for name, value in device.items()}
    for name, value in fields.get("context", {}).items():
        known = context.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            context[name] = {**known, **value}
        else:
            context[name] = value
    return context


def _is_consent(consent: dict[str, Any]) -> bool:
    preferences = consent.get("categoryPreferences")
    return isinstance(preferences, dict) and all(
        isinstance(choice, bool) for choice in preferences.values()
    )


def _traits(fields: dict[str, Any]) -> dict[str, Any]:
    traits = fields.get("traits", {})
    return {**traits, "address": fields["address"]} if "address" in fields else traits


def _add_page(event: Event, fields: dict[str, Any], *, strict_parity: bool) -> None:
    properties = {}
    for field, name in (("page_name", "name"), ("page_category", "category")):
        if field in fields:
            properties[name] = fields[field]
            if name == "name" or not strict_parity:
                event[name] = fields[field]
    page = fields.get("page", {})
    properties |= {name: page[name] for name in _PAGE if name in page}
    event["properties"] = {**properties, **fields.get("properties", {})}
