"""The demonstration's own verdict: it must not say that all is well when it is not."""

from __future__ import annotations

import runpy
from typing import Any

import pytest
from harness.meltano import REPOSITORY

DEMO = runpy.run_path(str(REPOSITORY / "examples" / "demo.py"))
BOOKS = {"received": 5, "stored": 3, "duplicate": 1, "filtered": 0, "rejected": 1}
ARRIVED = {"page": ["p-1"], "track": ["t-1", "t-2"]}


def verdict(arrived: dict[str, list[str]], books: dict[str, int]) -> list[str]:
    """Return what the demonstration finds wrong with *arrived* and *books*."""
    sent: Any = DEMO["Sent"]({stream: set(ids) for stream, ids in ARRIVED.items()}, BOOKS)
    return list(DEMO["problems"](sent, arrived, books))


def test_nothing_is_wrong_with_what_was_sent() -> None:
    """Every row once, and books that balance, are no problem."""
    assert verdict(ARRIVED, BOOKS) == []


@pytest.mark.parametrize(
    ("tracks", "words"),
    [
        (["t-1"], "1 rows are missing in segment.track: t-2"),
        (["t-1", "t-2", "t-3"], "1 rows in segment.track were never sent: t-3"),
        (["t-1", "t-2", "t-1"], "1 events are in segment.track more than once: t-1"),
    ],
)
def test_wrong_rows_are_named(tracks: list[str], words: str) -> None:
    """A missing, a strange and a repeated row are each found."""
    assert verdict({**ARRIVED, "track": tracks}, BOOKS) == [words]


def test_books_that_do_not_balance_are_a_problem() -> None:
    """A number that went astray shows twice: in the sum, and in its place."""
    found = verdict(ARRIVED, {**BOOKS, "stored": 2})

    assert found == [
        "The books do not balance: 5 is not the sum of [2, 1, 0, 1].",
        "The books say 2 stored; 3 were sent.",
    ]


def test_books_that_find_other_events_than_were_dropped_are_a_problem() -> None:
    """Not only their number has to be right."""
    line = "  2026-03-04T11:20:00.000Z  segment-track  {}\n"
    told = "".join(map(line.format, ("a", "b", "x")))

    assert list(DEMO["oversights"]({"a", "b", "x"}, told)) == []
    assert list(DEMO["oversights"]({"a", "b", "c"}, told)) == [
        "The books have not found 1 events that were dropped: c",
        "The books miss 1 events that were not dropped: x",
    ]
    assert list(DEMO["oversights"]({"a"}, line.format("a"))) == [
        "The stand-in dropped 1 events; it was to drop 3."
    ]


def test_calls_of_the_sdk_that_are_not_in_their_table_are_a_problem() -> None:
    """Each has to be there once, and nothing may have been given up."""
    calls = [{"type": "page", "messageId": "p-1"}, {"type": "track", "messageId": "t-1"}]
    tables = {"page": [{"message_id": "p-1"}], "track": [{"message_id": "t-1"}]}

    assert list(DEMO["absences"](calls, [], tables)) == []
    assert list(DEMO["absences"](calls, [[503, ["t-1"]]], {**tables, "track": []})) == [
        "The SDK gave up 1 requests: [503, ['t-1']]",
        "1 calls of the SDK are not in PostgreSQL once: t-1",
    ]


def test_events_that_are_not_at_segment_as_they_were_are_counted() -> None:
    """One that lacks a field is missing, and it is strange; the order of fields is no matter."""
    sent = [{"type": "track", "context": {"a": 1, "b": 2}}, {"type": "page", "name": "Home"}]

    same = DEMO["differences"](sent, [{"name": "Home", "type": "page"}, sent[0]])
    other = DEMO["differences"](sent, [sent[0], {"type": "page"}, sent[0]])

    assert list(same) == []
    assert list(other) == [
        "1 events are not at Segment as they were sent.",
        "2 events at Segment were never sent, or are there twice.",
    ]
