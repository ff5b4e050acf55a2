"""Spools of each kind, for tests that hold for all of them."""

from __future__ import annotations

import uuid
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from harness.nats import MAX_PAYLOAD, Cluster, Server, delete_streams
from tap_segment_webhook.spool.model import Location
from tap_segment_webhook.spool.opening import open_reader, open_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tap_segment_webhook.event import Row
    from tap_segment_webhook.spool.engine import Reader, Writer
    from tap_segment_webhook.spool.model import Counts, Received

    Restart = Callable[[], None]


class Spool:
    """A spool at *location*, of whatever kind; *restart* starts its server anew, if it has one."""

    def __init__(self, location: Location, restart: Restart) -> None:
        self.location = location
        self.restart = restart

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        """Open it for writing."""
        with closing(open_writer(self.location)) as writer:
            yield writer

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Open it for reading."""
        with closing(open_reader(self.location)) as reader:
            yield reader

    def fill(self, *parts: Received) -> list[Counts]:
        """Commit *parts* together, and close it."""
        with self.writer() as writer:
            return writer.commit(parts)

    def rows(self, after: int = 0) -> list[Row]:
        """Return every retained event past the position *after*."""
        with self.reader() as reader:
            return [
                row
                for block in reader.blocks(after, reader.head())
                for row in block.rows()
                if row[1] > after
            ]


@pytest.fixture(scope="session")
def session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one server."""
    with Server(tmp_path_factory.mktemp("nats")) as started:
        yield started


@pytest.fixture
def server(session_server: Server) -> Iterator[Server]:
    """Give one server, with nothing on it."""
    yield session_server
    delete_streams(session_server.address)


@pytest.fixture(scope="session")
def session_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run three servers that no test hurts."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def cluster(session_cluster: Cluster) -> Iterator[Cluster]:
    """Give three servers, with nothing on them."""
    yield session_cluster
    delete_streams(session_cluster.address)


@pytest.fixture(params=["sqlite", "nats", "nats-3"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    """Give a spool that does not exist yet."""
    if request.param == "sqlite":
        location = Location(f"sqlite:///{tmp_path / 'spool.db'}", dedup_window_events=10_000)
        return Spool(location, lambda: None)
    if request.param == "nats":
        server: Server = request.getfixturevalue("server")

        def restart() -> None:
            server.stop()
            server.start()

        return Spool(on(server.address, replicas=1), restart)
    cluster: Cluster = request.getfixturevalue("cluster")

    def restart_all() -> None:
        for one in cluster.servers:
            one.stop()
        for one in cluster.servers:
            one.start()
        cluster.wait_for_leader()

    return Spool(on(cluster.address), restart_all)


def on(address: str, replicas: int = 3) -> Location:
    """Return a new spool on the servers at *address*."""
    return Location(
        f"nats://{address}/spool-{uuid.uuid4().hex}",
        replicas=replicas,
        max_event_bytes=MAX_PAYLOAD // 2,
    )
