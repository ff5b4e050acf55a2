"""What a pipeline sends to Segment, tested without Segment: copy this, and put your own in."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
# Yours: ["meltano", "run", "tap-postgres", "target-segment-api"], say, on a database of fixtures.
PIPELINE = ["target-segment-api", "--config=ENV", "--input", str(HERE / "orders.jsonl")]
ORDERS = 3

CLONE = HERE.parents[1]
STAND_IN = os.environ.get("STAND_IN", f"{sys.executable} {CLONE}/tests/harness/stand_in.py")
KEY = "write-key-of-the-ci"


class Segment:
    """The stand-in, as a test talks to it."""

    def __init__(self, address: str) -> None:
        self.endpoint = f"{address}/v1"
        self._pages = f"{address}/stand-in"

    def read(self, page: str) -> list[Any]:
        """Return the lines of a page: `events`, `drops`, `requests` or `counts`."""
        with urlopen(f"{self._pages}/{page}") as answer:  # noqa: S310 - our own address
            return [json.loads(line) for line in answer.read().splitlines()]

    def be(self, *moods: dict[str, Any]) -> None:
        """Behave like that from now on; `--help` of the stand-in explains moods."""
        body = json.dumps(moods).encode()
        urlopen(Request(f"{self._pages}/moods", body, method="PUT")).close()  # noqa: S310


@pytest.fixture
def segment() -> Iterator[Segment]:
    """Run a stand-in on a free port."""
    words = [*shlex.split(STAND_IN), "--write-key", KEY]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = iter(process.stderr.readline, "")
        found = next(filter(None, (re.search(r"http://\S+(?=/v1)", line) for line in said)), None)
        assert found, f"The stand-in did not start: {STAND_IN}"
        yield Segment(found[0])
        process.terminate()


def run(segment: Segment, folder: Path) -> None:
    """Run the pipeline to its end; what it sets aside is in *folder*."""
    variables = {
        "TARGET_SEGMENT_API_WRITE_KEY": KEY,
        "TARGET_SEGMENT_API_ENDPOINT": segment.endpoint,
        "TARGET_SEGMENT_API_REJECTS_PATH": str(folder / "rejects.jsonl"),
    }
    subprocess.run(PIPELINE, env={**os.environ, **variables}, check=True)


def test_every_order_is_at_segment(segment: Segment, tmp_path: Path) -> None:
    """All of them, with what the analysts count on, and none that Segment drops in silence."""
    run(segment, tmp_path)

    events = [line["event"] for line in segment.read("events")]
    assert segment.read("drops") == []
    assert len(events) == ORDERS
    assert {event["event"] for event in events} == {"Order Completed"}
    assert sum(event["properties"]["total"] for event in events) == pytest.approx(71.30)


def test_an_outage_costs_no_order(segment: Segment, tmp_path: Path) -> None:
    """Segment fails twice, once after it has accepted: all orders are there, once."""
    segment.be({"status": 503, "count": 1}, {"kind": "reset", "count": 1})

    run(segment, tmp_path)

    assert len(segment.read("events")) == ORDERS


def test_running_again_sends_no_order_twice(segment: Segment, tmp_path: Path) -> None:
    """The message ids are the same in every run, so Segment knows them."""
    run(segment, tmp_path)
    run(segment, tmp_path)

    assert len(segment.read("events")) == ORDERS
