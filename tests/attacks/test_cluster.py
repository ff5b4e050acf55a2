"""Servers of NATS are killed, frozen, slowed, cut off, filled and started anew: nothing is lost."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from harness import deliveries, singer
from harness.attacks import ROUNDS, Attack, attack
from harness.nats import Cluster, Server, SplitCluster, ask, slowed
from harness.receiver import HOST, SECRET, Receiver
from harness.waiting import wait_until
from tap_segment_webhook.errors import SpoolUnavailable
from tap_segment_webhook.spool.model import Location
from tap_segment_webhook.spool.opening import open_reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tap_segment_webhook.spool.engine import Reader
    from typing_extensions import Self

AREA = "Spool on JetStream"
SENDERS = 4
ANSWER_SECONDS = 5.0  # what Segment's webhooks wait
SOME = 50
"""Events of Segment's between two steps of an attack in which it has to wait for many answers."""
CUTS = itertools.cycle(((True, False), (False, True), (True, True), (False, False)))
"""Whether it is the leader that is cut off, and whether connections are reset."""
SHORT = max(1, ROUNDS // 10)
"""Rounds of what takes the servers an election each time."""


class Segment:
    """Threads that deliver events, and again what was not acknowledged, to any of *receivers*."""

    def __init__(self, *receivers: Receiver) -> None:
        self._receivers = receivers
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)
        ]
        self._numbers = itertools.count()
        self.acknowledged: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.taken_at: dict[Receiver, float] = {}
        """When the last delivery was sent that a receiver has acknowledged."""
        self.slowest = 0.0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, count: int = 150) -> None:
        """Return once *count* more events were acknowledged."""
        enough = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= enough)

    def _send(self, seed: int) -> None:
        sizes = Random(seed)  # noqa: S311 - test data
        events = deliveries.events(1_000_000, seed=seed + 1000)
        while not self._stop.is_set():
            batch = [next(events) for _ in range(sizes.choice((1, 1, 20)))]
            delivery = deliveries.single(batch[0]) if len(batch) == 1 else deliveries.array(batch)
            while not self._deliver(delivery):
                if self._stop.wait(0.05):
                    return
            self.acknowledged += [event["messageId"] for event in batch]

    def _deliver(self, delivery: deliveries.Delivery) -> bool:
        """Send it to the next receiver, as a load balancer would; tell whether it was taken."""
        receiver = self._receivers[next(self._numbers) % len(self._receivers)]
        begun = time.monotonic()
        try:
            with closing(http.client.HTTPConnection(HOST, receiver.port, timeout=30)) as connection:
                connection.request("POST", "/webhook", delivery.body, delivery.headers(SECRET))
                answer = connection.getresponse()
                answer.read()
        except (OSError, http.client.HTTPException):
            return False
        self.slowest = max(self.slowest, time.monotonic() - begun)
        self.statuses[answer.status] += 1
        if answer.status != 200:
            return False
        self.taken_at[receiver] = max(begun, self.taken_at.get(receiver, begun))
        return True


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Give three servers."""
    with Cluster(tmp_path / "cluster") as started:
        yield started


@pytest.fixture
def receivers(tmp_path: Path, cluster: Cluster) -> Iterator[list[Receiver]]:
    """Give two receivers on one spool."""
    url = f"nats://{cluster.address}/segment"
    with ExitStack() as stack:
        yield [stack.enter_context(receiver_on(tmp_path / name, url)) for name in ("one", "other")]


def receiver_on(folder: Path, url: str, **settings: Any) -> Receiver:
    """Return a receiver whose spool is at *url*."""
    folder.mkdir(exist_ok=True)
    return Receiver(folder, spool_url=url, max_body_bytes=1_000_000, **settings)


def takes(receiver: Receiver, one: deliveries.Delivery) -> bool:
    """Tell whether *receiver* acknowledges a delivery."""
    return receiver.deliver(one).status_code == 200


def is_well(receiver: Receiver) -> bool:
    """Tell whether *receiver* says that it could store now."""
    return receiver.get("/health").status_code == 200


def confirms(reader: Reader, position: int) -> bool:
    """Tell whether a position can be confirmed now."""
    with suppress(SpoolUnavailable):
        reader.consumers.confirm("default", position, 0)
        return True
    return False


def assert_all_is_there(segment: Segment, receiver: Receiver, record: Attack) -> None:
    """See that each acknowledged event is emitted once, and that the books add up; enter it."""
    run = singer.sync(receiver.settings)
    emitted = Counter(emitted["message_id"] for emitted in run.records)
    record.events = len(segment.acknowledged)
    record.lost = len(set(segment.acknowledged) - emitted.keys())
    assert record.lost == 0
    assert set(emitted.values()) == {1}
    assert sorted(run.positions) == list(range(1, len(run.records) + 1))
    assert set(segment.statuses) <= {200, 503}
    status = receiver.status()
    (books,) = status["books"].values()
    assert books["received"] == sum(books[name] for name in books if name != "received")
    assert books["received"] >= len(segment.acknowledged)


def test_killed_servers_lose_nothing(cluster: Cluster, receivers: list[Receiver]) -> None:
    """One of three dies and comes back, then another: deliveries go on, and none is lost."""
    with attack(AREA, "one of three killed, then another") as record:
        with Segment(*receivers) as segment:
            for _ in range(SHORT):
                leader = cluster.leader_of("segment")
                for victim in (leader, cluster.servers[cluster.servers.index(leader) - 1]):
                    record.rounds += 1
                    segment.go_on()
                    victim.kill()
                    segment.go_on()
                    victim.start()
                    cluster.wait_for_leader()
        assert_all_is_there(segment, receivers[0], record)
    assert segment.slowest < ANSWER_SECONDS


def test_frozen_server_loses_nothing(cluster: Cluster, receivers: list[Receiver]) -> None:
    """A leader that nobody reaches any more is replaced, and does no harm when it is back."""
    with attack(AREA, "the leader stands still, then goes on") as record:
        with Segment(*receivers) as segment:
            for _ in range(SHORT):
                record.rounds += 1
                segment.go_on()
                victim = cluster.leader_of("segment")
                victim.freeze()
                segment.go_on()
                victim.thaw()
                cluster.wait_for_leader()
        assert_all_is_there(segment, receivers[0], record)
    assert segment.slowest < ANSWER_SECONDS


def test_slow_server_loses_nothing(cluster: Cluster, receivers: list[Receiver]) -> None:
    """The leader, and then another one, has a tenth of its time: slower, but nothing is lost."""
    with attack(AREA, "one of three at a tenth of its speed, leader or not") as record:
        with Segment(*receivers) as segment:
            for number in range(SHORT):
                record.rounds += 1
                segment.go_on()
                place = cluster.servers.index(cluster.leader_of("segment"))
                with slowed(cluster.servers[place - number % 2]):
                    segment.go_on(1000)
        assert_all_is_there(segment, receivers[0], record)
    assert segment.slowest < ANSWER_SECONDS


def test_cut_off_server_acknowledges_nothing(tmp_path: Path) -> None:
    """Its clients get 503, the others' deliveries go on, and mended it is one of three again."""
    with ExitStack() as stack:
        cluster = stack.enter_context(SplitCluster(tmp_path / "cluster"))
        clients = {
            server: stack.enter_context(
                receiver_on(tmp_path / server.folder.name, f"nats://{server.address}/segment")
            )
            for server in cluster.servers
        }
        record = stack.enter_context(
            attack(AREA, "one of three cut off from the others, its clients not, leader or not")
        )
        with Segment(*clients.values()) as segment:
            for is_leader, reset in itertools.islice(CUTS, SHORT):
                record.rounds += 1
                segment.go_on(SOME)
                leader = cluster.leader_of("segment")
                place = cluster.servers.index(leader)
                victim = leader if is_leader else cluster.servers[place - 1]
                alone = clients[victim]
                cluster.cut_off(victim, reset=reset)
                cut_at = time.monotonic()
                own = delivery(record.rounds)
                assert alone.deliver(own).status_code == 503
                segment.go_on(SOME)
                assert alone.deliver(own).status_code == 503
                assert alone.get("/health").status_code == 503
                assert segment.taken_at[alone] < cut_at
                cluster.mend(victim)
                wait_until(partial(takes, alone, own))
                wait_until(partial(is_well, alone))
        assert_all_is_there(segment, clients[cluster.servers[0]], record)
    assert segment.slowest < ANSWER_SECONDS


