"""The fields of a mapping become the event that Segment's spec, or its own action, describes."""

from __future__ import annotations

from typing import Any

import pytest
from harness.values import JSON, WRITABLE
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.event import CALLS
from target_segment_api.mapping.payload import build
from target_segment_api.rules import problems

Json = dict[str, Any]

PARITY = pytest.mark.parametrize("parity", [False, True])
TYPICAL = {"user_id": "u", "group_id": "g", "event_name": "e", "previous_id": "p"}
CONSENT = {"categoryPreferences": {"ads": True, "analytics": False}}
PAGE = {"path": "/a", "referrer": "r", "search": "?q", "title": "t", "url": "https://a/a"}

CONTEXT = {
    "application": "app",
    "campaign_parameters": "campaign",
    "device": "device",
    "ip_address": "ip",
    "locale": "locale",
    "location": "location",
    "network": "network",
    "operating_system": "os",
    "page": "page",
    "screen": "screen",
    "user_agent": "userAgent",
    "timezone": "timezone",
}
"""Where in `context` each field goes."""

OBJECTS = (
    *("application", "campaign_parameters", "device", "location", "network"),
    *("operating_system", "page", "screen"),
)


def made(call: str, *, parity: bool = False, **fields: Any) -> Json:
    """Return the event of *call* with *fields*."""
    return build(call, fields, strict_parity=parity)


def context(call: str, *, parity: bool = False, **fields: Any) -> Any:
    """Return the context of the event of *call* with *fields*, without what parity always adds."""
    found = made(call, parity=parity, **TYPICAL | fields).get("context", {})
    return {name: value for name, value in found.items() if value != {}}


# What all calls share


@PARITY
@pytest.mark.parametrize("call", CALLS)
def test_ids_and_times_are_at_the_top(call: str, parity: bool) -> None:  # noqa: FBT001 - a case
    """Under the names that Segment's spec gives them."""
    event = made(
        call,
        parity=parity,
        user_id="u",
        anonymous_id="a",
        timestamp="2026-03-04T11:20:31.402Z",
        message_id="m",
        integrations={"All": False},
    )

    assert event["type"] == call
    assert (event["userId"], event["anonymousId"], event["messageId"]) == ("u", "a", "m")
    assert event["timestamp"] == "2026-03-04T11:20:31.402Z"
    assert event["integrations"] == {"All": False}


@PARITY
@pytest.mark.parametrize("call", [call for call in CALLS if call not in ("alias", "screen")])
@pytest.mark.parametrize("field", sorted(CONTEXT))
def test_field_goes_into_the_context(field: str, call: str, parity: bool) -> None:  # noqa: FBT001
    """Each under its own name there, for each call."""
    value = {"name": "x"} if field in OBJECTS else "x"
    found = context(call, parity=parity, **{field: value})

    found.pop("groupId", None)
    assert found == {CONTEXT[field]: value}


@PARITY
@pytest.mark.parametrize("call", [call for call in CALLS if call not in ("alias", "group")])
def test_group_goes_into_the_context(call: str, parity: bool) -> None:  # noqa: FBT001 - a case
    """Of every call but a group's own, where it is at the top."""
    event = made(call, parity=parity, group_id="g")

    assert event["context"]["groupId"] == "g"
    assert "groupId" not in event


@PARITY
@pytest.mark.parametrize("call", CALLS)
def test_free_context_is_laid_over_the_fields(call: str, parity: bool) -> None:  # noqa: FBT001
    """Member by member, and what is none of Segment's goes along; alias has no other."""
    free = {"device": {"type": "ios"}, "app": "x", "library": {"name": "l"}, "own": None}
    found = made(
        call,
        parity=parity,
        device={"id": "d", "type": "?"},
        application={"name": "a"},
        context=free,
    )["context"]

    assert found["device"] == {"id": "d", "type": "ios"}
    assert (found["app"], found["library"], found["own"]) == ("x", {"name": "l"}, None)


@PARITY
@pytest.mark.parametrize("call", ["identify", "group", "page", "screen", "track"])
@pytest.mark.parametrize(
    "consent", [{}, {"categoryPreferences": {"ads": "yes"}}, {"categoryPreferences": []}, {"a": 1}]
)
def test_consent_that_is_none_is_empty(call: str, consent: Json, parity: bool) -> None:  # noqa: FBT001
    """Segment Connections sends an empty object in its place; we send none."""
    event = made(call, parity=parity, consent=consent)

    assert event.get("context", {}).get("consent") == ({} if parity else None)
    assert made(call, parity=parity)["context" if parity else "type"]


@PARITY
@pytest.mark.parametrize("consent", [CONSENT, {"categoryPreferences": {}}, CONSENT | {"more": 1}])
def test_consent_goes_into_the_context(consent: Json, parity: bool) -> None:  # noqa: FBT001
    """If each of its preferences is true or false."""
    assert made("identify", parity=parity, consent=consent)["context"]["consent"] == consent


# Identify and group


@PARITY
@pytest.mark.parametrize("call", ["identify", "group"])
def test_traits_are_at_the_top(call: str, parity: bool) -> None:  # noqa: FBT001 - a case
    """As they are, nulls and all; without any they are empty."""
    traits = {"a": None, "b": {"c": [1]}}

    assert made(call, parity=parity, traits=traits)["traits"] == traits
    assert made(call, parity=parity)["traits"] == {}


