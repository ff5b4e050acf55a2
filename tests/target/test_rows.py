"""A mapped stream arrives as the calls that its mapping says, and only what has changed does."""

from __future__ import annotations

import os
import resource
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.target import Run, Target
from harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from harness.segment import Segment

Json = dict[str, Any]

KILLS = int(os.environ.get("SOAK_ROUNDS", "5"))
NAMESPACE = "test"
IDENTIFY: Json = {"call": "identify", "user_id": "$.id", "traits": {"plan": "$.plan"}}
BY_STATE: list[Json] = [
    {
        "call": "track",
        "when": f'row_state = "{state}"',
        "event_name": state,
        "anonymous_id": "row-{{id}}",
        "properties": {"plan": "$.plan", "row": "$.__segment_id"},
    }
    for state in ("added", "updated", "deleted")
]
USERS = [{"id": number, "plan": "pro"} for number in range(1, 4)]


def table(stream: str = "users", **fields: Any) -> Json:
    """Return the SCHEMA of a table with the columns of `USERS` and some more."""
    columns = ("id", "plan", "team", "members", "updated_at", "_sdc_deleted_at")
    return {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"properties": {name: {} for name in columns}},
        "key_properties": ["id"],
        **fields,
    }


def rows(given: Iterable[Json], stream: str = "users", **fields: Any) -> list[Json]:
    """Return the RECORDs of the rows *given*, and a STATE after them."""
    found = [{"type": "RECORD", "stream": stream, "record": row, **fields} for row in given]
    return [*found, {"type": "STATE", "value": {"position": len(found)}}]


def version(number: int, stream: str = "users") -> Json:
    """Return the message that ends the full table of version *number*."""
    return {"type": "ACTIVATE_VERSION", "stream": stream, "version": number}


def mapped(tmp_path: Path, segment: Segment, *calls: Json, **settings: Any) -> Target:
    """Return a target that makes *calls* of the rows of `users`."""
    given = {
        "mappings": {"users": [*calls]},
        "message_id_namespace": NAMESPACE,
        "changes_path": str(tmp_path / "changes.db"),
        **settings,
    }
    return Target(tmp_path, segment.endpoint, **given)


def done(run: Run) -> Run:
    """Return *run*, which has succeeded."""
    assert run.code == 0, run.log
    return run


def told(segment: Segment) -> list[tuple[str, str]]:
    """Return the name and the row of each event since the last look, in their usual order."""
    found = [(event["event"], event["anonymousId"]) for event in segment.events()]
    segment.forget()
    return sorted(found)


# From rows to events


def test_it_sends_what_the_mapping_says(segment: Segment, tmp_path: Path) -> None:
    """All calls of the stream, and nothing of what a trigger does not mean."""
    group = {
        "call": "group",
        "when": "team != null",
        "for_each": "$.members",
        "user_id": "$each",
        "group_id": "$.team",
    }
    target = mapped(tmp_path, segment, IDENTIFY, group)
    given = [USERS[0] | {"team": None}, USERS[1] | {"team": "t", "members": '["a", "b"]'}]

    run = done(target.run([table(), *rows(given)]))

    loop = {"sentThrough": [NAMESPACE]}
    expected = [
        *(
            {"type": "identify", "userId": n, "traits": {"plan": "pro"}, "context": loop}
            for n in "12"
        ),
        *(
            {
                "type": "group",
                "userId": n,
                "groupId": "t",
                "traits": {},
                "context": loop | {"groupId": "t"},
            }
            for n in "ab"
        ),
    ]
    events = [{n: event[n] for n in event if n != "messageId"} for event in segment.events()]
    assert sorted(events, key=lambda event: (-len(event["type"]), event["userId"])) == expected
    assert run.positions == [2]
    assert "2 records read (0 skipped, 0 unchanged); 4 events = 4 sent" in run.log


