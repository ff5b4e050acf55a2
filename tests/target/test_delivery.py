"""What the real target sends is what the records say, once, in order, within the limits."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from harness import deliveries, messages
from harness.segment import KEY, Segment
from harness.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Json = dict[str, Any]

NAMESPACE = "test"
OTHER_KEY = "not-a-real-write-key-of-another1"
NEVER_SENT = {
    "messageId",  # another one
    "originalTimestamp",
    "projectId",
    "receivedAt",
    "sentAt",
    "version",
    "writeKey",
}


def as_sent(event: Json) -> Json:
    """Return what is to be sent of *event*, which Segment once delivered, without an id."""
    kept = {
        name: value
        for name, value in json.loads(deliveries.encode(event)).items()
        if name not in NEVER_SENT and value is not None and value != ""
    }
    context = kept.get("context", {}) | {"sentThrough": [NAMESPACE]}
    return kept | {"context": context}


def without_id(event: Json) -> Json:
    """Return *event* as the stand-in has it, without its id."""
    return {name: value for name, value in event.items() if name != "messageId"}


def by_content(events: Iterable[Json]) -> Counter[str]:
    """Return *events* as texts that are the same for the same content."""
    return Counter(json.dumps(event, sort_keys=True) for event in events)


def sent(segment: Segment, target: Target, *records: messages.Message) -> list[Json]:
    """Return what the stand-in has accepted of *records*, after a run that succeeded."""
    run = target.run([*map(messages.schema, messages.STREAMS), *records])
    assert run.code == 0, run.log
    return segment.events()


# What an event is made of


@pytest.mark.parametrize("payload_format", ["object", "json_string"])
def test_it_sends_what_segment_once_delivered(
    segment: Segment, tmp_path: Path, payload_format: str
) -> None:
    """Every field of every call comes back; times, keys and projects of the old source do not."""
    target = Target(tmp_path, segment.endpoint, message_id_namespace=NAMESPACE)
    events = [event for event in deliveries.events(400) if event["type"] != "delete"]
    events += [events[0] | {"writeKey": "old", "odd": {"deep": [1, None]}, "_metadata": {"a": 1}}]

    run = target.run(
        [messages.schema(call, payload_format=payload_format) for call in messages.STREAMS]
        + [messages.record(event, payload_format=payload_format) for event in events]
    )

    assert run.code == 0
    received = by_content(map(without_id, segment.events()))
    assert received == by_content(map(as_sent, events))


def test_it_sends_no_time_or_key_beside_the_events(segment: Segment, target: Target) -> None:
    """A `sentAt` of the batch would shift every timestamp in it, and the key has its header."""
    sent(segment, target, messages.record(messages.small(1)))

    assert [request["envelope"] for request in segment.requests() if request["events"]] == [{}]


def test_it_sends_ids_as_text(segment: Segment, target: Target) -> None:
    """Segment drops an id that is a number, and other taps have such."""
    given = [7, Decimal("8.0"), 10**30, Decimal("1" + "0" * 29 + "1.0"), "9"]
    records = [messages.record(messages.small(number)) for number in range(len(given))]
    for message, identifier in zip(records, given, strict=True):
        message["record"] |= {"user_id": identifier, "anonymous_id": identifier}

    events = sent(segment, target, *records)

    expected = {"7", "8", "9", "1" + "0" * 30, "1" + "0" * 29 + "1"}
    assert {event["userId"] for event in events} == expected
    assert {event["anonymousId"] for event in events} == expected


def test_it_keeps_the_digits_of_numbers(segment: Segment, target: Target) -> None:
    """No number passes through a binary fraction, whatever stands beside it."""
    digits = ["19.90", "0.1234567890123456789012345", "12345678901234567890", "1.5E+300"]
    names = {"Tea": "Tea", "Infinity NaN": "Infinity NaN", r"\ud83d": "\ufffd"}
    plain = messages.line(messages.record(messages.small(1))).strip()
    inside = [(number, name) for number in digits for name in names]

    texts = [b'{"n":%b,"name":"%b"}' % (n.encode(), name.encode()) for n, name in inside]
    sent(segment, target, *(plain.replace(b'{"n":1}', text) for text in texts))

    received = segment.lines("events")
    for number, name in inside:
        expected = f'"properties":{{"n":{number},"name":"{names[name]}"}}'.encode()
        assert [line for line in received if expected in line], (number, name)


def test_it_sends_times_in_utc(segment: Segment, target: Target) -> None:
    """Whatever form another tap gives a time, Segment gets one; without a zone it is UTC."""
    given = {
        "2026-03-04T11:20:31.402Z": "2026-03-04T11:20:31.402Z",
        "2026-03-04T12:20:31.402999+01:00": "2026-03-04T11:20:31.402Z",
        "2026-03-04 11:20:31+0000": "2026-03-04T11:20:31.000Z",
        "2026-03-04 06:20:31.5-05": "2026-03-04T11:20:31.500Z",
        "2026-03-04T11:20:31": "2026-03-04T11:20:31.000Z",
        "2026-03-04": "2026-03-04T00:00:00.000Z",
        1772623231: "2026-03-04T11:20:31.000Z",
        1772623231402: "2026-03-04T11:20:31.402Z",
        Decimal("1772623231.402"): "2026-03-04T11:20:31.402Z",
    }
    records = [messages.record(messages.small(number)) for number in range(len(given))]
    for message, time in zip(records, given, strict=True):
        message["record"]["timestamp"] = time

    events = sent(segment, target, *records)

    times = {event["properties"]["n"]: event["timestamp"] for event in events}
    assert times == dict(enumerate(given.values()))


# How events travel


@pytest.mark.parametrize(
    ("limit", "events", "size"),
    [
        ({"max_batch_events": 7}, 7, 500_000),
        ({"max_batch_bytes": 4_000, "max_event_bytes": 1_000}, 225, 4_000),
        ({}, 225, 475_000),
    ],
)
def test_it_keeps_to_the_limits_of_a_batch(
    segment: Segment, tmp_path: Path, limit: Json, events: int, size: int
) -> None:
    """No request holds more events, or bytes before compression, than is allowed."""
    target = Target(tmp_path, segment.endpoint, concurrency=2, **limit)

    sent(segment, target, *(messages.record(messages.small(number)) for number in range(600)))

    requests = [request for request in segment.requests() if request["events"]]
    assert segment.counts()["accepted"] == 600
    assert max(request["events"] for request in requests) <= events
    assert max(request["bytes"] for request in requests) <= size
    assert len(requests) <= max(600 / events, sum(r["bytes"] for r in requests) / size) * 1.2 + 2


def test_it_sets_aside_an_event_that_is_too_large(segment: Segment, tmp_path: Path) -> None:
    """One byte over the limit is too much; what has just the size is sent."""
    events = [messages.small(number, properties={"n": "x" * 3_000}) for number in (1, 10)]
    sizes = Target(tmp_path, segment.endpoint)
    (event,) = sent(segment, sizes, messages.record(events[0]))
    size = len(deliveries.encode(event))
    segment.forget()
    target = Target(tmp_path, segment.endpoint, max_event_bytes=size)

    received = sent(segment, target, *map(messages.record, events))

    assert [event["userId"] for event in received] == ["usr_1"]
    (reject,) = target.rejects
    assert reject["reasons"] == [f"It has {size + 1:,} bytes; {size:,} are allowed."]


@pytest.mark.parametrize("compression", [True, False])
def test_it_compresses_if_it_may(segment: Segment, tmp_path: Path, *, compression: bool) -> None:
    """Compression shrinks events to a fraction, and is said in the header."""
    target = Target(tmp_path, segment.endpoint, compression=compression)

    sent(segment, target, *(messages.record(messages.small(number)) for number in range(500)))

    requests = [request for request in segment.requests() if request["events"]]
    for request in requests:
        assert (request["headers"].get("content-encoding") == "gzip") is compression
        assert (request["wire_bytes"] < request["bytes"] / 3) is compression
        assert (request["wire_bytes"] == request["bytes"]) is not compression


@pytest.mark.parametrize("seed", range(3))
def test_it_keeps_the_order_of_a_user(tmp_path: Path, seed: int) -> None:
    """Whatever fails by chance, the events of a user are accepted in the order of the input."""
    failures: list[Json] = [
        {"status": 503, "probability": 0.2},
        {"kind": "reset", "probability": 0.1},
    ]
    with Segment(tmp_path, arguments=[f"--seed={seed}"]) as segment:
        target = Target(tmp_path, segment.endpoint, max_batch_events=5, check_write_key="off")
        segment.moods(*failures)
        sent(segment, target, *(messages.record(messages.small(n)) for n in range(1000)))

        numbers = messages.numbers(segment.events())
        assert sorted(numbers) == list(range(1000))
        assert segment.counts()["by_status"]["503"] > 10
    for user in range(97):
        assert [n for n in numbers if n % 97 == user] == list(range(user, 1000, 97))


def test_it_keeps_the_order_however_lines_are_written(segment: Segment, target: Target) -> None:
    """Lines that are read together and lines that are read with care take turns as they came."""
    records = [messages.record(messages.small(n, userId="usr_1")) for n in range(60)]
    lines = [
        record if n % 7 else json.dumps(record).encode()  # with spaces
        for n, record in enumerate(records)
    ]

    events = sent(segment, target, *lines)

    assert messages.numbers(events) == list(range(60))


# Ids


def test_it_sends_the_same_ids_again(segment: Segment, target: Target) -> None:
    """A second run of the same input adds nothing at Segment."""
    records = [messages.record(event) for event in deliveries.events(200)]
    first = sent(segment, target, *records)

    second = sent(segment, target, *records)

    counts = segment.counts()
    assert second == first
    assert counts["duplicates"] == counts["accepted"] == 190


def test_it_sends_other_ids_for_another_key(tmp_path: Path) -> None:
    """The same rows for two sources do not swallow each other, for ids are compared across all."""
    records = [messages.record(messages.small(number)) for number in range(100)]
    with Segment(tmp_path, write_keys=(KEY, OTHER_KEY)) as segment:
        sent(segment, Target(tmp_path, segment.endpoint), *records)
        sent(segment, Target(tmp_path, segment.endpoint, write_key=OTHER_KEY), *records)

        assert Counter(event["key"] for event in segment.accepted()) == {KEY: 100, OTHER_KEY: 100}


def test_it_keeps_the_ids_if_it_is_told(segment: Segment, tmp_path: Path) -> None:
    """With `keep`, an event has the id of its record; one without an id is set aside."""
    target = Target(tmp_path, segment.endpoint, message_id="keep")
    without = messages.record(messages.small(2))
    without["record"]["message_id"] = None

    (event,) = sent(segment, target, messages.record(messages.small(1)), without)

    assert event["messageId"] == "small-1"
    assert [reject["reasons"] for reject in target.rejects] == [
        ["messageId is missing, and message_id is keep."]
    ]


def test_it_notes_what_was_accepted(segment: Segment, target: Target) -> None:
    """There is a receipt for each event, with the id that Segment has."""
    events = sent(segment, target, *(messages.record(messages.small(n)) for n in range(300)))

    assert Counter(receipt["message_id"] for receipt in target.receipts) == Counter(
        event["messageId"] for event in events
    )
    assert {receipt["key"] for receipt in target.receipts} == {f"small-{n}" for n in range(300)}


def test_it_does_not_send_what_it_has_sent_before(segment: Segment, target: Target) -> None:
    """An event that comes back through a webhook and the tap does not go round for ever."""
    (event,) = sent(segment, target, messages.record(messages.small(1)))

    again = target.run([messages.schema("track"), messages.record(event), messages.state(1)])

    assert (again.code, again.positions) == (0, [1])
    assert segment.events() == [event]
    assert "1 events = 0 sent + 0 rejected + 1 looped + 0 pending" in again.log


# Which stream is which call


def test_it_knows_a_table_by_the_end_of_its_name(segment: Segment, target: Target) -> None:
    """tap-postgres puts the schema before the table's name."""
    given: list[messages.Message] = []
    for number, stream in enumerate(["segment-track", "my-app-track"]):
        given += [messages.schema("track", stream=stream)]
        given += [messages.record(messages.small(number), stream=stream)]

    assert target.run(given).code == 0
    assert sorted(messages.numbers(segment.events())) == [0, 1]


