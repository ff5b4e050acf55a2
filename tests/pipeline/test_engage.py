"""Engage's audiences and computed traits become tables, by the views of examples/engage."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from harness.meltano import REPOSITORY
from harness.pipeline import deliver

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.deliveries import Event
    from harness.pipeline import Pipeline

VIEWS = REPOSITORY / "examples" / "engage" / "views.sql"
SPACE = "spa_7kExampleT1"
ROPE = "bought_rope_30_days"
STEP = "j_o_welcome__1_step"
NUMBERS = count(1)

Row = tuple[Any, ...]


@pytest.mark.parametrize("payload_format", ["object", "json_string"])
def test_membership_is_a_row_for_each_spell(
    pipeline: Callable[..., Pipeline], payload_format: str
) -> None:
    """In whatever form and order the calls come, the table says who was in it, and when."""
    flow = pipeline(payload_format=payload_format, dedup_window_events=0)
    entered = identify(1, userId="both")
    with flow.receiver as receiver:
        calls = [
            # As a user property and as an event, under its own name and another.
            identify(1, userId="stays"),
            track(2, userId="goes"),
            track(9, entered=False, userId="goes"),
            track(3, userId="renamed", event="Kam dazu"),
            track(7, entered=False, userId="renamed", event="Ging"),
            # Both forms of one change, and one of them delivered twice, are one spell.
            entered,
            track(1, userId="both"),
            entered,
            identify(5, entered=False, userId="both"),
            track(5, entered=False, userId="both"),
            # The exit arrives before the entrance; a second entrance is a second spell.
            identify(4, entered=False, userId="late"),
            identify(2, userId="late"),
            identify(6, userId="late"),
            # At the same time, what was received last is what holds.
            identify(3, userId="tie"),
            identify(3, entered=False, userId="tie"),
            identify(8, entered=False, userId="tie back"),
            identify(8, userId="tie back"),
            # A profile with several identifiers has a call for each.
            identify(1, userId=None, anonymousId="6f0c2a1e"),
            identify(1, userId="known", anonymousId="a"),
            identify(1, userId="known", anonymousId="b"),
            # An account, another space, and a journey, which writes "true" as text.
            call("group", 2, ROPE, {"traits": {ROPE: True}}, userId="stays", groupId="acct_908"),
            identify(4, userId="stays", space="spa_2"),
            identify(5, entered="true", key=STEP, kind="journey_step", userId="steps"),
            identify(6, entered="false", key=STEP, kind="journey_step", userId="steps"),
            # No membership: an exit alone, no boolean, another class, no computation at all.
            identify(1, entered=False, userId="never"),
            identify(1, userId="number"),
            identify(2, entered=3, userId="number"),
            identify(1, key="is_vip", kind="trait", userId="trait"),
            {**track(1, userId="own"), "context": {}},
            journey_event(1, userId="journey 2"),
        ]
        deliver(receiver, calls, of=1)

    flow.fill()
    create_views(flow)

    user = (SPACE, ROPE, "user")
    spells = {
        (*user, "both", day(1), day(5)),
        (*user, "goes", day(2), day(9)),
        (*user, "known", day(1), None),
        (*user, "late", day(2), day(4)),
        (*user, "late", day(6), None),
        (*user, "number", day(1), None),
        (*user, "renamed", day(3), day(7)),
        (*user, "stays", day(1), None),
        (*user, "tie back", day(8), None),
        (*user, "tie", day(3), day(3)),
        (SPACE, ROPE, "anonymous", "6f0c2a1e", day(1), None),
        (SPACE, ROPE, "group", "acct_908", day(2), None),
        ("spa_2", ROPE, "user", "stays", day(4), None),
        (SPACE, STEP, "user", "steps", day(5), day(6)),
    }
    assert memberships(flow) == sorted(spells, key=str)

    with flow.receiver as receiver:
        deliver(receiver, [track(5, entered=False, userId="stays"), track(7, userId="both")], of=1)
        deliver(receiver, [track(3, entered=False, userId="late"), identify(4, userId="tie")], of=1)
    flow.fill()

    spells -= {(*user, "stays", day(1), None), (*user, "late", day(2), day(4))}
    spells |= {
        (*user, "stays", day(1), day(5)),
        (*user, "both", day(7), None),
        (*user, "late", day(2), day(3)),  # a late arrival corrects what was said before
        (*user, "tie", day(4), None),
    }
    assert memberships(flow) == sorted(spells, key=str)


def test_computed_trait_is_its_latest_value(pipeline: Callable[..., Pipeline]) -> None:
    """As identify, track or group call, of any type, the newest by time is the value."""
    flow = pipeline()
    trait = {"kind": "trait", "key": "orders"}
    total = {"traits": {"total": 12.5}}
    tags = {"event": "Trait Computed", "properties": {"trait_key": "tags", "tags": ["a", None]}}
    flow.load(
        [
            identify(2, entered=7, userId="u", **trait),
            identify(1, entered=6, userId="u", **trait),
            identify(2, entered="old", userId="v", **trait),
            identify(2, entered="new", userId="v", **trait),
            call("track", 3, "tags", tags, kind="trait", userId="u"),
            call("group", 4, "total", total, kind="trait", groupId="acct_908"),
            identify(9, userId="u"),
        ]
    )

    flow.fill()
    create_views(flow)

    assert select(flow, "computed_trait") == [
        (SPACE, "orders", "user", "u", 7, day(2)),
        (SPACE, "orders", "user", "v", "new", day(2)),
        (SPACE, "tags", "user", "u", ["a", None], day(3)),
        (SPACE, "total", "group", "acct_908", 12.5, day(4)),
    ]


def identify(day: int, *, entered: object = True, key: str = ROPE, **fields: Any) -> Event:
    """Return the call that says by a trait whether somebody is in."""
    return call("identify", day, key, {"traits": {key: entered, "email": "a@b.example"}}, **fields)


def track(day: int, *, entered: bool = True, **fields: Any) -> Event:
    """Return the call that says by an event whether somebody is in."""
    content = {
        "event": "Audience Entered" if entered else "Audience Exited",
        "properties": {"audience_key": ROPE, ROPE: entered},
    }
    return call("track", day, ROPE, content, **fields)


def journey_event(day: int, **fields: Any) -> Event:
    """Return what a journey of the second version sends, which is no membership."""
    metadata = {"journey_id": "jou_1", "epoch_id": "epo_1"}
    properties = {"journey_metadata": metadata, "journey_context": {}}
    content = {"event": "Welcomed", "properties": properties}
    return call("track", day, "welcome", content, kind="journey_step", **fields)


def call(
    type: str,  # noqa: A002 - Segment's name
    day: int,
    key: str,
    content: Event,
    *,
    kind: str = "audience",
    space: str = SPACE,
    **fields: Any,
) -> Event:
    """Return a call of Engage about the computation *key* of the class *kind*."""
    personas = {
        "computation_class": kind,
        "computation_id": "aud_2mExampleQ9",
        "computation_key": key,
        "namespace": space,
        "space_id": space,
    }
    return {
        "type": type,
        "messageId": f"personas_{next(NUMBERS)}",
        "anonymousId": None,
        "channel": "server",
        "context": {"personas": personas},
        "integrations": {"All": False, "Webhooks": True},
        "timestamp": f"2026-03-{day:02}T02:00:00.000Z",
        "receivedAt": f"2026-03-{day:02}T02:00:00.400Z",
        "version": 2,
        **content,
        **fields,
    }


def day(number: int) -> datetime:
    """Return the time of calls of that day, as PostgreSQL returns it."""
    return datetime(2026, 3, number, 2)  # noqa: DTZ001


def create_views(flow: Pipeline) -> None:
    """Run the SQL of the example."""
    with psycopg.connect(flow.database.dsn) as connection:
        connection.execute(VIEWS.read_bytes())


def memberships(flow: Pipeline) -> list[Row]:
    """Return all spells."""
    return sorted(select(flow, "audience_membership"), key=str)


def select(flow: Pipeline, view: str) -> list[Row]:
    """Return all rows of one of the example's views."""
    with psycopg.connect(flow.database.dsn) as connection:
        query = f"SELECT * FROM engage.{view} ORDER BY space_id, 2, id_type, id"  # noqa: S608
        return connection.execute(query.encode()).fetchall()
