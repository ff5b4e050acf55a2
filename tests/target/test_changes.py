"""What was last sent of each row is remembered once it is settled, and survives a kill."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
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
        connection.execute("PRAGMA user_version = 2")
    before = path.read_bytes()

    for _ in range(2):
        with pytest.raises(FileUnusable, match=r"format 2; this one reads up to 1"):
            Changes(path)

    assert path.read_bytes() == before


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
