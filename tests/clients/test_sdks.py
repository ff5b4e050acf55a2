"""What SDKs send that are not ours, compared field by field with what they were told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from harness import rows, sdks, singer
from harness.proxy import Proxy
from harness.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.sdks import Sdk

KEY = "not-a-real-key"
OK, UNAVAILABLE = 200, 503
ENDS = (0, 2)
"""The receiver ends before these of its answers are seen."""
SDKS = {
    "analytics-python": sdks.ANALYTICS_PYTHON,
    "analytics-node": sdks.ANALYTICS_NODE,
    "rudder-sdk-python": sdks.RUDDER_PYTHON,
}

each_sdk = pytest.mark.parametrize("sdk", SDKS.values(), ids=SDKS)


@each_sdk
def test_every_field_of_every_call_is_in_its_record(sdk: Sdk, tmp_path: Path) -> None:
    """All calls of an SDK arrive once, with what was told and what the SDK adds."""
    calls = sdks.told(300)
    since = sdks.now()
    with Receiver(tmp_path, write_key=KEY) as receiver:
        given_up = sdk.send(receiver.base_url, KEY, calls)

    assert given_up == []
    sdks.assert_arrived(rows.tables(singer.sync(receiver.settings)), sdk, calls, since)


@each_sdk
def test_calls_as_large_as_they_may_be_are_taken(sdk: Sdk, tmp_path: Path) -> None:
    """Whatever an SDK puts into one request is within the limits of the receiver."""
    calls = sdks.large(50)
    since = sdks.now()
    with Receiver(tmp_path, write_key=KEY) as receiver:
        given_up = sdk.send(receiver.base_url, KEY, calls)

    assert given_up == []
    sdks.assert_arrived(rows.tables(singer.sync(receiver.settings)), sdk, calls, since)


@each_sdk
@pytest.mark.parametrize("end", [Receiver.kill, Receiver.stop])
def test_a_receiver_that_ends_in_mid_flight_loses_and_repeats_nothing(
    sdk: Sdk, end: Callable[[Receiver], object], tmp_path: Path
) -> None:
    """Gone between its commits and their answers, it knows again what the SDK sends again."""
    calls = sdks.told(240)
    since = sdks.now()
    ended = []
    with Receiver(tmp_path, write_key=KEY) as receiver:

        def let_through(status: int, before: int) -> bool:
            if status != OK or before not in ENDS:
                return True
            end(receiver)
            ended.append(before)
            receiver.start()
            return False

        with Proxy(receiver, let_through) as proxy:
            given_up = sdk.send(proxy.url, KEY, calls)
        books = receiver.status()["books"]["default"]

    assert ended == list(ENDS)
    assert given_up == []
    assert books["duplicate"] > 0
    assert books["stored"] == len(calls)
    sdks.assert_arrived(rows.tables(singer.sync(receiver.settings)), sdk, calls, since)


@each_sdk
def test_a_wrong_key_is_told_to_the_sdk_at_once(sdk: Sdk, tmp_path: Path) -> None:
    """No SDK takes a 401 for stored, or for something to try again."""
    calls = sdks.ordinary(20)
    with Receiver(tmp_path, write_key=KEY) as receiver, Proxy(receiver, always) as proxy:
        given_up = sdk.send(proxy.url, "of another", calls)
        books = receiver.status()["books"]

    assert {reason for reason, _ in given_up} == {401}
    assert sorted(number for _, ids in given_up for number in ids) == ids_of(calls)
    assert len(proxy.statuses) <= len(given_up)
    assert books == {}


@each_sdk
def test_a_receiver_that_cannot_store_makes_the_sdk_wait(sdk: Sdk, tmp_path: Path) -> None:
    """After a 503 the SDK sends its calls again, and each is stored once."""
    calls = sdks.told(40)
    since = sdks.now()
    with (
        Receiver(tmp_path, write_key=KEY) as receiver,
        closing(sqlite3.connect(receiver.spool, check_same_thread=False)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")

        def let_through(status: int, _: int) -> bool:
            if status == UNAVAILABLE:
                other.rollback()
            return True

        with Proxy(receiver, let_through) as proxy:
            given_up = sdk.send(proxy.url, KEY, calls)

    assert UNAVAILABLE in proxy.statuses
    assert given_up == []
    sdks.assert_arrived(rows.tables(singer.sync(receiver.settings)), sdk, calls, since)


def always(_: int, __: int) -> bool:
    """Let every answer through."""
    return True


def ids_of(calls: list[sdks.Call]) -> list[str]:
    """Return the ids of *calls*, sorted."""
    return sorted(call["messageId"] for call in calls)
