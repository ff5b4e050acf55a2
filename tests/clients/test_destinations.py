"""What the webhook destinations that Segment publishes deliver, with Segment's own code."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from harness import clients, rows, singer
from harness.deliveries import EMOJI, NESTED, events
from harness.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from harness.deliveries import Event

    Deliver = Callable[[Receiver, str, Event, Iterable[Event]], list[Any]]

SCRIPT = clients.LOCKED / "deliver.mjs"
WEBHOOK, EXTENSIBLE, AUDIENCES = "webhook", "webhook-extensible", "webhook-audiences"
METHODS = ("POST", "PUT", "PATCH")
NO_AUTH: Event = {"dynamicAuthSettings": {"oauth": {"type": "noAuth"}}}
BEARER: Event = {"dynamicAuthSettings": {"bearer": {"bearerToken": SECRET}}}
SIGNED: dict[str, Event] = {
    WEBHOOK: {"sharedSecret": SECRET},
    EXTENSIBLE: {"sharedSecret": SECRET, **NO_AUTH},
    AUDIENCES: {"sharedSecret": SECRET},
}
# What a reader of JSON may get wrong, as far as JavaScript can send it.
UNUSUAL: Event = {"context": {"whole": EMOJI, "tenth": 0.1, "tiny": 5e-324, "in": NESTED}}


@pytest.mark.parametrize("destination", SIGNED)
def test_every_field_of_a_delivery_is_in_its_record(
    destination: str, deliver: Deliver, tmp_path: Path
) -> None:
    """What Segment's code delivers, one by one, with each method, is what the tap emits."""
    sent = sendable()
    with Receiver(tmp_path) as receiver:
        asked = [
            {"events": event, "mapping": {"method": METHODS[number % len(METHODS)]}}
            for number, event in enumerate(sent)
        ]
        answers = deliver(receiver, destination, SIGNED[destination], asked)

    assert answers == [200] * len(sent)
    assert_emitted(receiver, sent)


@pytest.mark.parametrize("destination", SIGNED)
def test_every_field_of_a_batch_is_in_its_records(
    destination: str, deliver: Deliver, tmp_path: Path
) -> None:
    """So is what it delivers in batches, which it signs, and one of them wraps, in its own way."""
    sent = sendable()
    with Receiver(tmp_path) as receiver:
        asked = [{"events": sent[:1]}, {"events": sent[1:30]}, {"events": sent[30:]}]
        answers = deliver(receiver, destination, SIGNED[destination], asked)

    assert answers == [200] * len(asked)
    assert_emitted(receiver, sent)


@pytest.mark.parametrize("destination", SIGNED)
def test_another_secret_is_refused(destination: str, deliver: Deliver, tmp_path: Path) -> None:
    """Segment's code gets 401 for what it signed with a secret of another, and nothing is kept."""
    settings = {**SIGNED[destination], "sharedSecret": "of another"}
    sent = calls(3)
    with Receiver(tmp_path) as receiver:
        answers = deliver(receiver, destination, settings, [{"events": sent[0]}, {"events": sent}])

    assert answers == [401, 401]
    assert_emitted(receiver, [])


def test_a_receiver_that_cannot_store_makes_segment_try_again(
    deliver: Deliver, tmp_path: Path
) -> None:
    """A full spool is a 503 to Segment's code, so Segment keeps the events for later."""
    (event,) = calls(1)
    with Receiver(tmp_path, max_spool_bytes=1) as receiver:
        answers = deliver(receiver, WEBHOOK, SIGNED[WEBHOOK], [{"events": event}])

    assert answers == [503]
    assert_emitted(receiver, [])


def test_a_bearer_token_stands_for_a_signature(deliver: Deliver, tmp_path: Path) -> None:
    """The Extensible Webhook may show the secret as its token instead of signing."""
    sent = calls(20)
    with Receiver(tmp_path) as receiver:
        answers = deliver(receiver, EXTENSIBLE, BEARER, [{"events": sent}])

    assert answers == [200]
    assert_emitted(receiver, sent)


def test_a_form_is_refused(deliver: Deliver, tmp_path: Path) -> None:
    """The Extensible Webhook can send forms, whose signature covers what is not sent."""
    (event,) = calls(1)
    form = {"headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    asked = [{"events": event, "mapping": form}]
    with Receiver(tmp_path) as receiver:
        answers = deliver(receiver, EXTENSIBLE, SIGNED[EXTENSIBLE], asked)

    assert answers == [415]
    assert_emitted(receiver, [])


def test_extras_of_an_audience_arrive_if_the_secret_is_shown(
    deliver: Deliver, tmp_path: Path
) -> None:
    """Webhook Audiences signs an event before it adds `extras`: a header shows the secret."""
    personas = {"audience_settings": {"extras": json.dumps({"tier": "gold", "n": 7})}}
    sent = [event | {"context": {"personas": personas}} for event in calls(7)]
    mapping = {"headers": {"Authorization": f"Bearer {SECRET}"}}
    with Receiver(tmp_path) as receiver:
        unshown = deliver(receiver, AUDIENCES, SIGNED[AUDIENCES], [{"events": sent}])
        shown = deliver(
            receiver, AUDIENCES, SIGNED[AUDIENCES], [{"events": sent, "mapping": mapping}]
        )

    assert (unshown, shown) == ([401], [200])
    assert_emitted(receiver, [event | {"tier": "gold", "n": 7} for event in sent])


def calls(count: int) -> list[Event]:
    """Return so many events of all types but delete, which those destinations do not take."""
    every = (event for event in events(2 * count) if event["type"] != "delete")
    return list(islice(every, count))


def sendable() -> list[Event]:
    """Return events of all types, the last of which is hard to read."""
    *some, last = calls(60)
    return [*some, last | UNUSUAL]


@pytest.fixture(scope="module")
def deliver() -> Iterator[Deliver]:
    """Have Segment's code deliver what is asked; give the status of each answer."""
    with clients.answering([clients.NODE, SCRIPT, clients.modules()]) as ask:

        def deliver(
            receiver: Receiver, destination: str, settings: Event, asked: Iterable[Event]
        ) -> list[Any]:
            given = {"destination": destination, "settings": settings}
            return [
                ask({**given, **each, "mapping": {"url": receiver.url, **each.get("mapping", {})}})
                for each in asked
            ]

        yield deliver


def assert_emitted(receiver: Receiver, sent: Iterable[Event]) -> None:
    """Check that the tap emits exactly the rows of what was *sent*, in that order."""
    found = rows.tables(singer.sync(receiver.settings))
    rows.assert_equal(found, map(rows.expected, sent))
