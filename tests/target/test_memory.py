"""However much waits and however slow Segment is, the target holds no more than its lanes do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import deliveries, messages
from harness.target import Target
from harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.segment import Segment

EVENTS = 200_000
EVENTS_IN_PART = 1_000
MAX_BYTES = 150 << 20


def test_it_holds_back_200000_events(segment: Segment, tmp_path: Path) -> None:
    """While Segment does not answer, it stops reading; and its memory stays bounded to the end."""
    segment.moods({"kind": "hang"})
    target = Target(tmp_path, segment.endpoint, timeout_seconds=2, receipts_path=None)
    with target.running() as running:
        running.feed(given(), close=False)
        wait_until(running.has_stalled)
        held = running.fed
        segment.moods()
        segment.delay(20)
        wait_until(lambda: running.position == EVENTS)
        peak = running.memory_peak()

    assert held < 20 << 20
    assert peak < MAX_BYTES
    assert segment.counts()["accepted"] == EVENTS


def given() -> Iterator[bytes]:
    """Yield what a tap writes of ordinary events of many users, and make it only when asked."""
    (event,) = [event for event in deliveries.events(5) if event["type"] == "track"][:1]
    record = messages.line(messages.record(event | {"messageId": "id-%d", "userId": "user-%d"}))
    record = record.replace(b"%", b"%%").replace(b"%%d", b"%d")
    yield messages.line(messages.schema("track"))
    for start in range(0, EVENTS, EVENTS_IN_PART):
        numbers = range(start, start + EVENTS_IN_PART)
        part = b"".join(record % (number, number % 5_000) for number in numbers)
        yield part + messages.line(messages.state(start + EVENTS_IN_PART))
