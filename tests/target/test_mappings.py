"""A mapping says which rows become which calls, and every mistake in it is told at the start."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from harness.values import ANYTHING, JSON
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.mapping.mappings import Mappings
from target_segment_api.rows import is_meant, root_of

if TYPE_CHECKING:
    from target_segment_api.mapping.call import Made

Json = dict[str, Any]

IDENTIFY: Json = {"call": "identify", "user_id": "$.id"}
ROW: Json = {"id": 7, "email": "ana@example.com", "first": "Ana", "plan": "pro", "none": None}


def mistakes(*entries: Any, **config: Any) -> list[str]:
    """Return what is wrong with *entries*, mapped to the stream `t`, as people read it."""
    return [str(mistake) for mistake in Mappings(config or {"t": [*entries]}).mistakes]


def made(entry: Json, row: Json = ROW, *, state: str = "added", parity: bool = False) -> list[Made]:
    """Return what *entry*, in which nothing is wrong, makes of *row*."""
    mappings = Mappings({"t": [entry]}, strict_parity=parity)
    assert mappings.mistakes == []
    found = []
    for call in mappings.of("t") or ():
        root = root_of(call, row, [row.get("id")], state)
        found += [*call.make(root)] if is_meant(call, root, state) else []
    return found


def events(entry: Json, row: Json = ROW, *, state: str = "added") -> list[Json]:
    """Return the events that *entry* makes of *row*, with which nothing is wrong."""
    found = made(entry, row, state=state)
    assert [one.faults for one in found if one.faults] == []
    return [one.event for one in found]


# Mistakes


def test_all_mistakes_are_told_at_once() -> None:
    """Each with its place, and what is meant."""
    config = {
        "users": [
            {"call": "identfy", "user_id": "$.id"},
            {
                "call": "identify",
                "userid": "$.id",
                "user_id": "$.id",
                "device": {"advertisingId": "$.x"},
                "traits": {"a": {"@pth": "$.a"}},
                "when": "plan = ",
            },
        ],
        "orders": [{"call": "track", "user_id": "$.items[*]", "version": {"@case": {}}}],
        "none": [],
        "text": "identify",
        "entry": [5],
    }

    found = mistakes(**config)

    assert [mistake.partition(": ")[0] for mistake in found] == [
        "mappings.users[0].call",
        "mappings.users[1].userid",
        "mappings.users[1].device.advertisingId",
        "mappings.users[1].when",
        "mappings.users[1].traits.a",
        "mappings.orders[0]",
        "mappings.orders[0].user_id",
        "mappings.orders[0].version.@case",
        "mappings.none",
        "mappings.text",
        "mappings.entry[0]",
    ]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (
            {"call": "identfy"},
            (
                "t[0].call: call must be one of alias, group, identify, page, screen, track."
                " Do you mean identify?"
            ),
        ),
        ({}, "t[0].call: call must be one of alias, group, identify, page, screen, track."),
        (IDENTIFY | {"trait": {}}, "t[0].trait: identify has no such field. Do you mean traits?"),
        (IDENTIFY | {"event_name": "x"}, "t[0].event_name: identify has no such field."),
        (IDENTIFY | {"address": {"town": 1}}, "t[0].address.town: address has no such member."),
        (
            IDENTIFY | {"address": {"postal_code": 1}},
            "t[0].address.postal_code: address has no such member. Do you mean postalCode?",
        ),
        ({"call": "track", "user_id": "u"}, "t[0]: event_name is needed for track. Map it."),
        ({"call": "group", "user_id": "u"}, "t[0]: group_id is needed for group. Map it."),
        ({"call": "alias", "user_id": "u"}, "t[0]: previous_id is needed for alias. Map it."),
        (
            {"call": "page"},
            "t[0]: Map user_id or anonymous_id: Segment needs one of them.",
        ),
        (
            {"call": "identify", "user_id": "$each"},
            "t[0]: $each is used without for_each. Say which list it is of.",
        ),
        (
            IDENTIFY | {"for_each": "$.a[*]"},
            "t[0].for_each: A path has no wildcards. Use for_each or @arrayPath.",
        ),
        (
            IDENTIFY | {"traits": {"a": {"@templte": "x"}}},
            "t[0].traits.a: There is no directive @templte. Do you mean @template?",
        ),
        (5, "t[0]: It must be an object with a call and its fields."),
    ],
)
def test_mistake_is_told_with_its_place(entry: Any, reason: str) -> None:
    """And, if a name is unknown, with the nearest one."""
    assert mistakes(entry) == [f"mappings.{reason}"]


@given(st.dictionaries(st.sampled_from(["a", "b*"]), ANYTHING))
def test_any_configuration_is_read(config: Json) -> None:
    """Whatever is in a mapping is compiled, or told."""
    mappings = Mappings(config)

    for stream in config:
        assert mappings.of(stream) or mappings.mistakes


@given(
    st.dictionaries(
        st.sampled_from(["user_id", "traits", "when", "for_each", "version", "device", "context"]),
        ANYTHING,
    ),
    JSON,
)
def test_any_row_makes_events_or_faults(fields: Json, value: Any) -> None:
    """A mapping in which nothing is wrong fails for no row, whatever that holds."""
    mappings = Mappings({"t": [{"call": "identify", "anonymous_id": "$.id"} | fields]})
    if mappings.mistakes:
        return
    for call in mappings.of("t") or ():
        for one in call.make(root_of(call, {"id": value}, None, "added")):
            assert one.event["type"] == "identify"


# Our form


def test_entry_says_what_a_row_becomes() -> None:
    """Paths, templates and texts, in the fields of the call."""
    entry = IDENTIFY | {
        "traits": {"email": "$.email", "name": "{{first}} L.", "none": "$.none", "no": "$.no"},
        "timezone": "Europe/Berlin",
        "context": {"source": "crm"},
    }

    assert events(entry) == [
        {
            "type": "identify",
            "userId": "7",
            "traits": {"email": "ana@example.com", "name": "Ana L.", "none": None},
            "context": {"timezone": "Europe/Berlin", "source": "crm"},
        }
    ]


def test_column_that_was_flattened_can_be_addressed() -> None:
    """By the name that the SDK gives it."""
    row = {"id": 7, "properties__plan": "pro"}

    assert events(IDENTIFY | {"traits": {"plan": "$.properties__plan"}}, row)[0]["traits"] == {
        "plan": "pro"
    }


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-03-04 12:20:31+01", "2026-03-04T11:20:31.000Z"),
        ("2026-03-04", "2026-03-04T00:00:00.000Z"),
        (1772623231, "2026-03-04T11:20:31.000Z"),
        (Decimal("1772623231.402"), "2026-03-04T11:20:31.402Z"),
        ("soon", "soon"),
    ],
)
@pytest.mark.parametrize("parity", [False, True])
def test_timestamp_is_written_as_segment_wants_it(
    value: Any,
    moment: str,
    parity: bool,  # noqa: FBT001 - a case
) -> None:
    """In whatever form a column has it; what is no moment stays, for the check of events."""
    (found,) = made(IDENTIFY | {"timestamp": "$.at"}, {"id": 7, "at": value}, parity=parity)

    assert found.event["timestamp"] == moment


def test_what_a_row_lacks_for_an_event_is_told() -> None:
    """The field and the reason are; nothing of the row is."""
    entry = IDENTIFY | {"traits": "$.email", "ip_address": {"@json": {"mode": "x", "value": 1}}}
    entry |= {"ip_address": {"@template": {"@path": "$.none"}}}

    (found,) = made(entry)

    assert found.faults == [
        "traits must be an object, not text.",
        "ip_address: @template needs text, and the directive in it gave none.",
    ]


@pytest.mark.parametrize(("plan", "count"), [("pro", 1), ("free", 0), (None, 0)])
def test_trigger_tells_which_rows_are_meant(plan: str | None, count: int) -> None:
    """By a query over the columns."""
    assert len(events(IDENTIFY | {"when": 'plan = "pro"'}, {"id": 7, "plan": plan})) == count


def test_several_calls_may_be_made_of_a_row() -> None:
    """In the order of the mapping."""
    entries = [IDENTIFY, {"call": "group", "user_id": "$.id", "group_id": "$.plan"}]
    calls = Mappings({"t": entries}).of("t") or ()

    assert [one.event["type"] for call in calls for one in call.make(ROW)] == ["identify", "group"]


# Segment's own form

EXPORTED: Json = {
    "name": "Users",
    "enabled": True,
    "actionSlug": "sendIdentify",
    "trigger": 'type = "track" and (event = "new" or event = "updated")',
    "settings": {
        "user_id": {"@path": "$.properties.id"},
        "traits": {"plan": {"@path": "$.properties.plan"}, "row": {"@path": "$.__segment_id"}},
        "message_id": {"@path": "$.messageId"},
        "consent": {"@path": "$.context.consent"},
        "__segment_internal_sync_mode": "upsert",
    },
}
OF_CODE = {
    "partnerAction": "sendIdentify",
    "subscribe": EXPORTED["trigger"],
    "mapping": EXPORTED["settings"],
}


@pytest.mark.parametrize("entry", [EXPORTED, OF_CODE])
def test_exported_mapping_works_as_it_is(entry: Json) -> None:
    """As its Public API gives it, or its code."""
    expected = [{"type": "identify", "userId": "7", "traits": {"plan": "pro", "row": "7"}}]

    assert events(entry) == events(entry, state="updated") == expected
    assert events(entry, state="deleted") == []


def test_older_export_works_as_well() -> None:
    """It says how Segment batches, which is a setting of the target here."""
    old = EXPORTED["settings"] | {"enable_batching": True, "batch_size": 225}

    assert events(EXPORTED | {"settings": old}) == events(EXPORTED)


def test_exported_text_is_no_path() -> None:
    """Only a directive is one there, but in what is ours and not Segment's."""
    entry = EXPORTED | {
        "settings": {"user_id": "$.id", "traits": {"of": {"@path": "$each"}}},
        "for_each": "$.tags",
    }

    assert events(entry, ROW | {"tags": ["a"]}) == [
        {"type": "identify", "userId": "$.id", "traits": {"of": "a"}}
    ]


