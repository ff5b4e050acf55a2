"""The way from a file to JetStream that examples/ha/README.md describes leaves no gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import deliveries, singer
from harness.receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from harness.nats import Server


def test_every_event_of_both_spools_is_emitted(tmp_path: Path, server: Server) -> None:
    """The old one to its end, then the new one from its beginning, whatever the state says."""
    events = list(deliveries.events(30))
    (tmp_path / "new").mkdir()
    old = Receiver(tmp_path)
    new = Receiver(
        tmp_path / "new",
        spool_url=f"nats://{server.address}/moved",
        nats_replicas=1,
        max_body_bytes=1_000_000,
    )

    with old, new:
        assert old.deliver(deliveries.array(events[:10])).status_code == 200
        first = singer.run(old.settings)
        assert new.deliver(deliveries.array(events[20:])).status_code == 200
        assert old.deliver(deliveries.array(events[10:20])).status_code == 200
        old.stop()
        second = singer.run(old.settings, state=first.state)
        third = singer.run(old.settings, state=second.state)
        assert not third.records
        assert old.status()["consumers"]["default"]["waiting"] == 0
        fourth = singer.run(new.settings, state=third.state)
        fifth = singer.run(new.settings, state=fourth.state)

    emitted = [*first.records, *second.records, *fourth.records, *fifth.records]
    found = sorted(record["message_id"] for record in emitted)
    assert found == sorted(event["messageId"] for event in events)
    assert "The state is not of this spool" in fourth.log
    assert not fifth.records