def test_it_skips_a_stream_that_is_no_call(segment: Segment, target: Target) -> None:
    """It is warned of and counted, and its state passes."""
    orders = {"type": "SCHEMA", "stream": "orders", "schema": {"properties": {"id": {}}}}
    order = {"type": "RECORD", "stream": "orders", "record": {"id": 1}}

    run = target.run([orders | {"key_properties": []}, order, messages.state(1)])

    assert (run.code, run.positions) == (0, [1])
    assert "Stream 'orders' is skipped: no call of Segment is known for it." in run.log
    assert "1 records read (1 skipped, 0 unchanged)" in run.log
    assert segment.requests() == []


def test_it_stops_at_a_stream_that_is_no_call_if_it_is_told(
    segment: Segment, tmp_path: Path
) -> None:
    """With `fail`, what came before is delivered, and nothing of the stream is confirmed."""
    target = Target(tmp_path, segment.endpoint, on_unmapped="fail")
    orders = {"type": "SCHEMA", "stream": "orders", "schema": {"properties": {}}}

    record = messages.record(messages.small(1))

    run = target.run(
        [messages.schema("track"), record, messages.state(1), orders, messages.state(2)]
    )

    assert (run.code, run.positions) == (1, [1])
    assert "Stream 'orders' is skipped" in run.log
    assert messages.numbers(segment.events()) == [1]


