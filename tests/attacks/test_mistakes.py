"""Two of everything on one spool, and files taken away: refused or harmless, never corrupt."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import messages, singer, spool
from harness.attacks import ROUNDS, attack
from harness.deliveries import array
from harness.receiver import HOST, PROGRAMS, SECRET, Receiver, environment
from harness.segment import Segment
from harness.spool import balanced, event, events, fill, opened, received
from harness.target import Target
from harness.waiting import wait_until
from tap_segment_webhook.errors import SpoolBroken, SpoolUnusable
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.store import Store

LOADERS = 3
LINES = 50 * ROUNDS
RECORDS = range(1, 50 * ROUNDS + 1)


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-lock"])
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_file_beside_the_spool_that_was_taken_away_stops_it(
    spool_url: str, tmp_path: Path, suffix: str, how: str
) -> None:
    """It is noticed before the next second's events, and everything acknowledged is kept."""
    path = tmp_path / f"spool.db{suffix}"
    with attack("spool", "its -wal, -shm or -lock file deleted or replaced") as tally:
        with opened(spool_url) as store:
            for body in events(20):
                store.commit([received(body)])
            path.unlink()
            if how == "replaced":
                path.touch()

            with pytest.raises(SpoolBroken, match=f"{suffix} (is gone|was replaced)"):
                store.probe()

        with opened(spool_url) as store:
            assert store.books == {"default": Counts(20, stored=20)}
        assert [body for body, *_ in spool.rows(spool_url)] == events(20)
        tally.rounds, tally.events = 1, 20


def test_spool_with_a_second_name_is_refused(spool_url: str, tmp_path: Path) -> None:
    """By a hard link SQLite would not find the log that belongs to the file."""
    fill(spool_url, events(3))
    os.link(tmp_path / "spool.db", tmp_path / "other.db")

    for name in ("spool.db", "other.db"):
        with pytest.raises(SpoolUnusable, match="2 names"):
            Store(f"sqlite:///{tmp_path / name}", dedup_window_events=10)
    (tmp_path / "other.db").unlink()

    with opened(spool_url) as store:
        assert store.head == 3