@PARITY
def test_address_is_a_trait(parity: bool) -> None:  # noqa: FBT001 - a case
    """It comes before an address in the traits, whose others stay; those mapped are not touched."""
    traits = {"address": {"city": "Rome", "zip": 1}, "plan": "pro"}
    event = made("identify", parity=parity, traits=traits, address={"city": "Oslo"})

    assert event["traits"] == {"address": {"city": "Oslo"}, "plan": "pro"}
    assert traits["address"] == {"city": "Rome", "zip": 1}
    assert made("identify", parity=parity, address={})["traits"] == {"address": {}}


@PARITY
def test_group_is_at_the_top(parity: bool) -> None:  # noqa: FBT001 - a case
    """Its context has it too, by Segment's spec, and not in Segment Connections."""
    event = made("group", parity=parity, user_id="u", group_id="g")

    assert event["groupId"] == "g"
    assert event["context"].get("groupId") == (None if parity else "g")


def test_group_without_an_id_is_told() -> None:
    """It is left out, so that the check of events names it."""
    event = made("group", user_id="u")

    assert event == {"type": "group", "userId": "u", "traits": {}}
    assert problems(event) == ["groupId is missing."]


# Track


@PARITY
def test_track_has_event_and_properties(parity: bool) -> None:  # noqa: FBT001 - a case
    """Its traits are those of the user, so they go into the context."""
    traits, properties = {"plan": None}, {"total": 1.5, "none": None}
    event = made("track", parity=parity, event_name="e", properties=properties, traits=traits)

    assert (event["event"], event["properties"]) == ("e", properties)
    assert event["context"]["traits"] == traits
    assert "traits" not in event


def test_track_without_traits() -> None:
    """Segment Connections sends empty ones, and empty properties; we send the latter."""
    event = made("track", event_name="e")

    assert event == {"type": "track", "event": "e", "properties": {}}
    assert made("track", parity=True, event_name="e") == event | {
        "context": {"consent": {}, "traits": {}}
    }


# Page and screen


@PARITY
def test_page_has_the_fields_of_the_page(parity: bool) -> None:  # noqa: FBT001 - a case
    """In its properties and its context; its name also at the top."""
    event = made("page", parity=parity, page=PAGE, page_name="Home")

    assert event["properties"] == PAGE | {"name": "Home"}
    assert event["context"]["page"] == PAGE
    assert event["name"] == "Home"


@PARITY
def test_page_category_is_at_the_top(parity: bool) -> None:  # noqa: FBT001 - a case
    """By Segment's spec; Segment Connections has it in the properties alone."""
    event = made("page", parity=parity, page_category="Docs")

    assert event["properties"] == {"category": "Docs"}
    assert event.get("category") == (None if parity else "Docs")


@PARITY
@pytest.mark.parametrize(("call", "field"), [("page", "page_name"), ("screen", "screen_name")])
def test_mapped_properties_come_last(call: str, field: str, parity: bool) -> None:  # noqa: FBT001
    """What is mapped by hand is not overwritten by what is filled in."""
    own = {"name": "mine", "path": "/mine", "more": None}
    event = made(call, parity=parity, properties=own, page=PAGE, **{field: "Home"})

    assert event["properties"] == (PAGE if call == "page" else {}) | own
    assert event["name"] == "Home"


@PARITY
def test_screen_has_its_name_in_the_properties(parity: bool) -> None:  # noqa: FBT001 - a case
    """And at the top; without one, in neither. It has no fields of a page there."""
    event = made("screen", parity=parity, screen_name="Main", page=PAGE)

    assert (event["name"], event["properties"]) == ("Main", {"name": "Main"})
    assert "name" not in made("screen", parity=parity)
    assert made("screen", parity=parity)["properties"] == {}


@PARITY
@pytest.mark.parametrize("field", sorted(CONTEXT))
def test_field_goes_into_the_context_of_a_screen(field: str, parity: bool) -> None:  # noqa: FBT001
    """Segment Connections forgets the time zone of a screen, and nothing else."""
    value = {"name": "x"} if field in OBJECTS else "x"
    found = made("screen", parity=parity, **{field: value}).get("context", {})

    is_forgotten = parity and field == "timezone"
    assert found.get(CONTEXT[field]) == (None if is_forgotten else value)


# Devices and alias


def test_device_has_the_names_of_the_spec() -> None:
    """Segment Connections sends two of them under names that no destination knows."""
    device = {"id": "d", "advertising_id": "i", "adTracking_Enabled": False, "token": "t"}
    spec = {"id": "d", "advertisingId": "i", "adTrackingEnabled": False, "token": "t"}

    for call in ("identify", "group", "page", "screen", "track"):
        assert made(call, device=device)["context"]["device"] == spec
        assert made(call, parity=True, device=device)["context"]["device"] == device


@PARITY
def test_alias_has_ids_and_nothing_else(parity: bool) -> None:  # noqa: FBT001 - a case
    """Segment Connections has no alias, so there is nothing of it to be imitated."""
    event = made("alias", parity=parity, user_id="u", previous_id="p")

    assert event == {"type": "alias", "userId": "u", "previousId": "p"}


@given(
    st.sampled_from(CALLS),
    st.fixed_dictionaries(
        {"user_id": st.text(min_size=1)},
        optional={
            "group_id": st.text(min_size=1),
            "event_name": WRITABLE,
            **dict.fromkeys(
                ("traits", "properties", "context", "consent", "page", "device"),
                st.dictionaries(WRITABLE, JSON, max_size=3),
            ),
        },
    ),
    st.booleans(),
)
def test_no_mapped_value_is_changed(call: str, fields: Json, parity: bool) -> None:  # noqa: FBT001
    """An event shares objects with its record, so none of them may be written to."""
    before = repr(fields)
    event = build(call, fields, strict_parity=parity)

    assert repr(fields) == before
    assert event["type"] == call
    assert None not in event.values()
    assert event == build(call, fields, strict_parity=parity)
