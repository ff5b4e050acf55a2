"""What was last sent of each row is remembered once it is settled, and survives a kill."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import ExitStack, closing, suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from harness.values import JSON
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.changes import Change, Changes
from target_segment_api.errors import FileUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a memory that is not there yet."""
    return tmp_path / "changes.db"


@pytest.fixture
def changes(path: Path) -> Iterator[Changes]:
    """Give a memory of changes in which nothing is."""
    with closing(Changes(path)) as memory:
        yield memory


def see(changes: Changes, record: Json, *, key: Any = None, version: int | None = None) -> Any:
    """Return the state and the counter of the change that *record* is; it is confirmed."""
    change = changes.see("t", key or [record["id"]], record, version=version)
    if change is None:
        return None
    changes.confirm(change)
    return change.state, change.counter


def gone(changes: Changes, version: int) -> list[Any]:
    """Return the keys of the rows that *version* has no more; their changes are confirmed."""
    found = []
    for key, change in changes.gone("t", version):
        assert change.state == "deleted"
        changes.confirm(change)
        found.append(key)
    return found


def test_row_is_added_once(changes: Changes) -> None:
    """The same content again is no change, whatever was changed in between elsewhere."""
    assert see(changes, {"id": 1, "a": "x"}) == ("added", 1)
    assert see(changes, {"id": 2, "a": "x"}) == ("added", 1)
    assert see(changes, {"id": 1, "a": "x"}) is None


def test_streams_and_keys_are_apart(changes: Changes) -> None:
    """A key of another stream is another row, and so is one of another kind."""
    record = {"id": 1}

    for stream in ("a", "b"):
        for key in ([1], ["1"], [1, 1], [None], [Decimal("1.5")]):
            assert changes.see(stream, key, record, version=None) is not None


@pytest.mark.parametrize(
    ("before", "after", "is_change"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        ({"a": 1}, {"a": 1, "_sdc_extracted_at": "now"}, False),
        ({"a": None}, {"a": None, "_sdc_deleted_at": None}, False),
        ({"a": 1}, {"a": "1"}, True),
        ({"a": None}, {}, True),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [2, 1]}}, True),
        ({"a": Decimal("1.5")}, {"a": Decimal("1.50")}, True),
    ],
)
def test_content_is_compared(
    changes: Changes,
    before: Json,
    after: Json,
    is_change: bool,  # noqa: FBT001 - a case
) -> None:
    """All of it but what a tap or the SDK notes beside it."""
    see(changes, {"id": 1} | before)

    assert see(changes, {"id": 1} | after) == (("updated", 2) if is_change else None)


def test_change_back_is_another_change(changes: Changes) -> None:
    """The counter goes into the message id, so Segment does not take it for a repetition."""
    states = [see(changes, {"id": 1, "a": value}) for value in ("x", "y", "x", "y", "y")]

    assert states == [("added", 1), *(("updated", count) for count in (2, 3, 4)), None]


def test_deleted_row_is_deleted_once(changes: Changes) -> None:
    """One that was never sent is not deleted either, and one that comes back is added."""
    row, deleted = {"id": 1}, {"id": 1, "_sdc_deleted_at": "2026-03-04"}

    states = [see(changes, record) for record in (deleted, row, deleted, deleted, row)]

    assert states == [None, ("added", 1), ("deleted", 2), None, ("added", 3)]


ROWS = st.lists(st.tuples(st.integers(0, 2), JSON | st.just("gone")), max_size=6)


@given(ROWS, ROWS)
def test_what_differs_from_the_row_before_is_told(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, Any]],
    more: list[tuple[int, Any]],
) -> None:
    """That, and nothing else; also if the memory was closed in between."""
    path = tmp_path_factory.mktemp("changes") / "changes.db"
    told, expected = [], []
    last: dict[int, str | None] = {}
    for part in (rows, more):
        with closing(Changes(path)) as changes:
            for key, value in part:
                mark = {"_sdc_deleted_at": "now"} if value == "gone" else {}
                found = see(changes, {"id": key, "a": value} | mark)
                told.append(found and found[0])
                now, was = None if mark else repr(value), last.get(key)
                state = "deleted" if mark else "updated" if was else "added"
                expected.append(None if now == was else state)
                last[key] = now

    assert told == expected


# Confirmation


