"""Both jobs end to end: from signed webhooks to PostgreSQL, and from there to Segment again.

Run it with `make demo`. Everything is real but Segment: its deliveries are
invented here, and a stand-in takes what is sent to it. Everything lies in a
temporary folder that is removed at the end: your own spool, state and Meltano
project are not touched.

The stand-in also does what Segment is known for: it answers 200 and drops a few
events. Its webhook brings back the others, and the books have to find those few.
At the end one of Segment's own SDKs sends to the receiver instead of to Segment.
"""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import requests
from harness import sdks
from harness.clients import NotInstalled
from harness.deliveries import array, events, single
from harness.meltano import Meltano, MeltanoFailed
from harness.pipeline import STREAMS, Pipeline
from harness.pipeline import deliver as forward
from harness.postgres import postgres
from harness.process import DidNotStart
from harness.receiver import ANSWER_SECONDS, PROGRAMS, SECRET, Receiver
from harness.segment import Segment
from harness.way_back import CALLS, arrived, books, forwarded, returned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.deliveries import Delivery, Event

EVENTS = 4_000
SINGLES = 1_500  # of them come one by one, the others in arrays
ARRAY = 100
AGAIN = 200  # of the single ones come twice, as when Segment did not hear our answer
SWITCHED_OFF = 40  # more are not meant for us
INTEGRATION = "Webhooks"
BROKEN: Event = {"type": "purchase", "messageId": "demo-1"}  # which is none of Segment's calls
LOST = 3  # events that the stand-in answers with 200 and drops
SDK_CALLS = 120
WRITE_KEY = "a-key-of-the-demo"
LOG_LINES = 40
WIDTH = 78
FAILURES = (MeltanoFailed, NotInstalled, DidNotStart, requests.RequestException)
MISSING = re.compile(r"^  \S+Z  \S+  (\S+)$", re.MULTILINE)  # a line of `reconcile`

NEXT = """\
Where to look next
  tap-segment-webhook/README.md   setting up the webhook in Segment; every setting
  target-segment-api/README.md    what is sent to Segment, and what is set aside
  meltano.yml                     the project that has just run; copy from it
  examples/pipeline-ci            the stand-in in the tests of your own pipeline
  uv run meltano invoke tap-segment-webhook:serve     your own receiver
  uv run meltano run collect                          your own run, by hand or by cron
  uv run meltano invoke target-segment-api:check      before your first run activate"""


class Sent(NamedTuple):
    """What was delivered: the ids that have to arrive, and what the books have to say."""

    ids: dict[str, set[str]]
    books: dict[str, int]
    events: Sequence[Event] = ()


def main() -> int:
    """Run the demonstration; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            try:
                return demonstrate(stack)
            finally:
                for number in (signal.SIGINT, signal.SIGTERM):  # or a second one would leave things
                    signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:
        print("\n\nStopped. Nothing is left behind.")
        return 130
    except FAILURES as error:
        print("\n", *str(error).splitlines()[-LOG_LINES:], "\nThe demo failed.", sep="\n")
        return 1


def demonstrate(stack: ExitStack) -> int:
    """Take every step; what has to be stopped or removed afterwards goes on *stack*."""
    print(f"{EVENTS:,} events of an invented shop: from webhooks to PostgreSQL, and back.\n")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segment-demo-")))
    with step("Meltano installs the two plugins, and those for PostgreSQL"):
        meltano = Meltano(folder / "project")
        meltano.install("collect", "activate")
    with step("PostgreSQL starts"):
        server = stack.enter_context(postgres())
        pipeline = Pipeline(
            folder, meltano, server, integration_name=INTEGRATION, write_key=WRITE_KEY
        )
    with step("segment-receiver starts"):
        stack.push(pipeline.receiver)  # also stops one that is interrupted while it starts
        pipeline.receiver.start()
    with step(f"Signed deliveries are posted to {pipeline.receiver.url}"):
        sent = deliver(pipeline.receiver)
    with step("meltano run collect"):
        pipeline.collect()
    with step("A stand-in for Segment starts"):
        segment = Segment(folder)
        stack.push(segment)
        segment.start()
        segment.moods({"kind": "drop", "events": 1, "count": LOST})
    with step("meltano run activate"):
        activate = pipeline.sending(segment, receipts_path=str(folder / "receipts.jsonl"))
        activate("run", "activate")
    found = list(show(pipeline, segment, sent, activate.log.read_text("utf-8")))
    with step("The stand-in's webhook brings back what it has kept"):
        forward(pipeline.receiver, forwarded(segment), of=ARRAY)
    with step("segment-sender reconcile"):
        told = reconcile(folder / "receipts.jsonl", pipeline.receiver.spool_url)
    print(f"\n{indented(told)}\n")
    found += oversights({drop["event"]["messageId"] for drop in segment.drops()}, told)
    calls = sdks.ordinary(SDK_CALLS, seed=2)
    with step("Segment's SDK for Python sends to the receiver instead of to Segment"):
        given_up = sdks.ANALYTICS_PYTHON.send(pipeline.receiver.base_url, WRITE_KEY, calls)
    with step("meltano run collect"):
        pipeline.collect()
    found += absences(calls, given_up, pipeline.tables())
    print(f"\n  {len(calls):,} calls of the SDK are in PostgreSQL too.\n")
    if found:
        print(*(f"PROBLEM: {problem}" for problem in found), "\nThe demo failed.", sep="\n")
        return 1
    print("Every event that was answered with 200 is in PostgreSQL, once; and every one that")
    print("Segment can take was sent there again, once, with all its fields. The stand-in has")
    print(f"dropped {LOST} of them after its 200, and the books have found exactly those {LOST}.")
    print(f"\n{NEXT}")
    return 0


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what happens now, and once it is done how long it took."""
    print(f"  {text} … ", end="", flush=True)
    start = time.monotonic()
    yield
    print(f"{time.monotonic() - start:.1f} s", flush=True)


