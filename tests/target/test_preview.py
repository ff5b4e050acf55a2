"""A preview says what would be sent, mapping by mapping, and sends, writes and tells nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from harness import messages
from harness.segment import KEY
from target_segment_api.commands import main

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from click.testing import Result
    from harness.segment import Segment

Json = dict[str, Any]

CALLS: list[Json] = [
    {
        "call": "identify",
        "user_id": "$.id",
        "traits": {"email": "$.email", "type": "$.kind", "tags": "$.tags", "none": "$.none"},
        "screen": {"width": "$.width"},
    },
    {
        "call": "track",
        "when": 'kind = "staff"',
        "user_id": "$.id",
        "event_name": "Hired",
        "for_each": "$.tags",
    },
]
SECRETS = ("ana@example.com", "staff", "secret-tag", "Hired")
USERS: list[Json] = [
    {"id": 1, "email": "ana@example.com", "kind": "staff", "tags": ["secret-tag", 5], "none": None},
    {"id": 2, "email": None, "kind": "guest", "tags": [], "width": 640},
    {"id": 3, "email": None, "kind": "guest", "tags": [], "width": "wide"},
    {"id": None, "email": None, "kind": "guest", "tags": []},
]


def given(rows: Iterable[Json] = USERS, stream: str = "users") -> bytes:
    """Return what a tap writes of *rows*."""
    columns = ("id", "email", "kind", "tags", "none", "width")
    schema = {
        "type": "SCHEMA",
        "stream": stream,
        "schema": {"properties": {name: {} for name in columns}},
        "key_properties": ["id"],
    }
    found = [{"type": "RECORD", "stream": stream, "record": row} for row in rows]
    return messages.encode([schema, *found])


def preview(folder: Path, *words: str, rows: bytes | None = None, **settings: Any) -> Result:
    """Run `segment-sender preview` in *folder* on *rows*, to its end."""
    config, file = folder / "config.json", folder / "rows.jsonl"
    config.write_text(
        json.dumps({"write_key": KEY, "mappings": {"users": CALLS}, **settings}), "utf-8"
    )
    file.write_bytes(given() if rows is None else rows)
    return CliRunner().invoke(main, ["preview", "--config", str(config), *words, str(file)])


def findings(folder: Path, *words: str, **settings: Any) -> Json:
    """Return what `segment-sender preview --json` has found."""
    result = preview(folder, "--json", *words, **settings)
    assert isinstance(result.exception, SystemExit | None), result.exception
    found: Json = json.loads(result.stdout)
    return found


def test_it_counts_what_each_call_does(tmp_path: Path) -> None:
    """Rows in, rows that its trigger skips, events out, and those that would be set aside."""
    found = findings(tmp_path)

    figures = ("stream", "call", "rows", "skipped", "events", "invalid")
    assert [tuple(mapping[name] for name in figures) for mapping in found["mappings"]] == [
        ("users", 0, 4, 0, 4, 2),
        ("users", 1, 4, 3, 2, 0),
    ]
    assert found["streams"]["users"]["rejected"] == 2
    assert found["api_calls"] == 4


def test_it_shows_a_sample_without_values(tmp_path: Path) -> None:
    """Of each call the first event, with the kinds of its values; only the call is told."""
    first, second = (mapping["sample"] for mapping in findings(tmp_path)["mappings"])

    assert first == {
        "type": "identify",
        "userId": "<text>",
        "traits": {
            "email": "<text>",
            "type": "<text>",
            "tags": ["<text>", "<a number>"],
            "none": None,
        },
        "context": {"screen": {}, "sentThrough": ["<text>"]},
    }
    assert (second["type"], second["event"]) == ("track", "<text>")


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_it_tells_no_value_unless_it_is_asked(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What a preview prints may be shown to anybody."""
    output = preview(tmp_path, *words).output

    assert [secret for secret in SECRETS if secret in output] == []
    shown = preview(tmp_path, *words, "--show-values").output
    assert [secret for secret in SECRETS if secret not in shown] == []


def test_it_shows_the_values_if_it_is_asked(tmp_path: Path) -> None:
    """The sample is the event that would be sent."""
    sample = findings(tmp_path, "--show-values", message_id_namespace="n")["mappings"][0]["sample"]

    assert sample == {
        "type": "identify",
        "userId": "1",
        "traits": {
            "email": "ana@example.com",
            "type": "staff",
            "tags": ["secret-tag", 5],
            "none": None,
        },
        "context": {"screen": {}, "sentThrough": ["n"]},
    }


def test_it_is_readable(tmp_path: Path) -> None:
    """For people: a line for each call, its sample, and what is wrong."""
    mappings = {"users": CALLS, "user": CALLS[:1]}
    result = preview(tmp_path, mappings=mappings)

    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert (
        "mappings.users[0]: 4 rows, 0 skipped by its trigger, 4 events, 2 of them invalid." in lines
    )
    assert "mappings.user: no stream came." in lines
    assert "1 of stream users would be set aside: screen.width must be a number, not text." in lines
    assert lines[-1] == "Nothing was sent."
    assert preview(tmp_path, rows=given(USERS[:2])).exit_code == 0


def test_it_shows_no_sample_of_a_call_that_makes_nothing(tmp_path: Path) -> None:
    """Its figures say why."""
    found = findings(tmp_path, rows=given(USERS[1:2]))

    assert found["mappings"][1] | {"sample": None} == found["mappings"][1]
    assert found["mappings"][1]["skipped"] == 1


def test_it_names_mappings_without_a_stream(tmp_path: Path) -> None:
    """A name may be wrong."""
    found = findings(tmp_path, mappings={"users": CALLS, "user*s": CALLS, "crm": CALLS})

    assert found["unused_mappings"] == ["crm", "user*s"]


def test_it_names_columns_that_a_stream_has_not(tmp_path: Path) -> None:
    """For people and for programs; nothing is wrong for that."""
    mappings = {"users": [{"call": "identify", "user_id": "$.id", "traits": {"email": "$.emial"}}]}
    rows = given(USERS[:1])

    expected = (
        "mappings.users[0].traits.email: Stream 'users' has no column emial. Do you mean email?"
    )
    result = preview(tmp_path, rows=rows, mappings=mappings)
    assert expected in result.output.splitlines()
    assert result.exit_code == 0
    assert findings(tmp_path, rows=rows, mappings=mappings)["missing_columns"] == [expected]


def test_it_tells_the_mistakes_of_a_mapping(tmp_path: Path) -> None:
    """All of them, in place of a preview."""
    calls = [{"call": "identify", "user_id": "$.id", "trait": {}}, {"call": "trck"}]

    result = preview(tmp_path, mappings={"users": calls})

    assert result.exit_code == 1
    assert "mappings.users[0].trait: identify has no such field." in result.output
    assert "mappings.users[1].call: call must be one of" in result.output


def test_it_sends_and_writes_nothing(segment: Segment, tmp_path: Path) -> None:
    """Neither rejects nor receipts, nor a memory of changes."""
    paths = {name: str(tmp_path / name) for name in ("rejects_path", "receipts_path")}
    before = {"config.json", "rows.jsonl"}

    for _ in range(2):
        found = findings(
            tmp_path,
            endpoint=segment.endpoint,
            changed_only=True,
            changes_path=str(tmp_path / "changes.db"),
            **paths,
        )
        assert found["streams"]["users"]["unchanged"] == 0

    assert {path.name for path in tmp_path.iterdir()} == before
    assert segment.requests() == []
