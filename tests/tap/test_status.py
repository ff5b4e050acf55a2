"""What waits, what was confirmed, and the books are shown, also while everything runs."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from harness import singer
from harness.commands import Commands
from harness.deliveries import array
from harness.receiver import PROGRAMS, Receiver, environment
from harness.spool import event, events, fill, opened
from tap_segment_webhook.event import TYPES

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def commands(tmp_path: Path, spool_url: str) -> Commands:
    """Give the commands of a spool."""
    return Commands(tmp_path, spool_url=spool_url)


def status(commands: Commands) -> dict[str, Any]:
    """Return the status as a program reads it."""
    found: dict[str, Any] = json.loads(commands.output("status", "--json"))
    return found


def test_absent_spool_is_a_clear_error(commands: Commands) -> None:
    """Before the receiver has ever run there is nothing to show."""
    refusal = commands.refusal("status")

    assert "There is no spool at sqlite:///" in refusal
    assert "`segment-receiver serve` or `load` makes it" in refusal


def test_everything_waits_before_the_first_run(commands: Commands, spool_url: str) -> None:
    """Each stream shows how much waits, and for how long."""
    page = event(3, "page")
    fill(spool_url, [*events(2), page, b"nonsense"])

    found = status(commands)

    assert found["head_position"] == 3
    assert found["consumers"] == {}
    assert found["rejects"] == 1
    assert found["spool_bytes"] > 0
    assert found["books"] == {
        "default": {"received": 4, "stored": 3, "duplicate": 0, "filtered": 0, "rejected": 1}
    }
    assert len(found["streams"]) == 7
    age = found["streams"]["page"].pop("oldest_waiting_seconds")
    assert found["streams"]["page"] == {"waiting": 1, "waiting_bytes": len(page), "confirmed": 0}
    assert 0 <= age < 60
    assert found["streams"]["group"]["oldest_waiting_seconds"] is None


def test_confirmed_events_are_shown_as_kept(commands: Commands, spool_url: str) -> None:
    """What a run was started with counts as confirmed, for each consumer."""
    fill(spool_url, events(3))
    config = {"spool_url": spool_url}
    singer.sync(config, state=singer.sync(config).state)
    fill(spool_url, events(2, first=4))

    found = status(commands)

    assert found["consumers"] == {
        "default": {"confirmed_position": 3, "waiting": 2, "to_be_replayed": False}
    }
    assert found["streams"]["track"]["waiting"] == 2
    assert found["streams"]["track"]["confirmed"] == 3


def test_slowest_consumer_decides_what_waits(commands: Commands, spool_url: str) -> None:
    """An event waits as long as anybody waits for it."""
    fill(spool_url, events(3))
    with opened(spool_url) as store:
        store.consumers.confirm("fast", 3, 0)
        store.consumers.confirm("slow", 1, 0)

    found = status(commands)

    assert found["consumers"]["fast"]["waiting"] == 0
    assert found["consumers"]["slow"]["waiting"] == 2
    assert found["streams"]["track"]["waiting"] == 2


def test_forgotten_consumer_holds_nothing_back(commands: Commands, spool_url: str) -> None:
    """A pipeline that ended can be taken out, by its name only."""
    fill(spool_url, events(3))
    singer.sync({"spool_url": spool_url, "consumer": "old"})

    refusal = commands.refusal("status", "--forget", "new")
    assert "No consumer is called 'new'. There are: 'old'." in refusal
    assert commands.run("status", "--forget", "old").stderr == (
        "Nothing is kept for 'old' any more.\n"
    )

    assert status(commands)["consumers"] == {}


def test_table_is_for_people(commands: Commands, spool_url: str) -> None:
    """Without --json the same is shown in a few lines."""
    fill(spool_url, [*events(1200), b"nonsense"])
    config = {"spool_url": spool_url}
    singer.sync(config, state=singer.sync(config).state)

    lines = commands.output("status").splitlines()

    assert lines[0].split() == ["stream", "waiting", "bytes", "oldest", "confirmed,", "kept"]
    assert [line.split()[0] for line in lines[1:8]] == list(TYPES)
    assert lines[7].split() == ["track", "0", "0", "-", "1,200"]
    assert "consumer default: confirmed up to position 1,200, 0 waiting" in lines
    assert "1,201 received = 1,200 stored" in lines[-2]
    assert lines[-1].startswith("rejects kept: 1; spool: ")


def test_nothing_but_the_table_is_printed(spool_url: str) -> None:
    """Whoever configures by variables reads what was asked for, not where each setting is from."""
    fill(spool_url, events(1))

    run = subprocess.run(
        [PROGRAMS / "segment-receiver", "status"],
        check=True,
        env=environment(TAP_SEGMENT_WEBHOOK_SPOOL_URL=spool_url),
        capture_output=True,
        text=True,
    )

    assert run.stdout.startswith("stream ")
    assert run.stderr == ""


def test_status_is_shown_while_the_receiver_runs(tmp_path: Path) -> None:
    """Looking needs no lock and stops nobody."""
    with Receiver(tmp_path) as receiver:
        receiver.deliver(array([{"type": "track", "messageId": "m-1"}]))

        assert receiver.status()["streams"]["track"]["waiting"] == 1
        assert receiver.deliver(array([{"type": "page", "messageId": "m-2"}])).status_code == 200


def test_settings_come_from_the_environment_too(
    spool_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`TAP_SEGMENT_WEBHOOK_*` variables are read with --config ENV, as by the tap."""
    fill(spool_url, events(1))
    monkeypatch.setenv("TAP_SEGMENT_WEBHOOK_SPOOL_URL", spool_url)

    output = Commands(tmp_path).output("status", "--json", "--config", "ENV")

    assert json.loads(output)["head_position"] == 1


def test_wrong_settings_are_told(tmp_path: Path) -> None:
    """A mistake in the configuration is a sentence, not a traceback."""
    assert "port" in Commands(tmp_path, port="many").refusal("status")
