"""What pipelines have confirmed is kept by every kind of spool as `engine.Consumers` says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from harness.spool import events, received
from tap_segment_webhook.spool.model import Replay

if TYPE_CHECKING:
    from spool.conftest import Spool

ASKED = Replay("an-id", 2, 3, 0, 1 << 62, "tp")


def test_consumers_are_known_once_they_register(spool: Spool) -> None:
    """At position 0, and where they were if they come again."""
    spool.fill(received(*events(3)))
    with spool.reader() as reader:
        assert reader.consumers.positions() == {}
        assert reader.consumers.floor() == 0

        for name in ("one", "another, with spaces and é", ""):
            reader.consumers.register(name)
        reader.consumers.confirm("one", 3, 0)
        reader.consumers.register("one")

        expected = {"one": 3, "another, with spaces and é": 0, "": 0}
        assert reader.consumers.positions() == expected
    spool.restart()
    with spool.writer() as writer:
        assert writer.consumers.positions() == expected


def test_target_that_was_put_back_counts(spool: Spool) -> None:
    """A lower position is what the state says: it is taken."""
    spool.fill(received(*events(3)))
    with spool.reader() as reader:
        reader.consumers.confirm("default", 3, 0)
        reader.consumers.confirm("default", 1, 0)

        assert reader.consumers.floor() == 1


def test_forgotten_consumers_hold_nothing_back(spool: Spool) -> None:
    """Neither by their position nor by a replay."""
    spool.fill(received(*events(3)))
    with spool.reader() as reader:
        reader.consumers.confirm("stays", 3, 0)
        reader.consumers.register("goes")
        reader.consumers.ask_for("goes", ASKED)

        assert reader.consumers.forget("goes")
        assert not reader.consumers.forget("goes")

        assert reader.consumers.positions() == {"stays": 3}
        assert reader.consumers.replays() == {}
        assert reader.consumers.floor() == 3


def test_replay_keeps_its_events_until_it_ends(spool: Spool) -> None:
    """And confirming does not end it."""
    spool.fill(received(*events(3)))
    with spool.reader() as reader:
        reader.consumers.confirm("default", 3, 0)
        reader.consumers.ask_for("default", ASKED)
        reader.consumers.confirm("default", 3, 0)

        assert reader.consumers.replays() == {"default": ASKED}
        assert reader.consumers.floor() == 1
        assert reader.consumers.end_replay("default")
        assert not reader.consumers.end_replay("default")
        assert reader.consumers.floor() == 3


def test_consumers_do_not_undo_one_another(spool: Spool) -> None:
    """Whoever confirms at the same time."""
    spool.fill(received(*events(3)))

    def confirm(number: int) -> None:
        with spool.reader() as reader:
            reader.consumers.register(f"consumer-{number}")
            reader.consumers.ask_for(f"consumer-{number}", ASKED)
            reader.consumers.confirm(f"consumer-{number}", 3, 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(confirm, range(4)))

    with spool.reader() as reader:
        assert set(reader.consumers.positions().values()) == {3}
        assert len(reader.consumers.replays()) == 4


def test_confirming_and_asking_at_once_are_both_kept(spool: Spool) -> None:
    """A run and a command may change the same consumer in the same moment."""
    spool.fill(received(*events(3)))

    def confirm() -> None:
        with spool.reader() as reader:
            for _ in range(20):
                for position in (1, 2, 3):
                    reader.consumers.confirm("default", position, 0)

    def ask() -> None:
        with spool.reader() as reader:
            for _ in range(20):
                reader.consumers.ask_for("default", ASKED)
                assert reader.consumers.replays() == {"default": ASKED}
                assert reader.consumers.end_replay("default")
            reader.consumers.ask_for("default", ASKED)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(confirm), pool.submit(ask)]:
            done.result()

    with spool.reader() as reader:
        assert reader.consumers.positions() == {"default": 3}
        assert reader.consumers.replays() == {"default": ASKED}
