"""An event is sent if Segment would take it, and set aside with every reason if not."""

from __future__ import annotations

from typing import Any

import pytest
from harness import deliveries
from harness.values import ANYTHING
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.event import CALLS
from target_segment_api.rules import (
    CONSENT_EVENT,
    MAX_ID_CHARACTERS,
    MAX_PROPERTIES,
    SCHEMAS,
    explain,
    is_valid,
    problems,
)

Json = dict[str, Any]

MOMENT = "2026-03-04T11:20:31.402Z"
MARK = "§"
CONSENT = {"consent": {"categoryPreferences": {"ads": False, "analytics": True}}}
VALID: dict[str, Json] = {
    "alias": {"type": "alias", "userId": "u", "previousId": "a"},
    "group": {"type": "group", "userId": "u", "groupId": "g", "traits": {"name": "x"}},
    "identify": {"type": "identify", "anonymousId": "a", "traits": {}},
    "page": {"type": "page", "userId": "u", "name": "x", "category": "y", "properties": {}},
    "screen": {"type": "screen", "anonymousId": "a"},
    "track": {"type": "track", "userId": "u", "event": "x", "properties": {"a": [None]}},
    "consent": {"type": "track", "userId": "u", "event": CONSENT_EVENT, "context": CONSENT},
}
FIELDS = sorted(
    {
        *("messageId", "timestamp", "x"),
        *(name for s in SCHEMAS.values() for name in s["properties"]),
    }
)

# Values that are right for some field, or nearly so.
LIKELY: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("x", "", MOMENT, "2026-03-04", "2026-02-30T11:20:31.402Z", CONSENT_EVENT, *CALLS),
        *("x" * MAX_ID_CHARACTERS, "x" * (MAX_ID_CHARACTERS + 1), {}, {"a": 1}, [], None, 17, True),
        *(CONSENT, {"consent": {}}, {"consent": []}, {"consent": {"categoryPreferences": None}}),
        {"consent": {"categoryPreferences": {"ads": "no"}}},
        {"consent": {"categoryPreferences": {"ads": 1}}},
        {"consent": {"categoryPreferences": {}}},
    ]
)
CHANGES = st.dictionaries(st.sampled_from(FIELDS), LIKELY, max_size=3)
GONE = st.sets(st.sampled_from(FIELDS), max_size=2)
NEARLY_VALID = st.builds(
    lambda event, changes, gone: {
        name: value for name, value in {**event, **changes}.items() if name not in gone
    },
    st.sampled_from(list(VALID.values())),
    CHANGES,
    GONE,
)
ARBITRARY = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), ANYTHING | LIKELY)


@given(NEARLY_VALID)
def test_rules_and_schema_agree_about_nearly_valid_events(event: Json) -> None:
    """The fast check finds a reason exactly where the schema finds a fault."""
    assert (problems(event) == []) is is_valid(event)


@given(ARBITRARY)
def test_rules_and_schema_agree_about_anything(event: Json) -> None:
    """Whatever a mapping makes, both say the same of it, and neither fails."""
    assert (problems(event) == []) is is_valid(event)
    assert explain(event) == problems(event)


@pytest.mark.parametrize("event", VALID.values(), ids=VALID)
def test_valid_event_has_no_problems(event: Json) -> None:
    """The smallest event of each call is taken, and one with everything."""
    everything = {"messageId": "m", "timestamp": MOMENT, "integrations": {"All": True}, "x": None}

    assert problems(event) == []
    assert problems({"context": {}, **everything, **event}) == []


def test_what_segments_libraries_send_has_no_problems() -> None:
    """No rule is stricter than what Segment itself delivers."""
    for event in deliveries.events(500):
        sent = {name: value for name, value in event.items() if value is not None}
        assert problems(sent) == [] or event["type"] == "delete"


