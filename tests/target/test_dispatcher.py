"""Any events, whatever fails: none is lost or confirmed early, and those of a user keep order."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.client import ACCEPTED, Answer, Verdict
from target_segment_api.dispatcher import Dispatcher
from target_segment_api.receipts import Receipts
from target_segment_api.rejects import Rejects
from target_segment_api.target import TargetSegmentApi

if TYPE_CHECKING:
    from target_segment_api.settings import Settings

Json = dict[str, Any]

MAX_EVENTS = 7
MAX_BYTES = 1_000
FAILURE = Answer(Verdict.UNAVAILABLE, "It failed by chance.")
REFUSAL = Answer(Verdict.REFUSED, "It was refused.")


class Given(NamedTuple):
    """An event of the input."""

    user: int
    size: int
    poison: bool


GIVEN = st.builds(
    Given,
    st.integers(0, 4),
    st.integers(0, 900),
    st.sampled_from([False] * 9 + [True]),
)
INPUT = st.lists(GIVEN | st.none(), max_size=60)
"""Events, and None where a state stands."""


class World:
    """What Segment would be: it refuses poison, and fails by chance, but each batch once only."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - test data
        self._lock = threading.Lock()
        self._failed: set[bytes] = set()
        self.bodies: list[bytes] = []
        self.accepted: list[Json] = []
        self.settled: set[int] = set()

    def post(self, body: bytes) -> Answer:
        """Answer one request."""
        with self._lock:
            self.bodies.append(body)
            batch = json.loads(body)["batch"]
            chance = self._random.random()
            if chance < 0.2 and body not in self._failed:
                self._failed.add(body)
                if chance < 0.1:
                    self._accept(batch)  # and the answer is lost
                return FAILURE
            if any(event["poison"] for event in batch):
                return REFUSAL
            self._accept(batch)
            return ACCEPTED

    def _accept(self, batch: list[Json]) -> None:
        for event in batch:
            if event["n"] not in self.settled and not event["poison"]:
                self.settled.add(event["n"])
                self.accepted.append(event)


@given(INPUT, st.integers(1, 4), st.integers(0, 1_000))
def test_it_delivers_any_events(events: list[Given | None], lanes: int, seed: int) -> None:
    """The poison alone is set aside, within the limits, and no state runs ahead."""
    world = World(seed)
    with TemporaryDirectory() as folder:
        rejects = Path(folder, "rejects.jsonl")
        states = deliver(events, world, rejects, lanes)
        lines = rejects.read_bytes().splitlines() if rejects.exists() else []
    aside = [json.loads(line)["event"]["n"] for line in lines]

    numbers = [event["n"] for event in world.accepted]
    poison = [n for n, event in enumerate(events) if event and event.poison]
    valid = [n for n, event in enumerate(events) if event and not event.poison]
    assert sorted(aside) == poison
    assert Counter(numbers) == Counter(valid)
    for user in range(5):
        of_user = [event["n"] for event in world.accepted if event["user"] == user]
        assert of_user == sorted(of_user)
    assert all(len(json.loads(body)["batch"]) <= MAX_EVENTS for body in world.bodies)
    assert all(len(body) <= MAX_BYTES for body in world.bodies)
    assert states == sorted(states)
    assert states[-1:] == [len(events)]


def deliver(events: list[Given | None], world: World, rejects: Path, lanes: int) -> list[int]:
    """Deliver *events* through a dispatcher; return the states, each checked when it came."""
    states: list[int] = []

    def write_state(state: int) -> None:
        aside = rejects.read_bytes().splitlines() if rejects.exists() else []
        done = world.settled | {json.loads(line)["event"]["n"] for line in aside}
        assert {n for n, event in enumerate(events[:state]) if event} <= done
        states.append(state)

    dispatcher = Dispatcher(
        settings_of(lanes, rejects),
        transport=lambda: world,
        write_state=write_state,
        rejects=Rejects(rejects, 1_000),
        receipts=Receipts(None),
    )
    for number, event in enumerate(events):
        if event is None:
            dispatcher.end_epoch(number)
            dispatcher.pause()
            continue
        body = {"n": number, "user": event.user, "poison": event.poison, "text": "x" * event.size}
        dispatcher.books.of("track").events += 1
        encoded = json.dumps(body, separators=(",", ":")).encode()
        dispatcher.send(encoded, f"id-{number}", "track", number, f"user-{event.user}")
    dispatcher.end_epoch(len(events))
    dispatcher.finish()
    assert dispatcher.books.total()["pending"] == 0
    return states


def settings_of(lanes: int, rejects: Path) -> Settings:
    """Return settings with small limits."""
    given = {
        "write_key": "not-a-real-write-key",
        "endpoint": "http://127.0.0.1:9/v1",
        "max_batch_events": MAX_EVENTS,
        "max_batch_bytes": MAX_BYTES,
        "max_event_bytes": MAX_BYTES - 20,
        "max_events_per_second": 0,
        "concurrency": lanes,
        "rejects_path": str(rejects),
    }
    return TargetSegmentApi(config=given).settings
