"""`meltano run roundtrip`: what webhooks have brought goes back to Segment, once and no further."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.deliveries import events
from harness.pipeline import deliver
from harness.way_back import arrived, books, forwarded, returned

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.pipeline import Pipeline
    from harness.segment import Segment

    MakePipeline = Callable[..., Pipeline]


def test_every_event_returns_with_every_field(pipeline: MakePipeline, segment: Segment) -> None:
    """From signed deliveries to Segment nothing is lost or added; the next run has nothing left.

    It confirms in its own name, so that it takes nothing from `collect`.
    """
    flow, sent = pipeline(), list(events(400))
    with flow.receiver as receiver:
        deliver(receiver, sent[:50], of=1)
        deliver(receiver, sent[50:], of=50)

    roundtrip = flow.sending(segment)
    roundtrip("run", "roundtrip")
    requests = segment.counts()["requests"]
    roundtrip("run", "roundtrip")

    assert arrived(segment) == returned(sent)
    assert segment.drops() == []
    assert segment.counts()["requests"] == requests
    assert flow.receiver.status()["consumers"] == {
        "roundtrip": {"confirmed_position": 400, "waiting": 0, "to_be_replayed": False}
    }


@pytest.mark.parametrize("message_id", ["derive", "keep"])
def test_what_comes_back_is_not_sent_again(
    pipeline: MakePipeline, segment: Segment, message_id: str
) -> None:
    """Segment hands what it was sent on to the webhook: there the circle ends, and it is counted.

    The receiver remembers no ids, so that with `keep` it is no duplicate to it.
    """
    flow, sent = pipeline(dedup_window_events=0), list(events(100))
    roundtrip = flow.sending(segment, message_id=message_id)
    with flow.receiver as receiver:
        deliver(receiver, sent, of=1)
        roundtrip("run", "roundtrip")
        first, requests = segment.events(), segment.counts()["requests"]

        deliver(receiver, forwarded(segment), of=1)
        roundtrip("run", "roundtrip")

    assert len(first) == len(returned(sent))
    assert flow.receiver.status()["books"]["default"]["stored"] == len(sent) + len(first)
    assert segment.events() == first
    assert segment.counts()["requests"] == requests
    assert books(roundtrip.log.read_text("utf-8")) == {
        "events": len(first),
        "sent": 0,
        "rejected": 0,
        "looped": len(first),
        "pending": 0,
    }