@pytest.mark.parametrize(
    ("call", "changes", "reasons"),
    [
        ("track", {"userId": None}, ["userId is null, not text."]),
        ("track", {"userId": 17}, ["userId is a number, not text."]),
        ("track", {"userId": ""}, ["userId is empty."]),
        ("track", {"anonymousId": True}, ["anonymousId is true or false, not text."]),
        ("track", {"event": ["x"]}, ["event is a list, not text."]),
        ("track", {"event": ""}, ["event is empty."]),
        ("track", {"properties": "x"}, ["properties is text, not an object."]),
        ("identify", {"traits": []}, ["traits is a list, not an object."]),
        ("identify", {"context": None}, ["context is null, not an object."]),
        ("page", {"name": ""}, ["name is empty."]),
        ("screen", {"category": {}}, ["category is an object, not text."]),
        ("screen", {"integrations": 1.5}, ["integrations is a number, not an object."]),
        ("group", {"groupId": 5}, ["groupId is a number, not text."]),
        ("alias", {"previousId": ""}, ["previousId is empty."]),
        (
            "page",
            {"timestamp": "2026-03-04"},
            ["timestamp is no moment: ISO 8601 is needed, with a zone."],
        ),
        ("page", {"messageId": "m" * 100}, ["messageId has 100 characters; Segment takes 99."]),
        ("consent", {"context": {}}, ["context.consent.categoryPreferences is no object."]),
        (
            "consent",
            {"context": {"consent": {"categoryPreferences": {"ads": "no"}}}},
            ["context.consent.categoryPreferences holds more than true and false."],
        ),
    ],
)
def test_each_fault_has_its_reason(call: str, changes: Json, reasons: list[str]) -> None:
    """A reason names the field, and what is wrong with it."""
    assert problems({**VALID[call], **changes}) == reasons


@pytest.mark.parametrize(
    ("call", "field", "reason"),
    [
        ("track", "userId", "userId and anonymousId are missing: one of them is needed."),
        ("screen", "anonymousId", "userId and anonymousId are missing: one of them is needed."),
        ("track", "event", "event is missing."),
        ("group", "groupId", "groupId is missing."),
        ("alias", "userId", "userId is missing."),
        ("alias", "previousId", "previousId is missing."),
        ("consent", "context", "context.consent is missing, which this event is about."),
        ("page", "type", "type is not one of alias, group, identify, page, screen, track."),
    ],
)
def test_missing_field_is_named(call: str, field: str, reason: str) -> None:
    """What is needed and not there is a reason of its own."""
    event = {name: value for name, value in VALID[call].items() if name != field}

    assert problems(event) == [reason]


def test_all_reasons_come_at_once() -> None:
    """Nobody has to mend one field to learn of the next."""
    event = {"type": "track", "userId": 5, "properties": [], "timestamp": "now", "messageId": ""}

    assert problems(event) == [
        "userId is a number, not text.",
        "messageId is empty.",
        "event is missing.",
        "properties is a list, not an object.",
        "timestamp is no moment: ISO 8601 is needed, with a zone.",
    ]


@pytest.mark.parametrize(("call", "field"), [("track", "properties"), ("group", "traits")])
def test_properties_end_where_segment_drops_the_rest(call: str, field: str) -> None:
    """As many as Segment keeps are fine; one more is not."""
    most = {str(number): number for number in range(MAX_PROPERTIES)}

    assert problems({**VALID[call], field: most}) == []
    too_many = {**VALID[call], field: {**most, "x": 1}}
    assert problems(too_many) == [f"{field} has 10,001 entries; Segment keeps 10,000."]
    assert not is_valid(too_many)


@given(
    st.sampled_from(list(VALID.values())),
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.recursive(
            st.text(max_size=3).map(lambda text: MARK + text) | st.just(987_654_321),
            lambda inner: st.lists(inner) | st.dictionaries(st.just(MARK), inner),
            max_leaves=4,
        ),
        max_size=4,
    ),
)
def test_no_reason_holds_a_value(event: Json, secrets: Json) -> None:
    """Reasons are logged, so they must not hold what an event says."""
    said = " ".join(explain({**event, **secrets, "context": {"consent": secrets}}))

    assert MARK not in said
    assert "987" not in said
