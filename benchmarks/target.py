"""How fast, at what cost and how steadily the target sends, against the libraries people use.

Every sender gets the same lines on standard input and sends to the same
stand-in for Segment, which counts; all take part in the same rounds, one after
the other. Only events that were accepted count. A slow sender gets fewer of
them, and its line says how many.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.segment import Segment

from benchmarks import environments, machine, records, senders, sending
from benchmarks.report import OURS, Asked, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.records import Records, User
    from benchmarks.senders import Sender
    from benchmarks.sending import Run

ANALYTICS_PYTHON = "analytics-python"
ANALYTICS_PYTHON_THREADS = "analytics-python, 4 threads"
ANALYTICS_PYTHON_BEST = "analytics-python, 16 threads, 225 a batch"
PLAIN = "plain SDK target"
UNCOMPRESSED = "ours, without compression"
EVEN = "ours, all users alike"
IN_TURN = "ours, each lane a batch in turn"

BATCH_EVENTS = 225
ORDER_LANES = 8
FIXED_HASHES = {"PYTHONHASHSEED": "0"}
OUTAGE_SECONDS = 8
MIB = 1024 * 1024
SKEW_WARNING = "of the events went through one of"
LEAST_EVENTS = 900  # whole batches of 15, 100 and 225, as is every number of events below


class Contender(NamedTuple):
    """A sender, and how many events it gets at each delay; None: it does not take part."""

    name: str
    sender: Sender
    events: dict[int, int]


class Case(NamedTuple):
    """A comparison: who takes part, how late the answers come, what was asked of us."""

    what: str
    contenders: Sequence[Contender]
    delay_ms: int
    rate: dict[str, Asked]
    cpu: dict[str, Asked]


class Lengths(NamedTuple):
    """How often and how much is measured."""

    rounds: int
    share: float
    """Of the events that a full run sends."""


FULL = Lengths(rounds=5, share=1)
QUICK = Lengths(rounds=1, share=0.2)

DEFAULTS = (
    Contender(OURS, senders.ours(), {0: 180_000, 50: 180_000, 200: 90_000}),
    Contender(UNCOMPRESSED, senders.ours(compression=False), {0: 180_000}),
    Contender(ANALYTICS_PYTHON, senders.analytics_python(), {0: 36_000, 50: 9_000, 200: 3_600}),
    Contender("rudder-sdk-python", senders.rudder_python(), {0: 27_000, 50: 9_000, 200: 3_600}),
    Contender("analytics-node", senders.analytics_node(), {0: 18_000, 50: 18_000, 200: 18_000}),
    Contender(PLAIN, senders.plain_target, {0: 18_000, 50: 9_000, 200: 4_500}),
)
BEST = (
    Contender(OURS, senders.ours(concurrency=16), {0: 180_000, 50: 180_000, 200: 180_000}),
    Contender(
        ANALYTICS_PYTHON_THREADS,
        senders.analytics_python(thread=4),
        {50: 18_000, 200: 9_000},
    ),
    Contender(
        ANALYTICS_PYTHON_BEST,
        senders.analytics_python(thread=16, upload_size=BATCH_EVENTS),
        {0: 36_000, 50: 54_000, 200: 54_000},
    ),
    Contender(
        "analytics-node, 225 a batch",
        senders.analytics_node(flushAt=BATCH_EVENTS),
        {0: 27_000, 50: 27_000, 200: 27_000},
    ),
)
CASES = (
    Case(
        "default settings",
        DEFAULTS,
        0,
        {ANALYTICS_PYTHON: Asked("≥", 6), PLAIN: Asked("≥", 15)},
        {ANALYTICS_PYTHON: Asked("≤", 0.2)},
    ),
    Case("default settings", DEFAULTS, 50, {ANALYTICS_PYTHON: Asked("≥", 15)}, {}),
    Case("default settings", DEFAULTS, 200, {}, {}),
    Case("best settings, ours 16 lanes", BEST, 0, {}, {}),
    Case(
        "best settings, ours 16 lanes",
        BEST,
        50,
        {ANALYTICS_PYTHON_THREADS: Asked("≥", 5), ANALYTICS_PYTHON_BEST: Asked("≥", 5)},
        {},
    ),
    # Not of the peer with 16 threads: 16 lanes of 225 in 200 ms are 18,000 events/s, and it alone
    # sends up to 6,000.
    Case("best settings, ours 16 lanes", BEST, 200, {ANALYTICS_PYTHON_THREADS: Asked("≥", 5)}, {}),
)


def measure(*, quick: bool) -> list[Measurement]:
    """Run every measurement of the target."""
    with bench(QUICK if quick else FULL) as it:
        return [
            *(found for case in CASES for found in it.compare(case)),
            it.order(),
            *it.skew(),
            *(it.memory(events) for events in (200_000, 1_000_000)),
            *it.recovery(),
        ]


def versions() -> dict[str, str]:
    """Return the versions of what the senders are made of."""
    own = machine.versions("target-segment-api", "singer-sdk", "msgspec", "requests", "urllib3")
    return own | environments.versions()


@contextmanager
def bench(lengths: Lengths) -> Iterator[Bench]:
    """Run the one stand-in for all, on a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="target-") as name:
        folder = Path(name)
        with Segment(folder, count_only=True) as segment:
            yield Bench(lengths, folder, segment)