def test_exported_mapping_sees_no_column_in_place_of_the_event() -> None:
    """A table may have columns that are called `type` and `event`."""
    row = ROW | {"type": "invoice", "event": "paid", "properties": {}}

    assert len(events(EXPORTED, row)) == 1
    assert events(IDENTIFY | {"when": 'event = "paid" and type = "invoice"'}, row)


def test_exported_mapping_that_is_switched_off_makes_nothing() -> None:
    """Its stream is known, and skipped; its mistakes are told all the same."""
    off = EXPORTED | {"enabled": False}

    assert Mappings({"t": [off]}).of("t") == ()
    assert mistakes(off | {"settings": {"usr_id": "x", "user_id": "y"}}) == [
        "mappings.t[0].usr_id: identify has no such field. Do you mean user_id?"
    ]


def test_exported_trigger_may_be_an_object_or_missing() -> None:
    """As the Public API has it; without one, every row is meant."""
    condition = {"type": "event-property", "name": "plan", "operator": "=", "value": "pro"}

    assert len(events(EXPORTED | {"trigger": condition})) == 1
    assert events(EXPORTED | {"trigger": condition}, ROW | {"plan": "free"}) == []
    assert len(events(EXPORTED | {"trigger": None})) == 1


@pytest.mark.parametrize(
    ("entry", "count"),
    [
        (IDENTIFY, 0),
        (IDENTIFY | {"when": "plan = null"}, 0),
        (IDENTIFY | {"when": "properties.event = null"}, 0),
        (
            IDENTIFY | {"when": {"type": "event-property", "name": "no", "operator": "not_exists"}},
            0,
        ),
        (IDENTIFY | {"when": 'row_state = "deleted"'}, 1),
        (IDENTIFY | {"when": 'row_state = "added"'}, 0),
        (IDENTIFY | {"when": 'event = "deleted"'}, 1),
        (IDENTIFY | {"when": {"type": "event", "operator": "=", "value": "deleted"}}, 1),
    ],
)
def test_deleted_row_is_for_calls_that_ask_for_it(entry: Json, count: int) -> None:
    """Nobody wants a user identified because its row is gone."""
    row = {"id": 7, "plan": None}

    assert len(events(entry, row, state="deleted")) == count


