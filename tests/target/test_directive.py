"""A directive makes of a record what Segment's mapping kit makes of an event."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from harness.values import ANY_TEXT, ANYTHING, JSON, NUMBERS, values
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.mapping.directive import MAX_LEVELS, compile_value
from target_segment_api.mapping.value import MAX_CHARACTERS, MISSING, Mistake, Resolve, ValueFailed

ROW: dict[str, Any] = {
    "id": 17,
    "first": "Ada",
    "last": "Lovelace",
    "price": Decimal("12.50"),
    "big": 9_007_199_254_740_993,
    "yes": True,
    "no": False,
    "none": None,
    "empty": "",
    "zero": 0,
    "tags": ["a", None, ["b"]],
    "address": {"city": "London", "zip": None, "geo": {"lat": 51.5, "lng": None}, "list": [None]},
    "items": [{"sku": "x", "price": 1.0}, {"sku": "y"}],
    "column": "first",
    "form": "{{last}}!",
    "json": '{"a": [1.50, null]}',
    "$each": {"name": "Grace"},
}


def make(value: Any, root: Any = ROW, *, shorthand: bool = False) -> Any:
    """Return what *value*, in which nothing is wrong, makes of *root*."""
    mistakes: list[Mistake] = []
    resolve = compile_value(value, (), mistakes, shorthand=shorthand)
    assert mistakes == []
    return resolve(root)


def blame(value: Any, *, shorthand: bool = False) -> list[str]:
    """Return what is wrong in *value*, as people read it."""
    mistakes: list[Mistake] = []
    compile_value(value, ("traits",), mistakes, shorthand=shorthand)
    return [str(mistake) for mistake in mistakes]


def failure(resolve: Resolve, root: Any) -> str:
    """Return why *resolve* makes nothing of *root*, or `@` if it does."""
    try:
        resolve(root)
    except ValueFailed as failed:
        return failed.reason
    return "@"


def path(text: str) -> dict[str, str]:
    """Return the directive that finds *text*."""
    return {"@path": text}


# Values without a directive


def test_members_that_are_missing_are_left_out() -> None:
    """Of objects what is there is kept, null included; in lists a null keeps the place."""
    value = {
        "a": path("$.id"),
        "b": path("$.nope"),
        "c": None,
        "d": [path("$.none"), path("$.x"), 1],
    }

    assert make(value) == {"a": 17, "c": None, "d": [None, None, 1]}


def test_exported_text_is_itself() -> None:
    """In a mapping of Segment's only a directive is one."""
    assert make(["$.id", "$each", "{{first}}"]) == ["$.id", "$each", "{{first}}"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("$.id", 17), ("$.address.city", "London"), ("$.nope", MISSING), ("$.", ROW)],
        *[("$each", {"name": "Grace"}), ("$each.name", "Grace"), ("$each[0]", MISSING)],
        *[("{{first}} {{last}}", "Ada Lovelace"), ("{{nope}}", ""), ("{{ $each.name }}", "Grace")],
        *[("", ""), ("$", "$"), ("$5", "$5"), ("$eachway", "$eachway"), ("id", "id"), ("{{", "{{")],
        *[("a $.id", "a $.id"), ("{{}}", "{{}}"), ("{id}", "{id}")],
    ],
)
def test_shorthand_text_may_be_a_path_or_a_template(text: str, value: Any) -> None:
    """In YAML a path and a template need no directive, and any other text is itself."""
    assert make(text, shorthand=True) == value


def test_shorthand_holds_inside_directives_but_not_in_a_literal() -> None:
    """`@literal` is how to say a text that looks like a path."""
    value = {"@if": {"exists": "$.id", "then": {"a": "$.first", "b": {"@literal": "$.first"}}}}

    assert make(value, shorthand=True) == {"a": "Ada", "b": "$.first"}


@given(
    values(
        ANY_TEXT.filter(lambda text: "$" not in text and "{{" not in text) | NUMBERS,
        ANY_TEXT.filter(lambda text: not text.startswith("@")),
    ),
    st.booleans(),
)
def test_literal_json_is_itself(value: Any, shorthand: bool) -> None:  # noqa: FBT001 - drawn
    """What has no directive, path or template in it is what it makes."""
    assert make(value, shorthand=shorthand) == value


