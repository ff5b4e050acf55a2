"""A field takes what Segment Connections takes, and makes of it what its validator does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from harness.values import ANYTHING
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.encoding import encode
from target_segment_api.mapping.field import FIELDS, REQUIRED, SUB_FIELDS, fit
from target_segment_api.mapping.value import MISSING

TEXT = "user_id anonymous_id group_id timestamp ip_address locale user_agent timezone message_id"
OBJECTS = (
    "application campaign_parameters device location network operating_system page screen consent"
)
OURS = "context integrations"
COMMON = f"{TEXT} {OBJECTS} {OURS}"

MEMBERS = {
    "application": "name version build namespace",
    "campaign_parameters": "name source medium term content",
    "device": "id advertising_id manufacturer model name type token",
    "location": "city country",
    "network": "carrier",
    "operating_system": "name version",
    "page": "path referrer search title url",
    "screen": "",
    "address": "street city state country postalCode",
}
NUMBERS = {"location": "latitude longitude speed", "screen": "density height width"}
BOOLEANS = {"device": "adTracking_Enabled", "network": "bluetooth cellular wifi"}

NAMES = (*TEXT.split(), "event_name", "page_name", "page_category", "screen_name", "previous_id")
FREE = ("traits", "properties", "consent", "context", "integrations")


def fitted(field: str, value: Any) -> Any:
    """Return what *field* takes of *value*, with which nothing is wrong."""
    faults: list[str] = []
    found = fit(field, value, faults)
    assert faults == []
    return found


def faults_of(field: str, value: Any) -> list[str]:
    """Return why *field* takes nothing of *value*."""
    faults: list[str] = []
    assert fit(field, value, faults) is MISSING
    return faults


@pytest.mark.parametrize(
    ("call", "fields", "required"),
    [
        ("identify", f"{COMMON} traits address", ""),
        ("group", f"{COMMON} traits", "group_id"),
        ("page", f"{COMMON} page_name page_category properties", ""),
        ("screen", f"{COMMON} screen_name properties", ""),
        ("track", f"{COMMON} event_name properties traits", "event_name"),
        (
            "alias",
            f"user_id previous_id anonymous_id timestamp message_id {OURS}",
            "user_id previous_id",
        ),
    ],
)
def test_call_has_the_fields_of_its_action(call: str, fields: str, required: str) -> None:
    """Those of Segment Connections, and `alias`, `context` and `integrations` that it lacks."""
    assert sorted(FIELDS[call]) == sorted(fields.split())
    assert sorted(REQUIRED[call]) == sorted(required.split())


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_closed_object_has_its_members(name: str) -> None:
    """Each has the type that Segment Connections gives it."""
    kinds = {"text": MEMBERS, "number": NUMBERS, "boolean": BOOLEANS}
    members = {key: kind for kind, of in kinds.items() for key in of.get(name, "").split()}

    assert SUB_FIELDS[name] == members


# Text


@pytest.mark.parametrize("field", NAMES)
def test_text_field_takes_scalars(field: str) -> None:
    """A number or a truth value becomes text as JavaScript writes it, also as a list of one."""
    values = ["a", 123, Decimal("1.50"), True, ["b"], [7], 12345678901234567890]
    texts = ["a", "123", "1.5", "true", "b", "7", "12345678901234567890"]

    assert [fitted(field, value) for value in values] == texts


@pytest.mark.parametrize("field", [*NAMES, *FREE, *SUB_FIELDS])
@pytest.mark.parametrize("value", [None, "", MISSING])
def test_nothing_is_left_out(field: str, value: Any) -> None:
    """Null and empty text count as missing at the top, whatever the field takes."""
    assert fitted(field, value) is MISSING


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"a": 1}, "an object"),
        ([], "a list"),
        (["a", "b"], "a list"),
        ([["a"]], "a list"),
        ([None], "null"),
    ],
)
def test_text_field_takes_nothing_else(value: Any, kind: str) -> None:
    """What is told is the field and the kind of the value, and not the value."""
    assert faults_of("user_id", value) == [f"user_id must be text, not {kind}."]


# Free objects


@pytest.mark.parametrize("field", FREE)
def test_free_object_is_not_entered(field: str) -> None:
    """Nulls, empty texts and any keys in it survive."""
    value = {"a": None, "b": "", "c": {"d": [None, ""]}, "": 0, "e.f": Decimal("1.50")}

    assert fitted(field, value) == value
    assert fitted(field, {}) == {}


@pytest.mark.parametrize("field", [*FREE, *SUB_FIELDS])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("text", "text"),
        ('{"a":1}', "text"),
        (5, "a number"),
        (False, "true or false"),
        ([], "a list"),
        ([{}], "a list"),
        ([{}, {}], "a list"),
        (["a"], "a list"),
    ],
)
def test_object_field_takes_objects_only(field: str, value: Any, kind: str) -> None:
    """A scalar becomes no object, and a list of one does not either."""
    assert faults_of(field, value) == [f"{field} must be an object, not {kind}."]


# Members of closed objects


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_members_are_coerced_and_others_dropped(name: str) -> None:
    """Each member gets its type; a key that Segment Connections does not know is dropped."""
    texts, numbers = MEMBERS[name].split(), NUMBERS.get(name, "").split()
    booleans = BOOLEANS.get(name, "").split()
    value = (
        {"unknown": 1, "Name": "x", "traits": {}}
        | dict.fromkeys(texts, 5)
        | dict.fromkeys(numbers, "12.50")
        | dict.fromkeys(booleans, "true")
    )

    expected = (
        dict.fromkeys(texts, "5")
        | dict.fromkeys(numbers, Decimal("12.50"))
        | dict.fromkeys(booleans, True)
    )
    assert fitted(name, value) == expected


def test_empty_text_stays_in_members_that_are_text() -> None:
    """Null is dropped from every member, empty text from those that are no text."""
    value = {"city": "", "country": None, "latitude": "", "longitude": None, "speed": 0}

    assert fitted("location", value) == {"city": "", "speed": 0}
    assert fitted("network", {"wifi": "", "bluetooth": None, "carrier": ""}) == {"carrier": ""}
    assert fitted("screen", {"width": None}) == {}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *[(5, 5), (Decimal("0.10"), Decimal("0.10")), (1.5, 1.5), ("12", 12), ("-1e3", -1000)],
        *[("0x1F", 31), (".5", Decimal("0.5")), (True, 1), (False, 0), (["7"], 7), ([7], 7)],
        *[(" 5", 5), ("5\n", 5)],
    ],
)
def test_member_that_is_a_number(value: Any, number: Any) -> None:
    """Text that is a number becomes one, and keeps its digits."""
    found = fitted("screen", {"width": value})["width"]

    assert found == number
    assert not isinstance(found, bool | str)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("twelve", "text"),
        ("12px", "text"),
        ("Infinity", "text"),
        ("1e999", "text"),
        ({}, "an object"),
        ([1, 2], "a list"),
    ],
)
def test_member_that_is_no_number(value: Any, kind: str) -> None:
    """What is no number is told with its place."""
    faults: list[str] = []

    assert fit("screen", {"width": value, "height": 1}, faults) == {"height": 1}
    assert faults == [f"screen.width must be a number, not {kind}."]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        *[(True, True), ("true", True), (1, True), (Decimal("1.0"), True), (["true"], True)],
        *[(False, False), ("false", False), (0, False), ([0], False)],
    ],
)
def test_member_that_is_true_or_false(value: Any, found: bool) -> None:  # noqa: FBT001 - a value
    """The two words and the two numbers count, also as a list of one."""
    assert fitted("network", {"wifi": value})["wifi"] is found


@pytest.mark.parametrize("value", ["yes", "True", "1", 2, [], {}, [True, False]])
def test_member_that_is_neither_true_nor_false(value: Any) -> None:
    """Nothing else is guessed at."""
    faults: list[str] = []

    assert fit("network", {"wifi": value}, faults) == {}
    assert [fault.partition(", not ")[0] for fault in faults] == [
        "network.wifi must be true or false"
    ]


@given(st.sampled_from([*NAMES, *FREE, *SUB_FIELDS]), ANYTHING)
def test_any_value_is_fitted_or_told(field: str, value: Any) -> None:
    """What is fitted keeps the type of its field and is fitted already; nothing else is lost."""
    faults: list[str] = []
    found = fit(field, value, faults)

    encode(found if found is not MISSING else None)
    if found is MISSING:
        assert bool(faults) is (value is not None and value != "")
    elif field in NAMES:
        assert isinstance(found, str)
        assert fitted(field, found) == found or found == ""
    else:
        assert isinstance(found, dict)
        assert {*found} <= {*SUB_FIELDS.get(field, found)}
        assert fitted(field, found) == found
