"""`segment-receiver` and the tap do on JetStream what they do on a file."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from harness import deliveries, singer
from harness.receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from harness.nats import Server


@pytest.fixture
def receiver(tmp_path: Path, server: Server) -> Receiver:
    """Give a receiver, not running, on a spool that does not exist yet."""
    return Receiver(
        tmp_path,
        spool_url=f"nats://{server.address}/spool-{uuid.uuid4().hex}",
        nats_replicas=1,
        max_body_bytes=1_000_000,
    )


def test_commands_do_what_they_say(receiver: Receiver, tmp_path: Path) -> None:
    """Load, count, replay, list, erase: while nothing else holds the spool."""
    lines = tmp_path / "events.jsonl"
    users = [{"type": "track", "messageId": f"m-{n}", "userId": f"u-{n}"} for n in range(5)]
    lines.write_text("".join(f"{json.dumps(user)}\n" for user in users) + "[]\n", "utf-8")

    assert "6 received = 5 stored" in receiver.commands.output("load", lines)
    assert receiver.status()["streams"]["track"]["waiting"] == 5
    assert len(receiver.commands.output("rejects", "list").splitlines()) == 1
    first = singer.sync(receiver.settings)
    second = singer.sync(receiver.settings, state=first.state)
    assert (len(first.records), len(second.records)) == (5, 0)
    assert "5 retained events" in receiver.commands.output(
        "replay", "--since", "2020-01-01", "--yes"
    )
    again = singer.sync(receiver.settings, state=second.state)
    assert len(again.records) == 5
    singer.sync(receiver.settings, state=again.state)
    assert not receiver.status()["consumers"]["default"]["to_be_replayed"]
    assert len(receiver.commands.output("ids").splitlines()) == 5
    assert "Erased 1 events" in receiver.commands.output("erase", "u-3", "--yes")
    assert [
        json.loads(line).get("message_id") for line in receiver.commands.output("ids").splitlines()
    ] == [
        "m-0",
        "m-1",
        "m-2",
        None,  # a line that says so
        "m-4",
    ]
    assert "1 rejects deleted" in receiver.commands.output("rejects", "purge", "--yes")


def test_salvage_is_refused(receiver: Receiver) -> None:
    """There is no file to mend; the message says what to do instead."""
    assert "replace the damaged one" in receiver.commands.refusal("salvage")


def test_tap_can_run_the_receiver_itself(receiver: Receiver) -> None:
    """With `listen_seconds`, on the same spool."""
    with receiver:
        receiver.deliver(deliveries.array(deliveries.events(5)))

    run = singer.run({**receiver.settings, "listen_seconds": 2})

    assert run.code == 0, run.log
    assert len(run.records) == 5
