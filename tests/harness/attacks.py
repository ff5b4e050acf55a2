"""A line for each attack: what was tried, how often, and what was lost.

Where the environment variable `ATTACK_REPORT` names a file, each attack adds
a JSON object to it; `harness/reliability.py` makes the table of
`docs/reliability.md` from them.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "20"))
"""How often an attack is repeated; `make soak` says more often."""

REPORT = "ATTACK_REPORT"


@dataclass
class Attack:
    """What one attack has done so far."""

    area: str
    """What was attacked, in a few words: a row of the table belongs to it."""
    attack: str
    """What was done to it, in one sentence without its full stop."""
    rounds: int = 0
    events: int = 0
    """Events that were acknowledged meanwhile, over all rounds."""
    lost: int = 0
    """Acknowledged events that were missing afterwards."""
    held: bool = False
    """Whether all that the test promises was so; with it nothing was lost."""
    seconds: float = 0.0


@contextmanager
def attack(area: str, what: str) -> Iterator[Attack]:
    """Give a record to fill in, and report it however the block ends."""
    record = Attack(area, what)
    begun = time.monotonic()
    try:
        yield record
        record.held = True
    finally:
        record.seconds = round(time.monotonic() - begun, 1)
        if name := os.environ.get(REPORT):
            with Path(name).open("a", encoding="utf-8") as report:
                report.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
