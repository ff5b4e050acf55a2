"""A journal survives being cut off at any byte, and is never written by two who do not know it."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from harness.room import room_for
from harness.waiting import wait_until
from target_segment_api.errors import FileUnusable
from target_segment_api.journal import Journal, Line, read, rewriting

Json = dict[str, Any]

APPENDER = """
import sys
from pathlib import Path
from target_segment_api.journal import Journal

journal = Journal(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    journal.append([{"by": sys.argv[2], "n": number, "text": "x" * number}])
journal.close()
"""

MOVER = """
import sys
from pathlib import Path
from target_segment_api.errors import FileUnusable
from target_segment_api.journal import Journal, read, rewriting

path, name = Path(sys.argv[1]), sys.argv[2]
for number in range(int(sys.argv[3])):
    journal = Journal(path)
    journal.append([{"by": name, "n": number}])
    journal.close()
    old = {"by": name, "n": number - 1}
    while any(line.entry == old for line in read(path)):
        try:
            with rewriting(path) as rewrite:
                rewrite.keep([line for line in read(path) if line.entry != old])
        except FileUnusable as error:
            if "in use" not in error.message:
                raise
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal could be."""
    return tmp_path / "journal.jsonl"


def write(path: Path, *numbers: int) -> None:
    """Append entries with *numbers*, one by one, as one run of a target does."""
    journal = Journal(path)
    for number in numbers:
        journal.append([entry(number)])
    journal.close()


def entry(number: int) -> Json:
    """Return the entry with *number*."""
    return {"n": number, "text": "größe\n" * number, "half": {"x": [None]}}


def numbers(path: Path) -> list[int | None]:
    """Return the number of each entry, None for each line that is none."""
    return [line.entry["n"] if line.entry else None for line in read(path)]


def times_open(path: Path) -> int:
    """Return how often this process has the file at *path* open."""
    links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return [link.readlink() for link in links].count(path)


def test_entries_come_back_in_order(path: Path) -> None:
    """What was appended by several runs is read as it was."""
    write(path, 1, 2)
    write(path, 3)

    assert [line.entry for line in read(path)] == [entry(1), entry(2), entry(3)]
    assert [json.loads(line.text) for line in read(path)] == [entry(1), entry(2), entry(3)]


def test_absent_journal_is_empty_and_not_made(path: Path) -> None:
    """Neither looking nor opening makes a file; the first entry does."""
    journal = Journal(path)
    journal.append([])
    journal.close()

    assert list(read(path)) == []
    assert not path.exists()


def test_file_belongs_to_its_user_alone(path: Path) -> None:
    """Events are personal data."""
    write(path, 1)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_permissions_that_somebody_gave_are_kept(path: Path) -> None:
    """Who lets a group read the file does so on purpose."""
    path.touch()
    path.chmod(0o640)
    write(path, 1)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_tear_at_any_byte_costs_only_the_torn_line(path: Path) -> None:
    """Wherever a writer was killed: whole lines count, and the next run's as well."""
    write(path, 1, 2)
    whole = path.read_bytes()
    end = whole.index(b"\n") + 1

    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        before = [1] * (size >= end)
        assert numbers(path) == before + [None] * (size not in (0, end))

        write(path, 3)

        # Only the newline was missing: then the line counts once that is there.
        torn = [2] if size == len(whole) - 1 else [1] if size == end - 1 else [None]
        assert numbers(path) == before + torn * (size not in (0, end)) + [3]


@pytest.mark.parametrize("line", [b"{", b"[]", b"17", b"\xff\x00", b"[" * 100_000, b'{"n":1}{'])
def test_line_that_is_no_entry_is_passed_over(path: Path, line: bytes) -> None:
    """Whatever stands in a line, the others are read, and it is kept as it is."""
    write(path, 1)
    path.write_bytes(path.read_bytes() + line + b"\n\n")
    write(path, 2)

    assert numbers(path) == [1, None, 2]
    assert [found.text for found in read(path)][1] == line


def test_full_disk_is_told_and_costs_only_its_own_entry(path: Path) -> None:
    """A line that was torn while writing does not spoil the one that comes after it."""
    journal = Journal(path)
    journal.append([entry(1)])
    with (
        room_for(path.stat().st_size + 10),
        pytest.raises(FileUnusable, match=r"journal\.jsonl cannot be written: File too large\."),
    ):
        journal.append([entry(2)])

    journal.append([entry(3)])
    journal.close()

    assert numbers(path) == [1, None, 3]


def test_several_processes_append_to_one_file(path: Path) -> None:
    """Lines of targets that run at the same time never mix."""
    count = 300
    writers = [
        subprocess.Popen([sys.executable, "-c", APPENDER, str(path), name, str(count)])
        for name in "abc"
    ]

    assert [writer.wait() for writer in writers] == [0, 0, 0]
    entries = [line.entry or {} for line in read(path)]
    assert len(entries) == 3 * count
    for name in "abc":
        assert [found["n"] for found in entries if found.get("by") == name] == list(range(count))


@pytest.mark.parametrize("kind", ["a folder", "in no folder", "in a file"])
def test_unwritable_path_is_told_before_the_first_entry(tmp_path: Path, kind: str) -> None:
    """A run does not send for hours to find that it cannot set an event aside."""
    (tmp_path / "file").touch()
    paths = {"a folder": tmp_path, "in no folder": tmp_path / "none" / "x"}
    path = paths.get(kind, tmp_path / "file" / "x")

    with pytest.raises(FileUnusable, match=r"cannot be written\. Choose another path"):
        Journal(path)


def test_unreadable_path_is_told(tmp_path: Path) -> None:
    """Reading what is no file is an error that says so."""
    with pytest.raises(FileUnusable, match=r"cannot be read: Is a directory\."):
        list(read(tmp_path))


def test_rewriting_keeps_what_is_to_be_kept(path: Path) -> None:
    """Entries that are done with are taken out, byte for byte those of nobody else."""
    write(path, 1, 2, 3)
    lines = list(read(path))

    with rewriting(path) as journal:
        journal.keep(line for line in lines if line.entry != entry(2))

    assert list(read(path)) == [lines[0], lines[2]]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_rewriting_without_an_end_changes_nothing(path: Path) -> None:
    """If something goes wrong meanwhile, the journal is what it was."""
    write(path, 1)

    with pytest.raises(RuntimeError), rewriting(path):
        raise RuntimeError

    assert numbers(path) == [1]
    write(path, 2)
    assert numbers(path) == [1, 2]


def test_failed_rewriting_leaves_the_journal_as_it_was(path: Path) -> None:
    """A disk that is full does not cost the entries."""
    write(path, 1, 2)
    lines = list(read(path))

    with (
        pytest.raises(FileUnusable, match=r"cannot be written: File too large\."),
        rewriting(path) as journal,
        room_for(10),
    ):
        journal.keep(lines)

    assert list(read(path)) == lines


def test_rewriting_takes_over_from_one_that_was_killed(path: Path) -> None:
    """What a killed process left half-written is in nobody's way, and not taken for the journal."""
    write(path, 1)
    path.with_name(f"{path.name}.new").write_bytes(b'{"n":9}\n{"n"')

    with rewriting(path) as journal:
        journal.keep(read(path))

    assert numbers(path) == [1]


def test_rewriting_is_refused_while_somebody_appends(path: Path) -> None:
    """A line that is written now must not be lost; after the end it may be rewritten."""
    journal = Journal(path)
    journal.append([entry(1)])

    with pytest.raises(FileUnusable, match=r"is in use by a target"), rewriting(path):
        pass

    journal.close()
    with rewriting(path) as rewrite:
        rewrite.keep([])
    assert numbers(path) == []


def test_rewriting_is_refused_to_a_second(path: Path) -> None:
    """Of two who rewrite, the second would bring back what the first took out."""
    write(path, 1)

    with (
        rewriting(path) as first,
        pytest.raises(FileUnusable, match=r"is in use"),
        rewriting(path),
    ):
        first.keep([])


def test_nothing_is_lost_between_several_who_append_and_rewrite(path: Path) -> None:
    """Whoever comes between the opening of the file and its lock, and replaces it, is noticed."""
    path.touch()
    count = 150
    movers = [
        subprocess.Popen([sys.executable, "-c", MOVER, str(path), name, str(count)])
        for name in "abcd"
    ]

    assert [mover.wait() for mover in movers] == [0] * 4
    left = {line.text for line in read(path)}
    assert left == {b'{"by":"%c","n":%d}' % (name, count - 1) for name in b"abcd"}


def test_appending_waits_for_rewriting(path: Path) -> None:
    """An entry that comes meanwhile goes into the new file, not into the one that is replaced."""
    write(path, 1)
    appender = threading.Thread(target=write, args=(path, 2))

    with rewriting(path) as journal:
        appender.start()
        wait_until(lambda: times_open(path) == 2)
        journal.keep([Line(b'{"n":5}', {"n": 5})])
    appender.join()

    assert numbers(path) == [5, 2]


def test_rewriting_of_nothing_is_told(path: Path) -> None:
    """There is nothing to rewrite where no journal is."""
    with pytest.raises(FileUnusable, match=r"cannot be opened: No such file"), rewriting(path):
        pass