def test_it_maps_what_stream_maps_leave(segment: Segment, tmp_path: Path) -> None:
    """They come first: with other names, columns, keys and fewer rows."""
    maps = {
        "people": {
            "__alias__": "users",
            "__filter__": "record['kind'] == 'user'",
            "__key_properties__": ["id"],
            "id": "record['no'] * 10",
            "plan": "record['plan'].upper()",
        }
    }
    target = mapped(tmp_path, segment, IDENTIFY, stream_maps=maps)
    columns = {"no": {"type": "integer"}, "kind": {"type": "string"}, "plan": {"type": "string"}}
    given = [{"no": n, "plan": "pro", "kind": kind} for n, kind in ((1, "user"), (2, "bot"))]
    schema = table(
        "people", schema={"type": "object", "properties": columns}, key_properties=["no"]
    )

    run = done(target.run([schema, *rows(given, "people")]))

    assert [(e["userId"], e["traits"]) for e in segment.events()] == [("10", {"plan": "PRO"})]
    assert "2 records read (1 skipped" in run.log


def test_it_maps_columns_that_were_flattened(segment: Segment, tmp_path: Path) -> None:
    """The SDK's flattening comes first, too."""
    target = mapped(
        tmp_path,
        segment,
        IDENTIFY | {"traits": {"city": "$.address__city"}},
        flattening_enabled=True,
        flattening_max_depth=1,
    )
    address = {"type": "object", "properties": {"city": {"type": "string"}}}
    properties = {"id": {"type": "integer"}, "address": address}
    schema = table(schema={"type": "object", "properties": properties})

    done(target.run_here([schema, *rows([{"id": 1, "address": {"city": "Oslo"}}])]))

    assert [event["traits"] for event in segment.events()] == [{"city": "Oslo"}]


def test_it_sets_aside_what_cannot_be_mapped(segment: Segment, tmp_path: Path) -> None:
    """With every reason, under the key of its row; the others are sent."""
    call = IDENTIFY | {
        "screen": {"width": "$.plan"},
        "version": {"@template": {"@path": "$.team"}},
        "for_each": {"@template": {"@path": "$.team"}},
    }
    target = mapped(tmp_path, segment, call)
    given: list[Json] = [
        {"id": 1, "plan": "5", "team": "a"},
        {"id": None, "plan": "wide", "team": None},
    ]

    run = done(target.run_here([table(), *rows(given)]))

    text = "@template needs text, and the directive in it gave none."
    (reject,) = target.rejects
    assert (reject["stream"], reject["key"]) == ("users", [None])
    assert reject["reasons"] == [
        f"for_each: {text}",
        "screen.width must be a number, not text.",
        f"version: {text}",
        "userId and anonymousId are missing: one of them is needed.",
    ]
    assert [event["context"]["screen"] for event in segment.events()] == [{"width": 5}]
    assert run.positions == [2]


def test_it_stops_at_what_cannot_be_mapped_if_it_is_told(segment: Segment, tmp_path: Path) -> None:
    """With `on_invalid: fail` it is not sent, and neither is what follows."""
    target = mapped(tmp_path, segment, IDENTIFY, on_invalid="fail")

    run = target.run_here([table(), *rows([USERS[0], {"id": None}, USERS[1]])])

    assert (run.code, run.states) == (1, [])
    assert "(record 2) would not be taken by Segment" in run.log
    assert [event["userId"] for event in segment.events()] == ["1"]
    assert target.rejects == []