class Bench:
    """Lets senders send to the stand-in, and measures."""

    def __init__(self, lengths: Lengths, folder: Path, segment: Segment) -> None:
        self._lengths = lengths
        self._folder = folder
        self._segment = segment
        self._written: dict[tuple[int, Callable[[int], User]], Records] = {}

    def compare(self, case: Case) -> list[Measurement]:
        """Measure the rate and the processor time of all who take part in *case*."""
        delay = case.delay_ms
        taking_part = [each for each in case.contenders if delay in each.events]
        labels = {each.name: self._label(each, delay) for each in taking_part}
        ours = self._share(taking_part[0].events[delay])
        what = f"{ours:,} events, answers after {delay} ms, {case.what}"
        rate = Measurement(what, "events/s", asked=_relabelled(case.rate, labels))
        cpu = Measurement(
            f"{what}: processor time", "s/100,000", asked=_relabelled(case.cpu, labels)
        )
        for _, each in itertools.product(range(self._lengths.rounds), taking_part):
            run = self._run(each, self._input(self._share(each.events[delay])), delay)
            if run:
                rate.add(labels[each.name], run.events_per_second)
                cpu.add(labels[each.name], run.cpu_seconds_per_100_000)
        return [rate, cpu]

    def order(self) -> Measurement:
        """Measure what order costs: our lanes with users by chance, and with no lane ever behind.

        There is no setting without order to compare with. But users can be chosen
        so that each batch of the input is of the next lane's users: then every
        lane always has its share, as in a pool that takes whatever comes next.
        The answers are late enough that the lanes are what limits the rate.
        """
        what = f"order of each user, {ORDER_LANES} lanes, answers after 200 ms"
        found = Measurement(what, "events/s", asked={IN_TURN: Asked("≥", 0.85)})
        ours = Contender(OURS, senders.ours(concurrency=ORDER_LANES), {})
        events = self._share(90_000)
        given = {OURS: self._input(events), IN_TURN: self._input(events, _in_turn)}
        for _, (name, lines) in itertools.product(range(self._lengths.rounds), given.items()):
            run = self._run(ours, lines, 200, environment=FIXED_HASHES)
            if run is None:
                continue
            if name == IN_TURN:
                _check_turns(run)
            found.add(name, run.events_per_second)
        return found

    def skew(self) -> list[Measurement]:
        """Measure what one user with 30 % of the events costs, and whether it is told."""
        what = "30 % of the events are of one user, 16 lanes, answers after 200 ms"
        rate = Measurement(what, "events/s")
        told = Measurement(
            "the same: rate at least half, or a warning that says why",
            "of the runs",
            asked={OURS: Asked("≥", 1)},
        )
        ours = Contender(OURS, senders.ours(concurrency=16), {})
        events = self._share(45_000)
        for _ in range(self._lengths.rounds):
            even = self._run(ours, self._input(events), 200)
            run = self._run(ours, self._input(events, records.skewed), 200)
            if even and run:
                rate.add(OURS, run.events_per_second)
                rate.add(EVEN, even.events_per_second)
                half = run.events_per_second >= even.events_per_second / 2
                told.add(OURS, float(half or SKEW_WARNING in run.log))
        return [rate, told]

    def memory(self, events: int) -> Measurement:
        """Measure the most memory that a run of so many *events* ever took."""
        events = int(events * self._lengths.share)
        what = f"memory peak, {events:,} events, 16 lanes, answers after 200 ms"
        found = Measurement(what, "MiB", asked={OURS: Asked("≤", 150)})
        run = self._run(Contender(OURS, senders.ours(concurrency=16), {}), self._input(events), 200)
        if run:
            found.add(OURS, run.memory_bytes / MIB)
        return found

    def recovery(self) -> list[Measurement]:
        """Measure how soon after an outage events are accepted again.

        Each round has a longer one, from 8 s on, so that nobody's waits end with it by chance.
        """
        outages = range(OUTAGE_SECONDS, OUTAGE_SECONDS + self._lengths.rounds)
        length = " to ".join(str(each) for each in sorted({outages[0], outages[-1]}))
        what = f"first event accepted after an outage of {length} s (503), answers after 50 ms"
        first = Measurement(what, "s", asked={OURS: Asked("≤", 3)})
        every = Measurement("the same: every lane delivers again", "s", asked={OURS: Asked("≤", 3)})
        contenders = (
            Contender(OURS, senders.ours(), {50: 90_000}),
            Contender(ANALYTICS_PYTHON, senders.analytics_python(), {50: 4_500}),
        )
        for seconds, each in itertools.product(outages, contenders):
            given = self._input(self._share(each.events[50]))
            run = self._run(each, given, 50, at_start=partial(self._outage, seconds))
            if run is None:
                continue
            over_at = run.started_at + seconds
            starts = {request["port"]: request["time"] for request in reversed(run.accepted)}
            first.add(each.name, min(starts.values()) - over_at)
            if each.name == OURS:
                every.add(OURS, max(starts.values()) - over_at)
        return [first, every]

    def _outage(self, seconds: int) -> None:
        self._segment.moods({"status": 503, "seconds": seconds})

    def _run(
        self,
        contender: Contender,
        given: Records,
        delay_ms: int,
        *,
        at_start: Callable[[], None] = lambda: None,
        environment: dict[str, str] | None = None,
    ) -> Run | None:
        """Return what one run came to; None, and a line on stderr, if a peer did not get through.

        Raises:
            sending.Incomplete: we did not.
        """
        command = contender.sender(self._folder, self._segment)
        if command is None:
            return None
        try:
            return sending.send(
                command,
                given,
                self._segment,
                delay_ms=delay_ms,
                at_start=at_start,
                environment=environment,
            )
        except sending.Incomplete as error:
            if contender.name in {OURS, UNCOMPRESSED}:
                raise
            print(f"{contender.name}: this round does not count. {error}", file=sys.stderr)
            return None
        finally:
            self._segment.moods()

    def _input(self, events: int, user: Callable[[int], User] = records.even) -> Records:
        """Return lines of so many *events*, written at the first use."""
        if (events, user) not in self._written:
            path = self._folder / f"{len(self._written)}.jsonl"
            self._written[events, user] = records.write(path, events, user)
        return self._written[events, user]

    def _share(self, events: int) -> int:
        """Return how many of the *events* of a full run are sent: whole batches of everybody."""
        return max(LEAST_EVENTS, round(events * self._lengths.share / LEAST_EVENTS) * LEAST_EVENTS)

    def _label(self, contender: Contender, delay_ms: int) -> str:
        if contender.name == OURS:
            return OURS
        return f"{contender.name} ({self._share(contender.events[delay_ms]):,} events)"


