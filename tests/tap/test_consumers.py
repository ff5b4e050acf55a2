"""What a pipeline has confirmed is on disk, beside the spool, and only ever its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.spool import event, events, opened, received, rows
from tap_segment_webhook.errors import SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.spool.consumers import Consumers
from tap_segment_webhook.spool.model import Replay

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def consumers(tmp_path: Path) -> Consumers:
    """Give the consumers of a spool that none has read yet."""
    return Consumers(tmp_path / "spool.db", "one")


def test_nobody_is_known_at_first(consumers: Consumers, tmp_path: Path) -> None:
    """Asking who there is makes no file."""
    assert consumers.positions() == {}
    assert list(tmp_path.iterdir()) == []


def test_registered_consumer_has_confirmed_nothing(consumers: Consumers) -> None:
    """Registering again takes nothing back."""
    consumers.register("lake")
    assert consumers.positions() == {"lake": 0}

    consumers.confirm("lake", 7, 0)
    consumers.register("lake")

    assert consumers.positions() == {"lake": 7}


def test_confirmation_may_go_back(consumers: Consumers) -> None:
    """A target that was restored needs again what it had confirmed."""
    consumers.confirm("lake", 7, 0)
    consumers.confirm("lake", 3, 1)

    assert consumers.positions() == {"lake": 3}


def test_forgetting_is_for_the_known(consumers: Consumers) -> None:
    """It tells whether there was anything to forget."""
    consumers.register("lake")

    assert consumers.forget("lake")
    assert not consumers.forget("lake")
    assert consumers.positions() == {}


def test_replay_alone_lets_nothing_be_pruned(consumers: Consumers) -> None:
    """With no consumer known, none has confirmed anything, whatever is to be replayed."""
    consumers.ask_for("lake", Replay("again", 5, 7, 0, 1, "t"))

    assert consumers.floor() == 0


def test_each_spool_has_its_own(consumers: Consumers, tmp_path: Path) -> None:
    """A new spool under an old name starts with nobody."""
    other = Consumers(tmp_path / "spool.db", "two")
    consumers.confirm("lake", 7, 0)
    other.confirm("lake", 1, 0)

    assert consumers.positions() == {"lake": 7}
    assert other.forget("lake")
    assert consumers.positions() == {"lake": 7}


def test_file_that_a_power_cut_left_empty_is_none(consumers: Consumers, tmp_path: Path) -> None:
    """Cut off in its very first write, it holds nobody yet, and can be written."""
    (tmp_path / "spool.db-consumers").touch()

    assert consumers.positions() == {}
    consumers.register("lake")
    assert consumers.positions() == {"lake": 0}


def test_unreadable_confirmations_prune_nothing(tmp_path: Path, spool_url: str) -> None:
    """Who does not know what was confirmed deletes nothing, and goes on receiving."""
    with opened(spool_url) as store:
        store.commit([received(*events(3))])
        store.consumers.confirm("lake", 3, 0)
        (tmp_path / "spool.db-consumers").write_bytes(b"no database at all" * 100)

        with pytest.raises(SpoolUnavailable, match="cannot be read"):
            store.tidy(-1)
        with pytest.raises(SpoolUnusable, match="cannot be written"):
            store.consumers.register("lake")
        store.commit([received(event(4))])

    assert len(rows(spool_url)) == 4