def test_receiver_leaves_a_server_that_is_cut_off(tmp_path: Path) -> None:
    """It may go to any of three; whichever is cut off, it takes deliveries again by itself."""
    with SplitCluster(tmp_path / "cluster") as cluster:
        url = f"nats://{cluster.address}/segment"
        with receiver_on(tmp_path / "one", url) as receiver:
            for number, victim in enumerate(cluster.servers):
                cluster.cut_off(victim)
                wait_until(partial(takes, receiver, delivery(number)))
                cluster.mend(victim)
                cluster.wait_for_leader()
            assert len(singer.sync(receiver.settings).records) == len(cluster.servers)


def test_pipeline_leaves_a_server_that_is_cut_off(tmp_path: Path) -> None:
    """What its target has is confirmed, whichever of three is cut off while it runs."""
    with SplitCluster(tmp_path / "cluster") as cluster:
        url = f"nats://{cluster.address}/segment"
        with receiver_on(tmp_path / "one", url), closing(open_reader(Location(url))) as reader:
            for number, victim in enumerate(cluster.servers, 1):
                cluster.cut_off(victim)
                wait_until(partial(confirms, reader, number))
                cluster.mend(victim)
                cluster.wait_for_leader()
            assert reader.consumers.positions() == {"default": len(cluster.servers)}


