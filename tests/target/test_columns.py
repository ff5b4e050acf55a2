"""A mapping that names a column which a stream has not: told with its place and the nearest one."""

from __future__ import annotations

from typing import Any

import pytest
from target_segment_api.mapping.mappings import Mappings

Json = dict[str, Any]

TEXT = {"type": ["null", "string"]}
SCHEMA: Json = {
    "type": "object",
    "additionalProperties": True,
    "properties": {
        "id": TEXT,
        "email": TEXT,
        "members": {"type": "array", "items": {"type": "object", "properties": {"id": TEXT}}},
        "address": {"type": "object", "properties": {"city": TEXT, "geo": {"type": "object"}}},
        "meta": {"type": "object", "properties": {"a": TEXT}, "additionalProperties": True},
        "either": {"properties": {"a": TEXT}, "anyOf": [{}]},
        "home__street": TEXT,
        "properties__plan": TEXT,
        "any": {},
    },
}


def told(call: Json, schema: Json | None = None) -> list[str]:
    """Return what is told of *call*, which also maps a user's id, for a stream with *schema*."""
    mappings = Mappings({"t": [{"call": "identify", "user_id": "$.id"} | call]})
    assert mappings.mistakes == []
    return [str(mistake) for mistake in mappings.check("t", SCHEMA if schema is None else schema)]


EMIAL = "Stream 't' has no column emial. Do you mean email?"


@pytest.mark.parametrize(
    ("call", "place"),
    [
        ({"traits": {"a": "$.emial"}}, "traits.a"),
        ({"traits": {"a": ["$.id", "$.emial"]}}, "traits.a[1]"),
        ({"traits": {"a": "{{ id }} {{emial}}"}}, "traits.a"),
        ({"traits": {"a": {"@template": "{{{emial}}}"}}}, "traits.a.@template"),
        ({"traits": {"a": {"@path": "emial[0]"}}}, "traits.a.@path"),
        ({"traits": {"a": {"@path": {"@path": "$.emial"}}}}, "traits.a.@path.@path"),
        ({"traits": {"a": {"@literal": {"@path": "$.emial"}}}}, "traits.a.@literal.@path"),
        (
            {"traits": {"a": {"@case": {"operator": "upper", "value": "$.emial"}}}},
            "traits.a.@case.value",
        ),
        ({"traits": {"a": {"@arrayPath": ["$.emial", {"x": "$.no"}]}}}, "traits.a.@arrayPath[0]"),
        (
            {"traits": {"@transform": {"apply": {"b": "$.emial"}, "mapping": {"c": "$.no"}}}},
            "traits.@transform.apply.b",
        ),
        ({"traits": {"a": {"@liquid": "{% if emial %}x{% endif %}"}}}, "traits.a.@liquid"),
        ({"for_each": "$.emial", "user_id": "$each"}, "for_each"),
        ({"version": "$.emial"}, "version"),
        ({"when": 'emial = "a" and length(email) > 1'}, "when"),
        ({"when": '!contains(emial, "a")'}, "when"),
        ({"when": "properties.emial != null"}, "when"),
        (
            {
                "when": {
                    "type": "group",
                    "operator": "and",
                    "children": [
                        {"type": "event-property", "name": "emial", "operator": "exists"},
                        {"type": "event", "operator": "=", "value": "new"},
                    ],
                }
            },
            "when",
        ),
    ],
)
def test_it_names_the_place_and_the_nearest_column(call: Json, place: str) -> None:
    """Of paths, templates, Liquid and triggers, also within directives."""
    assert told(call) == [f"mappings.t[0].{place}: {EMIAL}"]


@pytest.mark.parametrize(
    "value",
    [
        "$.email",
        "$.any.thing",
        "$.address.geo.lat",
        "$.meta.b",
        "$.either.b",
        "$.members[0].name",
        "$.members.length",
        "$.email.length",
        "$._sdc_extracted_at",
        "$.properties.email",
        "$.properties.plan",
        "$.properties",
        "$.row_state",
        "$.event",
        "$.type",
        "$.__segment_id",
        "emial",
        {"@path": "$."},
        {"@path": {"@template": "e{{id}}"}},
        {"@liquid": "{% assign b = email %}{{ b }}{{ email.size }}{{ address.size }}"},
        {"@arrayPath": ["$.members", {"x": {"@path": "$.no"}}]},
        {"@transform": {"apply": {"b": "$.id"}, "mapping": {"c": {"@path": "$.b"}}}},
    ],
)
def test_it_says_nothing_of_what_may_be_there(value: Any) -> None:
    """What is, what a schema leaves open, what is ours, and what only a record can tell."""
    assert told({"traits": {"a": value}}) == []


def test_it_says_nothing_of_the_element_of_a_list() -> None:
    """What it has, no schema is asked about."""
    call = {"for_each": "$.members", "user_id": "$each.no", "traits": {"a": '{{["$each"].x}}'}}

    assert told(call) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("$.address.cty", "Column address of stream 't' has no member cty. Do you mean city?"),
        ("$.home.street", "Stream 't' has no column home. Do you mean home__street?"),
        ("$.xyz", "Stream 't' has no column xyz."),
        ("$.traits.plan", "Stream 't' has no column traits."),
    ],
)
def test_it_knows_what_may_be_meant(path: str, expected: str) -> None:
    """A member of an object, a column that was flattened, or nothing that is near."""
    assert told({"traits": {"a": path}}) == [f"mappings.t[0].traits.a: {expected}"]


@pytest.mark.parametrize("schema", [{}, {"properties": {}}, {"properties": None}])
def test_it_says_nothing_of_a_schema_without_columns(schema: Json) -> None:
    """Such a tap tells nothing of its rows."""
    assert told({"traits": {"a": "$.emial"}}, schema) == []


def test_it_takes_properties_for_the_row_in_an_exported_mapping() -> None:
    """Also if there is a column of that name; in ours, that is meant then."""
    schema: Json = {"properties": {"id": {}, "properties": {"properties": {"plan": {}}}}}
    exported = {
        "actionSlug": "sendIdentify",
        "settings": {"user_id": {"@path": "$.properties.id"}, "traits": {"@path": "$.properties"}},
    }
    mappings = Mappings({"t": [exported]})

    assert mappings.check("t", schema) == []
    assert told({"traits": {"a": "$.properties.plan"}}, schema) == []
    assert told({"traits": {"a": "$.properties.id"}}, schema) == [
        "mappings.t[0].traits.a: Column properties of stream 't' has no member id."
    ]


def test_it_tells_once_of_a_stream() -> None:
    """However often its schema comes; what was told stays to be looked up."""
    mappings = Mappings({"t*": [{"call": "identify", "user_id": "$.no"}]})

    found = [mappings.check("t1", SCHEMA) for _ in range(2)]

    assert [len(each) for each in found] == [1, 0]
    assert mappings.missing == {"t1": found[0]}