def test_it_says_which_streams_and_mappings_do_not_meet(
    segment: Segment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream without a mapping is skipped, a mapping without a stream is warned of."""
    mappings = {name: [IDENTIFY] for name in ("users", "user", "crm-*")}
    target = mapped(tmp_path, segment, mappings=mappings)

    done(target.run_here([table(), table("orders"), *rows(USERS), *rows(USERS, "orders")]))

    assert "Stream 'orders' is skipped: no call of Segment is known for it." in caplog.text
    assert "No stream came for mappings.crm-*. Is its name right?" in caplog.text
    assert "No stream came for mappings.user. Is its name right?" in caplog.text
    assert "mappings.users." not in caplog.text
    assert segment.counts()["accepted"] == 3


def test_it_names_columns_that_a_stream_has_not(
    segment: Segment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each stream, at its SCHEMA, and goes on: a record may have more than that says."""
    mappings = {"user?": [IDENTIFY | {"traits": {"plan": "$.plna"}}]}
    target = mapped(tmp_path, segment, mappings=mappings)
    given = [row | {"plna": "there"} for row in USERS]
    more: Json = {"properties": {"id": {}, "planer": {}}}

    done(target.run_here([table(), *rows(given), table(schema=more), *rows(given), table("user2")]))

    told = "mappings.user?[0].traits.plan: Stream {!r} has no column plna. Do you mean plan?"
    found = [record.message for record in caplog.records if "no column" in record.message]
    assert found == [told.format("users"), told.format("user2")]
    assert {event["traits"]["plan"] for event in segment.events()} == {"there"}


def test_it_knows_the_columns_that_are_left(
    segment: Segment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those after stream maps and flattening."""
    maps = {"users": {"plan": "record['level']"}}
    traits = {"traits": {"plan": "$.plan", "city": "$.address.city"}}
    target = mapped(
        tmp_path, segment, IDENTIFY | traits, stream_maps=maps, flattening_enabled=True,
        flattening_max_depth=1,
    )  # fmt: skip
    columns = {
        "id": {"type": "integer"},
        "level": {"type": "string"},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}},
    }

    done(target.run_here([table(schema={"type": "object", "properties": columns})]))

    found = [record.message for record in caplog.records if "no column" in record.message]
    told = "mappings.users[0].traits.city: Stream 'users' has no column address. Do you mean {}?"
    assert found == [told.format("address__city")]


def test_it_tells_all_mistakes_before_it_reads(
    segment: Segment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And sends nothing."""
    target = mapped(tmp_path, segment, IDENTIFY | {"trait": {}}, {"call": "trck"})

    run = target.run_here([table(), *rows(USERS)])

    assert run.code == 1
    assert "mappings.users[0].trait: identify has no such field. Do you mean traits?" in caplog.text
    assert "mappings.users[1].call: call must be one of" in caplog.text
    assert segment.requests() == []


# Message ids


@pytest.mark.parametrize("settings", [{}, {"changed_only": True}])
def test_it_gives_a_row_the_same_id_in_every_run(
    segment: Segment, tmp_path: Path, settings: Json
) -> None:
    """A rerun is harmless: Segment drops what it has."""
    given = [row | {"updated_at": "2026-03-04"} for row in USERS]
    schema = table(bookmark_properties=["updated_at"])
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        done(mapped(folder, segment, IDENTIFY, **settings).run_here([schema, *rows(given)]))

    assert segment.counts()["accepted"] == segment.counts()["duplicates"] == 3


def test_it_tells_versions_of_a_row_apart(segment: Segment, tmp_path: Path) -> None:
    """By the replication key: a change back to an earlier content is another event."""
    given = [USERS[0] | {"updated_at": f"2026-03-0{day}"} for day in (1, 2, 2)]
    target = mapped(tmp_path, segment, IDENTIFY)

    done(target.run_here([table(bookmark_properties=["updated_at"]), *rows(given)]))
    assert len({event["messageId"] for event in segment.events()}) == 2
    segment.forget()

    done(target.run_here([table(), *rows(given)]))
    assert segment.counts()["accepted"] == 1


@pytest.mark.parametrize("column", ["team", "updated_at"])
def test_it_takes_the_version_of_the_mapping(segment: Segment, tmp_path: Path, column: str) -> None:
    """In place of the replication key, also if it is 0; without a value, the key counts."""
    given = [USERS[0] | {column: value, "plan": "pro"} for value in (0, 1, None, 0)]
    target = mapped(tmp_path, segment, IDENTIFY | {"version": f"$.{column}"})

    done(target.run_here([table(bookmark_properties=["members"]), *rows(given)]))

    assert segment.counts()["accepted"] == 3


# Only what has changed


def test_it_sends_only_what_has_changed(segment: Segment, tmp_path: Path) -> None:
    """Over several runs, each row with its state; a change back is sent, too."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True)
    changed = [USERS[0], USERS[1] | {"plan": "free"}, USERS[2], {"id": 4, "plan": "pro"}]

    runs, found = [], []
    for given in (USERS, USERS, changed, USERS, changed):
        runs.append(done(target.run_here([table(), *rows(given)])))
        found.append(told(segment))

    assert found == [
        [("added", f"row-{number}") for number in (1, 2, 3)],
        [],
        [("added", "row-4"), ("updated", "row-2")],
        [("updated", "row-2")],
        [("updated", "row-2")],
    ]
    assert [run.positions for run in runs] == [[3], [3], [4], [3], [4]]


def test_it_knows_what_each_source_has(segment: Segment, tmp_path: Path) -> None:
    """With another write key every row is new, and the first key's rows are still known."""
    first = mapped(tmp_path, segment, IDENTIFY, changed_only=True, message_id_namespace=None)
    done(first.run_here([table(), *rows(USERS)]))
    settings = {"write_key": "another-write-key-of-a-source", "check_write_key": "warn"}
    other = mapped(
        tmp_path, segment, IDENTIFY, changed_only=True, message_id_namespace=None, **settings
    )

    for target in (other, first, other):
        done(target.run_here([table(), *rows(USERS)]))

    counts = segment.counts()
    assert (counts["accepted"], sum(counts["dropped"].values())) == (3, 3)


def test_it_counts_rows_that_are_unchanged(segment: Segment, tmp_path: Path) -> None:
    """Of every record the books say what became of it."""
    target = mapped(tmp_path, segment, IDENTIFY, changed_only=True)
    done(target.run_here([table(), *rows(USERS[:2])]))

    run = done(target.run([table(), *rows(USERS)]))

    assert "3 records read (0 skipped, 2 unchanged); 1 events = 1 sent" in run.log


def test_it_sends_a_change_back_within_a_run(segment: Segment, tmp_path: Path) -> None:
    """Segment takes none of the three for a repetition, and they stay in order."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True)
    given = [{"id": 1, "plan": plan} for plan in ("a", "b", "a", "a", "b")]

    done(target.run_here([table(), *rows(given)]))

    assert [event["properties"]["plan"] for event in segment.events()] == ["a", "b", "a", "b"]
    assert segment.counts()["duplicates"] == 0


def test_it_sends_rows_that_are_marked_as_deleted(segment: Segment, tmp_path: Path) -> None:
    """To the calls that ask for the state, once, and only if they were there."""
    target = mapped(tmp_path, segment, *BY_STATE, IDENTIFY | {"when": "id = 1"}, changed_only=True)
    never: Json = {"id": 9}
    marked = [row | {"_sdc_deleted_at": "2026-03-04"} for row in (*USERS[1:], never)]
    done(target.run_here([table(), *rows(USERS)]))
    segment.forget()

    for given in (marked, marked, USERS):
        done(target.run_here([table(), *rows(given)]))

    assert told(segment) == [
        ("added", "row-2"),
        ("added", "row-3"),
        ("deleted", "row-2"),
        ("deleted", "row-3"),
    ]


def test_it_sends_marked_rows_without_a_memory_too(segment: Segment, tmp_path: Path) -> None:
    """A call that does not ask for the state is not made of a deleted row."""
    target = mapped(tmp_path, segment, *BY_STATE, IDENTIFY)

    done(target.run_here([table(), *rows([USERS[0] | {"_sdc_deleted_at": "2026-03-04"}])]))

    assert told(segment) == [("deleted", "row-1")]


@pytest.mark.parametrize("when", ['event = "signup"', 'plan = "event"', 'plan = "row_state"'])
def test_it_sends_no_deleted_row_to_who_asks_for_something_else(
    segment: Segment, tmp_path: Path, when: str
) -> None:
    """A column or a text that is called as the state of a row does not ask for it."""
    target = mapped(tmp_path, segment, IDENTIFY | {"when": when})
    row = {"id": 1, "event": "signup", "plan": when.split('"')[1]}

    done(target.run_here([table(), *rows([row | {"_sdc_deleted_at": "2026-03-04"}])]))
    assert segment.events() == []

    done(target.run_here([table(), *rows([row])]))
    assert len(segment.events()) == 1


def test_it_sends_rows_that_a_full_table_has_no_more(segment: Segment, tmp_path: Path) -> None:
    """With their key, and null in place of all other columns; again if they come back."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True)
    done(target.run_here([table(), *rows(USERS, version=1), version(1)]))
    segment.forget()

    done(target.run_here([table(), *rows(USERS[1:], version=2), version(2)]))

    (event,) = segment.events()
    assert (event["event"], event["anonymousId"]) == ("deleted", "row-1")
    assert event["properties"] == {"plan": None, "row": "1"}
    segment.forget()

    done(target.run_here([table(), version(3), *rows(USERS, version=3), version(3)]))
    assert told(segment) == [("added", "row-1")]


def test_it_deletes_nothing_for_a_version_without_rows(segment: Segment, tmp_path: Path) -> None:
    """Some taps announce a version before its rows, and an empty table is rarely one."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True)
    done(target.run_here([table(), *rows(USERS, version=1), version(1)]))
    segment.forget()

    done(target.run_here([table(), version(2), *rows([], version=2)]))

    assert told(segment) == []


def test_it_deletes_nothing_of_a_version_that_an_earlier_run_began(
    segment: Segment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A tap that goes on with a full table sends the rest of it, and so may one that adds to it."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True)
    done(target.run_here([table(), *rows(USERS[:2], version=1)]))

    done(target.run_here([table(), *rows(USERS[2:], version=1), version(1)]))

    assert told(segment) == [("added", f"row-{number}") for number in (1, 2, 3)]
    assert "No row of stream 'users' is taken for deleted at the end of its version 1" in (
        caplog.text
    )


# Records that come in files


def batch(folder: Path, given: Iterable[Json], **fields: Any) -> Json:
    """Return a BATCH of the rows *given*."""
    file = folder / "rows.jsonl"
    file.write_bytes(messages.encode(given))
    encoding = {"format": "jsonl", "compression": "none"}
    return {
        "type": "BATCH",
        "stream": "users",
        "encoding": encoding,
        "manifest": [file.as_uri()],
        **fields,
    }


@pytest.mark.parametrize("records", [[], rows(USERS[2:3], version=2)])
def test_it_deletes_nothing_if_files_have_rows_of_no_version(
    segment: Segment, tmp_path: Path, caplog: pytest.LogCaptureFixture, records: list[Json]
) -> None:
    """The SDK's taps tell none for them; so it cannot be known which are not there, and is said."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True)
    done(target.run_here([table(), *rows(USERS, version=1), version(1)]))
    segment.forget()

    done(target.run_here([table(), batch(tmp_path, USERS[:2]), *records, version(2)]))

    assert told(segment) == []
    assert "at the end of its version 2: rows of it came without a version, as those of BATCH" in (
        caplog.text
    )


def test_it_deletes_by_the_version_of_files(segment: Segment, tmp_path: Path) -> None:
    """If the message tells one, its rows are as all others."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True)
    done(target.run_here([table(), *rows(USERS, version=1), version(1)]))
    segment.forget()

    done(target.run_here([table(), batch(tmp_path, USERS[:2], version=2), version(2)]))

    assert told(segment) == [("deleted", "row-3")]


def test_it_maps_what_stream_maps_leave_of_files(segment: Segment, tmp_path: Path) -> None:
    """They come first here, too, though the SDK passes over them."""
    maps = {"users": {"plan": "record['plan'].upper()", "__filter__": "record['id'] != 2"}}
    target = mapped(tmp_path, segment, IDENTIFY, stream_maps=maps)
    columns = {"id": {"type": "integer"}, "plan": {"type": "string"}}
    schema = table(schema={"type": "object", "properties": columns})

    done(target.run_here([schema, batch(tmp_path, USERS)]))

    found = sorted((event["userId"], event["traits"]["plan"]) for event in segment.events())
    assert found == [("1", "PRO"), ("3", "PRO")]


def test_it_stops_if_the_key_of_a_stream_is_another(segment: Segment, tmp_path: Path) -> None:
    """Rows that were remembered under the earlier one cannot be told apart from rows gone."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True)
    done(target.run_here([table(), *rows(USERS)]))
    segment.forget()

    keys = table(key_properties=["id", "plan"])
    run = target.run_here([keys, *rows(USERS, version=2), version(2)])

    assert run.code == 1
    assert "had a key of 1 columns when its rows were remembered, and has one of 2" in run.log
    assert all(event["event"] == "added" for event in segment.events())


def test_it_ends_with_the_budget_among_deleted_rows(
    segment: Segment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that were not sent are still deleted in the next run."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True, max_events=3)

    def full(number: int) -> list[Json]:
        return [table(), *rows(USERS[:1], version=number), version(number)]

    for given in (USERS, [{"id": 4}, {"id": 5}]):
        done(target.run_here([table(), *rows(given)]))
    segment.forget()

    done(target.run_here(full(1)))

    assert "max_events (3) is reached. Stopping cleanly" in caplog.text
    assert told(segment) == [("deleted", f"row-{number}") for number in (2, 3, 4)]
    done(target.run_here(full(2)))
    assert told(segment) == [("deleted", "row-5")]


def test_it_confirms_a_row_with_the_last_of_its_events(segment: Segment, tmp_path: Path) -> None:
    """If one of them is not delivered, the next run sends the row again, under the same ids."""
    calls = [IDENTIFY | {"user_id": "{{id}}-" + part} for part in "ab"]
    target = mapped(
        tmp_path, segment, *calls, changed_only=True, compression=False, max_batch_events=1
    )
    segment.moods({"status": 401, "match": "2-b"})

    failed = target.run_here([table(), *rows(USERS)])
    segment.moods()
    run = done(target.run_here([table(), *rows(USERS)]))

    assert (failed.code, run.positions) == (1, [3])
    assert sorted(event["userId"] for event in segment.events()) == [
        *("1-a", "1-b", "2-a", "2-b", "3-a", "3-b"),
    ]


def test_it_remembers_a_row_that_was_set_aside(segment: Segment, tmp_path: Path) -> None:
    """It is settled: sending it again would set it aside again."""
    target = mapped(tmp_path, segment, IDENTIFY, changed_only=True)

    for _ in range(2):
        done(target.run_here([table(), *rows([USERS[0], {"id": None}])]))

    assert len(target.rejects) == 1


def test_it_loses_no_change_when_it_is_killed(segment: Segment, tmp_path: Path) -> None:
    """What was not confirmed comes again, under the same ids; what was, does not."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True, max_batch_events=5)
    many = [{"id": number, "plan": "pro"} for number in range(1, 401)]
    segment.delay(20)
    with target.running() as running:
        half = rows(many[:200])
        running.write([table(), *half])
        wait_until(lambda: running.position == 200)
        running.write(rows(many[200:])[:-1])
        wait_until(lambda: segment.counts()["accepted"] > 250)
        running.kill()
    segment.delay(0)

    run = done(target.run([table(), *rows(many)]))

    ids = [event["anonymousId"] for event in segment.events()]
    assert sorted(ids) == sorted(f"row-{number}" for number in range(1, 401))
    assert 50 < segment.counts()["duplicates"] <= 200
    assert "200 unchanged" in run.log


FREE = [row | {"plan": "free"} for row in USERS]
MARKED = [row | {"_sdc_deleted_at": "2026-03-04"} for row in USERS]


@pytest.mark.parametrize(
    ("during", "after", "state"),
    [
        pytest.param(FREE, USERS, "updated", id="back to what was confirmed"),
        pytest.param(FREE, FREE, "updated", id="the same again"),
        pytest.param(FREE, MARKED, "deleted", id="deleted"),
        pytest.param(MARKED, MARKED, "deleted", id="deleted again"),
        pytest.param(MARKED, USERS, "added", id="there again"),
    ],
)
def test_it_knows_what_a_kill_left_in_doubt(
    segment: Segment, tmp_path: Path, during: list[Json], after: list[Json], state: str
) -> None:
    """Killed between Segment's yes and its memory, it ends with what the table has, not less."""
    target = mapped(tmp_path, segment, *BY_STATE, changed_only=True)
    done(target.run_here([table(), *rows(USERS)]))
    segment.moods({"kind": "slow", "seconds": 60})
    with target.running() as running:
        running.write([table(), *rows(during)])
        wait_until(lambda: segment.counts()["accepted"] == 6)
        running.kill()
    segment.moods()

    for _ in range(2):  # the second finds nothing to be sent
        done(target.run_here([table(), *rows(after)]))

    repeated = 3 if during is after else 0
    last = {event["anonymousId"]: event for event in segment.events()}.values()
    assert [event["event"] for event in last] == [state] * 3
    assert [event["properties"]["plan"] for event in last] == [row["plan"] for row in after]
    assert segment.counts()["accepted"] == 9 - repeated
    assert segment.counts()["duplicates"] == repeated


def test_it_loses_no_change_back_however_often_it_is_killed(
    segment: Segment, tmp_path: Path
) -> None:
    """Run after run is killed, each with another content of each row; then one is not."""
    target = mapped(tmp_path, segment, IDENTIFY, changed_only=True, max_batch_events=5)
    moments = Random(0)  # noqa: S311 - test data
    segment.delay(15)
    for number in range(KILLS):
        enough = segment.counts()["accepted"] + moments.randrange(1, 60)
        with target.running() as running:
            running.write([table(), *rows(plans(moments, number))])
            wait_until(lambda: segment.counts()["accepted"] >= enough or running.position)  # noqa: B023
            running.kill()
    segment.delay(0)
    given = plans(moments, KILLS)

    done(target.run([table(), *rows(given)]))

    last = {event["userId"]: event["traits"]["plan"] for event in segment.events()}
    assert last == {str(row["id"]): row["plan"] for row in given}


def plans(moments: Random, number: int) -> list[Json]:
    """Return a table of which many rows are as they were some time ago."""
    return [{"id": row, "plan": moments.choice("ab") + str(number // 4)} for row in range(1, 101)]


def test_it_sends_nothing_that_it_could_not_mark(segment: Segment, tmp_path: Path) -> None:
    """If the file cannot say what is on its way, nothing leaves, and the run says why."""
    target = mapped(tmp_path, segment, IDENTIFY, changed_only=True)
    with target.running() as running:
        running.write([table(), *rows(USERS[:1])])
        wait_until(lambda: running.position == 1)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (0, 0))
        running.write(rows(USERS))
        running.close()
        run = running.wait()

    assert (run.code, run.positions) == (1, [1])
    assert "changes.db failed: " in run.log
    assert segment.counts()["accepted"] == 1


def test_it_remembers_nothing_in_a_dry_run(segment: Segment, tmp_path: Path) -> None:
    """Nothing was sent, so the next run sends it."""
    dry = mapped(tmp_path, segment, IDENTIFY, changed_only=True, dry_run=True)
    done(dry.run_here([table(), *rows(USERS)]))
    assert not (tmp_path / "changes.db").exists()

    done(mapped(tmp_path, segment, IDENTIFY, changed_only=True).run_here([table(), *rows(USERS)]))

    assert segment.counts()["accepted"] == 3


def test_it_needs_a_key_to_know_a_row_again(segment: Segment, tmp_path: Path) -> None:
    """Without one it stops at the SCHEMA, and says what to do."""
    target = mapped(tmp_path, segment, IDENTIFY, changed_only=True)

    run = target.run_here([table(key_properties=[]), *rows(USERS)])

    assert run.code == 1
    assert "Stream 'users' has no key, by which changed_only could know a row" in run.log
    assert segment.events() == []