def test_end_is_never_an_old_one(tmp_path: Path) -> None:
    """A server that is cut off tells what it knew: who reads waits for one that knows all."""
    with SplitCluster(tmp_path / "cluster") as cluster, ExitStack() as stack:
        url = f"nats://{cluster.address}/segment"
        receiver = stack.enter_context(receiver_on(tmp_path / "one", url))
        wait_until(partial(takes, receiver, delivery(0)))
        follower, leader = cluster.followers_of("segment")[0], cluster.leader_of("segment")
        for number, victim in enumerate((follower, leader), 2):
            reader = open_reader(Location(f"nats://{victim.address}/segment"))
            stack.enter_context(closing(reader))
            cluster.cut_off(victim)
            wait_until(partial(takes, receiver, delivery(number)))
            wait_until(partial(ask, victim.address, "STREAM.INFO.segment"))
            later = threading.Timer(1, cluster.mend, (victim,))
            later.start()
            assert reader.head() == number
            assert sum(len(block.codes) for block in reader.blocks(0, number)) == number
            later.join()


def test_restart_of_all_servers_loses_nothing(cluster: Cluster, receivers: list[Receiver]) -> None:
    """All are killed at once; receivers go on by themselves when they are back."""
    with attack(AREA, "all three killed at once and started again") as record:
        with Segment(*receivers) as segment:
            for _ in range(SHORT):
                record.rounds += 1
                segment.go_on()
                for server in cluster.servers:
                    server.kill()
                for server in cluster.servers:
                    server.start()
                segment.go_on()
        assert_all_is_there(segment, receivers[0], record)
    assert segment.statuses[503]


def test_without_a_majority_the_answer_is_503(cluster: Cluster, receivers: list[Receiver]) -> None:
    """In time for Segment, and 200 again as soon as there is one."""
    one = receivers[0]
    with attack(AREA, "two of three killed, and one of them started again") as record:
        for number in range(SHORT):
            record.rounds += 1
            before, after = delivery(2 * number), delivery(2 * number + 1)
            wait_until(partial(takes, one, before))
            for server in cluster.servers[:2]:
                server.kill()

            begun = time.monotonic()
            answer = one.deliver(after)
            took = time.monotonic() - begun

            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
            assert took < ANSWER_SECONDS
            assert not is_well(one)
            cluster.servers[0].start()
            wait_until(partial(takes, one, after))
            wait_until(partial(is_well, one))
            record.events += 2
            cluster.servers[1].start()
        emitted = singer.sync(one.settings).records
        record.lost = record.events - len(emitted)
        assert record.lost == 0


def test_killed_receiver_loses_nothing(receivers: list[Receiver]) -> None:
    """The other one takes what it did not acknowledge, and knows what it did."""
    one, other = receivers
    with attack(AREA, "one of two receivers killed under load") as record:
        with Segment(one, other) as segment:
            for _ in range(SHORT):
                record.rounds += 1
                segment.go_on()
                one.kill()
                segment.go_on()
                one.start()
        assert_all_is_there(segment, other, record)
    assert segment.statuses == {200: segment.statuses[200]}


def test_full_spool_answers_503_until_there_is_room(tmp_path: Path) -> None:
    """Nothing that waits is deleted for what comes, and the tap makes room."""
    with Server(tmp_path / "server") as server, attack(AREA, "full until the tap runs") as record:
        record.rounds = 1
        url = f"nats://{server.address}/segment"
        receiver = receiver_on(
            tmp_path / "one", url, nats_replicas=1, max_spool_bytes=100_000, retention_days=0
        )
        with receiver, Segment(receiver) as segment:
            wait_until(lambda: segment.statuses[503] > 5)
            run = singer.sync(receiver.settings)
            assert len(run.records) >= len(segment.acknowledged)
            before = len(segment.acknowledged)
            singer.sync(receiver.settings, state=run.state)

            wait_until(lambda: len(segment.acknowledged) > before)

        again = singer.sync(receiver.settings, state=run.state)
        emitted = {one["message_id"] for one in (*run.records, *again.records)}
        record.events = len(segment.acknowledged)
        record.lost = len(set(segment.acknowledged) - emitted)
        assert record.lost == 0


def test_stream_that_lost_its_end_gets_a_new_identity(tmp_path: Path) -> None:
    """Positions that a pipeline has seen mean other events then: it must begin anew."""
    with Server(tmp_path / "server") as server:
        url = f"nats://{server.address}/segment"
        receiver = receiver_on(tmp_path / "one", url, nats_replicas=1)
        with receiver:
            receiver.deliver(delivery(0))
            state = singer.sync(receiver.settings).state
        assert ask(server.address, "STREAM.DELETE.segment")["success"]

        with receiver:
            receiver.deliver(delivery(1))
            run = singer.sync(receiver.settings, state=state)

    assert run.positions == [1]


def delivery(seed: int = 0) -> deliveries.Delivery:
    """Return a delivery of one event."""
    return deliveries.single(next(deliveries.events(1, seed=seed)))