# @path, @template, @literal


@pytest.mark.parametrize(
    ("value", "made"),
    [
        *[(path("$.id"), 17), (path("id"), 17), (path(""), ROW), (path("$.nope"), MISSING)],
        *[(path("$.zero.a"), 0), ({"@path": path("$.column")}, "Ada")],
        *[({"@path": {"@template": "$.address.{{nope}}city"}}, "London")],
        ({"@path": "$.id", "_metadata": {"label": "Id"}}, 17),
    ],
)
def test_path(value: Any, made: Any) -> None:
    """`@path` finds a value, and may itself be found."""
    assert make(value) == made


@pytest.mark.parametrize(
    ("template", "text"),
    [
        *[
            ("{{first}} {{ last }}", "Ada Lovelace"),
            ("x", "x"),
            ("", ""),
            ("100%s %% {{id}}", "100%s %% 17"),
        ],
        *[("{{price}}|{{big}}|{{yes}}|{{zero}}", "12.5|9007199254740993|true|0")],
        *[
            ("{{none}}{{nope}}{{nope.a}}", ""),
            ("{{address}}", "[object Object]"),
            ("{{tags}}", "a,,b"),
        ],
        *[("{{address.city}}", "London"), ("{{items[0].price}}", "1"), ("{{$.id}}", "")],
        *[("{{form}}", "{{last}}!"), ("{{{form}}}", "Lovelace!"), ("{{{nope}}}{{id}}", "17")],
        *[("{{a}", "{{a}"), ("{{}}", "{{}}"), ("{{{id}}", ""), ("{{id}}}", "17}")],
        *[("{{ }}", "[object Object]"), ("{{a\nb}}", ""), ("{{{id}} {{id}}}", " 17}")],
        *[("{{'first'}}", "Ada"), ('<b>{{ first }}</b> & "', '<b>Ada</b> & "')],
    ],
)
def test_template(template: str, text: str) -> None:
    """`{{ }}` is filled as JavaScript writes values, without escaping."""
    assert make({"@template": template}) == text
    assert make({"@template": {"@literal": template}}) == text


@pytest.mark.parametrize("root", [None, 0, 5, "text", [1], True])
def test_any_root_can_be_looked_at(root: Any) -> None:
    """An item of a list may be anything, so what is made of it may, too."""
    assert make({"@template": "{{a}}"}, root) in ("", "0")
    assert make({"a": 1, "b": path("$.")}, root) == {"a": 1, "b": root}


def test_literal_resolves_what_is_in_it() -> None:
    """A directive in a literal still is one, and null and false are values."""
    assert make({"@literal": {"a": path("$.id"), "b": path("$.x")}}) == {"a": 17}
    assert make([{"@literal": None}, {"@literal": False}]) == [None, False]


# @if


@pytest.mark.parametrize(
    ("column", "exists", "blank"),
    [
        *[("id", "then", "then"), ("first", "then", "then"), ("address", "then", "then")],
        *[("none", "else", "else"), ("nope", "else", "else"), ("empty", "then", "else")],
        *[("zero", "then", "else"), ("no", "then", "else"), ("yes", "then", "then")],
    ],
)
def test_if(column: str, exists: str, blank: str) -> None:
    """`exists` asks for null, `blank` for what is loosely equal to empty text."""
    found = path(f"$.{column}")

    assert make({"@if": {"exists": found, "then": "then", "else": "else"}}) == exists
    assert make({"@if": {"blank": found, "then": "then", "else": "else"}}) == blank
    assert make({"@if": {"exists": found, "blank": 1, "then": "then", "else": "else"}}) == exists


@pytest.mark.parametrize("nothing", [0, "", False, None])
def test_falsy_else_is_ignored(nothing: Any) -> None:
    """As in Segment, `else: 0` gives nothing, and `then: 0` gives 0."""
    assert make({"@if": {"exists": path("$.nope"), "then": 1, "else": nothing}}) is MISSING
    assert make({"@if": {"exists": path("$.id"), "then": nothing, "else": 1}}) == nothing
    assert make({"@if": {"exists": path("$.id"), "else": 1}}) is MISSING


# The other directives


