"""Mappings are tested as code: `segment-sender test` tries them on cases, and says what differs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from harness.meltano import REPOSITORY
from target_segment_api.commands import main

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

Json = dict[str, Any]

EXAMPLES = sorted((REPOSITORY / "examples" / "mappings").glob("*.yml"))
USER: Json = {
    "call": "identify",
    "user_id": "$.id",
    "traits": {"email": "$.email", "total": "$.total"},
}
RECORD: Json = {"id": 7, "email": "ana@example.com", "total": 1.5}
EVENT: Json = {
    "type": "identify",
    "userId": "7",
    "traits": {"email": "ana@example.com", "total": 1.5},
}
CASE: Json = {"name": "a user", "stream": "users", "record": RECORD, "events": [EVENT]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the path of a file of cases."""
    return tmp_path / "cases.yml"


def run(*words: str | Path, **variables: str) -> Result:
    """Run `segment-sender test` to its end."""
    environment = {"TARGET_SEGMENT_API_MAPPINGS": None, **variables}
    return CliRunner().invoke(main, ["test", *map(str, words)], env=environment)


def tried(file: Path, *cases: Any, calls: list[Json] | None = None, **suite: Any) -> Result:
    """Return how `segment-sender test` ends with *cases* of the stream `users`."""
    given = {"mappings": {"users": calls or [USER]}, "cases": [*cases], **suite}
    file.write_text(yaml.safe_dump({k: v for k, v in given.items() if v is not None}), "utf-8")
    return run(file)


def faults(file: Path, *cases: Any, calls: list[Json] | None = None, **suite: Any) -> list[str]:
    """Return what was not as *cases* expected, which makes the command fail."""
    result = tried(file, *cases, calls=calls, **suite)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    return [line.strip() for line in result.output.splitlines() if line.startswith("        ")]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_our_examples_pass(example: Path) -> None:
    """What we show is what is made, for each mapping in it."""
    result = run(example)

    suite = yaml.safe_load(example.read_text("utf-8"))
    assert result.exit_code == 0, result.output
    assert result.output.count("ok      ") == len(suite["cases"])
    assert {case["stream"] for case in suite["cases"]} == {*suite["mappings"]}


def test_there_are_examples() -> None:
    """Or the test of them would say nothing."""
    assert {path.name for path in EXAMPLES} >= {"connect.yml", "reverse-etl.yml"}


def test_case_that_is_met_is_ok(file: Path) -> None:
    """It needs no write key, and says so in a line."""
    result = tried(file, CASE, CASE | {"name": "again"})

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"ok      {file}: a user",
        f"ok      {file}: again",
        "2 cases, 0 failed.",
    ]


def test_case_that_is_not_met_says_where(file: Path) -> None:
    """Each difference has its place, what is there, and what was expected."""
    event = {
        "type": "identify",
        "userId": 7,
        "traits": {"email": "bo@example.com", "plan": "pro", "total": 1.5},
        "context": {"ip": "1"},
    }

    result = tried(file, CASE, CASE | {"name": "other", "events": [event]})

    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"ok      {file}: a user",
        f"FAILED  {file}: other",
        "        events[0].context is missing.",
        '        events[0].traits.email is "ana@example.com", not "bo@example.com".',
        "        events[0].traits.plan is missing.",
        '        events[0].userId is "7", not 7.',
        "2 cases, 1 failed.",
    ]


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([], f"events has 1 elements, not 0: {json.dumps([EVENT], separators=(',', ':'))}."),
        ([EVENT, EVENT], "events has 1 elements, not 2: "),
        ([EVENT | {"traits": {}}], 'events[0].traits.email is there and was not expected: "ana@ex'),
        ([EVENT | {"traits": []}], "events[0].traits is {"),
        ([EVENT | {"traits": RECORD | {"id": True}}], "events[0].traits.id is missing."),
    ],
)
def test_difference_is_told(file: Path, events: list[Json], fault: str) -> None:
    """In number, in members, and in kind."""
    found = faults(file, CASE | {"events": events})

    assert any(line.startswith(fault) for line in found), found


def test_truth_is_no_number(file: Path) -> None:
    """Though Python takes them for the same."""
    case = CASE | {"record": RECORD | {"total": True}}
    event = EVENT | {"traits": EVENT["traits"] | {"total": 1}}

    assert faults(file, case | {"events": [event]}) == ["events[0].traits.total is true, not 1."]


def test_numbers_are_compared_by_value(file: Path) -> None:
    """However many digits a file of cases has them with."""
    file.write_text(
        "mappings: {users: [{call: identify, user_id: u, traits: {a: $.a, b: $.b, c: $.c}}]}\n"
        "cases: [{stream: users, record: {a: 0.10, b: 1.0, c: 2026-03-04},"
        " events: [{type: identify, userId: u, traits: {a: 0.1, b: 1, c: '2026-03-04'}}]}]\n",
        "utf-8",
    )

    assert run(file).exit_code == 0


