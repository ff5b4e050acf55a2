"""The steps of docs/delete-requests.md: what a user wants deleted is nowhere any more."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import psycopg
from harness.deliveries import single
from harness.meltano import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.deliveries import Event
    from harness.pipeline import Pipeline

WAREHOUSE_SQL = REPOSITORY / "examples" / "delete-requests" / "warehouse.sql"
GONE, OTHER = "usr_40711", "usr_5"
REQUESTED_AT = "2026-03-05T12:00:00.000Z"
NUMBERS = count(1)


def test_a_user_who_asked_is_forgotten(pipeline: Callable[..., Pipeline]) -> None:
    """Spool and tables lose what the user did before the request, and nothing else."""
    flow = pipeline()
    theirs = [
        *(event(kind, userId=GONE) for kind in ("identify", "track", "page", "screen", "group")),
        event("alias", userId="usr_new", previousId=GONE),
        event("track", userId=None, anonymousId=GONE),
    ]
    request = event("delete", userId=GONE, timestamp="2026-03-05 12:00:00 +0000 UTC m=+7.1")
    kept = [
        *(event(kind, userId=OTHER) for kind in ("identify", "track", "page", "screen", "group")),
        event("alias", userId="usr_new", previousId=OTHER),
    ]
    back = event("track", userId=GONE, timestamp="2026-03-06T00:00:00.000Z")
    late = event("track", userId=GONE, timestamp="2026-03-05T11:59:59.999Z")
    flow.load([*theirs, request, *kept])

    flow.fill()
    said = flow.meltano("invoke", "tap-segment-webhook:erase", "--yes", GONE)
    forget(flow)
    flow.collect("--full-refresh")
    left = message_ids(flow)
    with flow.receiver as receiver:
        for each in (late, back):
            assert receiver.deliver(single(each)).json()["stored"] == 1
    flow.fill()
    forget(flow)

    assert "Erased 7 events" in said
    assert "1 delete events stay." in said
    assert left == {each["messageId"] for each in (request, *kept)}
    assert message_ids(flow) == left | {back["messageId"]}


def event(kind: str, **fields: object) -> Event:
    """Return an event of the day before the request, unless *fields* say otherwise."""
    made = {
        "type": kind,
        "messageId": f"m-{next(NUMBERS)}",
        "timestamp": "2026-03-04T12:00:00.000Z",
        "receivedAt": REQUESTED_AT,
    }
    return {**made, **fields}


def forget(flow: Pipeline) -> None:
    """Do what the recipe does in the warehouse."""
    with psycopg.connect(flow.database.dsn) as connection:
        connection.execute(WAREHOUSE_SQL.read_bytes())


def message_ids(flow: Pipeline) -> set[str]:
    """Return the ids of all rows of all tables."""
    return {row["message_id"] for rows in flow.tables().values() for row in rows}
