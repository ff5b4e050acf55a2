"""A disk that fails, fills up, or gives no more handles costs time, never an acknowledged event."""

from __future__ import annotations

import http.client
import json
import resource
from contextlib import closing, contextmanager
from random import Random
from typing import TYPE_CHECKING

import pytest
import requests
from harness import deliveries, disk, spool
from harness.attacks import ROUNDS, attack
from harness.deliveries import single
from harness.disk import Disk
from harness.receiver import HOST, SECRET, Receiver
from harness.spool import balanced, event, opened, received
from harness.waiting import wait_until
from tap_segment_webhook.errors import SpoolBroken, SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.receiver import server
from tap_segment_webhook.settings import Settings
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.store import Store
from tap_segment_webhook.tap import TapSegmentWebhook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_sqlite = pytest.mark.skipif(not disk.is_reachable(), reason="This Python hides its SQLite.")

FAULTS = 6 * ROUNDS
COMMITS = 8
AT_ONCE = -1


@needs_sqlite
def test_fault_at_any_operation_loses_no_acknowledged_event(tmp_path: Path) -> None:
    """Whatever fails, and for how long: what was committed is there, once, and the books agree."""
    random = Random(0)  # noqa: S311 - test data
    with attack("spool", "an I/O error or a full disk in any write, sync or read") as tally:
        for number in range(FAULTS):
            folder = tmp_path / str(number)
            folder.mkdir()
            url = spool.url_in(folder)

            acknowledged = Writer(url, Fault(random)).write(COMMITS)

            with Disk(syncs=False), opened(url) as store:
                again = [store.commit([received(body)])[0] for body in acknowledged]
                books = store.books.get("default", Counts())
            kept = [body for body, *_ in spool.rows(url)]
            assert [body for body in kept if body in acknowledged] == acknowledged
            assert len(set(kept)) == len(kept) == books.stored
            assert books.received == sum(books[1:])
            assert again == [Counts(1, duplicate=1)] * len(acknowledged)
            tally.rounds += 1
            tally.events += len(acknowledged)


class Fault:
    """Lets some operations of a kind fail, from one on, for a while."""

    def __init__(self, random: Random) -> None:
        self._error: int
        self._kinds: tuple[str, ...]
        self._error, self._kinds = random.choice(
            (
                (disk.IOERR_WRITE, ("write",)),
                (disk.IOERR_FSYNC, ("sync",)),
                (disk.IOERR_READ, ("read",)),
                (disk.FULL, ("write",)),
                (disk.CANTOPEN, ("open",)),
                (disk.IOERR_WRITE, ("write", "sync", "truncate")),
            )
        )
        self._wait = random.randrange(60)
        self._last = random.choice((1, 3, 10**9))

    def __call__(self, kind: str, _: str) -> int:
        """Say whether this operation fails."""
        if kind not in self._kinds:
            return disk.OK
        self._wait -= 1
        return self._error if -self._last <= self._wait < 0 else disk.OK


class Writer:
    """Writes events until they are stored: it opens the spool anew whenever it must."""

    def __init__(self, url: str, fault: Fault) -> None:
        self._url = url
        self._fault = fault

    def write(self, count: int) -> list[bytes]:
        """Write up to *count* events; return those that were acknowledged."""
        acknowledged: list[bytes] = []
        with Disk(self._fault, syncs=False):
            for _ in range(3):
                try:
                    with closing(Store(self._url, dedup_window_events=spool.WINDOW)) as store:
                        self._fill(store, acknowledged, count)
                except (SpoolUnusable, SpoolBroken):
                    continue
        return acknowledged

    def _fill(self, store: Store, acknowledged: list[bytes], count: int) -> None:
        for _ in range(2 * count):
            if len(acknowledged) == count:
                return
            body = event(len(acknowledged), note="x" * 3000)
            try:
                (counts,) = store.commit([received(body)])
            except SpoolBroken:
                raise
            except SpoolUnavailable:
                continue
            assert counts.stored + counts.duplicate == 1
            acknowledged.append(body)
            store.tidy(AT_ONCE)


@needs_sqlite
@pytest.mark.parametrize(
    ("how", "kind", "error"),
    [
        ("an I/O error in a write", "write", disk.IOERR_WRITE),
        ("an I/O error in a sync", "sync", disk.IOERR_FSYNC),
        ("the file system turns read-only", "write", disk.READONLY),
    ],
)
def test_receiver_stops_when_the_disk_fails(
    spool_url: str, how: str, kind: str, error: int
) -> None:
    """It answers 503 and ends with an error; the next start has all that was acknowledged."""
    with attack("receiver", how) as tally:
        with Disk() as failing, running(spool_url) as (receiver, url):
            accepted = [post(url, event(number)) for number in range(5)]
            failing.fault = lambda done, path: error if done == kind and "-wal" in path else disk.OK

            refused = post(url, event(5))

            wait_until(lambda: receiver.broken)
            failing.fault = None
        assert accepted == [200] * 5
        assert refused == 503
        with Disk(syncs=False), opened(spool_url) as store:
            stored = [body for body, *_ in spool.rows(spool_url)]
            assert stored[:5] == [event(number) for number in range(5)]
            assert len(stored) == store.head == balanced(spool_url).stored <= 6
        tally.rounds, tally.events = 1, 5


