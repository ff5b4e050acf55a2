"""What a disk has changed is never passed on: the spool says where, and saves the rest."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest
from harness import singer, spool
from harness.attacks import ROUNDS, attack
from harness.commands import Commands
from harness.spool import balanced, event, fill, opened, received
from tap_segment_webhook.errors import SpoolDamaged, SpoolUnusable
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.reader import Reader
from tap_segment_webhook.spool.salvage import Lost, salvage

if TYPE_CHECKING:
    from pathlib import Path

    from harness.singer import Run

FLIPS = 2 * ROUNDS
BLOCKS = 120
REJECTS = [b"no event %d " % number * 30 for number in range(60)]
EACH = 5
SECRET = "not-a-real-secret"  # noqa: S105 - it is none


def body(number: int) -> bytes:
    """Return an event that no other resembles, some of them of many pages."""
    return event(number, note=f"note-{number} " * (4000 if number % 37 == 0 else 40))


@pytest.fixture
def whole(spool_url: str) -> dict[int, bytes]:
    """Make a spool of many blocks; give its events by position."""
    with opened(spool_url) as store:
        for first in range(1, BLOCKS * EACH, EACH):
            store.commit([received(*(body(first + number) for number in range(EACH)))])
    return {number: body(number) for number in range(1, BLOCKS * EACH + 1)}


def test_flipped_bytes_are_never_emitted(
    spool_url: str, tmp_path: Path, whole: dict[int, bytes]
) -> None:
    """Wherever the file is damaged, the tap and a salvage hold what was sent, or nothing."""
    path = tmp_path / "spool.db"
    fill(spool_url, REJECTS)
    original = path.read_bytes()
    random = Random(0)  # noqa: S311 - test data
    saved = 0
    with attack("spool", "bytes of the file flipped, pages overwritten") as tally:
        for _ in range(FLIPS):
            path.write_bytes(damaged(original, random))

            assert set(emitted(spool_url)) <= whole.items()
            lost = salvaged(spool_url)
            kept = dict(emitted(spool_url))

            with closing(Reader(spool_url)) as reader:
                assert {reject.body for reject in reader.rejects()} <= {*REJECTS}
            assert balanced(spool_url).stored
            assert kept.items() <= whole.items()
            assert whole.keys() - kept.keys() == lost
            saved += len(kept)
            tally.rounds += 1
            tally.events += len(whole)
            clear(tmp_path)
        assert saved > 0.9 * tally.events


@pytest.mark.parametrize(
    "change",
    [
        "codes = 5",
        "codes = 'tt'",
        "codes = CAST(x'ff' AS TEXT)",
        "lengths = 5",
        "lengths = x''",
        "body = 'text'",
        "body = body || body",
        "source = 'other'",
        "received_at = received_at + 1",
        "position = position + 1",
        "checksum = NULL, lengths = x'ffffffff'",
        "checksum = NULL, body = body || body",
    ],
)
def test_record_of_any_content_is_refused(spool_url: str, tmp_path: Path, change: str) -> None:
    """Whatever a damaged record holds, it is recognised, passed over by a salvage, and counted."""
    fill(spool_url, [event(1)])
    alter(tmp_path / "spool.db", "block", change)

    with pytest.raises(SpoolDamaged, match="segment-receiver salvage"):
        spool.rows(spool_url)
    with closing(Reader(spool_url)) as reader:
        assert reader.holdings(0)
    assert 1 in salvaged(spool_url)
    assert spool.rows(spool_url) == []


def test_tap_stops_before_what_is_damaged_and_says_where(
    spool_url: str, tmp_path: Path, whole: dict[int, bytes]
) -> None:
    """It emits all that lies before, with a true state, and exits with 1 until it is salvaged."""
    flip(tmp_path / "spool.db", b"note-203 ", b"nota-203 ")
    commands = Commands(tmp_path, spool_url=spool_url, shared_secret=SECRET)

    run = tap(spool_url)
    printed = commands.output("salvage")
    rest = tap(spool_url, state=run.state)

    assert (run.code, run.positions) == (1, list(range(1, 201)))
    assert "after position 200, up to 205" in run.log
    assert "segment-receiver salvage" in run.log
    assert "note-203" not in run.log
    assert "Lost: positions 201 to 205." in printed
    assert f"{len(whole) - EACH} events" in printed
    assert (rest.code, rest.positions) == (0, list(range(206, len(whole) + 1)))


def test_what_was_lost_may_come_again(
    spool_url: str, tmp_path: Path, whole: dict[int, bytes]
) -> None:
    """A replay in Segment brings lost events back, and what was saved is known."""
    flip(tmp_path / "spool.db", b"note-203 ", b"nota-203 ")

    result = salvage(spool_url, 0)

    assert result.lost == [Lost(201, 205)]
    with opened(spool_url) as store:
        (counts,) = store.commit([received(*whole.values())])
        assert counts == Counts(len(whole), stored=EACH, duplicate=len(whole) - EACH)
        assert store.books["default"].stored == len(whole) + EACH


def test_salvage_of_a_whole_spool_changes_nothing_in_it(spool_url: str, tmp_path: Path) -> None:
    """Books, rejects, identity, what is known and what was confirmed: all of it stays."""
    with opened(spool_url) as store:
        store.commit([received(event(1), b"nonsense"), received(event(2), source="app")])
        store.commit([received(event(1))])
        store.consumers.confirm("lake", 1, 0)
        before = (store.spool_id, store.books, store.consumers.positions())
    events = spool.rows(spool_url)

    result = salvage(spool_url, 0)

    assert result == (2, [], 1, False, True, tmp_path / "spool.db-damaged")
    with opened(spool_url) as store, closing(Reader(spool_url)) as reader:
        assert (store.spool_id, store.books, store.consumers.positions()) == before
        assert [reject.body for reject in reader.rejects()] == [b"nonsense"]
        (again,) = store.commit([received(event(1), event(2), b"nonsense")])
    assert again == Counts(3, duplicate=3)
    assert spool.rows(spool_url) == events


@pytest.mark.parametrize(
    "change",
    [
        'body = CAST(\'{"type":"track"}\' AS BLOB)',
        "body = 'text'",
        "reason = 'It is another one.'",
        "reason = x'00'",
        "source = 'other'",
        "received_at = received_at + 1",
        "checksum = checksum + 1",
        "checksum = NULL, body = 7",
    ],
)
def test_damaged_reject_is_neither_listed_nor_retried(
    spool_url: str, tmp_path: Path, change: str
) -> None:
    """Whatever was changed in it, it is named; a salvage saves the others and their books."""
    commands = Commands(tmp_path, spool_url=spool_url)
    fill(spool_url, [event(1), b"first", b"second", b"third"])
    alter(tmp_path / "spool.db", "reject", f"{change} WHERE number = 2")

    listed = commands.run("rejects", "list", "--json")
    retried = commands.refusal("rejects", "retry")
    printed = commands.output("salvage")

    assert [json.loads(line)["body"] for line in listed.stdout.splitlines()] == ["first"]
    assert listed.exit_code == 1
    for said in (listed.stderr, retried):
        assert "reject 2 is not as it was written" in said
        assert "segment-receiver salvage" in said
    assert "those are lost" in printed
    with opened(spool_url) as store, closing(Reader(spool_url)) as reader:
        assert [reject.body for reject in reader.rejects()] == [b"first", b"third"]
        assert store.books == {"default": Counts(4, stored=1, rejected=3)}


def test_rejects_that_were_lost_may_come_again(spool_url: str, tmp_path: Path) -> None:
    """What was saved beside them is known, events as well."""
    bodies = [event(1), b"first", event(2), b"second", b"third", event(3)]
    with opened(spool_url) as store:
        for body in bodies:
            store.commit([received(body)])
    alter(tmp_path / "spool.db", "reject", "body = x'' WHERE number = 2")
    salvage(spool_url, 0)

    with opened(spool_url) as store:
        again = store.commit([received(*bodies)])

    assert again == [Counts(6, duplicate=5, rejected=1)]


@pytest.mark.parametrize("figure", ["received", "stored", "duplicate", "filtered", "rejected"])
def test_books_that_do_not_add_up_are_refused(spool_url: str, tmp_path: Path, figure: str) -> None:
    """One figure that was changed contradicts the others; a salvage counts anew."""
    fill(spool_url, [event(1), event(2), b"nonsense"])
    alter(tmp_path / "spool.db", "book", f"{figure} = {figure} + 4096")

    run = tap(spool_url)
    with pytest.raises(SpoolUnusable, match="do not add up"), opened(spool_url):
        pass
    result = salvage(spool_url, 0)

    assert (run.code, run.positions) == (1, [])
    assert "do not add up" in run.log
    assert (result.events, result.rejects, result.same) == (2, 1, False)
    with opened(spool_url) as store:
        assert store.books == {"default": Counts(3, stored=2, rejected=1)}


def test_salvage_takes_what_is_still_in_the_log(spool_url: str, tmp_path: Path) -> None:
    """A receiver that was killed left its last commits in the `-wal` file."""
    with opened(spool_url) as store:
        store.commit([received(event(1))])
        for name in ("spool.db", "spool.db-wal"):
            (tmp_path / f"copy-{name}").write_bytes((tmp_path / name).read_bytes())
    for name in ("spool.db", "spool.db-wal"):
        (tmp_path / f"copy-{name}").replace(tmp_path / name)

    salvage(spool_url, 0)

    assert [row[0] for row in spool.rows(spool_url)] == [event(1)]


def test_books_that_cannot_be_read_make_another_spool(spool_url: str, tmp_path: Path) -> None:
    """Nobody knows how far it was, so pipelines start anew instead of passing something over."""
    fill(spool_url, [event(1), event(2), b"nonsense"])
    with closing(sqlite3.connect(tmp_path / "spool.db")) as connection, connection:
        (identity,) = connection.execute("SELECT id FROM spool").fetchone()
        connection.execute("DELETE FROM book")
    with pytest.raises(SpoolUnusable, match="segment-receiver salvage"):
        fill(spool_url, [event(3)])

    result = salvage(spool_url, 0)

    assert not result.same
    with opened(spool_url) as store:
        assert store.spool_id != identity
        assert store.books == {"default": Counts(received=3, stored=2, rejected=1)}
        store.commit([received(event(3))])
    assert [row[1] for row in spool.rows(spool_url)] == [1, 2, 3]


def test_interrupted_salvage_is_run_again(spool_url: str, tmp_path: Path) -> None:
    """Until then nobody writes or reads what is half done."""
    fill(spool_url, [event(1)])
    salvage(spool_url, 0)
    (tmp_path / "spool.db-salvage").touch()
    (tmp_path / "spool.db").write_bytes(b"as far as it came")

    for use in (lambda: fill(spool_url, []), lambda: spool.rows(spool_url)):
        with pytest.raises(SpoolUnusable, match="run `segment-receiver salvage` again"):
            use()
    salvage(spool_url, 0)

    assert [row[0] for row in spool.rows(spool_url)] == [event(1)]


def test_earlier_damaged_file_is_not_overwritten(spool_url: str, tmp_path: Path) -> None:
    """What a salvage kept is only somebody's to delete."""
    fill(spool_url, [event(1)])
    salvage(spool_url, 0)

    with pytest.raises(SpoolUnusable, match="still there from an earlier salvage"):
        salvage(spool_url, 0)

    assert [row[0] for row in spool.rows(spool_url)] == [event(1)]
    assert not (tmp_path / "spool.db-salvage").exists()