def test_root_directive_gives_all_fields() -> None:
    """Segment's own way to map from a part of an event."""
    entry = EXPORTED | {
        "settings": {
            "__segment_internal_directive": {
                "@transform": {"apply": {"inner": {"@path": "$.properties"}}, "mapping": {}}
            },
            "user_id": {"@path": "$.inner.id"},
            "traits": {"plan": {"@path": "$.inner.plan"}},
        }
    }

    assert events(entry) == [{"type": "identify", "userId": "7", "traits": {"plan": "pro"}}]


# Rows as Reverse ETL shows them


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.properties.plan", "pro"),
        ("$.event", "updated"),
        ("$.type", "track"),
        ("$.__segment_id", "7"),
        ("$.row_state", "updated"),
        ("$.plan", "pro"),
    ],
)
def test_row_may_be_looked_at_as_an_event(path: str, value: str) -> None:
    """The names of Reverse ETL are there beside those of the columns."""
    made_of = IDENTIFY | {"traits": {"a": path}, "when": 'event = "updated"'}

    assert events(made_of, state="updated")[0]["traits"] == {"a": value}


@pytest.mark.parametrize(("state", "event"), [("added", "new"), ("updated", "updated")])
def test_state_of_a_row_may_be_asked_for(state: str, event: str) -> None:
    """By our name for it, and by Segment's."""
    for when in (f'row_state = "{state}"', f'event = "{event}"'):
        assert len(events(IDENTIFY | {"when": when}, state=state)) == 1
        assert events(IDENTIFY | {"when": when}, state="deleted") == []


