"""An erasure that is cut off costs nobody else an event, and the next one completes it."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from harness import disk, spool
from harness.attacks import ROUNDS, attack
from harness.disk import Disk, Platter
from harness.spool import event, opened, received
from tap_segment_webhook.errors import SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.person import People
from tap_segment_webhook.spool.erasure import Erasure
from tap_segment_webhook.spool.reader import Reader

pytestmark = pytest.mark.skipif(not disk.is_reachable(), reason="This Python hides its SQLite.")

USER = "usr_40711"
MARK = "Quince-Marmalade"
EVENTS = 240
IMAGES = 10 * ROUNDS
FAULTS = 5 * ROUNDS
OTHERS = [(event(number), number) for number in range(3, EVENTS + 1, 3)]


def test_power_cut_while_erasing_costs_nobody_else_an_event(tmp_path: Path) -> None:
    """The others are as they were, with the books; after another run no file holds a byte."""
    chances = random.Random(0)  # noqa: S311 - test data
    with (
        attack("spool", "power cut while somebody is erased: any unsynced writes lost") as tally,
        Disk() as recorded,
    ):
        fill(tmp_path)
        begun = len(recorded.record)
        erase(tmp_path)
        ended = len(recorded.record)
        platter, played = Platter(), 0
        for moment in sorted(chances.choices(range(begun, ended + 1), k=IMAGES)):
            for operation in recorded.record[played:moment]:
                platter.play(operation)
            played = moment
            with TemporaryDirectory() as name:
                folder = Path(name)
                for path, content in platter.cut(chances).items():
                    Path(folder, Path(path).name).write_bytes(content)
                assert_completed_by_another_run(folder)
            tally.rounds += 1
            tally.events += len(OTHERS)


def test_fault_while_erasing_is_said_and_costs_nobody_else_an_event(tmp_path: Path) -> None:
    """Whatever read, write or sync fails, the command says so, and another run completes it."""
    chances = random.Random(0)  # noqa: S311 - test data
    failed = 0
    with attack("spool", "an I/O error or a full disk while somebody is erased") as tally:
        for number in range(FAULTS):
            folder = tmp_path / str(number)
            folder.mkdir()
            with Disk(syncs=False):
                fill(folder)
            fault = Fault(chances)
            with Disk(fault, syncs=False):
                try:
                    erase(folder)
                except (SpoolUnavailable, SpoolUnusable):
                    failed += 1
            assert_completed_by_another_run(folder)
            tally.rounds += 1
            tally.events += len(OTHERS)
    assert failed > FAULTS / 3


class Fault:
    """Lets operations of a kind fail from one on."""

    def __init__(self, chances: random.Random) -> None:
        self._error, self._kind = chances.choice(
            (
                (disk.IOERR_WRITE, "write"),
                (disk.IOERR_FSYNC, "sync"),
                (disk.IOERR_READ, "read"),
                (disk.FULL, "write"),
                (disk.CANTOPEN, "open"),
            )
        )
        self._wait = chances.randrange({"open": 5, "sync": 12}.get(self._kind, 150))

    def __call__(self, kind: str, _: str) -> int:
        """Say whether this operation fails."""
        if kind == self._kind:
            self._wait -= 1
        return self._error if kind == self._kind and self._wait < 0 else disk.OK


def fill(folder: Path) -> None:
    """Make a spool in *folder* in which two events of three are the user's."""
    with opened(spool.url_in(folder)) as store:
        for first in range(1, EVENTS + 1, 12):
            numbers = range(first, first + 12)
            store.commit([received(*(theirs(n) if n % 3 else event(n) for n in numbers))])
        store.commit([received(f"no event, of {USER}: {MARK}".encode())])


def theirs(number: int) -> bytes:
    """Return an event of the user, now and then of several pages."""
    return event(number, userId=USER, properties={"note": MARK * (1000 if number % 50 == 0 else 1)})


def erase(folder: Path) -> None:
    """Erase the user from the spool in *folder*, as the command does."""
    url = spool.url_in(folder)
    with opened(url, window=0) as store, closing(Reader(url)) as reader:
        Erasure(store, reader, People.of([USER], []), requests=False).run(lambda _: None)


def assert_completed_by_another_run(folder: Path) -> None:
    """Check that the others are whole, before and after another run, and that the user is gone."""
    url = spool.url_in(folder)
    with Disk(syncs=False):
        assert [row[:2] for row in spool.rows(url) if row[1] % 3 == 0] == OTHERS
        erase(folder)
        assert [row[:2] for row in spool.rows(url)] == OTHERS
        with closing(Reader(url)) as reader:
            assert reader.books()["default"].stored == EVENTS
            assert list(reader.rejects()) == []
    assert [path for path in folder.iterdir() if MARK.encode() in path.read_bytes()] == []
