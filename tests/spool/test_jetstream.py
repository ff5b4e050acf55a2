"""What only a spool on JetStream promises: what it refuses, and that many may write it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from harness.nats import MAX_PAYLOAD, Cluster, Server, ask, free_port
from harness.spool import event, events, received
from spool.conftest import Spool, on
from tap_segment_webhook.errors import SpoolUnusable
from tap_segment_webhook.spool.jetstream.layout import Names
from tap_segment_webhook.spool.jetstream.link import Link
from tap_segment_webhook.spool.jetstream.state import State
from tap_segment_webhook.spool.model import Counts, Location
from tap_segment_webhook.spool.opening import open_reader, open_writer

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "num_replicas": 1,
    "duplicate_window": 14_400 * 10**9,
}


@pytest.fixture
def alone(server: Server) -> Spool:
    """Give a spool on one server."""
    return Spool(on(server.address, replicas=1), lambda: None)


@pytest.mark.parametrize(
    ("weaker", "reason"),
    [
        ({"storage": "memory"}, "storage is memory, not file"),
        ({"discard": "old"}, "discard is old, not new"),
        ({"retention": "interest"}, "retention is interest, not limits"),
        ({"max_age": 3600 * 10**9, "duplicate_window": 60 * 10**9}, "max_age deletes"),
        ({"max_msgs_per_subject": 5}, "max_msgs_per_subject deletes"),
        ({"duplicate_window": 60 * 10**9}, "duplicate_window is 60 seconds"),
        ({"subjects": ["elsewhere.>"]}, "its subjects lack"),
        ({"deny_purge": True}, "deny_purge is set"),
        ({"no_ack": True}, "no_ack is set"),
    ],
)
def test_weaker_stream_is_refused(
    server: Server, alone: Spool, weaker: dict[str, Any], reason: str
) -> None:
    """Nothing is received into a stream that would not keep it, and the message says why."""
    make(server, alone, **weaker)

    with pytest.raises(SpoolUnusable, match=reason), alone.writer():
        pass


def test_stream_that_somebody_else_has_made_is_taken(server: Server, alone: Spool) -> None:
    """With limits that refuse what is new, and more than is asked for."""
    make(server, alone, max_msgs=10, max_bytes=1 << 20, duplicate_window=20_000 * 10**9)

    assert alone.fill(received(*events(3))) == [Counts(3, 3)]


def test_one_replica_is_warned_of(
    alone: Spool, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether its server syncs before it acknowledges cannot be seen; three need no warning."""
    open_writer(on(cluster.address)).close()
    assert "sync_interval" not in caplog.text

    alone.fill(received(event(1)))

    assert "has 1 replica" in caplog.text
    assert "on a disk only where that server's sync_interval is always" in caplog.text


def test_fewer_replicas_than_asked_for_are_refused(server: Server, alone: Spool) -> None:
    """Also of a stream that is there already."""
    make(server, alone)

    with (
        pytest.raises(SpoolUnusable, match="1 replicas, and nats_replicas is 3"),
        closing(open_writer(alone.location._replace(replicas=3))),
    ):
        pass


def test_replicas_take_as_many_servers(server: Server) -> None:
    """One server cannot keep three copies; the message says what to do."""
    with (
        pytest.raises(SpoolUnusable, match="set nats_replicas to 1"),
        closing(open_writer(on(server.address))),
    ):
        pass


def test_events_that_no_message_can_hold_are_refused_at_start(alone: Spool) -> None:
    """Not one by one, when they have come."""
    location = alone.location._replace(max_event_bytes=16 << 20)

    with (
        pytest.raises(SpoolUnusable, match="Set max_body_bytes to at most 1044480"),
        closing(open_writer(location)),
    ):
        pass


def test_largest_event_is_kept(alone: Spool) -> None:
    """One of exactly the size that was accepted at the start."""
    size = MAX_PAYLOAD - 4096
    spool = Spool(alone.location._replace(max_event_bytes=size), lambda: None)
    bare = len(event(1, padding=""))
    body = event(1, padding="x" * (size - bare))

    spool.fill(received(body))

    assert [row[0] for row in spool.rows()] == [body]


