"""What was committed stays, once, at its position; and the books say what became of the rest."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from harness import spool
from harness.spool import event, events, fill, opened, received, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from tap_segment_webhook.errors import SpoolBroken, SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.event import read_event
from tap_segment_webhook.spool.consumers import Consumers
from tap_segment_webhook.spool.layout import FORMAT, open_for_writing, spool_path
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.reader import Reader
from tap_segment_webhook.spool.store import MAX_BLOCK_BYTES, Store

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_MS = 3_600_000
AT_ONCE = -1  # a retention that even what was committed in this millisecond has outlived
NO_EVENT = b'{"type":"order"}'


def prune(store: Store, retention_ms: int = AT_ONCE) -> None:
    """Tidy *store* until nothing is left to do."""
    while store.tidy(retention_ms):
        pass


def confirm(store: Store, position: int, name: str = "default") -> None:
    """Confirm everything up to *position* for a consumer."""
    store.consumers.confirm(name, position, 0)


def positions(url: str) -> list[int]:
    """Return the positions of everything that is retained."""
    return [position for _, position, _, _ in rows(url)]


def test_committed_events_are_there_in_order(spool_url: str) -> None:
    """Events come back byte for byte, numbered from one."""
    bodies = [*events(3), b' {"type": "page"}\n', event(5, "group", traits={"a": "é☕"})]

    with opened(spool_url) as store:
        counts = store.commit([received(*bodies)])

        assert counts == [Counts(received=5, stored=5)]
    assert [(body, position) for body, position, _, _ in rows(spool_url)] == [
        (body, position) for position, body in enumerate(bodies, 1)
    ]


def test_positions_go_on_after_reopening(spool_url: str) -> None:
    """A restart does not start the count again."""
    fill(spool_url, events(3))
    fill(spool_url, events(2, first=4))

    assert positions(spool_url) == [1, 2, 3, 4, 5]


def test_empty_spool_has_head_zero(spool_url: str) -> None:
    """A new spool has given out no position."""
    with opened(spool_url) as store:
        assert store.head == 0
    assert rows(spool_url) == []


def test_event_larger_than_a_block_is_stored(spool_url: str) -> None:
    """Blocks bound what is read at once, not what an event may be."""
    bodies = [event(n, properties={"a": "x" * n * MAX_BLOCK_BYTES}) for n in range(3)]

    fill(spool_url, bodies)

    assert [body for body, *_ in rows(spool_url)] == bodies


@pytest.mark.parametrize("how", ["one delivery", "one group", "two groups", "reopened"])
def test_duplicate_is_stored_once(spool_url: str, how: str) -> None:
    """A message id that comes again is counted, and not stored, wherever it comes again."""
    again = event(1, note="sent again")
    with opened(spool_url) as store:
        if how == "one delivery":
            counts = store.commit([received(event(1), again)])
        elif how == "one group":
            counts = store.commit([received(event(1)), received(again)])
        else:
            counts = store.commit([received(event(1))])
            if how == "two groups":
                counts += store.commit([received(again)])
    if how == "reopened":
        with opened(spool_url) as store:
            counts += store.commit([received(again)])

    assert [body for body, *_ in rows(spool_url)] == [event(1)]
    total = Counts(*map(sum, zip(*counts, strict=True)))
    assert total == Counts(received=2, stored=1, duplicate=1)


def test_duplicate_beyond_the_window_is_stored_again(spool_url: str) -> None:
    """A small window forgets, also on disk: what is forgotten is left to the target."""
    with opened(spool_url, window=4) as store:
        for body in events(40):
            store.commit([received(body)])
        prune(store)
    with opened(spool_url) as store:
        counts = store.commit([received(event(1)), received(event(40))])

    assert counts == [Counts(received=1, stored=1), Counts(received=1, duplicate=1)]


def test_same_id_of_two_sources_is_one_event(spool_url: str) -> None:
    """The key of every stream is the message id alone."""
    with opened(spool_url) as store:
        counts = store.commit([received(event(1), source="web"), received(event(1), source="app")])

    assert sorted(counts) == [Counts(received=1, duplicate=1), Counts(received=1, stored=1)]


def test_each_source_has_its_books_and_its_name(spool_url: str) -> None:
    """Events of several sources in one group keep their source, and their own counts."""
    with opened(spool_url) as store:
        store.commit(
            [
                received(event(1), source="web"),
                received(event(2), NO_EVENT, source="app"),
                received(event(3), source="web"),
            ]
        )

        assert store.books == {
            "web": Counts(received=2, stored=2),
            "app": Counts(received=2, stored=1, rejected=1),
        }
    found = rows(spool_url)
    assert {body: source for body, _, source, _ in found} == {
        event(1): "web",
        event(2): "app",
        event(3): "web",
    }
    assert [position for _, position, _, _ in found] == [1, 2, 3]


def test_reject_is_kept_once_with_its_reason(spool_url: str) -> None:
    """What is no event is set aside byte for byte; Segment's retry of it is a duplicate."""
    with opened(spool_url) as store:
        counts = store.commit([received(NO_EVENT), received(NO_EVENT)])
        counts += store.commit([received(NO_EVENT)])

    with closing(Reader(spool_url)) as reader:
        (reject,) = reader.rejects()
    assert reject.body == NO_EVENT
    assert "type is not one of" in reject.reason
    assert counts == [Counts(1, rejected=1), Counts(1, duplicate=1), Counts(1, duplicate=1)]


