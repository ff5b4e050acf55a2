"""Keeps a spool as the installed version writes it: run this before a change of the format.

`python tests/attacks/spools/make.py` writes `format-N.spool` and its
`-consumers` beside this file. What is in it is written in `test_upgrade.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from harness.spool import event, events, opened, received
from tap_segment_webhook.spool.layout import FORMAT

PLACE = Path(__file__).parent


def main() -> None:
    """Write the files of this version's format."""
    path = PLACE / f"format-{FORMAT}.spool"
    assert not path.exists(), "It is kept already; what was released does not change."
    with opened(f"sqlite:///{path}") as store:
        store.commit([received(*events(3))])
        store.commit([received(event(4), b'{"type":"order"}', source="app")])
        store.commit([received(event(4), event(5, note="é☕" * 3000))])
        store.consumers.confirm("lake", 2, 0)
    path.with_name(f"{path.name}-lock").unlink()


if __name__ == "__main__":
    main()