@pytest.mark.parametrize(
    "url",
    ["nats://host:4222", "nats://host:4222/", "nats:///segment", "nats://host/a.b", "nats://h/a?b"],
)
def test_urls_that_name_no_stream_are_refused(url: str) -> None:
    """The message shows how one looks."""
    with pytest.raises(SpoolUnusable, match="nats://HOST:PORT/STREAM"):
        open_reader(Location(url))


def test_absent_server_is_told_of() -> None:
    """Within seconds, with the address."""
    with pytest.raises(SpoolUnusable, match="No NATS server can be reached at nats://127"):
        open_reader(Location(f"nats://127.0.0.1:{free_port()}/segment"))


def test_missing_client_is_told_of() -> None:
    """With the command that installs it."""
    program = (
        "import sys; sys.modules['nats'] = None\n"
        "from tap_segment_webhook.spool.opening import open_reader\n"
        "from tap_segment_webhook.spool.model import Location\n"
        "open_reader(Location('nats://localhost/segment'))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert "pip install 'tap-segment-webhook[nats]'" in done.stderr


def test_commit_is_as_fast_as_the_server_takes_it(tmp_path: Path) -> None:
    """More at once than the server has room for waits, and is kept once."""
    with Server(tmp_path, jetstream="max_buffered_msgs: 20") as server:
        spool = Spool(on(server.address, replicas=1), server.start)

        assert spool.fill(received(*events(2000))) == [Counts(2000, 2000)]

        assert [row[0] for row in sorted(spool.rows())] == sorted(events(2000))


def test_many_writers_share_a_spool(alone: Spool) -> None:
    """Positions are given once, a duplicate is one whoever has the first, and the books add up."""

    def write(number: int) -> Counts:
        total = Counts()
        with alone.writer() as writer:
            for first in range(0, 200, 20):
                own = events(10, first=1000 * number + first)
                shared = events(10, first=100_000 + first)
                (outcome,) = writer.commit([received(*own, *shared)])
                total = total.plus(outcome)
        return total

    with ThreadPoolExecutor(4) as pool:
        totals = list(pool.map(write, range(4)))

    found = alone.rows()
    assert [row[1] for row in found] == list(range(1, 501))
    assert len({row[0] for row in found}) == 500
    with alone.reader() as reader:
        expected = totals[0].plus(totals[1]).plus(totals[2]).plus(totals[3])
        assert reader.books() == {"default": expected}
    assert expected == Counts(800, 500, 300)


def test_page_of_the_books_is_used_again(alone: Spool) -> None:
    """Receivers that are started again and again leave no trail."""
    for number in range(5):
        alone.fill(received(event(number)))

    with alone.reader() as reader:
        assert reader.books() == {"default": Counts(5, 5)}
    assert len(pages(alone)) == 1


def test_writer_whose_page_was_taken_goes_on(alone: Spool) -> None:
    """It was silent for so long that another took it over: no count is lost or made twice."""
    with alone.writer() as sleeper:
        sleeper.commit([received(event(1))])
        ((key, page, revision),) = pages(alone)
        with closing(Link(alone.location)) as link:
            State(link, Names(link.stream)).put(key, {**page, "at": 0}, revision, 5)
        alone.fill(received(event(2)))

        sleeper.commit([received(event(3))])

    with alone.reader() as reader:
        assert reader.books() == {"default": Counts(3, 3)}


def make(server: Server, spool: Spool, **config: Any) -> None:
    """Make the stream of *spool* as somebody else would."""
    name = spool.location.url.rpartition("/")[2]
    asked = {"name": name, "subjects": [f"{name}.*.*"], **GOOD, **config}
    assert "config" in ask(server.address, f"STREAM.CREATE.{name}", asked)


def pages(spool: Spool) -> list[tuple[str, dict[str, Any], int]]:
    """Return key, value and revision of each page of the books."""
    with spool.reader() as reader, closing(Link(spool.location)) as link:
        found = State(link, Names(link.stream)).under(f"{reader.spool_id}.receiver.")
    return [(key, entry.value or {}, entry.revision) for key, entry in found.items()]
