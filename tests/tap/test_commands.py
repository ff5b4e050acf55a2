"""Commands can be stopped, cut short and configured wrongly, and say what that means."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO

import pytest
from harness.commands import Commands
from harness.receiver import PROGRAMS, environment
from harness.spool import event, events, fill, rows
from harness.waiting import wait_until
from tap_segment_webhook.spool.reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = str(PROGRAMS / "segment-receiver")
RUN_SECONDS = 120


def start(spool_url: str, *words: str) -> subprocess.Popen[str]:
    """Start a command on the spool at *spool_url*."""
    return subprocess.Popen(
        [PROGRAM, *words],
        env=environment(TAP_SEGMENT_WEBHOOK_SPOOL_URL=spool_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_stopped_load_says_what_it_did(tmp_path: Path, spool_url: str) -> None:
    """Ctrl-C ends it with 130, as shells expect; another load brings the rest."""
    file = tmp_path / "history.jsonl"
    os.mkfifo(file)
    bodies = events(1200)
    fill(spool_url, bodies[:1])

    with open_pipe(file) as pipe, start(spool_url, "load", str(file)) as process:
        pipe.write(b"\n".join(bodies))
        wait_until(lambda: head(spool_url) > 1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=RUN_SECONDS)

    assert process.returncode == 130
    assert said == (
        "\nStopped. So far: 1,000 received = 999 stored + 1 duplicate + 0 filtered + 0 rejected. "
        "Load the files again for the rest: what is in the spool is recognised.\n"
    )
    assert [body for body, *_ in rows(spool_url)] == bodies[:1000]


def test_load_reads_from_a_pipe(tmp_path: Path, spool_url: str) -> None:
    """What another program prints needs no file: `load <(zcat ...)`, `load /dev/stdin`."""
    packed = gzip.compress(b"\n".join(events(50)))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"spool_url": spool_url}), "utf-8")

    for given in (b"\n".join(events(20)), packed):
        subprocess.run(
            [PROGRAM, "load", "/dev/stdin", "--config", config],
            check=True,
            input=given,
            capture_output=True,
            timeout=RUN_SECONDS,
        )

    assert [body for body, *_ in rows(spool_url)] == events(50)


def test_reader_that_has_had_enough_is_no_error(spool_url: str) -> None:
    """`segment-receiver ids | head -1` prints a line and nothing else."""
    fill(spool_url, events(5000))

    with start(spool_url, "ids") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["message_id"] == "m-1"
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"{", "cannot be read as JSON: "),
        (b"[1]", "is JSON, but no object with settings in it."),
        (b"5", "is JSON, but no object with settings in it."),
    ],
)
def test_file_that_is_no_configuration_is_told(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """What is wrong with it, and not where in our code that showed."""
    file = tmp_path / "settings.json"
    if content is not None:
        file.write_bytes(content)

    result = Commands(tmp_path).run("status", "--config", file)

    assert result.exit_code == 2
    assert f"{file} {reason}" in result.stderr


def test_ids_from_a_spreadsheet_are_read(tmp_path: Path, spool_url: str) -> None:
    """The mark that some programs put before UTF-8 is no part of the first id."""
    fill(spool_url, [event(1, userId="usr_40711")])
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfusr_40711\r\n")

    found = Commands(tmp_path, spool_url=spool_url).output(
        "erase", "--from", tmp_path / "ids.txt", "--yes", "--json"
    )

    assert json.loads(found) == {
        "events": {"track": 1},
        "unconfirmed": 1,
        "requests": 0,
        "rejects": 0,
    }
    assert rows(spool_url) == []


def test_ids_that_are_not_text_erase_nothing(tmp_path: Path, spool_url: str) -> None:
    """It is told before the spool is opened."""
    fill(spool_url, [event(1, userId="usr_40711")])
    (tmp_path / "ids.txt").write_bytes(b"usr_40711\n\xff\xfe\n")

    result = Commands(tmp_path, spool_url=spool_url).run("erase", "--from", tmp_path / "ids.txt")

    assert result.exit_code == 2
    assert "ids.txt is not UTF-8: invalid start byte at byte 10." in result.stderr
    assert len(rows(spool_url)) == 1


def open_pipe(path: Path) -> BinaryIO:
    """Open the pipe at *path* for writing, whether anybody reads yet or not."""
    return os.fdopen(os.open(path, os.O_RDWR), "wb", buffering=0)


def head(url: str) -> int:
    """Return the last position of the spool at *url*."""
    with closing(Reader(url)) as reader:
        return reader.head()
