"""What the README says about SDKs for servers does what it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from harness import clients, singer
from harness.docs import readme
from harness.receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

KEY = "not-a-real-key"


@pytest.mark.parametrize("heading", ["Python", "Node", "RudderStack"])
def test_a_program_of_the_readme_sends(heading: str, tmp_path: Path) -> None:
    """Each program of the README, as it stands there, sends its call to the receiver."""
    with Receiver(tmp_path, write_key=KEY) as receiver:
        run(heading, receiver, tmp_path)

    (record,) = singer.sync(receiver.settings).records
    assert record["user_id"] == "usr_40711"
    assert record["event"] == "Order Completed"
    assert record["properties"] == {"total": 64.9}


def run(heading: str, receiver: Receiver, folder: Path) -> None:
    """Run the program under *heading* of the README against *receiver*."""
    _, _, text = readme("tap-segment-webhook").read_text("utf-8").partition(f"### {heading}\n")
    match = re.search(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    assert match
    language, program = match.groups()
    program = program.replace("WRITE_KEY", KEY)
    program = program.replace("https://collect.example.com", receiver.base_url)
    path = folder / {"js": "program.mjs", "python": "program.py"}[language]
    path.write_text(program, "utf-8")
    if language == "js":
        (folder / "node_modules").symlink_to(clients.modules() / "node_modules")
    clients.run([clients.NODE if language == "js" else clients.python(), path])
