"""A spool is read in the order of positions, in parts, without being changed."""

from __future__ import annotations

from contextlib import closing, suppress
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from harness.spool import event, events, fill, opened, received
from tap_segment_webhook.errors import NoSpool, SpoolUnusable
from tap_segment_webhook.spool.layout import spool_path
from tap_segment_webhook.spool.model import Holding
from tap_segment_webhook.spool.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path


def test_reading_starts_after_a_position(spool_url: str) -> None:
    """Only blocks with a position in the range are read."""
    for first in (1, 4, 7):
        fill(spool_url, events(3, first=first))
    with closing(Reader(spool_url)) as reader:
        found = {
            (after, until): [block.position for block in reader.blocks(after, until)]
            for after, until in [(0, 9), (2, 9), (3, 9), (0, 4), (0, 3), (9, 9), (0, 0)]
        }

    assert found == {
        (0, 9): [3, 6, 9],
        (2, 9): [3, 6, 9],
        (3, 9): [6, 9],
        (0, 4): [3, 6],
        (0, 3): [3],
        (9, 9): [],
        (0, 0): [],
    }


def test_head_and_oldest_are_known(spool_url: str) -> None:
    """The head outlives what was pruned; the oldest is what is left."""
    with opened(spool_url) as store, closing(Reader(spool_url)) as reader:
        assert (reader.head(), reader.oldest()) == (0, None)
        store.commit([received(*events(3))])
        store.commit([received(*events(2, first=4))])
        assert (reader.head(), reader.oldest()) == (5, 1)

        store.consumers.confirm("default", 3, 0)
        while store.tidy(-1):
            pass
        assert (reader.head(), reader.oldest()) == (5, 4)


def test_holdings_tell_waiting_from_confirmed(spool_url: str) -> None:
    """Each stream's events are counted on both sides of what is confirmed."""
    bodies = [event(1, "track"), event(2, "page"), event(3, "track"), event(4, "track", event="é")]
    fill(spool_url, bodies)
    with closing(Reader(spool_url)) as reader:
        holdings = reader.holdings(2)
        (block,) = reader.blocks(0, 4)

    assert holdings["track"] == Holding(2, len(bodies[2]) + len(bodies[3]), block.received_at, 1)
    assert holdings["page"] == Holding(0, 0, None, 1)
    assert holdings["group"] == Holding()
    assert len(holdings) == 7


def test_rejects_come_oldest_first(spool_url: str) -> None:
    """Rejects keep their order and their number."""
    fill(spool_url, [b"first", b"second"])
    fill(spool_url, [b"third"])
    with closing(Reader(spool_url)) as reader:
        found = [(reject.number, reject.body) for reject in reader.rejects()]

    assert found == [(1, b"first"), (2, b"second"), (3, b"third")]


def test_size_is_what_the_writer_measures(spool_url: str) -> None:
    """Both sides say the same about the bytes in use."""
    with opened(spool_url) as store, closing(Reader(spool_url)) as reader:
        store.commit([received(event(1, properties={"a": "x" * 1_000_000}))])
        store.probe()

        assert reader.size() == store.used_bytes > 1_000_000


def test_absent_spool_is_not_made(tmp_path: Path, spool_url: str) -> None:
    """Looking for a spool does not make one."""
    with pytest.raises(SpoolUnusable):
        Reader(spool_url)

    assert list(tmp_path.iterdir()) == []


def test_spool_is_there_whole_or_not_yet(tmp_path: Path) -> None:
    """Whoever looks while receivers make their spools finds none, or one that can be read."""
    for number in range(40):  # the moment is short: one look in four spools hits it
        spool_url = f"sqlite:///{tmp_path}/{number}.db"
        spool_path(spool_url).touch()
        made = Thread(target=fill, args=(spool_url, events(3)))
        found: set[int] = set()

        with pytest.raises(NoSpool):
            Reader(spool_url)
        made.start()
        while made.is_alive():
            with suppress(NoSpool), closing(Reader(spool_url)) as reader:
                found.add(reader.head())
        made.join()
        with closing(Reader(spool_url)) as reader:
            found.add(reader.head())

        assert found <= {0, 3}
        assert 3 in found


def test_reading_changes_no_byte(spool_url: str) -> None:
    """A reader leaves the file as the writer left it."""
    fill(spool_url, [*events(3), b"nonsense"])
    before = spool_path(spool_url).read_bytes()

    with closing(Reader(spool_url)) as reader:
        assert len(list(reader.blocks(0, reader.head()))) == 1
        assert reader.count_rejects() == 1

    assert spool_path(spool_url).read_bytes() == before
