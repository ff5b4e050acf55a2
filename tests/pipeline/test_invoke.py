"""The receiver as Meltano's users run it: `meltano invoke tap-segment-webhook:serve`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import requests
from harness.deliveries import array, events
from harness.receiver import ANSWER_SECONDS, SECRET
from harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.meltano import Meltano
    from harness.pipeline import Pipeline

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


def log(meltano: Meltano) -> str:
    """Return what Meltano and its plugins have said."""
    return meltano.log.read_text("utf-8")