@pytest.mark.parametrize(
    ("value", "lower", "upper"),
    [
        *[(path("$.first"), "ada", "ADA"), ("Straße", "straße", "STRASSE"), (path("$.id"), 17, 17)],
        *[(path("$.none"), None, None), (path("$.tags"), ROW["tags"], ROW["tags"])],
        *[("", MISSING, MISSING), (path("$.nope"), MISSING, MISSING)],
    ],
)
def test_case(value: Any, lower: Any, upper: Any) -> None:
    """`@case` changes text, and nothing else."""
    assert make({"@case": {"operator": "lower", "value": value}}) == lower
    assert make({"@case": {"operator": "upper", "value": value}}) == upper
    assert make({"@case": {"operator": "upper"}}) is MISSING


SHAPE = {"id": path("$.sku"), "price": path("$.price")}


@pytest.mark.parametrize(
    ("value", "made"),
    [
        *[
            (["$.items"], ROW["items"]),
            (["items", {}], ROW["items"]),
            (["$.items", None], ROW["items"]),
        ],
        *[(["$.items", SHAPE], [{"id": "x", "price": 1.0}, {"id": "y"}])],
        *[([path("$.items"), SHAPE], [{"id": "x", "price": 1.0}, {"id": "y"}])],
        *[
            (["$.items", path("$.sku")], ["x", "y"]),
            (["$.items", path("$.price")], [1.0, None]),
            (["$.address", {"c": path("$.city")}], [{"c": "London"}]),
        ],
        *[(["$.first", SHAPE], "Ada"), (["$.none", SHAPE], None), (["$.nope", SHAPE], MISSING)],
        *[(["$.tags", {"v": path("$.")}], [{"v": "a"}, {"v": None}, {"v": ["b"]}])],
    ],
)
def test_array_path(value: Any, made: Any) -> None:
    """`@arrayPath` makes one object of each item, and a list of a single object."""
    assert make({"@arrayPath": value}) == made


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        *[({"pattern": "a", "value": "banana", "replacement": "o"}, "bonono")],
        *[
            ({"pattern": "a", "value": "banana"}, "bnn"),
            ({"pattern": "a", "value": "banana", "replacement": None}, "bnn"),
        ],
        *[({"pattern": "a", "value": "banana", "replacement": "o", "global": False}, "bonana")],
        *[({"pattern": "AN", "value": "banana", "replacement": "-"}, "banana")],
        *[({"pattern": "AN", "value": "banana", "replacement": "-", "ignorecase": True}, "b--a")],
        *[
            (
                {"pattern": "k", "value": "K\u212a", "replacement": "-", "ignorecase": True},
                "-\u212a",
            )
        ],
        *[({"pattern": ".*", "value": "a.*b", "replacement": "[$&]"}, "a[.*]b")],
        *[({"pattern": "-", "value": "ab-cd", "replacement": "<$`|$'>"}, "ab<ab|cd>cd")],
        *[({"pattern": "-", "value": "a-b-c", "replacement": "$'"}, "ab-cbcc")],
        *[({"pattern": "-", "value": "a-b", "replacement": "$$1$1$<\\1"}, "a$1$1$<\\1b")],
        *[
            (
                {
                    "pattern": "a",
                    "value": "abc",
                    "replacement": "b",
                    "pattern2": "b",
                    "replacement2": "x",
                },
                "xxc",
            )
        ],
        *[({"pattern": "a", "value": "abc", "replacement": "b", "pattern2": "b"}, "c")],
        *[({"pattern": "a", "value": "abc", "pattern2": "", "replacement2": "x"}, "bc")],
        *[({"pattern": "1", "value": path("$.id"), "replacement": "x"}, "x7")],
        *[({"pattern": "5", "value": path("$.price"), "replacement": "x"}, "12.x")],
        *[({"pattern": "true", "value": path("$.yes"), "replacement": "on"}, "on")],
        *[
            ({"pattern": "a", "value": path("$.none")}, ""),
            ({"pattern": "a", "value": path("$.tags")}, ""),
        ],
        *[
            ({"pattern": "a", "value": path("$.nope")}, ""),
            ({"pattern": "a", "value": ""}, MISSING),
        ],
    ],
)
def test_replace(arguments: Any, text: Any) -> None:
    """`@replace` replaces literal text, once or everywhere, in text and what is written as it."""
    assert make({"@replace": arguments}) == text


