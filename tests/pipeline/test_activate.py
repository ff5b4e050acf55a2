"""`meltano run activate`: what `collect` has put into a real PostgreSQL goes on to Segment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from harness.deliveries import EMOJI, NESTED, NUMBERS, events
from harness.way_back import CALLS, arrived, books, returned

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.deliveries import Event
    from harness.pipeline import Pipeline
    from harness.segment import Segment

    MakePipeline = Callable[..., Pipeline]

# Fields of an event that are not the usual ones, and how those that change arrive.
UNUSUAL: tuple[tuple[str, Event, Event], ...] = (
    ("track", {"properties": NUMBERS}, {}),
    ("identify", {"traits": NESTED, "context": NESTED}, {}),
    ("page", {"name": None, "category": "", "properties": None}, {}),
    ("screen", {"userId": 42, "anonymousId": None}, {}),
    ("alias", {"shopId": 7, "tags": ["a", {"b": None}]}, {}),
    ("track", {"timestamp": "2026-03-04T23:30:00+02:00", "sentAt": "9999-12-31T23:59:59Z"}, {}),
    (
        "track",
        {"event": "a\0b", "properties": {"half": "\ud83d", "whole": EMOJI}},
        {"event": "a\ufffdb", "properties": {"half": "\ufffd", "whole": EMOJI}},
    ),
)
# What Segment would answer with 200 and drop, and the reason that is kept with it.
INVALID: tuple[tuple[str, Event, str], ...] = (
    ("group", {"traits": {"note": "x" * 100_000}}, "32,000 are allowed."),
    ("track", {"timestamp": "yesterday"}, "timestamp is no moment"),
    ("track", {"event": None}, "event is missing."),
    ("identify", {"userId": None, "anonymousId": None}, "userId and anonymousId are missing"),
)


@pytest.mark.parametrize("payload_format", ["object", "json_string"])
def test_every_event_arrives_with_every_field(
    pipeline: MakePipeline, segment: Segment, payload_format: str
) -> None:
    """Ids, any script, exact numbers, the same instants: from jsonb as from columns of text."""
    flow = pipeline(payload_format=payload_format)
    ordinary, unusual = list(events(300)), [usual(kind, sent) for kind, sent, _ in UNUSUAL]
    invalid = [usual(kind, sent) for kind, sent, _ in INVALID]
    flow.load([*ordinary, *unusual, *invalid])
    flow.fill()

    flow.sending(segment)("run", "activate")

    expected = [{**event, **other} for event, (*_, other) in zip(unusual, UNUSUAL, strict=True)]
    assert arrived(segment) == returned([*ordinary, *expected])
    assert segment.drops() == []
    assert sorted(reasons(flow)) == sorted(reason for *_, reason in INVALID)


def test_no_run_makes_a_second_event(pipeline: MakePipeline, segment: Segment) -> None:
    """tap-postgres reads the last rows again, with a full refresh all: Segment knows their ids."""
    flow = pipeline()
    sent = list(events(100))
    activate = flow.sending(segment)
    for part in (sent[:60], sent[60:]):
        flow.load(part)
        flow.fill()
        activate("run", "activate")
    second, again = books(activate.log.read_text("utf-8")), segment.counts()["duplicates"]

    activate("run", "--full-refresh", "activate")
    refreshed = segment.counts()["duplicates"]

    assert arrived(segment) == returned(sent)
    assert again == len(CALLS)  # the last row of each table, and no more
    assert second["events"] == second["sent"] == len(returned(sent[60:])) + again
    assert refreshed == again + len(returned(sent))


def usual(kind: str, fields: Event) -> Event:
    """Return an event of this *kind*, but with *fields*."""
    found = {event["type"]: event for event in events(20, seed=1)}[kind]
    return {**found, **fields, "messageId": f"{kind}-{sorted(fields)}"}


def reasons(flow: Pipeline) -> list[str]:
    """Return the expected reason that each reject begins or ends with, or all that it says."""
    lines = flow.rejects.read_text("utf-8").splitlines()
    said = [" ".join(json.loads(line)["reasons"]) for line in lines]
    return [next((words for *_, words in INVALID if words in text), text) for text in said]
