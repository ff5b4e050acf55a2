"""A spool of an earlier format opens as it is: its events, its books, and what was confirmed."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from harness import spool
from harness.attacks import attack
from harness.spool import event, events, opened, received
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.reader import Reader

KEPT = sorted((Path(__file__).parent / "spools").glob("format-*.spool"))
EVENTS = [*events(4), event(5, note="é☕" * 3000)]
BOOKS = {
    "app": Counts(received=2, stored=1, rejected=1),
    "default": Counts(received=5, stored=4, duplicate=1),
}


@pytest.fixture(params=KEPT, ids=lambda path: path.stem)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a copy of a spool that an earlier version wrote (`spools/make.py`)."""
    for suffix in ("", "-consumers"):
        shutil.copy(f"{request.param}{suffix}", f"{tmp_path / 'spool.db'}{suffix}")
    return spool.url_in(tmp_path)


def test_earlier_format_is_read_before_the_receiver_is_upgraded(url: str) -> None:
    """A tap that is newer than the receiver reads what that one writes, and changes nothing."""
    path = Path(url.removeprefix("sqlite:///"))
    before = path.read_bytes()

    with closing(Reader(url)) as reader:
        assert reader.books() == BOOKS
        assert reader.consumers.positions() == {"lake": 2}
        assert [reject.body for reject in reader.rejects()] == [b'{"type":"order"}']
        assert sum(holding.waiting for holding in reader.holdings(2).values()) == 3
    assert [(body, position) for body, position, *_ in spool.rows(url)] == [
        (body, position) for position, body in enumerate(EVENTS, 1)
    ]
    assert path.read_bytes() == before


def test_earlier_format_is_gone_on_with(url: str) -> None:
    """It becomes one of this version: the same spool, known events, the next positions."""
    with attack("upgrade", "a spool written by an earlier format is opened and written") as tally:
        with closing(Reader(url)) as reader:
            identity = reader.spool_id

        with opened(url) as store:
            again = store.commit([received(*EVENTS), received(event(6))])

            assert store.spool_id == identity
            assert again == [Counts(5, duplicate=5), Counts(1, stored=1)]
        assert [body for body, *_ in spool.rows(url)] == [*EVENTS, event(6)]
        tally.rounds, tally.events = 1, len(EVENTS)


def test_upgrade_beside_a_reader_does_not_disturb_it(url: str) -> None:
    """A tap under way reads on while the receiver that is started meanwhile changes the format."""
    with closing(Reader(url)) as reader:
        blocks = reader.blocks(0, reader.head())
        first = next(blocks)
        with opened(url) as store:
            store.commit([received(event(6))])

        rest = list(blocks)

    assert [body for block in (first, *rest) for body, *_ in block.rows()] == EVENTS
