"""The ids of what is retained are listed, so that somebody else can say what is missing."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pytest
from harness import singer
from harness.commands import Commands
from harness.deliveries import array, encode, events
from harness.receiver import Receiver
from harness.spool import event, fill, opened, rows
from tap_segment_webhook.timestamp import from_ms

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def commands(tmp_path: Path, spool_url: str) -> Commands:
    """Give the commands of a spool."""
    return Commands(tmp_path, spool_url=spool_url)


def listed(commands: Commands) -> list[dict[str, Any]]:
    """Return the lines of the listing."""
    return [json.loads(line) for line in commands.output("ids").splitlines()]


def prune(url: str, *, confirmed: int) -> None:
    """Let everything go that is *confirmed*, whatever its age."""
    with opened(url) as store:
        store.consumers.confirm("default", confirmed, 0)
        while store.tidy(-60_000):
            pass


def test_each_event_has_a_line_in_order(commands: Commands, spool_url: str) -> None:
    """Id, type and time of receipt say which event it is, and nothing says what it holds."""
    fill(spool_url, [event(1, note="private"), event(2, "page")])
    fill(spool_url, [event(3, "alias")])

    assert listed(commands) == [
        {"message_id": f"m-{number}", "type": kind, "received_at": from_ms(row[3])}
        for number, kind, row in zip(
            (1, 2, 3), ("track", "page", "alias"), rows(spool_url), strict=True
        )
    ]


def test_ids_are_those_that_the_tap_emits(commands: Commands, spool_url: str) -> None:
    """Also where Segment gave none, or one that no database takes."""
    odd = [{"type": "track", "messageId": given} for given in (7, "", None, "a\0b", "\ud83d")]
    fill(spool_url, [*map(encode, events(40)), *(json.dumps(each).encode() for each in odd)])

    emitted = singer.sync({"spool_url": spool_url}).records

    assert [line["message_id"] for line in listed(commands)] == [
        record["message_id"] for record in sorted(emitted, key=itemgetter("spool_position"))
    ]


def test_what_was_pruned_is_not_taken_for_missing(commands: Commands, spool_url: str) -> None:
    """The listing says since when it is complete; one of everything does not need to."""
    for number in (1, 2, 3):
        fill(spool_url, [event(number)])
    whole = listed(commands)
    prune(spool_url, confirmed=2)

    first, *rest = listed(commands)

    assert len(whole) == 3
    assert rest == whole[2:]
    assert first == {"retained_since": rest[0]["received_at"]}


def test_spool_of_which_all_was_pruned_says_so(commands: Commands, spool_url: str) -> None:
    """Nothing retained is not the same as nothing received."""
    fill(spool_url, [event(1)])
    (only,) = listed(commands)
    prune(spool_url, confirmed=1)

    (line,) = listed(commands)

    assert line["retained_since"] >= only["received_at"]


def test_empty_spool_has_no_lines(commands: Commands, spool_url: str) -> None:
    """Where nothing was received nothing is listed."""
    fill(spool_url, [])

    assert listed(commands) == []


def test_absent_spool_is_a_clear_error(commands: Commands) -> None:
    """A mistyped path is not a spool without events."""
    assert "There is no spool at sqlite:///" in commands.refusal("ids")


def test_ids_are_listed_while_the_receiver_runs(tmp_path: Path) -> None:
    """Looking needs no lock and stops nobody."""
    with Receiver(tmp_path) as receiver:
        receiver.deliver(array([{"type": "track", "messageId": "m-1"}]))

        line = json.loads(receiver.commands.output("ids"))

    assert line["message_id"] == "m-1"