def test_commit_of_duplicates_only_is_counted(spool_url: str) -> None:
    """Nothing new to store is still something for the books."""
    fill(spool_url, events(3))

    assert fill(spool_url, events(3)) == Counts(received=3, duplicate=3)
    with opened(spool_url) as store:
        assert store.books == {"default": Counts(received=6, stored=3, duplicate=3)}
        assert store.head == 3


OFF = {"integrations": {"All": False}}
ELEMENTS = st.one_of(
    st.integers(1, 30).map(event),
    st.integers(1, 30).map(lambda number: event(number, "page", **OFF)),
    st.integers(1, 5).map(lambda number: b'{"type":"order","n":%d}' % number),
    st.just(b"nonsense"),
)
DELIVERIES = st.tuples(st.sampled_from(["web", "app"]), st.lists(ELEMENTS, max_size=6))
GROUPS = st.lists(st.lists(DELIVERIES, min_size=1, max_size=4), max_size=5)


@settings(max_examples=60)
@given(sessions=st.lists(GROUPS, max_size=3))
def test_books_balance_whatever_is_received(
    sessions: list[list[list[tuple[str, list[bytes]]]]],
) -> None:
    """Received is stored, duplicate, filtered and rejected, and stored is what is there."""
    sent = {"web": 0, "app": 0}
    with TemporaryDirectory() as folder:
        url = spool.url_in(Path(folder))
        for groups in sessions:
            with opened(url) as store:
                for group in groups:
                    store.commit(
                        [
                            received(*bodies, source=source, integration="Us")
                            for source, bodies in group
                        ]
                    )
                    for source, bodies in group:
                        sent[source] += len(bodies)
        with opened(url), closing(Reader(url)) as reader:
            books, rejects = reader.books(), list(reader.rejects())
        found = rows(url)

    for source, count in sent.items():
        book = books.get(source, Counts())
        assert book.received == count == sum(book[1:])
        assert book.stored == sum(1 for row in found if row[2] == source)
        assert book.rejected == sum(1 for reject in rejects if reject.source == source)
    assert [position for _, position, _, _ in found] == list(range(1, len(found) + 1))
    digests = [read_event(body).digest for body, *_ in found]
    assert len(set(digests)) == len(digests)


def test_position_is_not_reused_after_prune(spool_url: str) -> None:
    """Nothing that is deleted gives its position back, also not through a restart."""
    fill(spool_url, events(3))
    with opened(spool_url) as store:
        confirm(store, 3)
        prune(store)
        assert positions(spool_url) == []

    fill(spool_url, events(2, first=4))

    assert positions(spool_url) == [4, 5]