def test_change_counts_once_it_is_confirmed(path: Path) -> None:
    """What was not, comes again under the same counter, and so the same message id."""
    with closing(Changes(path)) as changes:
        first = changes.see("t", [1], {"id": 1}, version=None)
    with closing(Changes(path)) as changes:
        again = changes.see("t", [1], {"id": 1}, version=None)
        assert first is not None
        assert again is not None
        assert (again.state, again.counter, again.digest) == ("added", 1, first.digest)
        changes.confirm(again)

    with closing(Changes(path)) as changes:
        assert see(changes, {"id": 1}) is None


def test_pending_change_is_seen(changes: Changes) -> None:
    """A row that comes again before it is settled is compared with what is under way."""
    found = [changes.see("t", [1], {"id": 1, "a": a}, version=None) for a in ("x", "x", "y", "x")]

    assert [change and (change.state, change.counter) for change in found] == [
        ("added", 1),
        None,
        ("updated", 2),
        ("updated", 3),
    ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("syncs", [False, True])
def test_latest_change_is_kept(path: Path, order: tuple[int, int], syncs: bool) -> None:  # noqa: FBT001
    """Lanes may settle the changes of a row in another order than they were made."""
    with closing(Changes(path)) as changes:
        found = [changes.see("t", [1], {"id": 1, "a": a}, version=None) for a in ("x", "y")]
        for number in order:
            change = found[number]
            assert change is not None
            changes.confirm(change)
            if syncs:
                changes.sync()

    with closing(Changes(path)) as changes:
        assert see(changes, {"id": 1, "a": "y"}) is None
        assert see(changes, {"id": 1, "a": "x"}) == ("updated", 3)


def test_much_that_is_confirmed_is_due(changes: Changes) -> None:
    """Memory is bounded, also without a state."""
    due = []
    for number in range(5000):
        see(changes, {"id": number})
        due.append(changes.is_due)
    changes.sync()

    assert due.index(True) == 4999
    assert not changes.is_due


# What was on its way when a run ended


A, B, C = ({"id": 1, "a": value} for value in "abc")
GONE = {"id": 1, "_sdc_deleted_at": "now"}


def leave(changes: Changes, *records: Json) -> list[Any]:
    """Return the state and the counter of each of the changes, which leave unconfirmed."""
    found = []
    for record in records:
        change = changes.see("t", [record["id"]], record, version=None)
        assert change is not None
        changes.expect(change, 1)
        found.append((change.state, change.counter))
    changes.mark()
    return found


@pytest.mark.parametrize(
    ("before", "during", "after", "expected"),
    [
        ([A], [B], B, ("updated", 2)),
        ([A], [B], A, ("updated", 3)),
        ([A], [B], C, ("updated", 3)),
        ([A], [B], GONE, ("deleted", 3)),
        ([A], [GONE], GONE, ("deleted", 2)),
        ([A], [GONE], A, ("added", 3)),
        ([A, GONE], [B], B, ("added", 3)),
        ([A, GONE], [B], GONE, ("deleted", 4)),
        ([], [A], A, ("added", 1)),
        ([], [A], B, ("added", 2)),
        ([], [A], GONE, ("deleted", 2)),
        ([A], [B, C], C, ("updated", 3)),
        ([A], [B, C], B, ("updated", 4)),
        ([A], [B, C], A, ("updated", 4)),
        ([A], [B, A], A, ("updated", 3)),
        ([], [A, B], B, ("added", 2)),
        ([], [A, GONE], GONE, ("deleted", 2)),
        ([], [A, GONE], A, ("added", 3)),
    ],
)
def test_row_in_doubt_is_a_change(
    path: Path, before: list[Json], during: list[Json], after: Json, expected: tuple[str, int]
) -> None:
    """It has the same counter if it is what was on its way last, and else a new one."""
    with closing(Changes(path)) as changes:
        for record in before:
            see(changes, record)
    with closing(Changes(path)) as changes:
        leave(changes, *during)

    for _ in range(2):  # also if that does not arrive either
        with closing(Changes(path)) as changes:
            assert leave(changes, after) == [expected]
    with closing(Changes(path)) as changes:
        assert see(changes, after) == expected
        assert see(changes, after) is None
    with closing(Changes(path)) as changes:
        assert see(changes, after) is None


def test_doubt_ends_with_what_was_confirmed_later(path: Path) -> None:
    """A change that was overtaken by another is in no doubt."""
    with closing(Changes(path)) as changes:
        found = [changes.see("t", [1], record, version=None) for record in (A, B)]
        for change in found:
            assert change is not None
            changes.expect(change, 1)
        changes.mark()
        assert found[1] is not None
        changes.confirm(found[1])

    with closing(Changes(path)) as changes:
        assert see(changes, B) is None
        assert see(changes, A) == ("updated", 3)


def test_change_that_made_no_event_is_in_no_doubt(path: Path) -> None:
    """Nothing of it can have arrived anywhere."""
    with closing(Changes(path)) as changes:
        change = changes.see("t", [1], A, version=None)
        assert change is not None
        changes.expect(change, 0)
        changes.mark()

    with closing(Changes(path)) as changes:
        assert see(changes, B) == ("added", 1)


def test_doubts_leave_nothing_behind(path: Path) -> None:
    """Once they are settled, the file says of nothing that it is on its way."""
    with closing(Changes(path)) as changes:
        leave(changes, A, B, {"id": 2})
    with closing(Changes(path)) as changes:
        see(changes, A)
        see(changes, {"id": 2})

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM flight").fetchone() == (0,)


def test_row_in_doubt_may_be_gone(path: Path) -> None:
    """Whether or not it had been sent before."""
    with closing(Changes(path)) as changes:
        see(changes, A, version=1)
    with closing(Changes(path)) as changes:
        leave(changes, B, {"id": 2}, {"id": 3})

    with closing(Changes(path)) as changes:
        see(changes, {"id": 3}, version=2)
        found = {key[0]: change.counter for key, change in changes.gone("t", 2)}

    assert found == {1: 3, 2: 2}


def test_look_marks_nothing(path: Path) -> None:
    """A dry run lets nothing leave; what is in doubt stays so."""
    with closing(Changes(path)) as changes:
        leave(changes, A)
    before = path.read_bytes()
    with closing(Changes(path, keep=False)) as changes:
        assert leave(changes, B) == [("added", 2)]

    assert path.read_bytes() == before


KEYS = (1, 2)
ROW = st.tuples(st.sampled_from(KEYS), st.sampled_from(["a", "b", "c", None]))
STEPS = st.lists(
    ROW | st.tuples(st.sampled_from(["arrive", "confirm"]), st.integers(1, 3)) | st.just("kill"),
    max_size=14,
)


@given(STEPS)
def test_segment_has_what_the_table_has(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    """After a last run that was not killed, whenever the others were, and whatever arrived."""
    with ExitStack() as ended:
        world = World(tmp_path_factory.mktemp("changes"), ended)
        for step in steps:
            world.take(step)
        left = {key: world.counters[key] for key in world.left}
        world.kill()

        for key, value in world.table.items():
            change = world.see(key, value)
            assert change is None or change.counter == left.get(key, change.counter)
        world.arrive(len(world.leaving))

    assert world.segment == {key: value for key, value in world.table.items() if value}


class World:
    """A table, a memory of changes that is killed now and then, and what has arrived."""

    def __init__(self, folder: Path, ended: ExitStack) -> None:
        self._folder = folder
        self._ended = ended
        self._lives = 0
        self.table: dict[int, str | None] = {}
        self.segment: dict[int, str] = {}
        self.counters: dict[int, int] = {}
        self.left: set[int] = set()
        """The rows whose last change may have left: it comes again under the same ids."""
        self._ids: set[tuple[Any, ...]] = set()
        self._begin()

    def _begin(self) -> None:
        self._changes = Changes(self._folder / f"{self._lives}.db")
        self._ended.callback(self._changes.close)
        self.leaving: list[tuple[Change, str | None]] = []
        self._arrived: list[Change] = []
        self._known: set[int] = set()

    def take(self, step: Any) -> None:
        """Let happen what *step* says."""
        if step == "kill":
            self.kill()
        elif step[0] == "arrive":
            self.arrive(step[1])
        elif step[0] == "confirm":
            self.confirm(step[1])
        else:
            self.table[step[0]] = step[1]
            self.see(*step)

    def kill(self) -> None:
        """Go on with the file as it is on disk, with all that was not confirmed forgotten."""
        self._lives += 1
        for name in ("", "-wal"):
            with suppress(FileNotFoundError):
                old = self._folder / f"{self._lives - 1}.db{name}"
                shutil.copy(old, self._folder / f"{self._lives}.db{name}")
        self._begin()

    def see(self, key: int, value: str | None) -> Change | None:
        """Read the row."""
        mark = {} if value else {"_sdc_deleted_at": "now"}
        change = self._changes.see("t", [key], {"id": key, "a": value} | mark, version=None)
        if change is not None:
            if change.state == "updated" and key not in self._known:
                assert key in self.segment
            self._changes.expect(change, 1)
            self.counters[key] = change.counter
            self.left.discard(key)
            self.leaving.append((change, value))
        self._known.add(key)
        return change

    def arrive(self, count: int) -> None:
        """Let *count* events arrive; Segment drops one that it has had."""
        self._changes.mark()
        self.left |= {int(change.key[1:-1]) for change, _ in self.leaving}
        taken, self.leaving = self.leaving[:count], self.leaving[count:]
        for change, value in taken:
            self._arrived.append(change)
            if (change.key, change.counter, value) in self._ids:
                continue
            self._ids.add((change.key, change.counter, value))
            self.segment.pop(int(change.key[1:-1]), None)
            if value:
                self.segment[int(change.key[1:-1])] = value

    def confirm(self, count: int) -> None:
        """Confirm *count* of the events that have arrived."""
        for change in self._arrived[:count]:
            change.outstanding -= 1
            self._changes.confirm(change)
        del self._arrived[:count]
        self._changes.sync()


# The file


KILLED = """
import os, sys
from pathlib import Path
from target_segment_api.changes import Changes
changes = Changes(Path(sys.argv[1]))
for number in (1, 2):
    changes.confirm(changes.see("t", [number], {"id": number}, version=None))
    if number == 1:
        changes.sync()
os.kill(os.getpid(), 9)
"""


def test_what_was_synced_survives_a_kill(path: Path) -> None:
    """And what was not, was not sent for good."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL

    with closing(Changes(path)) as changes:
        assert see(changes, {"id": 1}) is None
        assert see(changes, {"id": 2}) == ("added", 1)


def test_file_is_its_users_alone(path: Path, changes: Changes) -> None:
    """Keys may be personal data; of the content there is but a hash."""
    see(changes, {"id": "ana@example.com", "a": "not to be read"})
    changes.sync()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"not to be read" not in path.read_bytes()


def test_second_target_is_refused(path: Path, changes: Changes) -> None:
    """Two that remember different things would both be wrong; the first goes on."""
    with pytest.raises(FileUnusable, match="another target is using it"):
        Changes(path)
    with pytest.raises(FileUnusable, match="another target is using it"):
        Changes(path, keep=False)

    assert see(changes, {"id": 1}) == ("added", 1)


def test_newer_format_is_refused(path: Path) -> None:
    """Nothing is changed in it, and the lock is given back."""
    Changes(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")
    before = path.read_bytes()

    for _ in range(2):
        with pytest.raises(FileUnusable, match=r"format 3; this one reads up to 2"):
            Changes(path)

    assert path.read_bytes() == before


FORMAT_1 = """
CREATE TABLE row (
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB,
    counter INTEGER NOT NULL,
    PRIMARY KEY (stream, key)
) WITHOUT ROWID;
INSERT INTO row VALUES ('t', '[1]', x'b308b2843bd91460b8e49503', 7);
PRAGMA application_id = 1583858854;
PRAGMA user_version = 1;
"""


def test_older_format_is_brought_up(path: Path) -> None:
    """It keeps what it remembers; who only looks leaves it as it was."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FORMAT_1)
    before = path.read_bytes()

    with closing(Changes(path, keep=False)) as changes:
        assert see(changes, {"id": 1}) is None
        assert see(changes, {"id": 2}, version=5) == ("added", 1)
    assert path.read_bytes() == before

    for counter in (8, 9):
        with closing(Changes(path)) as changes:
            assert see(changes, {"id": 1, "a": counter}) == ("updated", counter)


def test_sources_are_apart(path: Path) -> None:
    """What one source of Segment has, another has not; and neither doubts of the other's."""
    with closing(Changes(path, "one")) as changes:
        see(changes, {"id": 1}, version=1)
        leave(changes, {"id": 2})
    for keep in (False, True):
        with closing(Changes(path, "two", keep=keep)) as changes:
            assert see(changes, {"id": 2}, version=1) == ("added", 1)
            assert gone(changes, 1) == []

    with closing(Changes(path, "one")) as changes:
        assert see(changes, {"id": 1}) is None
        assert see(changes, {"id": 2}) == ("added", 1)


def test_other_files_are_refused(path: Path, tmp_path: Path) -> None:
    """Whatever they are, they stay as they are."""
    path.write_text("{}" * 1000)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    before = path.read_bytes(), other.read_bytes()

    with pytest.raises(FileUnusable, match="file is not a database"):
        Changes(path)
    with pytest.raises(FileUnusable, match="no memory of changes"):
        Changes(other)
    with pytest.raises(FileUnusable, match="No such file or directory"):
        Changes(tmp_path / "none" / "changes.db")

    assert (path.read_bytes(), other.read_bytes()) == before


def test_look_remembers_nothing(path: Path) -> None:
    """A dry run makes no file, and leaves one as it was."""
    with closing(Changes(path, keep=False)) as changes:
        assert see(changes, {"id": 1}) == ("added", 1)
        assert see(changes, {"id": 1}) is None
    assert not path.exists()

    with closing(Changes(path)) as changes:
        see(changes, {"id": 1})
    before = path.read_bytes()
    with closing(Changes(path, keep=False)) as changes:
        assert see(changes, {"id": 1}) is None
        assert see(changes, {"id": 1, "a": 1}) == ("updated", 2)

    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


# Full tables


def test_row_that_a_full_table_lacks_is_gone(changes: Changes) -> None:
    """Once; what is there or was never sent is not, and other streams are not looked at."""
    for number in (1, 2, 3):
        see(changes, {"id": number}, version=1)
    changes.confirm(_added(changes, "other", 4))
    assert gone(changes, 1) == []

    see(changes, {"id": 2}, version=2)
    see(changes, {"id": 5}, version=2)

    assert gone(changes, 2) == [[1], [3]]
    assert gone(changes, 2) == []
    assert see(changes, {"id": 1}, version=3) == ("added", 3)


def test_version_without_rows_deletes_none(changes: Changes) -> None:
    """Some taps announce a version before its rows; that is no empty table."""
    see(changes, {"id": 1}, version=1)
    changes.sync()

    assert gone(changes, 2) == []
    assert see(changes, {"id": 1}, version=2) is None
    assert gone(changes, 2) == []


def test_part_of_a_version_deletes_none(path: Path) -> None:
    """A run that goes on with what an earlier one began has not seen what that one did."""
    with closing(Changes(path)) as changes:
        see(changes, {"id": 1}, version=1)
    with closing(Changes(path)) as changes:
        see(changes, {"id": 2}, version=1)
        assert gone(changes, 1) == []
        assert changes.doubt("t") is not None
    with closing(Changes(path)) as changes:
        see(changes, {"id": 2}, version=2)
        assert changes.doubt("t") is None
        assert gone(changes, 2) == [[1]]


def test_version_that_was_begun_is_known_after_a_kill(path: Path) -> None:
    """At once, for a state may pass rows that are unchanged, and so leave nothing to be synced."""
    with closing(Changes(path)) as changes:
        see(changes, {"id": 1})
    code = KILLED.replace("(1, 2)", "(1,)").replace("version=None", "version=7")
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)

    with closing(Changes(path)) as changes:
        see(changes, {"id": 2}, version=7)
        assert gone(changes, 7) == []


def test_rows_without_a_version_delete_none(changes: Changes) -> None:
    """They may be in any; rows of other streams have nothing to do with it."""
    see(changes, {"id": 1}, version=1)
    see(changes, {"id": 2})
    see(changes, {"id": 3}, version=2)
    changes.confirm(_added(changes, "other", 4))

    assert gone(changes, 2) == []
    assert changes.doubt("t") is not None


def test_row_that_is_marked_as_deleted_is_not_in_its_version(changes: Changes) -> None:
    """It goes by its own mark, and not for a second time."""
    for number in (1, 2):
        see(changes, {"id": number}, version=1)

    assert see(changes, {"id": 1, "_sdc_deleted_at": "now"}, version=2) == ("deleted", 2)
    see(changes, {"id": 2}, version=2)

    assert gone(changes, 2) == []


def test_rows_of_an_earlier_run_are_gone(path: Path) -> None:
    """However many they are; also those with several keys of any kind."""
    keys: list[list[Any]] = [["ä", 1], [None], [Decimal("1.50")], *([n] for n in range(2500))]
    with closing(Changes(path)) as changes:
        for key in keys:
            see(changes, {"a": 1}, key=key)

    with closing(Changes(path)) as changes:
        see(changes, {"a": 1}, key=["new"], version=7)
        found = gone(changes, 7)

    assert sorted(map(repr, found)) == sorted(map(repr, keys))


def test_row_that_is_still_pending_may_be_gone(changes: Changes) -> None:
    """A row that was confirmed, changed, and is not in the new table is deleted after that."""
    see(changes, {"id": 1, "a": 1}, version=1)
    changes.sync()
    pending = changes.see("t", [1], {"id": 1, "a": 2}, version=1)
    see(changes, {"id": 2}, version=2)

    ((key, change),) = changes.gone("t", 2)

    assert pending is not None
    assert (key, change.counter) == ([1], pending.counter + 1)


def _added(changes: Changes, stream: str, number: int) -> Change:
    """Return the change that a new row of *stream* is."""
    change = changes.see(stream, [number], {"id": number}, version=None)
    assert change is not None
    return change
