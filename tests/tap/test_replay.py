"""What is retained can be emitted again, on request, until the target has it."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from harness import singer
from harness.commands import Commands
from harness.receiver import environment
from harness.singer import Json, bookmarks
from harness.spool import event, events, fill, opened, received, rows
from tap_segment_webhook.spool import store
from tap_segment_webhook.spool.consumers import Consumers
from tap_segment_webhook.spool.reader import Reader
from tap_segment_webhook.timestamp import to_ms

if TYPE_CHECKING:
    from pathlib import Path

HOURS = ("2026-03-04T10:00:00.000Z", "2026-03-04T11:00:00.000Z", "2026-03-04T12:00:00.000Z")


@pytest.fixture
def config(spool_url: str, monkeypatch: pytest.MonkeyPatch) -> Json:
    """Give the settings of a tap on a spool with two tracks and a page of each of three hours."""
    number = 0
    for hour in HOURS:
        monkeypatch.setattr(store, "now_ms", lambda hour=hour: to_ms(hour))
        bodies = [event(number + 1), event(number + 2, "page"), event(number + 3)]
        fill(spool_url, bodies)
        number += 3
    monkeypatch.undo()
    return {"spool_url": spool_url}


@pytest.fixture
def commands(tmp_path: Path, config: Json) -> Commands:
    """Give the commands of that spool."""
    return Commands(tmp_path, **config)


def test_next_run_emits_it_again_and_then_what_is_new(config: Json, commands: Commands) -> None:
    """Once: as soon as a state says that the target has it, it is over."""
    first = singer.sync(config)
    said = commands.output("replay", "--since", "2026-03-04T11:00Z", "--yes")
    fill(config["spool_url"], [event(10)])

    again = singer.sync(config, state=first.state)
    after = singer.sync(config, state=again.state)

    assert said.startswith("6 retained events: page 2, track 4.\n")
    assert sorted(again.positions) == [4, 5, 6, 7, 8, 9, 10]
    assert again.records[-1]["spool_position"] == 10
    assert {*bookmarks(again.state).values()} == {10}
    assert after.positions == []
    assert pending(config) == []


def test_times_and_streams_bound_it(config: Json, commands: Commands) -> None:
    """From the one time on, before the other, of these streams alone."""
    first = singer.sync(config)
    bounds = ("--since", "2026-03-04T13:00+02:00", "--until", "2026-03-04T12:00")
    said = commands.output("replay", *bounds, "--stream", "page", "--yes")

    again = singer.sync(config, state=first.state)

    assert said.startswith("1 retained events: page 1.\n")
    assert again.positions == [5]
    assert [record["type"] for record in again.records] == ["page"]


def test_date_is_a_time(config: Json, commands: Commands) -> None:
    """Midnight, in UTC."""
    singer.sync(config)

    assert commands.output("replay", "--since", "2026-03-04", "--yes").startswith("9 retained")


def test_it_is_emitted_again_until_a_state_says_that_it_was(
    config: Json, commands: Commands
) -> None:
    """A run whose target failed has saved no state: the next one begins anew."""
    first = singer.sync(config)
    commands.output("replay", "--since", "2026-03-04", "--yes")

    failed = singer.sync(config, state=first.state)
    second = singer.sync(config, state=first.state)

    assert sorted(failed.positions) == sorted(second.positions) == list(range(1, 10))


def test_run_that_is_stopped_in_the_middle_has_not_done_it(
    config: Json, commands: Commands
) -> None:
    """Its state says nothing of the replay, so the next run begins anew."""
    with opened(config["spool_url"]) as spool:
        spool.commit([received(*events(20_000, first=100))])
    first = singer.sync(config)
    commands.output("replay", "--since", "2026-03-04", "--yes")
    with singer.command(config, state=first.state) as words:
        tap = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment())
        assert tap.stdout is not None
        while b'"RECORD"' not in tap.stdout.readline():
            pass
        tap.terminate()
        messages = singer.parse(b"".join(tap.stdout.readlines()))
        assert tap.wait() == 0
        tap.stdout.close()

    states = [message["value"] for message in messages if message["type"] == "STATE"]
    assert len([message for message in messages if message["type"] == "RECORD"]) < 20_009
    assert all("replayed" not in bookmark for bookmark in states[-1]["bookmarks"].values())
    assert len(pending(config)) == 1


def test_undone_it_never_was(config: Json, commands: Commands) -> None:
    """The next run emits only what is new."""
    first = singer.sync(config)
    commands.output("replay", "--since", "2026-03-04", "--yes")
    commands.output("replay", "--undo")

    assert singer.sync(config, state=first.state).positions == []
    assert "Nothing is to be replayed" in commands.refusal("replay", "--undo")


def test_it_asks_before_it_does(config: Json, commands: Commands) -> None:
    """And tells how many events it would be."""
    singer.sync(config)

    asked = commands.run("replay", "--since", "2026-03-04", answer="n\n")

    assert asked.exit_code == 1
    assert "9 retained events" in asked.output
    assert pending(config) == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--since", "2030-01-01"), "No event that is retained"),
        (("--since", "2026-03-04", "--until", "2026-03-04"), "No event that is retained"),
        (("--since", "2026-03-04", "--consumer", "lake"), "There are: 'default'"),
    ],
)
def test_nothing_to_replay_is_said(
    config: Json, commands: Commands, words: tuple[str, ...], reason: str
) -> None:
    """A wrong time or name must not look like success."""
    singer.sync(config)

    assert reason in commands.refusal("replay", *words, "--yes")


@pytest.mark.parametrize("words", [(), ("--since", "yesterday"), ("--since", "2026-02-30")])
def test_what_is_no_time_is_a_usage_error(commands: Commands, words: tuple[str, ...]) -> None:
    """Nothing is guessed."""
    assert commands.run("replay", *words).exit_code == 2


def test_second_request_does_not_replace_the_first(config: Json, commands: Commands) -> None:
    """It says what to do about the first."""
    singer.sync(config)
    commands.output("replay", "--since", "2026-03-04", "--yes")

    assert "--undo" in commands.refusal("replay", "--since", "2026-03-04T12:00", "--yes")


def test_consumers_are_replayed_apart(config: Json, commands: Commands) -> None:
    """What one asks for is none of another's business."""
    lake = {**config, "consumer": "lake"}
    states = {name: singer.sync(each).state for name, each in (("a", config), ("b", lake))}
    commands.output("replay", "--since", "2026-03-04", "--consumer", "lake", "--yes")

    assert singer.sync(config, state=states["a"]).positions == []
    assert len(singer.sync(lake, state=states["b"]).positions) == 9


