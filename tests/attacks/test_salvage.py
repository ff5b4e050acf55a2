"""A salvage that is cut off costs nothing that it would have saved, and the next one completes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from harness import disk, spool
from harness.attacks import ROUNDS, attack
from harness.disk import Disk, Platter, RecordedFolder
from harness.spool import balanced, event, opened, received
from tap_segment_webhook.errors import SpoolUnusable
from tap_segment_webhook.spool.reader import Reader
from tap_segment_webhook.spool.salvage import salvage

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not disk.is_reachable(), reason="This Python hides its SQLite.")

IMAGES = 5 * ROUNDS
EVENTS = 60
IN_THE_LOG = 12
DAMAGED = range(21, 25)
SAVED = [n for n in range(1, EVENTS + IN_THE_LOG + 1) if n not in DAMAGED]
FILES = ("spool.db", "spool.db-wal")


def body(number: int) -> bytes:
    """Return an event that no other resembles."""
    return event(number, note=f"note-{number} " * 40)


@pytest.fixture
def left(tmp_path: Path) -> dict[str, bytes]:
    """Leave a spool as a kill does, with a block that a disk has changed; give its files."""
    home = tmp_path / "home"
    home.mkdir()
    url = spool.url_in(home)
    with opened(url) as store:
        for first in range(1, EVENTS, 4):
            store.commit([received(*map(body, range(first, first + 4)), b"no event %d" % first)])
    with opened(url) as store:
        for number in range(EVENTS + 1, EVENTS + IN_THE_LOG + 1):
            store.commit([received(body(number))])
        files = {name: (home / name).read_bytes() for name in FILES}
    files["spool.db"] = files["spool.db"].replace(b"note-22 ", b"nota-22 ", 1)
    place = tmp_path / "damaged"
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    return {str(place / name): content for name, content in files.items()}


def test_power_cut_while_a_spool_is_salvaged_costs_nothing(left: dict[str, bytes]) -> None:
    """At whichever moment: it is refused until another run, which saves as much as one alone."""
    place = Path(next(iter(left))).parent
    refused = 0
    with attack("spool", "power cut while a damaged spool is salvaged") as tally:
        with Disk() as recorded:
            salvage(spool.url_in(place), 0, RecordedFolder(recorded))
        identity = identity_of(place)
        for folder in images(recorded, left):
            refused += completed(folder)
            with Disk(syncs=False):
                rows = [row[:2] for row in spool.rows(spool.url_in(folder))]
                assert rows == [(body(number), number) for number in SAVED]
                assert identity_of(folder) == identity
                assert balanced(spool.url_in(folder)).rejected == EVENTS // 4
            tally.rounds += 1
            tally.events += len(SAVED)
        assert 0 < refused < tally.rounds


def images(recorded: Disk, left: dict[str, bytes]) -> Iterator[Path]:
    """Yield folders with what power cuts at any moment may leave."""
    chances = Random(0)  # noqa: S311 - test data
    platter, played = Platter(files=left), 0
    for moment in sorted(chances.choices(range(len(recorded.record) + 1), k=IMAGES)):
        for operation in recorded.record[played:moment]:
            platter.play(operation)
        played = moment
        with TemporaryDirectory() as name:
            for path, content in platter.cut(chances).items():
                Path(name, Path(path).name).write_bytes(content)
            yield Path(name)


def completed(folder: Path) -> bool:
    """Salvage the spool in *folder* if it is not whole; tell whether it was not."""
    with Disk(syncs=False):
        try:
            spool.rows(spool.url_in(folder))
        except SpoolUnusable:
            salvage(spool.url_in(folder), 0)
            return True
    return False


def identity_of(folder: Path) -> str:
    """Return the identity of the spool in *folder*."""
    with closing(Reader(spool.url_in(folder))) as reader:
        identity: str = reader.spool_id
    return identity
