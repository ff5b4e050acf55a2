"""What Segment takes with 200 and drops, named with its own codes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw
from tap_segment_webhook.discard import discarded

CONSENT = "Segment Consent Preference Updated"


def problem(kind: str, **fields: Any) -> str | None:
    """Return why Segment would drop an event with *fields* and a user."""
    given = {"type": kind, "userId": "usr_1", **fields}
    return discarded(kind, {name: Raw(json.dumps(value).encode()) for name, value in given.items()})


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("track", {"event": "x"}),
        ("track", {"event": "x", "properties": {}}),
        ("track", {"event": "x", "properties": None}),
        ("track", {"event": "x", "userId": None, "anonymousId": "a"}),
        ("identify", {}),
        ("identify", {"traits": {"a": 1}, "anonymousId": None}),
        ("page", {"name": None, "category": None}),
        ("page", {"name": "Home"}),
        ("screen", {"name": "Cart", "category": "Shop", "properties": {}}),
        ("group", {"groupId": "g", "traits": {}}),
        ("alias", {"previousId": "a"}),
        ("track", {"event": CONSENT, "context": {"consent": {"categoryPreferences": {}}}}),
        (
            "track",
            {
                "event": CONSENT,
                "context": {
                    "consent": {"categoryPreferences": {"ads": False}, "version": 2},
                    "device": {"advertisingId": "A"},
                },
            },
        ),
    ],
)
def test_good_event_is_not_dropped(kind: str, fields: dict[str, Any]) -> None:
    """Null counts as absent."""
    assert problem(kind, **fields) is None


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("track", {"event": "x", "userId": None}, "no_user_anon_id"),
        ("identify", {"userId": None, "anonymousId": None}, "no_user_anon_id"),
        ("identify", {"userId": ""}, "id_not_string"),
        ("identify", {"userId": 17}, "id_not_string"),
        ("identify", {"anonymousId": {}}, "id_not_string"),
        ("track", {}, "event_not_defined"),
        ("track", {"event": None}, "event_not_defined"),
        ("track", {"event": ""}, "event_not_string"),
        ("track", {"event": 5}, "event_not_string"),
        ("track", {"event": "x", "properties": []}, "properties_not_object"),
        ("page", {"properties": "x"}, "properties_not_object"),
        ("screen", {"properties": 1}, "properties_not_object"),
        ("identify", {"traits": [1]}, "traits_not_object"),
        ("group", {"traits": True}, "traits_not_object"),
        ("page", {"name": ""}, "name_not_string"),
        ("screen", {"name": 1}, "name_not_string"),
        ("page", {"name": "Home", "category": ""}, "category_not_string"),
        ("track", {"event": CONSENT}, "consent_categorypreferences_should_exist"),
        ("track", {"event": CONSENT, "context": []}, "consent_categorypreferences_should_exist"),
    ],
)
def test_reason_names_segments_code(kind: str, fields: dict[str, Any], code: str) -> None:
    """So that it can be looked up in Segment's documentation."""
    assert f"({code})" in str(problem(kind, **fields))


@pytest.mark.parametrize(
    ("consent", "device", "code"),
    [
        ({}, None, "consent_categorypreferences_should_exist"),
        ({"categoryPreferences": []}, None, "consent_fields_should_be_object"),
        ({"categoryPreferences": {"ads": "no"}}, None, "consent_fields_should_be_bool"),
        ({"categoryPreferences": {}, "version": "2"}, None, "consent_version_should_be_number"),
        ({"categoryPreferences": {}, "version": True}, None, "consent_version_should_be_number"),
        (
            {"categoryPreferences": {}},
            {"advertisingId": 5},
            "device_advertisingid_should_be_string",
        ),
    ],
)
def test_consent_is_checked_as_segment_does(consent: Any, device: Any, code: str) -> None:
    """Only of the event that Segment checks it of."""
    context = {"consent": consent, "device": device}

    assert f"({code})" in str(problem("track", event=CONSENT, context=context))
    assert problem("track", event="Order Completed", context=context) is None