@pytest.mark.parametrize(
    ("objects", "right", "left"),
    [
        *[
            ([], {}, {}),
            ([{"a": 1}], {"a": 1}, {"a": 1}),
            ([{"a": 1}, {"a": 2}], {"a": 2}, {"a": 1}),
        ],
        *[([{"a": {"b": 1}}, {"a": {"c": 2}}], {"a": {"c": 2}}, {"a": {"b": 1}})],
        *[([{"city": "?"}, path("$.address")], ROW["address"], {**ROW["address"], "city": "?"})],
        *[
            (
                [{"a": 1}, path("$.nope"), path("$.none"), path("$.id"), path("$.empty")],
                {"a": 1},
                {"a": 1},
            )
        ],
        *[([{"a": 1}, {"a": path("$.nope")}], {}, {"a": 1})],
    ],
)
def test_merge(objects: Any, right: Any, left: Any) -> None:
    """`@merge` takes the later member, or the earlier one, and does not go into them."""
    assert make({"@merge": {"direction": "right", "objects": objects}}) == right
    assert make({"@merge": {"direction": "left", "objects": objects}}) == left


def test_transform() -> None:
    """`@transform` makes its mapping of what `apply` made, and of nothing else."""
    apply = {"flat": {"@flatten": {"value": path("$.address"), "separator": "_"}}}
    mapping = {"lat": path("$.flat.geo_lat"), "id": path("$.id")}

    assert make({"@transform": {"apply": apply, "mapping": mapping}}) == {"lat": 51.5}


@pytest.mark.parametrize(
    ("value", "flat"),
    [
        *[({"a": {"b": {"c": 1}, "d": None}}, {"a.b.c": 1, "a.d": None}), ({"a": {}, "b": []}, {})],
        *[({"a": [{"b": 1}, [2]]}, {"a.0.b": 1, "a.1.0": 2}), ([1], {"0": 1}), (5, {"": 5})],
        *[(None, {"": None}), (path("$.nope"), {}), ({"": {"a": 1}}, {"a": 1})],
    ],
)
def test_flatten(value: Any, flat: Any) -> None:
    """`@flatten` joins keys and indexes; what is empty vanishes, and a scalar has no key."""
    assert make({"@flatten": {"value": value, "separator": "."}}) == flat


def test_flatten_can_leave_lists_alone() -> None:
    """With `omitArrays` a list is a value like any other, even an empty one."""
    value = {"a": {"b": [{"c": 1}], "d": []}}
    arguments = {"value": value, "separator": "/", "omitArrays": True}

    assert make({"@flatten": arguments}) == {"a/b": [{"c": 1}], "a/d": []}


@pytest.mark.parametrize(
    ("mode", "value", "made"),
    [
        *[("encode", path("$.tags"), '["a",null,["b"]]'), ("encode", path("$.none"), "null")],
        *[
            ("encode", path("$.nope"), MISSING),
            ("encode", path("$.price"), "12.50"),
            ("encode", "é", '"é"'),
        ],
        *[("decode", path("$.json"), {"a": [Decimal("1.50"), None]}), ("decode", "[1", "[1")],
        *[
            ("decode", path("$.first"), "Ada"),
            ("decode", path("$.id"), 17),
            ("decode", path("$.empty"), ""),
        ],
        *[("decode", path("$.nope"), MISSING), ("decode", path("$.none"), None)],
    ],
)
def test_json(mode: str, value: Any, made: Any) -> None:
    """`@json` writes any value, and reads text; what is no JSON stays as it is."""
    assert make({"@json": {"mode": mode, "value": value}}) == made


@pytest.mark.parametrize(
    ("value", "made"),
    [
        *[(path("$.none"), MISSING), (path("$.nope"), MISSING), (path("$.empty"), "")],
        *[(path("$.address"), {"city": "London", "geo": {"lat": 51.5}, "list": [None]})],
        *[([None, {"a": None}], [None, {"a": None}])],
    ],
)
def test_exclude_when_null(value: Any, made: Any) -> None:
    """`@excludeWhenNull` drops nulls from objects in objects, but leaves lists as they are."""
    assert make({"@excludeWhenNull": value}) == made