def test_second_receiver_by_any_path_is_refused(tmp_path: Path) -> None:
    """The first goes on as if nothing had happened."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "linked").symlink_to(home)
    (tmp_path / "link.db").symlink_to(home / "spool.db")
    paths = ("linked/spool.db", "link.db")
    with (
        attack("receiver", "a second one is started on the same spool, by another path") as tally,
        Receiver(home) as receiver,
    ):
        for number, path in enumerate(paths):
            words = ["serve", "--host", HOST, "--port", "0"]
            second = segment_receiver(f"sqlite:///{tmp_path}/{path}", *words)
            answer = receiver.deliver(array([{"type": "page", "messageId": f"m-{number}"}]))

            assert second.returncode == 1
            assert f"already written by process {receiver.pid}" in second.stderr
            assert answer.json()["stored"] == 1
        assert balanced(receiver.spool_url) == Counts(len(paths), stored=len(paths))
        tally.rounds = tally.events = len(paths)


def test_loads_at_once_take_turns(tmp_path: Path, spool_url: str) -> None:
    """Of several only one writes; who is refused says so and can be run again."""
    files = [tmp_path / f"{number}.jsonl" for number in range(LOADERS)]
    for number, file in enumerate(files):
        # Each shares half of its events with the next.
        lines = [event(number * LINES // 2 + line) for line in range(LINES)]
        file.write_bytes(b"\n".join(lines) + b"\n")
    with attack("commands", f"{LOADERS} loads of overlapping files at once") as tally:

        def load_until_done(file: Path) -> int:
            refusals = 0
            while True:
                done = segment_receiver(spool_url, "load", str(file))
                if done.returncode == 0:
                    return refusals
                assert "already written by process" in done.stderr
                refusals += 1

        with ThreadPoolExecutor(LOADERS) as pool:
            refusals = sum(pool.map(load_until_done, files))

        distinct = (LOADERS + 1) * LINES // 2
        with opened(spool_url) as store:
            books = store.books["default"]
        assert books == Counts(LOADERS * LINES, distinct, LOADERS * LINES - distinct)
        assert [row[1] for row in spool.rows(spool_url)] == list(range(1, distinct + 1))
        assert len({row[0] for row in spool.rows(spool_url)}) == distinct
        tally.rounds, tally.events = LOADERS + refusals, distinct


def test_two_taps_at_once_both_emit_everything(tmp_path: Path) -> None:
    """Neither disturbs the other, nor the receiver that writes meanwhile."""
    batch = [{"type": "track", "messageId": f"m-{number}"} for number in range(500)]
    with attack("tap", "two taps of one consumer at once, beside the receiver") as tally:
        with Receiver(tmp_path) as receiver:
            receiver.deliver(array(batch))
            with ThreadPoolExecutor(2) as pool:
                runs = [pool.submit(singer.run, receiver.settings) for _ in range(2)]
                for number in range(500, 520):
                    receiver.deliver(array([{"type": "track", "messageId": f"m-{number}"}]))
                both = [run.result() for run in runs]
            last = singer.run(receiver.settings, state=both[0].state)

        for run in both:
            assert run.code == 0
            assert run.positions == list(range(1, len(run.positions) + 1))
            assert len(run.positions) >= 500
        assert both[0].positions + last.positions == list(range(1, 521))
        tally.rounds, tally.events = 1, 520


@pytest.mark.parametrize("how", ["moved away", "replaced"])
def test_receiver_whose_spool_was_taken_away_stops(tmp_path: Path, how: str) -> None:
    """It answers 503 and ends with 1; put back, the spool has all that was ever acknowledged."""
    path, away = tmp_path / "spool.db", tmp_path / "away.db"
    sent: list[dict[str, str]] = []

    def deliver() -> int:
        sent.append({"type": "track", "messageId": f"m-{len(sent)}"})
        return receiver.deliver(array(sent[-1:])).status_code

    with attack("receiver", "the spool is moved away, or another file put in its place") as tally:
        receiver = Receiver(tmp_path)
        receiver.start()
        before = [deliver() for _ in range(50)]
        path.rename(away)
        if how == "replaced":
            path.touch()

        wait_until(lambda: deliver() == 503)
        code = receiver.wait()
        away.replace(path)

        with receiver:
            again = receiver.deliver(array(sent[:-1])).json()
        tally.rounds, tally.events, tally.lost = 1, len(sent) - 1, again["stored"]
        assert before == [200] * 50
        assert (code, tally.lost, again["duplicate"]) == (1, 0, len(sent) - 1)
        assert balanced(receiver.spool_url).stored == len(spool.rows(receiver.spool_url))


def test_two_targets_at_once_send_each_event_once(tmp_path: Path) -> None:
    """Segment knows what it has by its ids, and no line of either is torn by the other."""
    events = [messages.small(number, event=None if number % 50 == 0 else "x") for number in RECORDS]
    lines = messages.encode(messages.conversation(events, every=100))
    with (
        attack("target", "two targets at once, on the same files") as tally,
        Segment(tmp_path, delay_ms=5) as segment,
    ):
        target = Target(tmp_path, segment.endpoint, max_batch_events=20)
        with target.running() as one, target.running() as other:
            for each in (one, other):
                each.feed([lines])
            runs = [one.wait(), other.wait()]

        valid = [number for number in RECORDS if number % 50]
        tally.rounds, tally.events = len(runs), len(valid)
        assert [(run.code, run.positions[-1]) for run in runs] == 2 * [(0, len(RECORDS))]
        assert sorted(messages.numbers(segment.events())) == valid
        for name, each_writes in (("receipts_path", valid), ("rejects_path", RECORDS[49::50])):
            written = Path(target.settings[name]).read_bytes().splitlines()
            assert len([json.loads(line) for line in written]) == 2 * len(each_writes)


def segment_receiver(spool_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `segment-receiver` with *words* on a spool, to its end."""
    variables = {
        "TAP_SEGMENT_WEBHOOK_SPOOL_URL": spool_url,
        "TAP_SEGMENT_WEBHOOK_SHARED_SECRET": SECRET,
    }
    return subprocess.run(
        [str(PROGRAMS / "segment-receiver"), *words],
        check=False,
        capture_output=True,
        text=True,
        env=environment() | variables,
        timeout=60,
    )
