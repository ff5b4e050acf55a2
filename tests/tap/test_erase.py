"""`segment-receiver erase` takes a user out of the spool, to the last byte, and nobody else."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from contextlib import closing, suppress
from random import Random
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from harness import singer
from harness.attacks import ROUNDS, attack
from harness.commands import Commands
from harness.receiver import PROGRAMS, Receiver, environment
from harness.spool import balanced, event, events, fill, opened, received, rows
from harness.waiting import wait_until
from hypothesis import given
from hypothesis import strategies as st
from tap_segment_webhook.event import read_event
from tap_segment_webhook.spool.erasure import left_of
from tap_segment_webhook.spool.layout import spool_path
from tap_segment_webhook.spool.model import Block

if TYPE_CHECKING:
    from pathlib import Path

USER = "usr_40711"
MARK = b"Quince-Marmalade"  # what only this user's events say
KILLS = max(4, ROUNDS // 4)
RUN_SECONDS = 120


@pytest.fixture
def commands(tmp_path: Path, spool_url: str) -> Commands:
    """Give the commands of the test's spool."""
    return Commands(tmp_path, spool_url=spool_url)


def theirs(number: int, kind: str = "track", *, times: int = 1, **fields: Any) -> bytes:
    """Return an event of the user, which holds the mark so many *times*."""
    note = {"note": MARK.decode() * times}
    return event(number, kind, **{"userId": USER, "properties": note, **fields})


def holds_mark(folder: Path) -> list[str]:
    """Return the names of the files in *folder* that hold the mark."""
    return sorted(path.name for path in folder.iterdir() if MARK in path.read_bytes())


def test_all_events_of_the_user_go_and_no_others(commands: Commands, spool_url: str) -> None:
    """Whatever the call and whichever of the ids; the others keep bytes, positions and order."""
    fill(spool_url, [event(1), theirs(2, "identify"), theirs(3), event(4), theirs(5, "page")])
    fill(spool_url, [theirs(6, "group"), theirs(7, "screen")], source="ios")
    fill(spool_url, [event(8), theirs(9, "alias", userId="usr_new", previousId=USER)])
    fill(spool_url, [theirs(10, userId=None, anonymousId=USER), event(11), event(12)])

    said = commands.output("erase", USER, "--yes")

    assert said.startswith(
        "Erased 7 events (alias 1, group 1, identify 1, page 1, screen 1, track 2), 7 of them not "
        "confirmed by every pipeline, and 0 rejects. 0 delete events stay.\n"
    )
    assert [row[:2] for row in rows(spool_url)] == [(event(n), n) for n in (1, 4, 8, 11, 12)]


def test_tap_passes_over_the_holes(commands: Commands, spool_url: str) -> None:
    """A run from any state emits what is left, once, and its state is the end of the spool."""
    fill(spool_url, [event(1), theirs(2), event(3), theirs(4)])
    fill(spool_url, [theirs(5), event(6), theirs(7)])
    config = {"spool_url": spool_url}
    commands.output("erase", USER, "--yes")

    everything = singer.sync(config)
    fill(spool_url, [event(8)])
    rest = singer.sync(config, state=everything.state)

    assert everything.positions == [1, 3, 6]
    assert set(singer.bookmarks(everything.state).values()) == {7}
    assert rest.positions == [8]


def test_no_file_holds_a_byte_of_them(tmp_path: Path, commands: Commands, spool_url: str) -> None:
    """Nor does one hold what was set aside of them, or pruned long ago and still in free space."""
    fill(spool_url, [theirs(number) for number in range(1, 400)])
    for number in range(400, 420):
        fill(spool_url, [event(number), theirs(number + 1000, times=9000), theirs(number + 2000)])
    fill(spool_url, [b'{"type":"order","user":"%b","note":"%b"}' % (USER.encode(), MARK)])
    with closing(sqlite3.connect(spool_path(spool_url))) as other, other:
        other.execute("PRAGMA secure_delete = OFF")  # as most builds of SQLite prune
        other.execute("DELETE FROM block WHERE position < 400")

    commands.output("erase", USER, "--yes")

    assert holds_mark(tmp_path) == []
    assert [body for body, *_ in rows(spool_url)] == events(20, first=400)


