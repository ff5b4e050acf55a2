"""What was set aside can be looked at, tried again, and thrown away."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from harness.commands import Commands
from harness.spool import event, events, fill, opened, rows
from tap_segment_webhook.spool.model import Received, Reject

if TYPE_CHECKING:
    from pathlib import Path

BAD = [b'{"type":"order","email":"private@harbor.example"}', b"\xff nonsense"]


@pytest.fixture
def commands(tmp_path: Path, spool_url: str) -> Commands:
    """Give the commands of a spool with one event and two rejects."""
    fill(spool_url, [event(1), *BAD])
    return Commands(tmp_path, spool_url=spool_url)


def reject_events(url: str, *bodies: bytes) -> None:
    """Set *bodies* aside, as a version would that could not read them."""
    with opened(url) as store:
        rejects = [Reject("An older version could not read it.", body) for body in bodies]
        store.commit([Received("default", len(rejects), [], rejects)])


def test_list_shows_reasons_and_no_content(commands: Commands) -> None:
    """A list that is shown to somebody holds no event."""
    lines = commands.output("rejects", "list").splitlines()

    assert len(lines) == 2
    assert "Its type is not one of" in lines[0]
    assert f"default  {len(BAD[0])} bytes" in lines[0]
    assert "It is not valid JSON." in lines[1]
    assert "private" not in "".join(lines)


def test_json_list_holds_the_bytes(commands: Commands) -> None:
    """Each reject is a line for programs, whatever bytes it was."""
    found = [json.loads(line) for line in commands.output("rejects", "list", "--json").splitlines()]

    assert [reject["number"] for reject in found] == [1, 2]
    assert [reject["body"] for reject in found] == [BAD[0].decode(), "\ufffd nonsense"]
    assert found[0]["source"] == "default"
    assert found[0]["reason"]


def test_retry_leaves_what_is_still_no_event(commands: Commands) -> None:
    """Trying again harms nothing."""
    output = commands.output("rejects", "retry")

    assert output == "0 stored, 0 duplicates, 2 are still no events.\n"
    assert len(commands.output("rejects", "list").splitlines()) == 2


def test_retry_stores_what_can_be_read_now(commands: Commands, spool_url: str) -> None:
    """After an upgrade nothing is lost: rejects become events, and the books balance."""
    reject_events(spool_url, event(1, again=True), event(2), event(3, "page"))

    output = commands.output("rejects", "retry")

    assert output == "2 stored, 1 duplicates, 2 are still no events.\n"
    assert [body for body, *_ in rows(spool_url)] == [event(1), event(2), event(3, "page")]
    books = json.loads(commands.output("status", "--json"))["books"]["default"]
    assert books == {"received": 6, "stored": 3, "duplicate": 1, "filtered": 0, "rejected": 2}


def test_numbers_of_a_retry_are_for_programs_too(commands: Commands, spool_url: str) -> None:
    """With --json."""
    reject_events(spool_url, event(1, again=True), event(2), event(3))

    found = json.loads(commands.output("rejects", "retry", "--json"))

    assert found == {"stored": 2, "duplicate": 1, "left": 2}


def test_nothing_set_aside_is_said(commands: Commands) -> None:
    """To people: a program that reads the list gets an empty one. And nothing is asked."""
    assert commands.run("rejects", "purge", answer="y\n").exit_code == 0

    listed = commands.run("rejects", "list", "--json")
    purged = commands.run("rejects", "purge")

    assert (listed.stdout, listed.stderr) == ("", "There are no rejects.\n")
    assert (purged.exit_code, purged.stdout) == (0, "0 rejects deleted.\n")


def test_retried_event_is_known_afterwards(commands: Commands, spool_url: str) -> None:
    """A retried reject is a message id like any other."""
    reject_events(spool_url, event(2))
    commands.output("rejects", "retry")

    assert fill(spool_url, [event(2)]).duplicate == 1


def test_purge_deletes_rejects_and_nothing_else(commands: Commands, spool_url: str) -> None:
    """Purging is for good, and the books still tell what there was."""
    assert commands.output("rejects", "purge", "--yes") == "2 rejects deleted.\n"

    found = json.loads(commands.output("status", "--json"))
    assert found["rejects"] == 0
    assert found["books"]["default"]["rejected"] == 2
    assert [body for body, *_ in rows(spool_url)] == events(1)


def test_purge_asks_first(commands: Commands) -> None:
    """Without a yes nothing is deleted."""
    result = commands.run("rejects", "purge", answer="n\n")

    assert result.exit_code == 1
    assert "Delete 2 rejects for good?" in result.output
    assert len(commands.output("rejects", "list").splitlines()) == 2


@pytest.mark.parametrize("command", ["retry", "purge"])
def test_spool_in_use_is_a_clear_error(commands: Commands, spool_url: str, command: str) -> None:
    """What changes the spool waits until its receiver is stopped; looking does not."""
    with opened(spool_url):
        assert "already written by process" in commands.refusal("rejects", command)
        assert commands.output("rejects", "list")


@pytest.mark.parametrize("command", [("list",), ("retry",), ("purge", "--yes")])
def test_absent_spool_has_no_rejects(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Nothing is made where nothing is."""
    commands = Commands(tmp_path, spool_url=f"sqlite:///{tmp_path}/none.db")

    assert "There is no spool" in commands.refusal("rejects", *command)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
