"""Readers of every kind of spool keep what `engine.Reader` says."""

from __future__ import annotations

from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from harness.spool import event, events, received
from tap_segment_webhook.errors import NoSpool

if TYPE_CHECKING:
    from spool.conftest import Spool

END = 1 << 62


def test_reading_begins_behind_a_position_and_ends_at_one(spool: Spool) -> None:
    """Each event between is in exactly one block."""
    spool.fill(received(*events(1200)), received(*events(20, first=2000), source="crm"))

    with spool.reader() as reader:
        found = [
            row[1]
            for block in reader.blocks(700, 1210)
            for row in block.rows()
            if 700 < row[1] <= 1210
        ]

    assert found == list(range(701, 1211))


def test_reader_of_an_empty_spool_is_at_its_end(spool: Spool) -> None:
    """It does not wait for what may come."""
    with spool.writer(), spool.reader() as reader:
        assert reader.head() == 0
        assert reader.oldest() is None
        assert [*reader.blocks(-1, 0), *reader.blocks(0, 100)] == []
        assert reader.size() >= 0
        assert reader.books() == {}
        assert reader.signs().event_at is None


def test_spool_is_there_whole_or_not_yet(spool: Spool) -> None:
    """Whoever looks while a receiver makes it finds none, or one that can be read."""
    made = Thread(target=spool.fill, args=(received(*events(3)),))
    heads: set[int] = set()

    made.start()
    while made.is_alive():
        with suppress(NoSpool), spool.reader() as reader:
            heads.add(reader.head())
    made.join()

    assert heads <= {0, 1, 2, 3}
    assert len(spool.rows()) == 3


def test_reader_sees_what_is_committed_meanwhile(spool: Spool) -> None:
    """A tap that listens emits it at once."""
    with spool.writer() as writer, spool.reader() as reader:
        for number in range(1, 6):
            writer.commit([received(event(number))])

            assert reader.head() == number
            assert [block.position for block in reader.blocks(number - 1, number)] == [number]


def test_end_that_was_erased_is_not_waited_for(spool: Spool) -> None:
    """The last position may be of an event that is gone, and is not given out again."""
    spool.fill(received(*events(3)))
    with spool.writer() as writer, spool.reader() as reader:
        blocks = [block for block in reader.blocks(0, 3) if block.position == 3]
        writer.erase([(blocks[0], [3])])

        assert [row[1] for block in reader.blocks(0, 3) for row in block.rows()] == [1, 2]
    spool.restart()
    spool.fill(received(event(4)))
    assert [row[1] for row in spool.rows()] == [1, 2, 4]


def test_oldest_is_the_first_that_is_retained(spool: Spool) -> None:
    """It tells a pipeline whether something was pruned before it came."""
    for number in range(1, 4):
        spool.fill(received(event(number)))
    with spool.writer() as writer:
        writer.consumers.confirm("default", 2, 0)
        while writer.tidy(-1000):
            pass

    with spool.reader() as reader:
        assert reader.oldest() == 3
        assert [block.first_position for block in reader.blocks(0, 3)] == [3]


def test_events_are_found_by_time_and_type(spool: Spool) -> None:
    """A replay is asked for by both."""
    spool.fill(received(event(1, "page"), event(2), event(3, "page")))

    with spool.reader() as reader:
        found = reader.find(0, END, "p")

        assert found.counts == {"p": 2}
        assert found.first <= 1
        assert found.last >= 3
        assert not reader.find(0, 1, "p").counts
        assert not reader.find(0, END, "g").counts


def test_holdings_tell_what_waits_and_what_is_kept(spool: Spool) -> None:
    """Per stream, with the bytes of what waits."""
    bodies = [event(1, "page"), event(2), event(3), event(4, "page")]
    spool.fill(received(*bodies))

    with spool.reader() as reader:
        found = reader.holdings(2)

    assert (found["track"].waiting, found["track"].confirmed) == (1, 1)
    assert (found["page"].waiting, found["page"].confirmed) == (1, 1)
    assert found["track"].waiting_bytes == len(bodies[2])
    assert found["page"].oldest_waiting_at
    assert found["group"] == (0, 0, None, 0)


def test_times_are_those_of_the_commit(spool: Spool) -> None:
    """In milliseconds, the same wherever they are shown."""
    spool.fill(received(event(1)))

    with spool.reader() as reader:
        (block,) = reader.blocks(0, 1)
        signs = reader.signs()

        assert signs.event_at == block.received_at == reader.holdings(0)["track"].oldest_waiting_at
        assert signs.receiver_at >= block.received_at - 1


@pytest.mark.parametrize("size", [200_000])
def test_large_events_come_whole(spool: Spool, size: int) -> None:
    """Also many of them, in bounded steps."""
    bodies = [event(number, padding="x" * size) for number in range(1, 13)]
    spool.fill(received(*bodies))

    assert [row[0] for row in spool.rows()] == bodies
