"""Commands can be stopped and configured wrongly, and say what that means."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from harness.receiver import PROGRAMS
from target_segment_api.commands import main

if TYPE_CHECKING:
    from pathlib import Path

RUN_SECONDS = 60


def test_singer_sdk_is_not_loaded_for_help() -> None:
    """It takes four times as long as all the rest."""
    program = "import sys, target_segment_api.commands; sys.exit('singer_sdk' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_stopped_retry_says_what_is_left(tmp_path: Path) -> None:
    """Ctrl-C ends it with 130, at once, however long Segment takes; no STATE is printed."""
    aside = tmp_path / "rejects.jsonl"
    event = {"type": "track", "event": "Paid", "userId": "u", "messageId": "m-1"}
    aside.write_text(json.dumps({"stream": "orders", "message_id": "m-1", "event": event}) + "\n")
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        config = tmp_path / "config.json"
        settings = {
            "write_key": "not-a-real-key",
            "endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}/v1",
            "check_write_key": "off",
            "rejects_path": str(aside),
        }
        config.write_text(json.dumps(settings), "utf-8")
        with subprocess.Popen(
            [str(PROGRAMS / "segment-sender"), "rejects", "retry", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            printed, said = process.communicate(timeout=RUN_SECONDS)
            connection.close()

    assert process.returncode == 130
    assert printed == ""
    assert said == (
        f"\nStopped. What was accepted is no longer in {aside}. Run it again for the rest.\n"
    )
    assert aside.read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory."),
        ("{", "cannot be read as JSON: "),
        ("[1]", "is JSON, but no object with settings in it."),
    ],
)
def test_file_that_is_no_configuration_is_told(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    """What is wrong with it, and of which option that is the value."""
    file = tmp_path / "settings.json"
    if content is not None:
        file.write_text(content, "utf-8")

    result = CliRunner().invoke(main, ["check", "--config", str(file)])

    assert result.exit_code == 2
    assert f"Invalid value for '--config': {file} {reason}" in result.stderr


def test_nothing_set_aside_is_said(tmp_path: Path) -> None:
    """To people: a program that reads the list gets an empty one."""
    aside = tmp_path / "rejects.jsonl"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"write_key": "k", "rejects_path": str(aside)}), "utf-8")

    result = CliRunner().invoke(main, ["rejects", "list", "--json", "--config", str(config)])

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"There are no rejects in {aside}.\n"
