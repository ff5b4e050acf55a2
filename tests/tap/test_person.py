"""Who is to be forgotten is found by the ids of an event, and by nothing else in it."""

from __future__ import annotations

import json

import pytest
from tap_segment_webhook.person import People

USER, DEVICE = "usr_é/7", "6f0c2a1e"
PEOPLE = People.of([USER, "42"], [DEVICE])


@pytest.mark.parametrize(
    "event",
    [
        {"userId": USER},
        {"userId": 42},
        {"userId": "x", "anonymousId": USER},
        {"userId": "x", "previousId": USER},
        {"userId": "x", "anonymousId": DEVICE},
        {"previousId": DEVICE},
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_events_of_an_id_are_theirs(event: dict[str, object], ascii_only: bool) -> None:  # noqa: FBT001
    """Each of the three ids counts, as text or number, however it is escaped."""
    assert PEOPLE.own(json.dumps(event, ensure_ascii=ascii_only).encode())


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"userId": None, "anonymousId": True, "previousId": {USER: USER}},
        {"userId": f"{USER}0"},
        {"userId": USER.upper()},
        {"userId": DEVICE},  # an id of a device is none of a user
        {"properties": {"userId": USER}, "context": {"traits": {"userId": "42"}}},
    ],
)
def test_other_events_are_not(event: dict[str, object]) -> None:
    """Another id, or the same one elsewhere in the event, is somebody else's."""
    assert not PEOPLE.own(json.dumps(event).encode())


def test_event_that_only_python_reads_is_found() -> None:
    """Half an emoji beside the id, or in it, does not hide it."""
    people = People.of(["a\ufffdb"], [])

    assert PEOPLE.own(rb'{"userId":42,"event":"\ud83d"}')
    assert people.own(rb'{"userId":"a\ud83db"}')  # as its column shows it


@pytest.mark.parametrize(
    "reject",
    [
        f'{{"type":"order","by":"{USER}"}}',
        '{"type":"order","by":"usr_\\u00E9\\/7"}',
        f"no JSON, {USER}, at all",
        f"[{DEVICE}]",
        '{"n":42}',
    ],
)
def test_reject_that_says_an_id_mentions_them(reject: str) -> None:
    """A reject has no columns: an id counts wherever it is a word of its own."""
    assert PEOPLE.are_mentioned(reject.encode())


@pytest.mark.parametrize("reject", ["", f"{USER}0", "0.421", "a-42", "\\", "\\ud83d\\u12"])
def test_reject_without_an_id_does_not(reject: str) -> None:
    """Part of a longer id is another id."""
    assert not PEOPLE.are_mentioned(reject.encode())