@needs_sqlite
def test_receiver_stops_when_it_cannot_read_what_to_prune(spool_url: str) -> None:
    """An error between deliveries is noticed as well: it does not go on without a writer."""
    big = "x" * 1_000_000
    with opened(spool_url) as store:
        for number in range(4):
            store.commit([received(event(number, note=big))])
        store.consumers.confirm("default", 4, 0)
    with Disk() as failing, running(spool_url, retention_days=0) as (receiver, url):
        failing.fault = lambda kind, path: (
            disk.IOERR_READ if kind == "read" and path.endswith("spool.db") else disk.OK
        )

        wait_until(lambda: receiver.broken)

        failing.fault = None
    assert url


@needs_sqlite
def test_full_disk_is_red_and_turns_green_by_itself(spool_url: str) -> None:
    """While nothing can be written it answers 503, deliveries and health; then it goes on."""
    with attack("receiver", "the disk is full for a while") as tally:
        with Disk() as failing, running(spool_url) as (receiver, url):
            before = post(url, event(1))
            failing.fault = lambda kind, _: disk.FULL if kind == "write" else disk.OK
            during = [post(url, event(2)), post(url, event(3))]
            wait_until(lambda: health(url) == 503)
            failing.fault = None
            wait_until(lambda: health(url) == 200)
            after = post(url, event(2))
            books = receiver.store.books["default"]

            assert receiver.broken is None
        assert (before, during, after) == (200, [503, 503], 200)
        assert [body for body, *_ in spool.rows(spool_url)] == [event(1), event(2)]
        assert books == Counts(received=2, stored=2)
        tally.rounds, tally.events = 1, 2


def test_receiver_without_handles_left_goes_on_once_it_has_some(tmp_path: Path) -> None:
    """It takes no new connections meanwhile, and what it acknowledges on old ones is stored."""
    with (
        attack("receiver", "no file handle left for a while") as tally,
        Receiver(tmp_path) as receiver,
    ):
        limits = resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE)
        with closing(http.client.HTTPConnection(HOST, receiver.port, timeout=30)) as old:
            deliver_over(old, 1)
            resource.prlimit(
                receiver.pid, resource.RLIMIT_NOFILE, (receiver.open_files(), limits[1])
            )
            statuses = [deliver_over(old, number) for number in range(2, 50)]
            refused = is_refused(receiver)
            resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE, limits)

            wait_until(lambda: receiver.get("/health").status_code == 200)
            again = receiver.deliver(single({"type": "track", "messageId": "m-50"}))

        accepted = [number for number, status in enumerate((200, *statuses), 1) if status == 200]
        assert refused
        assert again.status_code == 200
        assert len(accepted) == 49
        books = receiver.status()["books"]["default"]
        assert books["received"] == sum(books.values()) - books["received"]
        assert {row[0] for row in spool.rows(receiver.spool_url)} >= {
            encoded(number) for number in accepted
        }
        tally.rounds, tally.events = 1, len(accepted)


def test_place_that_cannot_be_written_is_a_clear_error() -> None:
    """A receiver on a read-only file system does not start, and says why in a line."""
    with pytest.raises(SpoolUnusable, match=r"cannot be (opened|written)"):
        Store("sqlite:////proc/spool.db", dedup_window_events=None)


@contextmanager
def running(spool_url: str, **settings: object) -> Iterator[tuple[server.Receiver, str]]:
    """Run a receiver in this process, whose files can be made to fail; give it and its address."""
    config = {"spool_url": spool_url, "host": HOST, "port": 0, "shared_secret": SECRET, **settings}
    receiver = server.Receiver(Settings.from_config(TapSegmentWebhook(config=config).config))
    thread = server.start(receiver)
    try:
        yield receiver, f"http://{HOST}:{receiver.port}"
    finally:
        receiver.stop()
        thread.join()


def post(url: str, body: bytes) -> int:
    """Deliver *body*; return the status of the answer."""
    delivery = deliveries.Delivery(body, body)
    return requests.post(
        f"{url}/webhook", data=body, headers=delivery.headers(SECRET), timeout=30
    ).status_code


def health(url: str) -> int:
    """Return the status of the health page."""
    return requests.get(f"{url}/health", timeout=30).status_code


def is_refused(receiver: Receiver) -> bool:
    """Tell whether a new connection gets no answer."""
    with closing(http.client.HTTPConnection(HOST, receiver.port, timeout=1)) as new:
        try:
            deliver_over(new, 50)
        except OSError:
            return True
    return False


def encoded(number: int) -> bytes:
    """Return the event with this *number*."""
    return json.dumps({"type": "track", "messageId": f"m-{number}"}).encode()


def deliver_over(connection: http.client.HTTPConnection, number: int) -> int:
    """Deliver the event with this *number* over *connection*; return the status."""
    delivery = deliveries.Delivery(encoded(number), encoded(number))
    connection.request("POST", "/webhook", delivery.body, delivery.headers(SECRET))
    answer = connection.getresponse()
    answer.read()
    return answer.status