def deliver(receiver: Receiver) -> Sent:
    """Post everything to *receiver* in a random order; return what it was.

    Raises:
        requests.HTTPError: a delivery was not answered with 200.
    """
    meant = list(events(EVENTS))
    unmeant = [{**event, "integrations": {"All": False}} for event in events(SWITCHED_OFF, seed=1)]
    with requests.Session() as session:
        for delivery in deliveries(meant[:SINGLES], [*meant[SINGLES:], *unmeant, BROKEN]):
            headers = delivery.headers(SECRET)
            answer = session.post(
                receiver.url, delivery.body, headers=headers, timeout=ANSWER_SECONDS
            )
            answer.raise_for_status()
    ids: dict[str, set[str]] = {stream: set() for stream in STREAMS}
    for event in meant:
        ids[event["type"]].add(event["messageId"])
    outcomes = {"stored": EVENTS, "duplicate": AGAIN, "filtered": SWITCHED_OFF, "rejected": 1}
    return Sent(ids, {"received": sum(outcomes.values()), **outcomes}, meant)


def deliveries(alone: list[Event], together: list[Event]) -> list[Delivery]:
    """Return the deliveries of the events, those in *alone* partly twice, shuffled."""
    shuffle = random.Random(0).shuffle  # noqa: S311 - the same order in every demonstration
    shuffle(together)
    found = [
        *(single(event) for event in (*alone, *alone[:AGAIN])),
        *(array(together[start : start + ARRAY]) for start in range(0, len(together), ARRAY)),
    ]
    shuffle(found)
    return found


def show(pipeline: Pipeline, segment: Segment, sent: Sent, log: str) -> Iterator[str]:
    """Print what has arrived, and what has come back; yield what is not as it was *sent*."""
    tables, back = pipeline.tables(), arrived(segment, "events", "drops")
    received, returns = pipeline.receiver.status()["books"]["default"], books(log)
    rows = {stream: [row["message_id"] for row in found] for stream, found in tables.items()}
    counts = Counter(event["type"] for event in back)
    print(f"\n  {'table':<18}{'sent':>8}{'rows':>8}{'to Segment':>14}")
    for stream, ids in sent.ids.items():
        there = f"{counts[stream]:,}" if stream in CALLS else "no such call"
        print(f"  segment.{stream:<10}{len(ids):>8,}{len(rows[stream]):>8,}{there:>14}")
    show_example(tables["track"], back)
    print("\nThe books of segment-receiver and of target-segment-api, which must balance\n")
    print(
        "  {received:,} received = {stored:,} stored + {duplicate:,} duplicate".format(**received)
    )
    print("    + {filtered:,} filtered + {rejected:,} rejected".format(**received))
    print("  {events:,} events = {sent:,} sent + {rejected:,} rejected".format(**returns))
    print("    + {looped:,} looped + {pending:,} pending\n".format(**returns))
    yield from problems(sent, rows, received)
    yield from differences(returned(sent.events), back)