def test_positions_books_and_ids_stay(commands: Commands, spool_url: str) -> None:
    """The next event gets the next number, and Segment's retry of an erased one is a duplicate."""
    fill(spool_url, [event(1), theirs(2), b"nonsense"])
    before = json.loads(commands.output("status", "--json"))

    commands.output("erase", USER, "--yes")

    after = json.loads(commands.output("status", "--json"))
    assert (after["books"], after["head_position"]) == (before["books"], 2)
    assert fill(spool_url, [theirs(2), event(3)]).duplicate == 1
    assert [row[1] for row in rows(spool_url)] == [1, 3]


def test_delete_event_stays_unless_asked(commands: Commands, spool_url: str) -> None:
    """It is the request itself, which a warehouse has yet to hear of."""
    fill(spool_url, [theirs(1), theirs(2, "delete"), event(3)])

    said = commands.output("erase", USER, "--yes")
    assert "1 delete events stay." in said
    assert [row[1] for row in rows(spool_url)] == [2, 3]

    said = commands.output("erase", USER, "--requests", "--yes")
    assert said.startswith("Erased 1 events (delete 1)")
    assert [row[1] for row in rows(spool_url)] == [3]


def test_rejects_that_mention_them_go(commands: Commands, spool_url: str) -> None:
    """What was set aside is personal data too; other rejects and the books stay."""
    fill(spool_url, [b"not usr_407112", b"but " + USER.encode(), b'["%b"]' % USER.encode()])

    assert "and 2 rejects." in commands.output("erase", USER, "--yes")

    (left,) = commands.output("rejects", "list", "--json").splitlines()
    assert json.loads(left)["body"] == "not usr_407112"
    assert json.loads(commands.output("status", "--json"))["books"]["default"]["rejected"] == 3


def test_many_can_be_named_in_a_file_or_by_device(
    tmp_path: Path, commands: Commands, spool_url: str
) -> None:
    """One rebuilding serves them all; an anonymous id does not match a user's."""
    fill(spool_url, [event(n, userId=f"u-{n}", anonymousId=f"d-{n}") for n in range(1, 7)])
    names = tmp_path / "names"
    names.write_text("u-1\n\n u-2 \n", "utf-8")

    commands.output("erase", "u-3", "--from", names, "--anonymous-id", "d-4", "--yes")
    said = commands.run("erase", "--from", "-", "--anonymous-id", "u-6", "--yes", answer="u-5\n")

    assert said.exit_code == 0
    assert [row[1] for row in rows(spool_url)] == [6]


def test_it_counts_and_asks_first(tmp_path: Path, commands: Commands, spool_url: str) -> None:
    """Without a yes nothing changes; what it says before is what it says after."""
    fill(spool_url, [event(1), theirs(2), theirs(3, "delete"), b"of " + USER.encode()])
    with opened(spool_url) as store:
        store.consumers.confirm("default", 2, 0)
    counts = "1 events (track 1), 0 of them not confirmed by every pipeline, and 1 rejects."
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    refused = commands.run("erase", USER, answer="n\n")
    unchanged = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    agreed = commands.run("erase", USER, answer="y\n")

    assert refused.exit_code == 1
    assert f"Found {counts} 1 delete events stay." in refused.output
    assert {**unchanged, "spool.db-lock": b""} == {**files, "spool.db-lock": b""}
    assert agreed.exit_code == 0
    assert f"Erased {counts}" in agreed.output


def test_running_receiver_is_a_clear_error(tmp_path: Path, spool_url: str) -> None:
    """Two writers would damage the file, so the receiver is stopped first."""
    with Receiver(tmp_path):
        refusal = Commands(tmp_path, spool_url=spool_url).refusal("erase", USER, "--yes")

    assert re.search(r"already written by process \d+ \(.+\)\. Stop that one first", refusal)