def _relabelled(asked: dict[str, Asked], labels: dict[str, str]) -> dict[str, Asked]:
    return {labels[name]: bound for name, bound in asked.items()}


def _in_turn(number: int) -> User:
    """Return a user whose lane's turn it is, in a process with FIXED_HASHES."""
    return _users_by_lane()[number // BATCH_EVENTS % ORDER_LANES]


@cache
def _users_by_lane() -> dict[int, User]:
    """Return a user for each lane: a lane is chosen by the hash of the user's id."""
    users = [records.even(number) for number in range(1000)]
    code = "import json, sys; print(json.dumps([hash(user) for user in json.load(sys.stdin)]))"
    output = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        input=json.dumps([user.decode() for user in users]),
        env=FIXED_HASHES,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    hashes = json.loads(output)
    return {each % ORDER_LANES: user for each, user in zip(hashes, users, strict=True)}


def _check_turns(run: Run) -> None:
    """Raise unless every lane, and so every connection, has sent the same, to a batch or two."""
    sent = Counter[int]()
    for request in run.accepted:
        sent[request["port"]] += request["accepted"]
    if len(sent) != ORDER_LANES or max(sent.values()) - min(sent.values()) > 2 * BATCH_EVENTS:
        raise RuntimeError(f"The lanes had no equal turns: {sorted(sent.values())}.")