def test_what_is_to_be_replayed_is_not_pruned(config: Json, commands: Commands) -> None:
    """However old and confirmed it is; once it is done, it may go."""
    first = singer.sync(config)
    commands.output("replay", "--since", "2026-03-04T12:00", "--yes")
    state = singer.sync({**config, "retention_days": 0}, state=first.state).state

    assert retained(config) == [7, 8, 9]

    done = singer.sync({**config, "retention_days": 0}, state=state)
    assert done.positions == []
    assert retained(config) == []


def test_replay_goes_through_stream_maps(config: Json, commands: Commands) -> None:
    """As the first time."""
    mapped = {**config, "stream_maps": {"page": {"message_id": "message_id", "kind": "'p'"}}}
    first = singer.sync(mapped)
    commands.output("replay", "--since", "2026-03-04", "--stream", "page", "--yes")

    again = singer.sync(mapped, state=first.state)

    assert [record["kind"] for record in again.records] == ["p"] * 3


def test_consumers_of_an_older_version_have_no_replays(tmp_path: Path) -> None:
    """Their file lacks the table, and still says what they have confirmed."""
    consumers = Consumers(tmp_path / "spool.db", "one")
    consumers.confirm("lake", 7, 0)
    with closing(sqlite3.connect(tmp_path / "spool.db-consumers")) as connection:
        connection.execute("DROP TABLE replay")

    assert consumers.replays() == {}
    assert consumers.floor() == 7


def pending(config: Json) -> list[str]:
    """Return the consumers that something is to be replayed for."""
    with closing(Reader(config["spool_url"])) as reader:
        return list(reader.consumers.replays())


def retained(config: Json) -> list[int]:
    """Return the positions of all retained events."""
    return [row[1] for row in rows(config["spool_url"])]
