"""History goes into the spool from files, by the same rules as from Segment."""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING

import pytest
from harness.commands import Commands
from harness.deliveries import array
from harness.receiver import Receiver
from harness.spool import event, events, fill, opened, rows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def commands(tmp_path: Path, spool_url: str) -> Commands:
    """Give the commands of an empty spool."""
    return Commands(tmp_path, spool_url=spool_url, integration_name="Warehouse")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the path of a file to be loaded."""
    return tmp_path / "history.jsonl"


def stored(url: str) -> list[bytes]:
    """Return the bytes of every event in the spool."""
    return [body for body, *_ in rows(url)]


def test_lines_become_events_in_order(commands: Commands, file: Path, spool_url: str) -> None:
    """Each line is an event, byte for byte; blank lines and line ends are nothing."""
    bodies = [*events(3), event(4, note="é\u2028☕"), event(5)]
    file.write_bytes(b"\n\r\n".join(bodies[:3]) + b"\r\n  \n" + b"\n".join(bodies[3:]))

    output = commands.output("load", file)

    assert output == ("5 received = 5 stored + 0 duplicate + 0 filtered + 0 rejected\n")
    assert stored(spool_url) == bodies


def test_several_files_follow_one_another(
    commands: Commands, tmp_path: Path, spool_url: str
) -> None:
    """Files are loaded in the order they are named, compressed or not."""
    plain, zipped = tmp_path / "b.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_bytes(b"\n".join(events(2)))
    zipped.write_bytes(gzip.compress(b"\n".join(events(2, first=3))))

    output = commands.output("load", plain, zipped)

    assert "4 received = 4 stored" in output
    assert stored(spool_url) == events(4)


def test_gzip_is_known_by_its_bytes(commands: Commands, file: Path, spool_url: str) -> None:
    """A compressed file needs no particular name."""
    file.write_bytes(gzip.compress(events(1)[0]))

    commands.output("load", file)

    assert stored(spool_url) == events(1)


def test_many_lines_are_many_commits(commands: Commands, file: Path, spool_url: str) -> None:
    """A file larger than one commit arrives whole."""
    file.write_bytes(b"\n".join(events(2500)))

    assert "2,500 received = 2,500 stored" in commands.output("load", file)
    assert stored(spool_url) == events(2500)


def test_line_that_is_no_event_goes_to_rejects(
    commands: Commands, file: Path, spool_url: str
) -> None:
    """A bad line costs none of the others."""
    bad = [b"nonsense", b'{"type":"order"}', b"[" + event(8) + b"]", b"\xff"]
    file.write_bytes(b"\n".join([event(1), *bad, event(2)]))

    output = commands.output("load", file)

    assert output == "6 received = 2 stored + 0 duplicate + 0 filtered + 4 rejected\n"
    assert stored(spool_url) == [event(1), event(2)]
    assert commands.output("rejects", "list").count("\n") == 4


def test_loading_twice_stores_once(commands: Commands, file: Path, spool_url: str) -> None:
    """A load that was interrupted is simply done again."""
    file.write_bytes(b"\n".join(events(5)))
    commands.output("load", file)

    output = commands.output("load", file)

    assert output == "5 received = 0 stored + 5 duplicate + 0 filtered + 0 rejected\n"
    assert stored(spool_url) == events(5)


def test_events_that_are_not_meant_for_us_are_filtered(commands: Commands, file: Path) -> None:
    """`integration_name` holds for files too."""
    file.write_bytes(event(1, integrations={"All": False}))

    assert "1 filtered" in commands.output("load", file)


def test_source_can_be_named(commands: Commands, file: Path, spool_url: str) -> None:
    """Loaded events carry the name they are given."""
    file.write_bytes(event(1))

    commands.output("load", file, "--source", "archive")

    assert [source for _, _, source, _ in rows(spool_url)] == ["archive"]


@pytest.mark.parametrize("name", ["", "a.b", "a b", "a\n"])
def test_source_has_a_name_that_a_webhook_could_have(
    commands: Commands, file: Path, name: str
) -> None:
    """Any other would be a source in the books that no setting can name."""
    file.write_bytes(event(1))

    result = commands.run("load", file, "--source", name)

    assert result.exit_code == 2
    assert "letters, digits" in result.stderr


def test_spool_in_use_is_a_clear_error(commands: Commands, file: Path, spool_url: str) -> None:
    """Only one may write: who holds the spool is named."""
    file.write_bytes(event(1))
    with opened(spool_url):
        assert f"already written by process {os.getpid()}" in commands.refusal("load", file)
    assert stored(spool_url) == []


def test_running_receiver_holds_the_spool(tmp_path: Path, file: Path) -> None:
    """Beside a receiver nothing is loaded, and it goes on."""
    file.write_bytes(event(1))
    with Receiver(tmp_path) as receiver:
        commands = Commands(tmp_path, spool_url=receiver.spool_url)

        assert f"process {receiver.pid} (a receiver on" in commands.refusal("load", file)

        receiver.deliver(array([{"type": "track", "messageId": "m-2"}]))
        assert stored(receiver.spool_url) == [event(2)]


def test_receiver_recognises_what_was_loaded(tmp_path: Path, file: Path) -> None:
    """History and deliveries are one set of message ids."""
    with Receiver(tmp_path) as receiver:
        pass
    file.write_bytes(event(1))
    Commands(tmp_path, spool_url=receiver.spool_url).output("load", file)
    with receiver:
        answer = receiver.deliver(array([{"type": "track", "messageId": "m-1"}]))

    assert answer.json()["duplicate"] == 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(gzip.compress(b"\n".join(events(5)))[:-20], id="cut off"),
        pytest.param(b"\x1f\x8b nonsense", id="no gzip"),
        pytest.param(gzip.compress(event(1))[:-6] + b"\0" * 6, id="wrong checksum"),
        pytest.param(
            gzip.compress(event(1))[:12] + b"\xff" * 9 + gzip.compress(event(1))[21:], id="damaged"
        ),
    ],
)
def test_damaged_file_is_a_clear_error(commands: Commands, file: Path, content: bytes) -> None:
    """A file that cannot be read to its end is named, and so is what is to be done."""
    file.write_bytes(content)

    said = commands.refusal("load", file)

    assert said.startswith(f"Error: {file}: It is damaged or cut off, as gzip says: ")
    assert said.endswith("Nothing was loaded.\n")


def test_what_came_before_the_damage_is_loaded(
    commands: Commands, file: Path, spool_url: str
) -> None:
    """And the message says how much that is; the mended file is loaded as if for the first time."""
    whole = gzip.compress(b"\n".join(events(2500)))
    file.write_bytes(whole[:-20])

    said = commands.refusal("load", file)

    assert "So far: 2,000 received = 2,000 stored" in said
    file.write_bytes(whole)
    assert "2,500 received = 500 stored + 2,000 duplicate" in commands.output("load", file)
    assert stored(spool_url) == events(2500)


def test_books_are_for_programs_too(commands: Commands, file: Path) -> None:
    """With --json, as numbers."""
    file.write_bytes(b"\n".join([*events(2), event(2), b"nonsense"]))

    assert json.loads(commands.output("load", file, "--json")) == {
        "received": 4,
        "stored": 2,
        "duplicate": 1,
        "filtered": 0,
        "rejected": 1,
    }


def test_absent_file_is_a_clear_error(commands: Commands, file: Path) -> None:
    """A mistyped name is found before anything is opened."""
    result = commands.run("load", file)

    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_loaded_events_are_numbered_after_the_others(
    commands: Commands, file: Path, spool_url: str
) -> None:
    """Loading goes on where the receiver stopped."""
    fill(spool_url, events(3))
    file.write_bytes(b"\n".join(events(2, first=4)))

    commands.output("load", file)

    assert [position for _, position, _, _ in rows(spool_url)] == [1, 2, 3, 4, 5]