def test_only_confirmed_events_are_pruned(spool_url: str) -> None:
    """An event that its consumer has not confirmed stays, however old it is."""
    with opened(spool_url) as store:
        for body in events(5):
            store.commit([received(body)])
        confirm(store, 3)

        prune(store)

        assert positions(spool_url) == [4, 5]


def test_block_is_pruned_only_as_a_whole(spool_url: str) -> None:
    """A block with one unconfirmed event stays."""
    fill(spool_url, events(5))
    with opened(spool_url) as store:
        confirm(store, 4)

        prune(store)

        assert positions(spool_url) == [1, 2, 3, 4, 5]


def test_recent_events_are_not_pruned(spool_url: str) -> None:
    """What is confirmed stays for replay as long as it is asked for."""
    fill(spool_url, events(3))
    with opened(spool_url) as store:
        confirm(store, 3)

        prune(store, retention_ms=HOUR_MS)

        assert positions(spool_url) == [1, 2, 3]


def test_nothing_is_pruned_while_no_consumer_is_known(spool_url: str) -> None:
    """Before a first run every event stays."""
    fill(spool_url, events(3))
    with opened(spool_url) as store:
        prune(store)

        assert positions(spool_url) == [1, 2, 3]


def test_slowest_consumer_decides(spool_url: str) -> None:
    """An event is pruned when every known consumer has confirmed it."""
    with opened(spool_url) as store:
        for body in events(5):
            store.commit([received(body)])
        confirm(store, 5, "fast")
        store.consumers.register("slow")
        prune(store)
        assert positions(spool_url) == [1, 2, 3, 4, 5]

        confirm(store, 2, "slow")
        prune(store)
        assert positions(spool_url) == [3, 4, 5]

        store.consumers.forget("slow")
        prune(store)
        assert positions(spool_url) == []


def test_consumers_of_another_spool_do_not_count(spool_url: str) -> None:
    """What was confirmed of a spool that was moved away does not prune its successor."""
    fill(spool_url, events(3))
    Consumers(spool_path(spool_url), "another identity").confirm("default", 99, 0)
    with opened(spool_url) as store:
        prune(store)

        assert store.consumers.positions() == {}
        assert positions(spool_url) == [1, 2, 3]


def test_many_blocks_are_pruned_in_steps(spool_url: str) -> None:
    """Pruning makes pauses, and in the end all is gone that may go."""
    with opened(spool_url) as store:
        for body in events(200):
            store.commit([received(body)])
        confirm(store, 200)

        assert 0 < store.tidy(AT_ONCE) < 200
        prune(store)
        assert positions(spool_url) == []
        assert store.commit([received(event(1))]) == [Counts(received=1, duplicate=1)]


def _make_newer(path: Path) -> None:
    fill(f"sqlite:///{path}", events(3))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")


def _make_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE book (title TEXT)")


def _make_text(path: Path) -> None:
    path.write_bytes(b"These are the notes of somebody else.\n" * 99)


@pytest.mark.parametrize("use", [Reader, lambda url: Store(url, dedup_window_events=10)])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_make_newer, rf"newer version \(format {FORMAT + 1}; this one reads up to {FORMAT}\)"),
        (_make_foreign, "is a SQLite file but no spool"),
        (_make_text, "cannot be read as a spool"),
    ],
)
def test_file_that_is_not_ours_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], reason: str, use: Callable[[str], object]
) -> None:
    """Neither reading nor writing changes a byte of a newer or a foreign file."""
    path = tmp_path / "spool.db"
    make(path)
    before = path.read_bytes()

    with pytest.raises(SpoolUnusable, match=reason):
        use(f"sqlite:///{path}")

    assert path.read_bytes() == before


@pytest.mark.parametrize("url", ["nats://127.0.0.1:4222/EVENTS", "sqlite://x", "spool.db", ""])
def test_other_url_is_refused(url: str) -> None:
    """What is no SQLite file is said to be none."""
    with pytest.raises(SpoolUnusable, match="sqlite:///PATH"):
        Store(url, dedup_window_events=10)


@pytest.mark.parametrize("name", ["a b.db", "50%.db", "a?b#c.db", "é☕.db", "%20.db"])
def test_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    """What means something in a URL does not in the name of a file."""
    fill(f"sqlite:///{tmp_path}/{name}", events(1))

    assert (tmp_path / name).exists()
    assert len(rows(f"sqlite:///{tmp_path}/{name}")) == 1


