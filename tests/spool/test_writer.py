"""Writers of every kind of spool keep what `engine.Writer` says."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from harness.spool import event, events, received
from tap_segment_webhook.errors import SpoolUnusable
from tap_segment_webhook.event import read_event
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.opening import open_writer

if TYPE_CHECKING:
    from spool.conftest import Spool


def test_events_are_kept_byte_for_byte_in_order(spool: Spool) -> None:
    """What comes out is what came in, one position each, counted from 1."""
    bodies = [*events(300), b' { "type" : "track","messageId":"spaced", "x": "\\ud83d\\ude00"} ']

    assert spool.fill(received(*bodies)) == [Counts(301, 301)]

    found = spool.rows()
    assert [row[0] for row in found] == bodies
    assert [row[1] for row in found] == list(range(1, 302))


def test_sources_and_types_are_kept(spool: Spool) -> None:
    """Each event says where it came from, and goes to its own stream."""
    spool.fill(
        received(event(1, "page"), source="a.b ~%/é"),
        received(event(2, "alias"), event(3, "track"), source="web"),
    )

    with spool.reader() as reader:
        found = {
            (row[2], code)
            for block in reader.blocks(0, reader.head())
            for code, row in zip(block.codes, block.rows(), strict=True)
        }
    assert found == {("a.b ~%/é", "p"), ("web", "a"), ("web", "t")}


def test_each_part_learns_what_became_of_it(spool: Spool) -> None:
    """The books balance for every delivery of a commit, and for all of them."""
    outcomes = spool.fill(
        received(*events(3)),
        received(*events(2), b"[1]", event(9)),
        received(b"[1]", b"[2]", source="crm"),
    )

    assert outcomes == [
        Counts(3, 3),
        Counts(4, 1, 2, 0, 1),
        Counts(2, 0, 1, 0, 1),
    ]
    with spool.reader() as reader:
        assert reader.books() == {"default": Counts(7, 4, 2, 0, 1), "crm": Counts(2, 0, 1, 0, 1)}


def test_duplicates_are_recognised_after_a_restart(spool: Spool) -> None:
    """A retry of Segment's is no new event, whatever was started anew between."""
    spool.fill(received(*events(50)))

    spool.restart()
    outcomes = spool.fill(received(*events(51)))

    assert outcomes == [Counts(51, 1, 50)]
    assert len(spool.rows()) == 51


def test_committed_events_survive_a_restart(spool: Spool) -> None:
    """What was acknowledged is there again, and the books with it."""
    spool.fill(received(*events(100), b"no event"))

    spool.restart()

    assert [row[0] for row in spool.rows()] == events(100)
    with spool.reader() as reader:
        assert reader.books() == {"default": Counts(101, 100, 0, 0, 1)}
        assert [reject.body for reject in reader.rejects()] == [b"no event"]


def test_positions_are_never_given_out_again(spool: Spool) -> None:
    """A bookmark means the same for ever, also after everything was pruned."""
    spool.fill(received(*events(10)))
    with spool.writer() as writer:
        writer.consumers.confirm("default", 10, 0)
        while writer.tidy(-1000):
            pass
        assert writer.head == 10
    spool.restart()

    spool.fill(received(event(11)))

    assert [row[1] for row in spool.rows()] == [11]


def test_only_what_every_consumer_confirmed_is_pruned(spool: Spool) -> None:
    """The slowest pipeline decides, and with none known nothing goes."""
    for number in range(1, 6):
        spool.fill(received(event(number)))
    prune(spool)
    assert len(spool.rows()) == 5

    with spool.reader() as reader:
        reader.consumers.confirm("fast", 5, 0)
        reader.consumers.confirm("slow", 2, 0)
    prune(spool)

    assert [row[1] for row in spool.rows()] == [3, 4, 5]


def test_confirmed_events_stay_for_the_retention(spool: Spool) -> None:
    """What was confirmed can be replayed for a while."""
    spool.fill(received(*events(5)))
    with spool.writer() as writer:
        writer.consumers.confirm("default", 5, 0)

        assert writer.tidy(3_600_000) == 0

    assert len(spool.rows()) == 5


