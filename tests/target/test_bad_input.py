"""Whatever is in the input: what can be sent is sent, and errors tell where, but no content."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import messages
from harness.segment import KEY
from harness.target import Run, Target

if TYPE_CHECKING:
    from harness.segment import Segment

Json = dict[str, Any]

MARKER = "Zanzibar-4711"


def marked(number: int, **fields: Any) -> Json:
    """Return an event that has a word in every field that would be seen in a log."""
    return messages.small(
        number,
        userId=f"{MARKER}-user-{number}",
        event=f"{MARKER} Event",
        context={"traits": {"email": f"{MARKER}@harbor.example"}},
        properties={"n": number, "note": MARKER},
    ) | {name: value for name, value in fields.items() if value is not None}


def without(message: Json, *path: str) -> Json:
    """Return *message* without one field."""
    copy: Json = json.loads(json.dumps(message))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return copy


def assert_tells_nothing(run: Run) -> None:
    """Check that neither the content of an event nor the key is in the log."""
    assert MARKER not in run.log
    assert KEY not in run.log


# What cannot be read

SCHEMA = messages.schema("track")
RECORD = messages.record(marked(99), 99)
BATCH = {"type": "BATCH", "stream": "track", "manifest": [f"file:///dev/null/{MARKER}"]}
LINES = {"encoding": {"format": "jsonl", "compression": "none"}}
PACKED = {"encoding": {"format": "jsonl", "compression": "gzip"}}
OURSELVES = Path(__file__).as_uri()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(f'{{"type": "RECORD", "{MARKER}": '.encode(), id="broken JSON"),
        pytest.param(f'["{MARKER}"]'.encode(), id="a list"),
        pytest.param(f"{MARKER} is no JSON".encode(), id="text"),
        pytest.param(messages.line(RECORD)[:-9], id="cut off"),
        pytest.param(b"[" * 100_000 + MARKER.encode(), id="nested"),
        pytest.param({"type": MARKER}, id="unknown type"),
        pytest.param({"type": [MARKER]}, id="type that is no text"),
        pytest.param(without(RECORD, "type"), id="no type"),
        pytest.param(without(RECORD, "stream"), id="no stream"),
        pytest.param(without(RECORD, "record"), id="no record"),
        pytest.param(RECORD | {"stream": "page"}, id="record before its schema"),
        pytest.param(RECORD | {"stream": ["track"]}, id="stream that is no text"),
        pytest.param(RECORD | {"record": f"message_id {MARKER}"}, id="record that is no object"),
        pytest.param(RECORD | {"record": None}, id="record that is null"),
        pytest.param(without(RECORD, "record", "message_id"), id="record without its key"),
        pytest.param(without(SCHEMA, "schema") | {"stream": MARKER}, id="no schema"),
        pytest.param({**SCHEMA, "schema": {}, "stream": "x"}, id="schema without properties"),
        pytest.param({**SCHEMA, "schema": MARKER, "stream": "x"}, id="schema that is no object"),
        pytest.param({"type": "STATE"}, id="state without value"),
        pytest.param(BATCH, id="batch without encoding"),
        pytest.param(BATCH | LINES, id="batch whose file is not there"),
        pytest.param(BATCH | LINES | {"manifest": MARKER}, id="batch whose manifest is no list"),
        pytest.param(BATCH | LINES | {"manifest": [OURSELVES]}, id="batch of no JSON"),
        pytest.param(BATCH | PACKED | {"manifest": [OURSELVES]}, id="batch that is not packed"),
        pytest.param(BATCH | {"encoding": {"format": "parquet"}}, id="batch in another format"),
    ],
)
def test_it_says_which_message_it_cannot_read(
    segment: Segment, target: Target, line: messages.Message
) -> None:
    """What was read before is delivered and confirmed; the message is told by its number."""
    before = [messages.record(marked(1), 1), messages.state(1), messages.record(marked(2), 2)]
    after = [messages.record(marked(3), 3), messages.state(3)]

    run = target.run_here([SCHEMA, *before, line, *after])

    assert (run.code, run.positions) == (1, [1])
    assert sorted(messages.numbers(segment.events())) == [1, 2]
    assert "Message 5 of the input" in run.log
    assert "Traceback" not in run.log
    assert_tells_nothing(run)


def test_it_refuses_a_line_without_end(segment: Segment, target: Target) -> None:
    """Past 64 MiB it is given up, before it has filled the memory."""
    endless = b'{"type": "RECORD", "record": {"a": "' + b"x" * (66 << 20)

    run = target.run([SCHEMA, messages.record(messages.small(1)), messages.state(1), endless])

    assert (run.code, run.positions) == (1, [1])
    assert "Message 4 of the input cannot be read. It is longer than 67,108,864 bytes." in run.log
    assert messages.numbers(segment.events()) == [1]


# What can be sent


def test_it_takes_a_last_line_without_newline(segment: Segment, target: Target) -> None:
    """Also with other line ends, and empty lines."""
    lines: list[messages.Message] = [
        SCHEMA,
        b"",
        messages.record(messages.small(1)),
        b"  ",
        messages.state(1),
    ]
    text = b"\r\n".join(messages.line(message).strip() for message in lines)

    run = target.run(text)

    assert (run.code, run.positions) == (0, [1])
    assert messages.numbers(segment.events()) == [1]


def test_it_sends_odd_values_as_json(segment: Segment, target: Target) -> None:
    """What JSON cannot hold is replaced, and the rest of the event is as it was."""
    values: dict[str, Any] = {
        '"half \\ud83d"': "half \ufffd",
        '"whole \\ud83d\\ude00"': "whole 😀",
        '"nul \\u0000"': "nul \0",
        "NaN": None,
        "-Infinity": None,
        "123456789012345678901234567890": 123456789012345678901234567890,
        "1e999": Decimal("1E+999"),
        "[[[]]]": [[[]]],
    }
    plain = messages.line(messages.record(messages.small(1))).strip()
    odd = [
        plain.replace(b'{"n":1}', f'{{"n":{number},"odd":{text}}}'.encode())
        for number, text in enumerate(values)
    ]

    run = target.run([SCHEMA, *odd, plain.replace(b"Lesson", b"L\xff\xfe"), messages.state(1)])

    assert (run.code, run.positions) == (0, [1]), run.log
    received = [json.loads(line, parse_float=Decimal)["event"] for line in segment.lines("events")]
    last = received.pop()
    assert last["event"] == "L\ufffd\ufffd Started"
    assert [event["properties"]["odd"] for event in received] == list(values.values())


def test_it_sets_aside_what_segment_would_drop(segment: Segment, target: Target) -> None:
    """Every reason is told, and no value; the others are sent."""
    bad = {
        "no name": {"event": None},
        "name is a number": {"event": 7},
        "no ids": {"user_id": None, "anonymous_id": None},
        "id is no text": {"user_id": [MARKER]},
        "payload is no object": {"properties": [MARKER]},
        "time is none": {"timestamp": MARKER},
        "too large": {"properties": {"n": 1, "long": "x" * 1_000_000}},
    }
    records = [messages.record(marked(number), number) for number in range(2 * len(bad))]
    for message, fields in zip(records[::2], bad.values(), strict=True):
        message["record"] |= fields

    run = target.run([SCHEMA, *records, messages.state(14)])

    assert (run.code, run.positions) == (0, [14])
    assert sorted(messages.numbers(segment.events())) == [1, 3, 5, 7, 9, 11, 13]
    assert [reject["key"] for reject in target.rejects] == [f"small-{n}" for n in range(0, 14, 2)]
    assert all(reject["reasons"] for reject in target.rejects)
    assert MARKER not in str([reject["reasons"] for reject in target.rejects])
    assert segment.counts()["dropped"] == {}
    assert_tells_nothing(run)


# What is told


@pytest.mark.parametrize("mood", [{}, {"status": 400}, {"status": 401}, {"status": 503}])
def test_it_tells_no_content_however_much_it_tells(
    segment: Segment, tmp_path: Path, mood: Json
) -> None:
    """Neither events nor the key are in a log of any level, whatever went wrong."""
    segment.moods(*[mood] if mood else [])
    target = Target(tmp_path, segment.endpoint, retry_for_seconds=1)
    invalid = messages.record(marked(2))
    invalid["record"]["event"] = None
    broken = b'{"type": "' + MARKER.encode()

    run = target.run(
        [SCHEMA, messages.record(marked(1)), invalid, RECORD, broken],
        TARGET_SEGMENT_API_LOGLEVEL="DEBUG",
    )

    assert run.code == 1
    assert "DEBUG" in run.log
    assert_tells_nothing(run)


@pytest.mark.parametrize(
    "settings",
    [
        {"write_key": [KEY]},
        {"write_key": f"{KEY} {MARKER}"},
        {"max_batch_events": "many"},
    ],
)
def test_it_tells_no_key_if_its_settings_are_wrong(
    segment: Segment, tmp_path: Path, settings: Json
) -> None:
    """It says which setting is wrong, before it sends anything."""
    target = Target(tmp_path, segment.endpoint)
    target.settings |= settings

    run = target.run([SCHEMA, messages.record(messages.small(1)), messages.state(1)])

    assert (run.code, run.states) == (1, [])
    assert next(iter(settings)) in run.log
    assert_tells_nothing(run)
    assert segment.requests() == []