def test_two_names_of_one_file_are_one_spool(tmp_path: Path, spool_url: str) -> None:
    """A link to a spool is no way around its lock."""
    (tmp_path / "link.db").symlink_to(tmp_path / "spool.db")

    with opened(spool_url), pytest.raises(SpoolUnusable, match="already written"):
        Store(f"sqlite:///{tmp_path}/link.db", dedup_window_events=10)


def test_relative_url_is_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three slashes are relative, four absolute."""
    monkeypatch.chdir(tmp_path)

    fill("sqlite:///spool.db", events(1))

    assert len(rows(f"sqlite:///{tmp_path}/spool.db")) == 1


def test_absent_folder_is_refused(tmp_path: Path) -> None:
    """It does not make folders in places that were mistyped."""
    with pytest.raises(SpoolUnusable, match="does not exist"):
        Store(f"sqlite:///{tmp_path}/nowhere/spool.db", dedup_window_events=10)

    assert list(tmp_path.iterdir()) == []


def test_changed_books_are_noticed(spool_url: str) -> None:
    """A file whose books end before its last event is not gone on with."""
    fill(spool_url, events(3))
    with closing(sqlite3.connect(spool_path(spool_url))) as connection, connection:
        connection.execute("DELETE FROM book")

    with pytest.raises(SpoolUnusable, match="holds position 3, its books end at 0"):
        Store(spool_url, dedup_window_events=10)


def test_second_writer_is_refused_with_the_holder(spool_url: str) -> None:
    """Only one may write, and the other is told who does."""
    with (
        closing(Store(spool_url, dedup_window_events=10, purpose="the first")),
        pytest.raises(SpoolUnusable, match=rf"written by process {os.getpid()} \(the first\)"),
    ):
        Store(spool_url, dedup_window_events=10)

    with opened(spool_url) as store:
        assert store.head == 0


def test_failed_start_does_not_keep_the_lock(spool_url: str) -> None:
    """A spool that was refused can be opened once it is mended."""
    path = spool_path(spool_url)
    _make_foreign(path)
    with pytest.raises(SpoolUnusable):
        Store(spool_url, dedup_window_events=10)
    path.unlink()

    with opened(spool_url) as store:
        assert store.head == 0


def test_full_spool_refuses_and_goes_on_after_pruning(spool_url: str) -> None:
    """Over `max_bytes` nothing is stored or lost; room that is made is used."""
    big = "x" * 1_000_000
    with opened(spool_url, max_bytes=2_000_000) as store:
        for number in range(3):
            store.commit([received(event(number, note=big))])
        with pytest.raises(SpoolUnavailable, match="of 2,000,000 max_spool_bytes"):
            store.probe()
        with pytest.raises(SpoolUnavailable, match="Run the tap, or raise the setting"):
            store.commit([received(event(4))])
        confirm(store, 3)
        prune(store)

        assert store.commit([received(event(4))]) == [Counts(received=1, stored=1)]
        assert positions(spool_url) == [4]


def test_reading_goes_on_beside_writing(spool_url: str) -> None:
    """A reader sees a growing, gapless beginning of what is written, and all of it in the end."""
    count = 300
    with opened(spool_url) as store, closing(Reader(spool_url)) as reader:

        def write() -> None:
            for body in events(count):
                store.commit([received(body)])

        writer = threading.Thread(target=write)
        writer.start()
        seen: list[int] = []
        while len(seen) < count:
            for block in reader.blocks(len(seen), reader.head()):
                seen += [position for _, position, _, _ in block.rows()]
        writer.join()

    assert seen == list(range(1, count + 1))


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_file_that_was_taken_away_is_broken(spool_url: str, how: str) -> None:
    """Events are not written where nobody will find them."""
    path = spool_path(spool_url)
    with opened(spool_url) as store:
        store.commit([received(event(1))])
        if how == "deleted":
            path.unlink()
        else:
            path.rename(path.with_name("old.db"))
            path.write_bytes(b"")

        with pytest.raises(SpoolBroken, match=r"gone|replaced"):
            store.probe()
        with pytest.raises(SpoolBroken, match=r"gone|replaced"):
            store.commit([received(event(2))])


def test_failed_commit_keeps_nothing_and_goes_on(spool_url: str) -> None:
    """A commit that another program locks out stores nothing of it, and can be tried again."""
    with opened(spool_url) as store:
        store.commit([received(event(1))])
        with closing(sqlite3.connect(spool_path(spool_url), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SpoolUnavailable, match="locked by another program"):
                store.commit([received(event(2))])
            other.execute("ROLLBACK")

        assert store.commit([received(event(2))]) == [Counts(received=1, stored=1)]
        assert positions(spool_url) == [1, 2]


def test_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """A commit is fsynced: anything less loses acknowledged events in a power cut."""
    with closing(open_for_writing(tmp_path / "spool.db", "some identity", 0)) as connection:
        settings = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "fullfsync", "checkpoint_fullfsync")
        }

    full = 2
    assert settings == {
        "journal_mode": "wal",
        "synchronous": full,
        "fullfsync": 1,
        "checkpoint_fullfsync": 1,
    }


@settings(max_examples=60)
@given(cut=st.floats(0, 1))
def test_log_that_was_cut_anywhere_is_a_consistent_beginning(cut: float) -> None:
    """Whatever part of the last writes a crash leaves, the file is a spool as it once was."""
    with TemporaryDirectory() as folder:
        url = spool.url_in(Path(folder))
        with opened(url) as store:
            for number in range(12):
                store.commit([received(event(number), event(number + 1), NO_EVENT)])
            left = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        copy = Path(folder, "copy")
        copy.mkdir()
        left["spool.db-wal"] = left["spool.db-wal"][: int(cut * len(left["spool.db-wal"]))]
        for name in ("spool.db", "spool.db-wal"):
            (copy / name).write_bytes(left[name])

        with opened(spool.url_in(copy)) as store:
            found = [body for body, *_ in rows(spool.url_in(copy))]
            books = store.books.get("default", Counts())
            again = store.commit([received(*found)])

    assert found == [event(number) for number in range(len(found))]
    assert books.stored == len(found) == store.head
    assert books.received == sum(books[1:])
    assert again == [Counts(len(found), duplicate=len(found))]


def test_retried_reject_becomes_an_event_and_the_books_balance(spool_url: str) -> None:
    """A reject that can be read later on moves from rejected to stored."""
    with opened(spool_url) as store, closing(Reader(spool_url)) as reader:
        store.commit([received(event(1), NO_EVENT)])
        (reject,) = reader.rejects()

        assert store.retry_rejects([(reject, read_event(event(2)))]) == 1

        assert store.books == {"default": Counts(received=2, stored=2)}
        assert reader.books() == store.books
        assert reader.count_rejects() == store.rejects == 0
        assert [body for body, *_ in rows(spool_url)] == [event(1), event(2)]
        assert store.commit([received(event(3))]) == [Counts(received=1, stored=1)]
        assert positions(spool_url) == [1, 2, 3]


def test_retried_reject_that_is_known_is_a_duplicate(spool_url: str) -> None:
    """A retry does not store an event twice."""
    with opened(spool_url) as store, closing(Reader(spool_url)) as reader:
        store.commit([received(event(1), NO_EVENT)])
        (reject,) = reader.rejects()

        assert store.retry_rejects([(reject, read_event(event(1)))]) == 0

        assert reader.books() == {"default": Counts(received=2, stored=1, duplicate=1)}
        assert positions(spool_url) == [1]


def test_purged_rejects_are_gone_and_stay_counted(spool_url: str) -> None:
    """The books are about what was received: purging changes nothing in them."""
    with opened(spool_url) as store, closing(Reader(spool_url)) as reader:
        store.commit([received(event(1), NO_EVENT, b"nonsense")])

        assert store.purge_rejects() == 2

        assert list(reader.rejects()) == []
        assert store.rejects == 0
        assert reader.books() == {"default": Counts(received=3, stored=1, rejected=2)}
