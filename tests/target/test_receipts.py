"""Every event that Segment accepted has a receipt, if receipts are asked for."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
from target_segment_api.batch import Outgoing
from target_segment_api.errors import FileUnusable
from target_segment_api.ledger import Epoch
from target_segment_api.receipts import Receipts
from target_segment_api.timestamp import written

if TYPE_CHECKING:
    from pathlib import Path


def outgoing(name: str, key: Any = "k") -> Outgoing:
    """Return an event with *name* as its message id."""
    return Outgoing(b'{"traits":{"email":"private"}}', name, "identify", key, Epoch())


def entries(path: Path) -> list[dict[str, Any]]:
    """Return the receipts at *path*."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_receipt_says_which_event_when_and_with_whom(tmp_path: Path) -> None:
    """Who reconciles needs the id, the row, the time, and the batch; nobody needs the content."""
    receipts = Receipts(tmp_path / "receipts.jsonl")
    receipts.add([outgoing("a"), outgoing("b", [1, "x"])])
    receipts.add([outgoing("c", None)])
    receipts.close()

    found = entries(tmp_path / "receipts.jsonl")
    assert all(written(entry.pop("accepted_at")) for entry in found)
    assert found == [
        {"stream": "identify", "key": "k", "message_id": "a", "batch": 1},
        {"stream": "identify", "key": [1, "x"], "message_id": "b", "batch": 1},
        {"stream": "identify", "key": None, "message_id": "c", "batch": 2},
    ]


def test_receipts_of_several_runs_are_kept(tmp_path: Path) -> None:
    """The books of a month are those of all its runs; and of nobody else."""
    path = tmp_path / "receipts.jsonl"
    for name in ("a", "b"):
        receipts = Receipts(path)
        receipts.add([outgoing(name)])
        receipts.close()

    assert [entry["message_id"] for entry in entries(path)] == ["a", "b"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_none_are_written_without_a_path() -> None:
    """Who does not ask for receipts has no file of them."""
    receipts = Receipts(None)

    receipts.add([outgoing("a")])
    receipts.sync()
    receipts.close()


def test_unusable_path_is_told_at_once(tmp_path: Path) -> None:
    """A run does not find after hours that its receipts are missing."""
    with pytest.raises(FileUnusable, match=r"cannot be written"):
        Receipts(tmp_path)