def reconcile(receipts: Path, spool_url: str) -> str:
    """Return what the books say of events that have a receipt and are not in the spool."""
    words = ("--receipts", str(receipts), "--spool", spool_url, "--settle", "0")
    run = subprocess.run(
        [PROGRAMS / "segment-sender", "reconcile", *words],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=ANSWER_SECONDS,
    )
    return run.stdout


def oversights(lost: set[str], told: str) -> Iterator[str]:
    """Yield what is wrong with what the books have *told* of the ids that are *lost*."""
    if len(lost) != LOST:
        yield f"The stand-in dropped {len(lost)} events; it was to drop {LOST}."
    missing = set(MISSING.findall(told))
    if unseen := lost - missing:
        yield f"The books have not found {len(unseen)} events that were dropped: {sample(unseen)}"
    if wrong := missing - lost:
        yield f"The books miss {len(wrong)} events that were not dropped: {sample(wrong)}"


def absences(
    calls: Iterable[sdks.Call],
    given_up: Sequence[object],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterator[str]:
    """Yield what the SDK has *given_up*, and which of its *calls* are not once in their table."""
    if given_up:
        yield f"The SDK gave up {len(given_up)} requests: {given_up[0]}"
    rows = Counter((kind, row["message_id"]) for kind, table in tables.items() for row in table)
    if wrong := {call["messageId"] for call in calls if rows[call["type"], call["messageId"]] != 1}:
        yield f"{len(wrong)} calls of the SDK are not in PostgreSQL once: {sample(wrong)}"


def indented(text: str) -> str:
    """Return *text* with every line two columns further right, without what is at its end."""
    return "\n".join(f"  {line}" if line else "" for line in text.rstrip().splitlines())


def show_example(rows: Sequence[Mapping[str, Any]], back: Sequence[Event]) -> None:
    """Print the first of *rows*, and the same event as it came *back*."""
    for row in rows[:1]:
        print("\nA row of segment.track\n")
        show_row(row)
        time = f"{row['timestamp'].isoformat(timespec='milliseconds')}Z"
        for event in back:
            if (event["type"], event["timestamp"]) == ("track", time):
                print("\nThe same event as Segment has it again\n")
                show_row(event)


def show_row(row: Mapping[str, Any]) -> None:
    """Print the filled columns of *row*, but for those that the target adds."""
    for column, value in row.items():
        if value is not None and not column.startswith("_sdc_"):
            text = str(value)
            if isinstance(value, dict):
                text = json.dumps(value, default=float, ensure_ascii=False)
            line = f"  {column:<20}{text}"
            print(line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…")


def problems(
    sent: Sent, arrived: Mapping[str, list[str]], books: Mapping[str, int]
) -> Iterator[str]:
    """Yield everything that is not as it was *sent*."""
    for stream, ids in sent.ids.items():
        counts = Counter(arrived[stream])
        if missing := ids - counts.keys():
            yield f"{len(missing)} rows are missing in segment.{stream}: {sample(missing)}"
        if strange := counts.keys() - ids:
            yield f"{len(strange)} rows in segment.{stream} were never sent: {sample(strange)}"
        if twice := {name for name, count in counts.items() if count > 1}:
            yield f"{len(twice)} events are in segment.{stream} more than once: {sample(twice)}"
    received, *outcomes = (books[name] for name in sent.books)
    if received != sum(outcomes):
        yield f"The books do not balance: {received} is not the sum of {outcomes}."
    for name, count in sent.books.items():
        if books[name] != count:
            yield f"The books say {books[name]} {name}; {count} were sent."


def differences(expected: Iterable[Event], found: Iterable[Event]) -> Iterator[str]:
    """Yield how the events that Segment has are not those that were *expected*."""
    ours, theirs = (Counter(map(repr, map(ordered, events))) for events in (expected, found))
    if missing := (ours - theirs).total():
        yield f"{missing} events are not at Segment as they were sent."
    if strange := (theirs - ours).total():
        yield f"{strange} events at Segment were never sent, or are there twice."


def ordered(value: Any) -> Any:
    """Return *value* with the fields of every object in one order."""
    if isinstance(value, dict):
        return {name: ordered(value[name]) for name in sorted(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


def sample(names: set[str]) -> str:
    """Return the first few of *names*."""
    return ", ".join(sorted(names)[:3])


if __name__ == "__main__":
    sys.exit(main())