# The root of a mapping


def test_root_directive_is_applied_before_the_other_fields() -> None:
    """`__segment_internal_directive` makes the record that all other fields are made of."""
    flat = {"p": {"@flatten": {"value": path("$.address"), "separator": "_"}}}
    value = {
        "__segment_internal_directive": {"@transform": {"apply": flat}},
        "__segment_internal_sync_mode": "upsert",
        "lat": path("$.p.geo_lat"),
    }

    assert make(value) == {"lat": 51.5}


def test_another_root_directive_gives_all_fields() -> None:
    """A root directive that is no `@transform` stands for the whole mapping."""
    value = {"__segment_internal_directive": path("$.address.geo"), "a": 1}

    assert make(value) == {"lat": 51.5, "lng": None}


def test_internal_keys_are_no_fields() -> None:
    """What Segment notes for itself at the root of a mapping is not sent."""
    value = {"__segment_internal_matching_key": "id", "a": {"__segment_internal_x": 1}}

    assert make(value) == {"a": {"__segment_internal_x": 1}}
    assert blame({"__segment_internal_directive": 5}) == [
        "traits.__segment_internal_directive: It must be an object with one @directive."
    ]


# Mistakes


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"@pth": "$.a"}, "traits: There is no directive @pth. Do you mean @path?"),
        (
            {"a": [{"@path": 5}]},
            "traits.a[0].@path: It must be text, or a directive that gives text.",
        ),
        ({"@path": ["a", "b"]}, "traits.@path: It must be text, or a directive that gives text."),
        ({"@template": {}}, "traits.@template: It must be text, or a directive that gives text."),
        (
            {"@path": "a", "@template": "b"},
            "traits: @path and @template stand in one object. Leave one, or nest them.",
        ),
        ({"@path": "a", "b": 1}, "traits: b cannot stand beside @path. Use @merge to have both."),
        ({"@if": {"then": 1}}, "traits.@if: It needs exists or blank: the value to be looked at."),
        (
            {"@if": {"exists": "", "blank": 0}},
            "traits.@if: It needs exists or blank: the value to be looked at.",
        ),
        (
            {"@if": {"exists": 1, "than": 2}},
            "traits.@if.than: There is no such argument. Do you mean then?",
        ),
        (
            {"@case": {"operator": "title", "value": "x"}},
            "traits.@case.operator: It must be lower or upper.",
        ),
        ({"@case": {"value": "x"}}, "traits.@case: operator is missing."),
        (
            {"@case": {"operator": "lower", "value": 1}},
            "traits.@case.value: It must be text, or a directive that gives the value.",
        ),
        (
            {"@replace": {"pattern": "a", "value": ["a"]}},
            "traits.@replace.value: It must be text, or a directive that gives the value.",
        ),
        ({"@case": "lower"}, "traits.@case: It must be an object with operator, value."),
        (
            {"@arrayPath": "$.a"},
            "traits.@arrayPath: It must be a list: a path, and the object to be made of each item.",
        ),
        (
            {"@arrayPath": []},
            "traits.@arrayPath: It must be a list: a path, and the object to be made of each item.",
        ),
        (
            {"@arrayPath": [{}]},
            "traits.@arrayPath[0]: It must be a path, or a directive that gives a list.",
        ),
        (
            {"@arrayPath": ["a", "b"]},
            "traits.@arrayPath[1]: It must be an object: what is to be made of each item.",
        ),
        ({"@replace": {"value": "x"}}, "traits.@replace: pattern is missing."),
        ({"@replace": {"pattern": "x"}}, "traits.@replace: value is missing."),
        (
            {"@replace": {"pattern": "", "value": "x"}},
            "traits.@replace.pattern: It is empty. Give the text to be replaced.",
        ),
        (
            {"@replace": {"pattern": "x" * 11, "value": "x"}},
            "traits.@replace.pattern: It has 11 characters; Segment takes 10. Shorten it.",
        ),
        (
            {"@replace": {"pattern": "x", "replacement2": "😀" * 6, "pattern2": "y", "value": "x"}},
            "traits.@replace.replacement2: It has 12 characters; Segment takes 10. Shorten it.",
        ),
        ({"@replace": {"pattern": 5, "value": "x"}}, "traits.@replace.pattern: It must be text."),
        (
            {"@replace": {"pattern": "x", "global": "yes", "value": "x"}},
            "traits.@replace.global: It must be true or false.",
        ),
        ({"@merge": {"objects": []}}, "traits.@merge: direction is missing."),
        (
            {"@merge": {"direction": "up", "objects": []}},
            "traits.@merge.direction: It must be left or right.",
        ),
        (
            {"@merge": {"direction": "left", "objects": {}}},
            "traits.@merge.objects: It must be a list of objects.",
        ),
        (
            {"@merge": {"direction": "left", "objects": [1]}},
            "traits.@merge.objects[0]: It must be an object, or a directive that gives one.",
        ),
        ({"@transform": {"apply": {}}}, "traits.@transform: mapping is missing."),
        (
            {"@transform": {"apply": "x", "mapping": {}}},
            "traits.@transform.apply: It must be an object.",
        ),
        ({"@flatten": {"value": 1}}, "traits.@flatten: separator is missing."),
        (
            {"@flatten": {"value": 1, "separator": ""}},
            "traits.@flatten.separator: It must be text, and not empty.",
        ),
        ({"@json": {"mode": "xml", "value": 1}}, "traits.@json.mode: It must be encode or decode."),
        (
            {"@json": {"mode": "encode", "value": 0}},
            "traits.@json.value: It is empty, and Segment refuses that. Give a value.",
        ),
        ({"@liquid": {"@path": "$.a"}}, "traits.@liquid: It must be text: a Liquid template."),
    ],
)
def test_mistake_is_told_with_its_place(value: Any, told: str) -> None:
    """A mistake names where it is and what to do, when the mapping is read."""
    assert blame(value) == [told]