# for_each


@pytest.mark.parametrize(
    ("value", "items"),
    [
        *[(["a", "b"], ["a", "b"]), ([], []), ([["x"]], [["x"]]), ([None], [None])],
        *[('["a", {"b": 1}]', ["a", {"b": 1}]), (" []", []), ('{"a": 1}', [{"a": 1}])],
        *[(None, []), ("", []), ("a", ["a"]), ("a,b", ["a,b"]), (5, [5]), (0, [0])],
        *[({"a": 1}, [{"a": 1}]), ("[broken", ["[broken"])],
    ],
)
def test_each_element_becomes_an_event(value: Any, items: list[Any]) -> None:
    """Of a list, or of one in JSON text; nothing has none, and any other value is one."""
    entry = {"call": "identify", "user_id": "u", "for_each": "$.of", "traits": {"it": "$each"}}

    found = events(entry, {"of": value})

    assert [event["traits"]["it"] for event in found] == items


def test_missing_list_has_no_elements() -> None:
    """A row without the column makes no event."""
    assert events({"call": "identify", "user_id": "$each", "for_each": "$.nope"}) == []


def test_element_stands_beside_the_columns() -> None:
    """So that a call for each member can hold what the account is."""
    entry = {
        "call": "group",
        "for_each": "$.members",
        "user_id": "$each.id",
        "group_id": "$.id",
        "traits": {"name": "{{first}} and {{$each.name}}", "first": "{{ $each['tags'][0] }}"},
    }
    row = ROW | {"members": [{"id": 1, "name": "Bo", "tags": ["x"]}, {"id": 2, "name": "Cy"}]}

    assert [
        (event["userId"], event["groupId"], event["traits"]) for event in events(entry, row)
    ] == [
        ("1", "7", {"name": "Ana and Bo", "first": "x"}),
        ("2", "7", {"name": "Ana and Cy", "first": ""}),
    ]


def test_list_that_cannot_be_made_is_told() -> None:
    """The row is set aside with the reason, and the run goes on."""
    entry = IDENTIFY | {"for_each": {"@template": {"@path": "$.none"}}}

    (found,) = made(entry)

    assert found.faults == ["for_each: @template needs text, and the directive in it gave none."]


@pytest.mark.parametrize(
    ("given", "version"), [("$.v", 3), ("{{v}}-{{id}}", "3-7"), ({"@path": "$.v"}, 3)]
)
def test_version_is_made_of_the_row(given: Any, version: Any) -> None:
    """By a path, a template, or a directive."""
    (call,) = Mappings({"t": [IDENTIFY | {"version": given}]}).of("t") or ()

    assert call.version is not None
    assert call.version({"id": 7, "v": 3}) == version


# Streams


def test_stream_is_found_by_name_and_then_by_glob() -> None:
    """The name comes first, and of the globs the first that fits, by its case."""
    names = ["public-*", "public-users", "*-orders", "crm-[ab]?"]
    mappings = Mappings({name: [IDENTIFY | {"traits": {"by": name}}] for name in names})

    def finds(stream: str) -> Any:
        calls = mappings.of(stream)
        return None if calls is None else next(calls[0].make(ROW)).event["traits"]["by"]

    assert [finds(name) for name in ("public-users", "public-orders", "crm-orders", "crm-a1")] == [
        *("public-users", "public-*", "*-orders", "crm-[ab]?")
    ]
    assert [finds(name) for name in ("Public-users", "crm-c1", "users")] == [None] * 3


def test_mapping_that_no_stream_came_for_is_known() -> None:
    """A name may be wrong, and nobody would notice."""
    mappings = Mappings({name: [IDENTIFY] for name in ("b*", "a", "c")})
    assert mappings.unused == ["a", "b*", "c"]

    mappings.of("bee")
    mappings.of("c")

    assert mappings.unused == ["a"]
