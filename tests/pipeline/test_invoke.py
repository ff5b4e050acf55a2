"""What Meltano's users run beside the jobs: `meltano invoke tap-segment-webhook:serve`, say."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import requests
from harness.deliveries import array, events
from harness.meltano import SENDER, TAP
from harness.receiver import ANSWER_SECONDS, SECRET
from harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.meltano import Meltano
    from harness.pipeline import Pipeline
    from harness.segment import Segment

LISTENING = re.compile(r"Listening on (http://\S+/webhook)")


def test_serve_and_status_work_through_meltano(pipeline: Callable[..., Pipeline]) -> None:
    """Settings of the project reach the receiver; a stop of Meltano stops it in good order."""
    meltano = pipeline(port=0).meltano
    delivery = array(events(20))

    with meltano.started("invoke", "tap-segment-webhook:serve") as process:
        wait_until(lambda: LISTENING.search(log(meltano)) or process.poll() is not None)
        listening = LISTENING.search(log(meltano))
        assert listening, log(meltano)
        answer = requests.post(
            listening[1], delivery.body, headers=delivery.headers(SECRET), timeout=ANSWER_SECONDS
        )
        process.terminate()
        process.wait(ANSWER_SECONDS)
    stopped = "Stopped. Everything that was answered with 200 is in the spool." in log(meltano)
    status = json.loads(meltano("invoke", "tap-segment-webhook:status", "--json"))

    assert answer.status_code == 200
    assert stopped
    assert status["head_position"] == 20


def test_check_and_rejects_work_through_meltano(
    pipeline: Callable[..., Pipeline], segment: Segment
) -> None:
    """Settings of the project reach the sender, and its verdicts and exit codes the user."""
    flow = pipeline()
    sending = flow.sending(segment)
    mistaken = flow.sending(segment, write_key="of-no-source-at-all")

    verdicts = [line.split()[1] for line in sending("invoke", f"{SENDER}:check").splitlines()]
    with mistaken.started("invoke", f"{SENDER}:check") as process:
        said, _ = process.communicate(timeout=ANSWER_SECONDS)
    flow.load([{"type": "track", "messageId": "nobody's", "event": "Order Completed"}])
    sending.pipe(TAP, SENDER)
    listed = sending("invoke", f"{SENDER}:rejects", "list")

    assert verdicts == ["ok"] * 5
    assert process.returncode == 1
    assert "Segment does not know it" in said
    assert "userId and anonymousId are missing" in listed


def test_preview_works_through_meltano(pipeline: Callable[..., Pipeline], segment: Segment) -> None:
    """What a tap wrote into a file is told, and not sent."""
    flow = pipeline()
    flow.load(events(20))
    sending = flow.sending(segment)
    messages = flow.folder / "messages.jsonl"

    messages.write_text(sending("invoke", TAP), "utf-8")
    found = json.loads(sending("invoke", f"{SENDER}:preview", "--json", str(messages)))

    assert found["api_calls"] == 19  # all but the deletion
    assert found["invalid"] == []
    assert segment.counts()["requests"] == 0


def log(meltano: Meltano) -> str:
    """Return what Meltano and its plugins have said."""
    return meltano.log.read_text("utf-8")