def test_it_explains_why_it_deletes_nobody(segment: Segment, target: Target) -> None:
    """Deletions have another API; the warning says which."""
    events = [event for event in deliveries.events(40) if event["type"] == "delete"]

    run = target.run(messages.conversation(events))

    assert (run.code, run.positions) == (0, [2])
    assert "Public API (POST /regulations)" in run.log
    assert "2 records read (2 skipped, 0 unchanged); 0 events" in run.log
    assert segment.requests() == []


def test_it_takes_stream_maps(segment: Segment, tmp_path: Path) -> None:
    """A stream can be given the name of a call, and records can be changed or filtered out."""
    maps = {
        "clicks": {
            "__alias__": "track",
            "__filter__": "user_id != 'usr_3'",
            "event": "'Clicked'",
            "__else__": None,
            "message_id": "message_id",
            "user_id": "user_id",
            "properties": "properties",
        }
    }
    target = Target(tmp_path, segment.endpoint, stream_maps=maps)
    records = [messages.record(messages.small(n), stream="clicks") for n in range(5)]

    run = target.run([messages.schema("track", stream="clicks"), *records, messages.state(5)])

    events = segment.events()
    assert (run.code, run.positions) == (0, [5])
    assert sorted(messages.numbers(events)) == [0, 1, 2, 4]
    assert {event["event"] for event in events} == {"Clicked"}
    assert "5 records read (1 skipped, 0 unchanged); 4 events = 4 sent" in run.log


def test_it_reads_batch_messages(segment: Segment, tmp_path: Path, target: Target) -> None:
    """Records that come in files are sent like others."""
    file = tmp_path / "records.jsonl.gz"
    records = [messages.record(messages.small(n))["record"] for n in range(500)]
    file.write_bytes(gzip.compress(b"".join(map(messages.line, records))))
    batch = {
        "type": "BATCH",
        "stream": "track",
        "encoding": {"format": "jsonl", "compression": "gzip"},
        "manifest": [file.as_uri()],
    }

    run = target.run([messages.schema("track"), batch, messages.state(500)])

    assert (run.code, run.positions) == (0, [500])
    assert sorted(messages.numbers(segment.events())) == list(range(500))
