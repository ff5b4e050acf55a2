"""The main job end to end: signed webhooks, the receiver, Meltano, PostgreSQL, and the books.

Run it with `make demo`. Everything is real but Segment, whose deliveries are
invented here, and everything lies in a temporary folder that is removed at the
end: your own spool, state and Meltano project are not touched.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import requests
from harness.deliveries import array, events, single
from harness.meltano import Meltano, MeltanoFailed
from harness.pipeline import STREAMS, Pipeline
from harness.postgres import postgres
from harness.receiver import ANSWER_SECONDS, SECRET, DidNotStart, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.deliveries import Delivery, Event

EVENTS = 4_000
SINGLES = 1_500  # of them come one by one, the others in arrays
ARRAY = 100
AGAIN = 200  # of the single ones come twice, as when Segment did not hear our answer
SWITCHED_OFF = 40  # more are not meant for us
INTEGRATION = "Webhooks"
BROKEN: Event = {"type": "purchase", "messageId": "demo-1"}  # which is none of Segment's calls
LOG_LINES = 40
WIDTH = 78

NEXT = """\
Where to look next
  tap-segment-webhook/README.md   setting up the webhook in Segment; every setting
  meltano.yml                     the project that has just run; copy from it
  uv run meltano invoke tap-segment-webhook:serve     your own receiver
  uv run meltano run collect                          your own run, by hand or by cron"""


class Sent(NamedTuple):
    """What was delivered: the ids that have to arrive, and what the books have to say."""

    ids: dict[str, set[str]]
    books: dict[str, int]


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
    except (MeltanoFailed, DidNotStart, requests.RequestException) as error:
        print("\n", *str(error).splitlines()[-LOG_LINES:], "\nThe demo failed.", sep="\n")
        return 1


def demonstrate(stack: ExitStack) -> int:
    """Take every step; what has to be stopped or removed afterwards goes on *stack*."""
    print(f"{EVENTS:,} events of an invented shop go from webhooks to PostgreSQL.\n")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segment-demo-")))
    with step("Meltano installs tap-segment-webhook and target-postgres"):
        meltano = Meltano(folder / "project")
        meltano.install()
    with step("PostgreSQL starts"):
        server = stack.enter_context(postgres())
        pipeline = Pipeline(folder, meltano, server, integration_name=INTEGRATION)
    with step("segment-receiver starts"):
        stack.push(pipeline.receiver)  # also stops one that is interrupted while it starts
        pipeline.receiver.start()
    with step(f"Signed deliveries are posted to {pipeline.receiver.url}"):
        sent = deliver(pipeline.receiver)
    with step("meltano run collect"):
        pipeline.collect()
    return show(pipeline, sent)


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
    return Sent(ids, {"received": sum(outcomes.values()), **outcomes})


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


def show(pipeline: Pipeline, sent: Sent) -> int:
    """Print what has arrived and whether it is what was *sent*; return the exit code."""
    tables = pipeline.tables()
    books = pipeline.receiver.status()["books"]["default"]
    arrived = {stream: [row["message_id"] for row in rows] for stream, rows in tables.items()}
    print(f"\n  {'table':<18}{'sent':>8}{'rows':>8}")
    for stream, ids in sent.ids.items():
        print(f"  segment.{stream:<10}{len(ids):>8,}{len(arrived[stream]):>8,}")
    for row in tables["track"][:1]:
        print("\nA row of segment.track\n")
        show_row(row)
    print("\nThe books of segment-receiver status, which must balance\n")
    print("  {received:,} received = {stored:,} stored + {duplicate:,} duplicate".format(**books))
    print("    + {filtered:,} filtered + {rejected:,} rejected\n".format(**books))
    found = list(problems(sent, arrived, books))
    if found:
        print(*(f"PROBLEM: {problem}" for problem in found), "\nThe demo failed.", sep="\n")
        return 1
    print(f"Every event that was answered with 200 is in PostgreSQL, once.\n\n{NEXT}")
    return 0


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


def sample(names: set[str]) -> str:
    """Return the first few of *names*."""
    return ", ".join(sorted(names)[:3])


if __name__ == "__main__":
    sys.exit(main())