def test_all_mistakes_are_told_at_once() -> None:
    """One mistake does not hide another."""
    value = {"a": {"@nope": 1}, "b": [{"@path": 1}], "c": {"@if": {"exists": {"@pat": "x"}}}}

    assert [line.partition(":")[0] for line in blame(value)] == [
        "traits.a",
        "traits.b[0].@path",
        "traits.c.@if.exists",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{$.a}}", "traits: In braces a path has no $. before it. Write {{a}}."),
        ("{{ }}", "traits: The braces name no column. Write its name in them."),
        ("$.a[*]", "traits: A path has no wildcards. Use for_each or @arrayPath."),
    ],
)
def test_shorthand_is_strict(text: str, told: str) -> None:
    """In YAML it is told, too, what Segment would silently make nothing of."""
    assert blame(text, shorthand=True) == [told]
    assert blame({"@template" if "{" in text else "@path": text}) == []


def test_mapping_nests_so_deep_and_no_deeper() -> None:
    """A mapping has fifty levels at most."""
    value: Any = "x"
    for _ in range(MAX_LEVELS):
        value = [value]

    assert blame(value) == []
    assert len(blame([value])) == 1
    for _ in range(5_000):
        value = {"@literal": value}
    assert [line.rpartition(": ")[2] for line in blame(value)] == [
        "The mapping nests deeper than 50. Make it flatter."
    ]


# What a record can do


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"@path": path("$.id")}, "@path needs text, and the directive in it gave none."),
        ({"@template": path("$.none")}, "@template needs text, and the directive in it gave none."),
        (
            {"@merge": {"direction": "left", "objects": [path("$.first")]}},
            "@merge needs objects, and got text or a list.",
        ),
    ],
)
def test_what_a_record_does_not_allow_fails_for_it_alone(value: Any, reason: str) -> None:
    """A value that cannot be made of a record says why, and nothing of the record."""
    with pytest.raises(ValueFailed) as failed:
        make(value)

    assert failed.value.reason == str(failed.value) == reason


@pytest.mark.parametrize(
    ("value", "root"),
    [
        ({"@template": "{{{a}}}"}, {"a": "{{b}}" * 2_000, "b": "x" * 2_000}),
        ({"@template": path("$.a")}, {"a": "{{b}}" * 2_000, "b": "x" * 2_000}),
        (
            {"@replace": {"pattern": "x", "replacement": "$`$'", "value": path("$.a")}},
            {"a": "x" * 9_000},
        ),
        ({"@flatten": {"value": path("$."), "separator": "."}}, {"k" * 9_000: [1] * 9_000}),
    ],
    ids=["triple", "template", "replace", "flatten"],
)
def test_record_cannot_make_a_value_explode(value: Any, root: Any) -> None:
    """What would become a million characters is stopped there."""
    with pytest.raises(ValueFailed, match=f"{MAX_CHARACTERS:,} characters"):
        make(value, root)


