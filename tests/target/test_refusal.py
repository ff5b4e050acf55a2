"""target-segment-api in a version that cannot send: it says so, and does nothing else."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from harness.docs import own_settings
from harness.receiver import PROGRAMS
from target_segment_api.target import TargetSegmentApi

if TYPE_CHECKING:
    from pathlib import Path

WRITE_KEY = "not-a-real-write-key"
MESSAGES = b"".join(
    json.dumps(message).encode() + b"\n"
    for message in (
        {
            "type": "SCHEMA",
            "stream": "users",
            "schema": {"properties": {"id": {"type": "integer"}}},
            "key_properties": ["id"],
        },
        {"type": "RECORD", "stream": "users", "record": {"id": 1}},
        {"type": "STATE", "value": {"bookmarks": {"users": {"id": 1}}}},
    )
)


def target(*arguments: str, messages: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `target-segment-api` with *arguments* on *messages*."""
    return subprocess.run(
        [PROGRAMS / "target-segment-api", *arguments],
        input=messages,
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("messages", [MESSAGES, b""])
def test_input_is_refused(tmp_path: Path, messages: bytes) -> None:
    """Nothing is sent and no STATE comes out, so no state can be saved for what was not sent."""
    config = tmp_path / "config.json"
    with socket.create_server(("127.0.0.1", 0)) as segment:
        segment.settimeout(0)
        endpoint = f"http://127.0.0.1:{segment.getsockname()[1]}/v1"
        config.write_text(json.dumps({"write_key": WRITE_KEY, "endpoint": endpoint}), "utf-8")
        done = target("--config", str(config), messages=messages)
        with pytest.raises(BlockingIOError):
            segment.accept()

    assert done.returncode == 1
    assert done.stdout == b""
    assert b"Sending to Segment is not part of target-segment-api" in done.stderr
    assert b"nothing was sent" in done.stderr
    assert b"Traceback" not in done.stderr
    assert WRITE_KEY.encode() not in done.stderr


@pytest.mark.parametrize(
    ("argument", "text"),
    [("--about", b"refuses to"), ("--version", b"target-segment-api v"), ("--help", b"--input")],
)
def test_it_can_be_asked_what_it_is(argument: str, text: bytes) -> None:
    """Projects can be prepared for it."""
    done = target(argument)

    assert done.returncode == 0
    assert text in done.stdout


def test_its_settings_are_those_of_the_design() -> None:
    """There is no setting yet that would do nothing."""
    settings = own_settings(TargetSegmentApi)

    assert set(settings) == {"write_key", "region", "endpoint"}
    assert settings["write_key"]["secret"]
    assert settings["write_key"]["required"]


@pytest.mark.parametrize(
    "wrong", [{}, {"write_key": ""}, {"region": "asia"}, {"endpoint": "https://host/v2"}]
)
def test_wrong_settings_are_refused_at_start(tmp_path: Path, wrong: dict[str, str]) -> None:
    """A mistake in the settings is found without any input."""
    config = tmp_path / "config.json"
    given = {"write_key": WRITE_KEY, **wrong} if wrong else {}
    config.write_text(json.dumps(given), "utf-8")

    done = target("--config", str(config))

    assert done.returncode == 1
    assert b"Config validation failed" in done.stderr
