"""A power cut at any moment leaves what was acknowledged, once, and books that agree."""

from __future__ import annotations

from contextlib import closing
from operator import itemgetter
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest
from harness import spool
from harness.attacks import ROUNDS, attack
from harness.disk import Disk, Platter, is_reachable
from harness.spool import event, opened, received
from tap_segment_webhook.errors import SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.reader import Reader
from tap_segment_webhook.spool.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LIVES = max(1, ROUNDS // 20)
pytestmark = pytest.mark.skipif(not is_reachable(), reason="This Python hides its SQLite.")

IMAGES = 300  # of each life
STEPS = 120
NO_EVENT = b'{"type":"order","number":%d}'
AT_ONCE = -1
PRUNED_BLOCKS = 64
CONSUMER = "default"

Done = TypeVar("Done")


class Kept(NamedTuple):
    """What a spool holds, for whoever looks at it."""

    events: tuple[tuple[int, bytes], ...] = ()
    books: Counts = Counts()
    rejects: tuple[bytes, ...] = ()
    confirmed: int = 0


class Step(NamedTuple):
    """Something that was done to a spool, between two moments of its disk's record."""

    begin: int
    end: int
    before: Kept
    after: Kept


class Life:
    """A spool that is written, confirmed, pruned and reopened, and what it then holds.

    What is expected is kept here by hand, and never asked of the store.
    """

    def __init__(self, url: str, seed: int, disk: Disk) -> None:
        self._url = url
        self._random = Random(seed)  # noqa: S311 - test data
        self._disk = disk
        self._number = 0
        self._head = 0
        self._blocks: list[list[tuple[int, bytes]]] = []
        self._bodies: list[bytes] = []
        self._kept = Kept()
        self.steps: list[Step] = []

    def live(self) -> None:
        """Do one thing after the other."""
        self._store = self._do(self._open, self._kept)
        self.identity = self._store.spool_id
        actions = (self._commit, self._large, self._repeat, self._confirm, self._tidy, self._reopen)
        for action in self._random.choices(actions, (60, 12, 8, 6, 6, 3), k=STEPS):
            action()
        self._do(self._store.close, self._kept)

    def images(
        self, seed: int, *, count: int = IMAGES, lies: bool = False
    ) -> Iterator[tuple[tuple[Kept, Kept], Path]]:
        """Yield *count* times what may be kept after a power cut, and a folder with what is left.

        A moment of any step is as likely as of any other, however much it writes.
        """
        random = Random(seed)  # noqa: S311 - test data
        platter = Platter(lies=lies)
        steps = random.choices(self.steps, k=count)
        moments = [(random.randint(step.begin, step.end), step) for step in steps]
        played = 0
        for moment, step in sorted(moments, key=itemgetter(0)):
            for operation in self._disk.record[played:moment]:
                platter.play(operation)
            played = moment
            with TemporaryDirectory() as folder:
                for path, content in platter.cut(random).items():
                    Path(folder, Path(path).name).write_bytes(content)
                done = moment == step.end
                yield (step.after if done else step.before, step.after), Path(folder)

    def _open(self) -> Store:
        return Store(self._url, dedup_window_events=spool.WINDOW)

    def _do(self, action: Callable[[], Done], after: Kept) -> Done:
        begin, before = len(self._disk.record), self._kept
        done = action()
        self.steps.append(Step(begin, len(self._disk.record), before, after))
        self._kept = after
        return done

    def _commit(self) -> None:
        """Store some events, perhaps of two sources, and perhaps what is none."""
        fresh = [self._event() for _ in range(self._random.choice((1, 1, 1, 1, 20)))]
        bad = [NO_EVENT % self._next()] if self._random.random() < 0.1 else []
        self._store_all(fresh, bad)

    def _large(self) -> None:
        """Store an event of many pages, so that the log is folded into the file now and then."""
        self._store_all([self._event("x" * self._random.randrange(100_000, 250_000))], [])

    def _repeat(self) -> None:
        """Send again what is known; only the books change."""
        known = self._random.choices(self._bodies, k=3) if self._bodies else []
        count = len(known)
        books = self._kept.books.plus(Counts(count, duplicate=count))
        self._do(lambda: self._store.commit([received(*known)]), self._kept._replace(books=books))

    def _store_all(self, fresh: list[bytes], bad: list[bytes]) -> None:
        block = list(enumerate(fresh, self._head + 1))
        self._head += len(block)
        self._blocks.append(block)
        self._bodies += fresh
        counts = Counts(len(fresh) + len(bad), stored=len(fresh), rejected=len(bad))
        after = self._kept._replace(
            events=self._events(),
            books=self._kept.books.plus(counts),
            rejects=(*self._kept.rejects, *bad),
        )
        self._do(lambda: self._store.commit([received(*fresh, *bad)]), after)

    def _confirm(self) -> None:
        if not self._blocks:
            return
        position = self._random.choice(self._blocks)[-1][0]
        self._do(
            lambda: self._store.consumers.confirm(CONSUMER, position, 0),
            self._kept._replace(confirmed=position),
        )

    def _tidy(self) -> None:
        gone = [block for block in self._blocks if block[-1][0] <= self._kept.confirmed]
        self._blocks = self._blocks[len(gone[:PRUNED_BLOCKS]) :]
        self._do(lambda: self._store.tidy(AT_ONCE), self._kept._replace(events=self._events()))

    def _reopen(self) -> None:
        self._do(self._store.close, self._kept)
        self._store = self._do(self._open, self._kept)

    def _events(self) -> tuple[tuple[int, bytes], ...]:
        return tuple(numbered for block in self._blocks for numbered in block)

    def _event(self, note: str = "") -> bytes:
        return event(self._next(), note=note)

    def _next(self) -> int:
        self._number += 1
        return self._number


def test_power_cut_loses_no_acknowledged_event(tmp_path: Path) -> None:
    """Whatever of the unsynced writes arrived, the spool opens as it was at an answer."""
    with attack("spool", "power cut: unsynced writes lost, torn, or in another order") as tally:
        for seed in range(LIVES):
            life = lived(tmp_path / f"life-{seed}", seed)
            for (before, after), folder in life.images(seed):
                assert survivor(folder, life.identity) in (before, after), (
                    f"life {seed}, image {tally.rounds}"
                )
                tally.rounds += 1
                tally.events += before.books.stored


def test_disk_that_lies_about_its_syncs_is_found_out(tmp_path: Path) -> None:
    """The attack can tell: where nothing was synced, acknowledged events are missing."""
    life = lived(tmp_path / "life", seed=0)

    whole = [
        survivor(folder, life.identity) in kept
        for kept, folder in life.images(0, count=40, lies=True)
    ]

    assert not all(whole)


def lived(folder: Path, seed: int) -> Life:
    """Let a spool live in *folder* to its end; return its life."""
    folder.mkdir()
    with Disk() as disk:
        life = Life(spool.url_in(folder), seed, disk)
        life.live()
    return life


def survivor(folder: Path, identity: str) -> Kept | None:
    """Open the spool in *folder*, return what it holds, and see that it goes on as it should.

    Return None if it cannot be used, or is another one to its pipelines.
    """
    url = spool.url_in(folder)
    try:
        with Disk(syncs=False), opened(url) as store:
            kept = look(url)
            if kept.events and store.spool_id != identity:
                return None
            known = [body for _, body in kept.events]
            again, new = store.commit([received(*known), received(event(0))])
            last = spool.rows(url)[-1]
    except (SpoolUnusable, SpoolUnavailable):
        return None
    assert again == Counts(len(known), duplicate=len(known))
    assert new == Counts(1, stored=1)
    assert last[:2] == (event(0), kept.books.stored + 1)
    return kept


def look(url: str) -> Kept:
    """Return what a reader of the spool at *url* sees."""
    with closing(Reader(url)) as reader:
        return Kept(
            tuple((position, body) for body, position, *_ in spool.rows(url)),
            reader.books().get("default", Counts()),
            tuple(reject.body for reject in reader.rejects()),
            reader.consumers.positions().get(CONSUMER, 0),
        )