@pytest.mark.parametrize("directive", ["@flatten", "@excludeWhenNull"])
def test_deep_record_fails_for_it_alone(directive: str) -> None:
    """A record that nests deeper than Python calls is not taken apart."""
    deep: Any = 1
    for _ in range(5_000):
        deep = {"a": deep}
    value = (
        path("$.") if directive == "@excludeWhenNull" else {"value": path("$."), "separator": "."}
    )

    with pytest.raises(ValueFailed, match="nests deeper than 100"):
        make({directive: value}, deep)


def test_many_braces_take_no_time() -> None:
    """A megabyte of braces is text like any other."""
    assert make({"@template": path("$.a")}, {"a": "{" * 1_000_000}) == "{" * 1_000_000


NAMES = st.sampled_from(
    [
        *("@arrayPath", "@case", "@excludeWhenNull", "@flatten", "@if", "@json", "@liquid"),
        *("@literal", "@merge", "@path", "@replace", "@template", "@transform", "@x", "_metadata"),
        *("exists", "blank", "then", "else", "operator", "value", "pattern", "replacement", "mode"),
        *("objects", "direction", "apply", "mapping", "separator", "omitArrays", "a", "b"),
        *("pattern2", "replacement2", "__segment_internal_directive"),
    ]
)
TEXTS = st.sampled_from(
    [
        *("$.a", "$.a.b[0]", "", "$each", "{{a}}", "{{{b}}} {{a}}", "lower", "upper", "encode"),
        *(
            "decode",
            "left",
            "right",
            ".",
            "x",
            "$&",
            "$`",
            "{{ a | plus: b }}",
            "{% if a > b %}x{% endif %}",
        ),
    ]
)
ONE_KEY = st.recursive(
    TEXTS | st.booleans() | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.sampled_from(["a", "b", "$each", "x"]), ANYTHING, max_size=4)


@given(ONE_KEY | values(TEXTS, NAMES) | JSON | ANYTHING, RECORDS | ANYTHING, st.booleans())
def test_nothing_is_raised_but_value_failed(value: Any, root: Any, shorthand: bool) -> None:  # noqa: FBT001 - drawn
    """Any JSON compiles, with mistakes or without, and any record fails at most for itself."""
    resolve = compile_value(value, (), [], shorthand=shorthand)

    assert failure(resolve, root).startswith(("@", "A path"))


SOME = st.sampled_from(
    [
        {"@if": {"blank": path("$.a"), "then": path("$.b"), "else": {"@template": "{{{a}}}{{b}}"}}},
        {"@case": {"operator": "lower", "value": path("$.a")}},
        {"@arrayPath": ["$.a", {"x": path("$.b"), "y": {"@template": "{{.}}"}}]},
        {
            "@replace": {
                "pattern": "a",
                "replacement": "$'$`",
                "ignorecase": True,
                "value": path("$.a"),
            }
        },
        {"@merge": {"direction": "left", "objects": [path("$.a"), {"x": path("$.b")}]}},
        {"@transform": {"apply": {"a": path("$.b")}, "mapping": {"x": path("$.a")}}},
        {"@flatten": {"value": path("$.a"), "separator": "."}},
        {"@json": {"mode": "encode", "value": path("$.a")}},
        {"@json": {"mode": "decode", "value": path("$.a")}},
        {"@excludeWhenNull": path("$.a")},
        {"@path": path("$.a")},
        {"@template": path("$.a")},
        {"@liquid": "{{ a | plus: b }} {{ a | append: b | date: '%c' }} {{ a | where: b }}"},
    ]
)


@given(SOME, RECORDS)
def test_directive_raises_nothing_but_value_failed(value: Any, root: Any) -> None:
    """Each directive, rightly used, takes any record."""
    resolve = compile_value(value, (), [], shorthand=False)

    assert failure(resolve, root).startswith(("@", "A path"))