def test_event_that_segment_would_not_take_fails(file: Path) -> None:
    """Unless the case says that it must."""
    case = CASE | {"record": {"id": None, "email": {}}}
    event = {"type": "identify", "traits": {"email": {}}}
    calls = [USER | {"screen": {"width": "$.email"}}]
    event |= {"context": {"screen": {}}}

    assert faults(file, case | {"events": [event]}, calls=calls) == [
        "Segment would not take it: screen.width must be a number, not an object.",
        "Segment would not take it: userId and anonymousId are missing: one of them is needed.",
    ]
    assert tried(file, case | {"events": [event], "invalid": True}, calls=calls).exit_code == 0
    assert faults(file, CASE | {"invalid": True}) == ["Segment would take all of its events."]


def test_row_state_chooses_the_calls(file: Path) -> None:
    """A case may be about a row that is new, changed, or gone; it is new if it does not say."""
    calls = [USER | {"when": f'row_state = "{state}"'} for state in ("added", "deleted")]
    calls[1] |= {"user_id": "gone", "traits": {}}
    gone = {"type": "identify", "userId": "gone", "traits": {}}

    result = tried(
        file,
        CASE,
        CASE | {"row_state": "updated", "events": []},
        CASE | {"row_state": "deleted", "events": [gone]},
        calls=calls,
    )

    assert result.exit_code == 0, result.output


def test_exported_mapping_is_tried_as_it_is(file: Path) -> None:
    """Rows are as Reverse ETL shows them, with the key that the case gives."""
    exported = {
        "actionSlug": "sendIdentify",
        "trigger": 'event = "new"',
        "settings": {"user_id": {"@path": "$.__segment_id"}, "traits": {"@path": "$.properties"}},
    }
    event = {"type": "identify", "userId": "k7", "traits": RECORD}

    result = tried(file, CASE | {"key": "k7", "events": [event]}, calls=[exported])

    assert result.exit_code == 0, result.output


def test_strict_parity_may_be_tried(file: Path) -> None:
    """What Segment Connections sends has its own cases."""
    event = EVENT | {"context": {"consent": {}}}

    assert tried(file, CASE | {"events": [event]}, strict_parity=True).exit_code == 0
    assert faults(file, CASE, strict_parity=True) != []


def test_mappings_may_be_those_of_the_settings(file: Path, tmp_path: Path) -> None:
    """So that what is tested is what is used; the file's own come first."""
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps({"mappings": {"users": [USER]}}), "utf-8")
    other = {"mappings": {"users": [USER | {"user_id": "x"}]}}

    assert tried(file, CASE, mappings=None).exit_code == 1
    assert run(file, "--config", settings).exit_code == 0
    assert run(file, TARGET_SEGMENT_API_MAPPINGS=json.dumps({"users": [USER]})).exit_code == 0
    assert tried(file, CASE).exit_code == 0
    settings.write_text(json.dumps(other), "utf-8")
    assert run(file, "--config", settings).exit_code == 0


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        (5, "It has no record."),
        ({"stream": "users"}, "It has no record."),
        (CASE | {"record": [1]}, "It has no record."),
        (CASE | {"stream": "user"}, "No mapping is for stream 'user'."),
        (CASE | {"row_state": "new"}, "row_state must be one of added, updated, deleted."),
        (CASE | {"event": [], "evnts": []}, "It has keys that mean nothing: event, evnts."),
    ],
)
def test_case_that_is_none_fails(file: Path, case: Any, fault: str) -> None:
    """A test that tests nothing must not pass."""
    assert faults(file, case) == [fault]


def test_file_without_cases_fails(file: Path) -> None:
    """For the same reason."""
    result = tried(file)

    assert (result.exit_code, result.output) == (1, "0 cases, 0 failed.\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "cannot be read as YAML"),
        ("\udcff", "cannot be read as YAML"),
        ("- 1", "has no list of cases."),
        ("", "has no list of cases."),
        ("cases: {}", "has no list of cases."),
        ("{mappings: [], cases: []}", "0 cases"),
        ("{mappings: [1], cases: []}", "mappings must be an object"),
        ("{mappings: {users: 5}, cases: []}", "mappings.users: It must be a list of calls."),
    ],
)
def test_file_that_is_wrong_is_told(file: Path, text: str, reason: str) -> None:
    """In a line, and with its name."""
    file.write_bytes(text.encode(errors="surrogateescape"))

    result = run(file)

    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    assert reason in result.output


def test_all_mistakes_of_a_mapping_are_told(file: Path) -> None:
    """As the target tells them."""
    result = tried(file, CASE, calls=[USER | {"trait": {}}, {"call": "trck"}])

    assert result.exit_code == 1
    assert "mappings.users[0].trait: identify has no such field." in result.output
    assert "mappings.users[1].call: call must be one of" in result.output


@pytest.mark.parametrize("name", ["none.yml", "."])
def test_file_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    """As a word of the command that is wrong."""
    assert run(tmp_path / name).exit_code == 2


def test_settings_that_are_no_json_are_told(file: Path) -> None:
    """Also those of the environment."""
    tried(file, CASE)

    result = run(file, TARGET_SEGMENT_API_MAPPINGS="{")

    assert result.exit_code == 1
    assert "TARGET_SEGMENT_API_MAPPINGS cannot be read as JSON" in result.output