def test_file_that_cannot_be_read_at_all_is_left_alone(spool_url: str, tmp_path: Path) -> None:
    """Where nothing can be saved, nothing is changed."""
    path = tmp_path / "spool.db"
    path.write_bytes(b"no spool at all" * 1000)

    with pytest.raises(SpoolUnusable, match="cannot be read"):
        salvage(spool_url, 0)

    assert path.read_bytes() == b"no spool at all" * 1000
    assert sorted(each.name for each in tmp_path.iterdir()) == ["spool.db", "spool.db-lock"]


def test_salvage_waits_for_nobody(spool_url: str) -> None:
    """While a receiver runs it is refused."""
    with opened(spool_url), pytest.raises(SpoolUnusable, match="already written"):
        salvage(spool_url, 0)


def test_spool_that_went_back_is_another_one(
    spool_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A backup in its place does not make the tap pass over what gets old positions again."""
    path = tmp_path / "spool.db"
    fill(spool_url, [event(1)])
    backup = path.read_bytes()
    fill(spool_url, [event(2), event(3)])
    config = {"spool_url": spool_url, "shared_secret": SECRET}
    state = singer.sync(config).state
    singer.sync(config, state=state)
    path.write_bytes(backup)

    fill(spool_url, [event(4), event(5), event(6)])
    after = singer.sync(config, state=state)

    assert "has confirmed 3" in caplog.text
    assert [record["message_id"] for record in after.records] == ["m-1", "m-4", "m-5", "m-6"]


def test_damage_in_the_log_is_told_and_nothing_passed_over(
    spool_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite takes the rest of a log for never written; whoever acknowledged it has to say so."""
    state = cut_off(spool_url, tmp_path, flip_at=0.5)
    with opened(spool_url) as store:
        head = store.head
        for number in range(100, 120):
            store.commit([received(event(number))])

    after = singer.sync({"spool_url": spool_url, "shared_secret": SECRET}, state=state)

    assert 0 < head < 20
    assert f"ends at position {head}" in caplog.text
    assert "commits after that, which were acknowledged, are lost" in caplog.text
    assert after.positions == list(range(1, head + 21))


def test_power_cut_in_the_last_commit_is_no_damage(
    spool_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was never acknowledged may be torn; the spool stays what it was."""
    cut_off(spool_url, tmp_path, flip_at=1.0)

    with opened(spool_url) as store:
        assert store.head == 19
        store.commit([received(event(100))])
    with opened(spool_url) as store:
        assert store.head == 20
    assert "identity" not in caplog.text


def cut_off(url: str, folder: Path, *, flip_at: float) -> dict[str, object]:
    """Leave a spool of 20 commits as a kill does, with a bit of its log changed; give a state."""
    with opened(url) as store:
        for number in range(20):
            store.commit([received(event(number))])
        state = singer.sync({"spool_url": url, "shared_secret": SECRET}).state
        left = {name: (folder / name).read_bytes() for name in ("spool.db", "spool.db-wal")}
    log = bytearray(left["spool.db-wal"])
    log[int(flip_at * (len(log) - 1))] ^= 1
    (folder / "spool.db").write_bytes(left["spool.db"])
    (folder / "spool.db-wal").write_bytes(log)
    return state


def damaged(original: bytes, random: Random) -> bytes:
    """Return *original* with some bytes changed, or a page, behind its first page."""
    content = bytearray(original)
    page = 4096
    start = random.randrange(page, len(content))
    if random.random() < 0.5:
        for _ in range(random.choice((1, 1, 3))):
            content[random.randrange(page, len(content))] ^= 1 << random.randrange(8)
    else:
        start -= start % page
        content[start : start + page] = random.choice((bytes(page), random.randbytes(page)))
    return bytes(content)


def emitted(url: str) -> list[tuple[int, bytes]]:
    """Return what a reader hands out, by position, until it stops or refuses."""
    found: list[tuple[int, bytes]] = []
    try:
        with closing(Reader(url)) as reader:
            for block in reader.blocks(0, BLOCKS * EACH):
                found += [(position, each) for each, position, *_ in block.rows()]
    except SpoolUnusable:
        pass
    return found


def salvaged(url: str) -> set[int]:
    """Salvage the spool; return the positions that are said to be lost."""
    result = salvage(url, 0)
    return {position for first, last in result.lost for position in range(first, last + 1)}


def clear(folder: Path) -> None:
    """Remove the spool in *folder*, and what was kept of it."""
    for path in folder.glob("spool.db*"):
        path.unlink()


def alter(path: Path, table: str, change: str) -> None:
    """Change rows of the spool at *path* behind everybody's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {table} SET {change}")  # noqa: S608 - from the tests above


def flip(path: Path, old: bytes, new: bytes) -> None:
    """Change the only place of the file where *old* begins a run of itself."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def tap(url: str, state: dict[str, object] | None = None) -> Run:
    """Run the tap on the spool."""
    return singer.run({"spool_url": url, "shared_secret": SECRET}, state=state)