def test_pruned_events_are_still_recognised(spool: Spool) -> None:
    """Segment's retry of an event that is gone is no new one."""
    spool.fill(received(event(1)))
    with spool.writer() as writer:
        writer.consumers.confirm("default", 1, 0)
        while writer.tidy(-1000):
            pass

        assert writer.commit([received(event(1))]) == [Counts(1, 0, 1)]


def test_rejects_are_kept_with_reason_and_bytes(spool: Spool) -> None:
    """What was authentic and is no event can be looked at, once each."""
    spool.fill(received(b"[1]", b"\xff\x00", source="crm"))
    spool.fill(received(b"[1]", source="crm"))

    with spool.reader() as reader:
        found = list(reader.rejects())
        assert reader.count_rejects() == 2
    assert [(reject.source, reject.body) for reject in found] == [
        ("crm", b"[1]"),
        ("crm", b"\xff\x00"),
    ]
    assert all(reject.reason and reject.received_at for reject in found)


def test_rejects_can_become_events(spool: Spool) -> None:
    """A reject that is read at last moves over, and the books with it."""
    spool.fill(received(b"[1]", b"[2]"))
    with spool.reader() as reader:
        one, other = reader.rejects()

    with spool.writer() as writer:
        assert writer.retry_rejects([(one, read_event(event(7)))]) == 1
        assert writer.retry_rejects([(other, read_event(event(7)))]) == 0
        assert writer.rejects == 0

    assert [row[0] for row in spool.rows()] == [event(7)]
    with spool.reader() as reader:
        assert reader.books() == {"default": Counts(2, 1, 1)}
        assert list(reader.rejects()) == []


def test_rejects_can_be_purged(spool: Spool) -> None:
    """The books go on counting them."""
    spool.fill(received(b"[1]", b"[2]"))

    with spool.writer() as writer:
        assert writer.purge_rejects() == 2

    with spool.reader() as reader:
        assert reader.count_rejects() == 0
        assert reader.books() == {"default": Counts(2, 0, 0, 0, 2)}


def test_erased_events_are_passed_over(spool: Spool) -> None:
    """The others keep their positions."""
    spool.fill(received(*events(5)))
    with spool.writer() as writer, spool.reader() as reader:
        lot = [
            (block, [row[1] for row in block.rows() if row[1] in (2, 5)])
            for block in reader.blocks(0, reader.head())
        ]

        writer.erase([(block, gone) for block, gone in lot if gone])

        assert writer.head == reader.head() == 5
    assert [row[1] for row in spool.rows()] == [1, 3, 4]


def test_pruning_goes_on_behind_erased_events(spool: Spool) -> None:
    """Also where the last ones were erased, and nothing has come since."""
    spool.fill(received(*events(5)))
    with spool.writer() as writer, spool.reader() as reader:
        writer.consumers.confirm("default", 5, 0)
        lot = [
            (block, [row[1] for row in block.rows() if row[1] > 3])
            for block in reader.blocks(0, reader.head())
        ]
        writer.erase([(block, gone) for block, gone in lot if gone])
    prune(spool)

    assert spool.rows() == []


def test_writer_says_what_is_in_the_spool(spool: Spool) -> None:
    """The figures of `/metrics` are right from the start."""
    spool.fill(received(*events(3), b"[1]"))

    with spool.writer() as writer:
        assert (writer.head, writer.rejects) == (3, 1)
        assert writer.books == {"default": Counts(4, 3, 0, 0, 1)}
        assert writer.stored_at > 0
        assert writer.used_bytes > 0
        writer.probe()


def test_absence_of_all_receivers_is_noted(spool: Spool) -> None:
    """None is noted when one ran a moment ago."""
    with spool.writer() as writer:
        assert writer.begin_receiving() is None

    with spool.writer() as writer:
        assert writer.begin_receiving() is None
    with spool.reader() as reader:
        assert reader.signs().absences == []
        assert reader.signs().receiver_at > 0


def test_absent_spool_is_not_made_by_who_only_looks(spool: Spool) -> None:
    """A wrong spool_url does not leave an empty spool behind."""
    with (
        pytest.raises(SpoolUnusable, match="no spool"),
        closing(open_writer(spool.location, create=False)),
    ):
        pass
    with pytest.raises(SpoolUnusable, match="no spool"), spool.reader():
        pass


def prune(spool: Spool) -> None:
    """Prune everything that may go, whatever its age."""
    with spool.writer() as writer:
        while writer.tidy(-1000):
            pass