def test_reader_in_the_log_is_a_clear_error(
    tmp_path: Path, commands: Commands, spool_url: str
) -> None:
    """As long as somebody reads what was, its bytes cannot go; the next run completes it."""
    fill(spool_url, [theirs(1), event(2)])
    with closing(sqlite3.connect(spool_path(spool_url), isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM block").fetchone()
        refusal = commands.refusal("erase", USER, "--yes")

    said = commands.output("erase", USER, "--yes")

    assert "Stop that one and run it again." in refusal
    assert said.startswith("Erased 0 events")
    assert holds_mark(tmp_path) == []


def test_what_a_salvage_has_left_is_told(
    tmp_path: Path, commands: Commands, spool_url: str
) -> None:
    """The damaged file holds them still, so it is not over before that is gone."""
    fill(spool_url, [theirs(1), event(2)])
    damaged = tmp_path / "spool.db-damaged"
    damaged.write_bytes(spool_path(spool_url).read_bytes())

    refusal = commands.refusal("erase", USER, "--yes")
    left = holds_mark(tmp_path)
    damaged.unlink()

    assert f"{damaged}, which a salvage has left" in refusal
    assert left == [damaged.name]
    assert commands.output("erase", USER, "--yes").startswith("Erased 0 events")


@pytest.mark.parametrize("words", [(), ("--yes",), ("",)])
def test_nobody_named_is_a_mistake(commands: Commands, words: tuple[str, ...]) -> None:
    """No id, or an empty one, is not everybody."""
    result = commands.run("erase", *words)

    assert result.exit_code == 2
    assert "Whose events?" in result.stderr


def test_absent_spool_is_not_made(tmp_path: Path, commands: Commands) -> None:
    """A wrong path is said, and nothing made there."""
    assert "There is no spool" in commands.refusal("erase", USER)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.attack
def test_kill_at_any_moment_is_completed_by_another_run(tmp_path: Path, spool_url: str) -> None:
    """After `kill -9` the others are whole and in place; after the next run no byte is left."""
    with opened(spool_url) as store:
        for first in range(1, 1801, 10):
            batch = [
                (theirs(n, times=500) if n % 3 else event(n)) for n in range(first, first + 10)
            ]
            store.commit([received(*batch)])
    others = [(event(n), n) for n in range(3, 1801, 3)]
    spool, moments = spool_path(spool_url), Random(0)  # noqa: S311 - test data
    original = spool.read_bytes()
    Commands(tmp_path, spool_url=spool_url)
    everything = written_in_all(erasing(tmp_path))
    with attack("spool", "`kill -9` while somebody is erased") as tally:
        for _ in range(KILLS):
            spool.write_bytes(original)
            process, enough = erasing(tmp_path), moments.randrange(everything)
            wait_until(lambda: written(process) > enough)  # noqa: B023 - called at once
            process.kill()
            assert process.wait() == -signal.SIGKILL

            assert [row[:2] for row in rows(spool_url) if row[1] % 3 == 0] == others

            assert erasing(tmp_path).wait(RUN_SECONDS) == 0
            assert [row[:2] for row in rows(spool_url)] == others
            assert holds_mark(tmp_path) == []
            assert balanced(spool_url).stored == 1800
            tally.rounds, tally.events = tally.rounds + 1, tally.events + len(others)


def test_memory_does_not_grow_with_the_spool(tmp_path: Path, spool_url: str) -> None:
    """A hundred megabytes of one user, in large events and small, take no more than a few."""
    fill(spool_url, [theirs(1)])
    Commands(tmp_path, spool_url=spool_url)
    little = memory_peak(erasing(tmp_path))
    for first in range(2, 102, 10):
        fill(spool_url, [theirs(n, times=60_000) for n in range(first, first + 10)])
        fill(spool_url, [theirs(n) for n in range(first * 1000, first * 1000 + 1000)])

    much = memory_peak(erasing(tmp_path))

    assert rows(spool_url) == []
    assert much - little < 24 << 20


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.sets(st.integers(1, 270)))
def test_what_is_left_of_blocks_is_all_else(sizes: list[int], gone: set[int]) -> None:
    """Whatever goes, each other event is in one block, as it was, at its position."""
    first = 1
    for size in sizes:
        bodies = events(size, first=first)
        block = Block.of(first + size - 1, "ios", 7, [read_event(body) for body in bodies])

        left = left_of(block, gone)

        kept = [n for n in range(first, first + size) if n not in gone]
        assert [row for each in left for row in each.rows()] == [
            (event(n), n, "ios", 7) for n in kept
        ]
        assert all(each.codes for each in left)
        first += size


def erasing(folder: Path) -> subprocess.Popen[bytes]:
    """Start to erase the user's events from the spool in *folder*."""
    return subprocess.Popen(
        [PROGRAMS / "segment-receiver", "erase", USER, "--yes", "--config", folder / "config.json"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def memory_peak(process: subprocess.Popen[bytes]) -> int:
    """Wait until *process* has succeeded; return the most memory it ever had, in bytes."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


def written(process: subprocess.Popen[bytes]) -> int:
    """Return how many bytes *process* has written so far."""
    return int(psutil.Process(process.pid).io_counters().write_chars)


def written_in_all(process: subprocess.Popen[bytes]) -> int:
    """Wait until *process* has ended; return about how many bytes it wrote."""
    most = 0
    while process.poll() is None:
        with suppress(psutil.Error):
            most = max(most, written(process))
    assert process.returncode == 0
    return most
