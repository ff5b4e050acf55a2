"""A run emits what waits, in order, once; and its state says exactly how far it came."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from contextlib import closing
from typing import IO, TYPE_CHECKING, NamedTuple

import pytest
from harness import deliveries, singer
from harness.receiver import environment
from harness.singer import Json, Run, bookmarks
from harness.spool import event, events, fill, opened, received, rows
from singer_sdk.exceptions import ConfigValidationError
from tap_segment_webhook.event import TYPES
from tap_segment_webhook.spool.reader import Reader
from tap_segment_webhook.tap import TapSegmentWebhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def config(spool_url: str) -> Json:
    """Give the settings of a tap on a spool that does not exist yet."""
    return {"spool_url": spool_url}


def mixed(count: int, seed: int = 0) -> list[bytes]:
    """Return *count* events of all types."""
    return [deliveries.encode(event) for event in deliveries.events(count, seed=seed)]


def catalog_of(config: Json) -> Json:
    """Return the catalog as it is discovered, everything selected."""
    catalog: Json = json.loads(json.dumps(TapSegmentWebhook(config=config).catalog_dict))
    return catalog


def deselect(catalog: Json, stream: str, *breadcrumb: str) -> None:
    """Switch off a stream, or the property at *breadcrumb* in it."""
    (entry,) = [entry for entry in catalog["streams"] if entry["stream"] == stream]
    (metadata,) = [item for item in entry["metadata"] if item["breadcrumb"] == list(breadcrumb)]
    metadata["metadata"]["selected"] = False


def by_position(records: list[Json]) -> dict[int, Json]:
    """Return *records* by position, with JSON texts read: spacing means nothing in them."""
    return {
        record["spool_position"]: {
            name: json.loads(value) if isinstance(value, str) and value.startswith("{") else value
            for name, value in record.items()
        }
        for record in json.loads(json.dumps(records, default=float))
    }


def confirmed(url: str) -> dict[str, int]:
    """Return how far each consumer has confirmed."""
    with closing(Reader(url)) as reader:
        return reader.consumers.positions()


def state_at(position: int, spool_id: str, *streams: str) -> Json:
    """Return a state that ends at *position* for *streams*, or all."""
    bookmark = {"replication_key": "spool_position", "replication_key_value": position}
    return {
        "bookmarks": {stream: {**bookmark, "spool_id": spool_id} for stream in streams or TYPES}
    }


def spool_id(url: str) -> str:
    """Return the identity of the spool."""
    with closing(Reader(url)) as reader:
        return str(reader.spool_id)


def test_catalog_has_a_stream_for_each_call(config: Json) -> None:
    """The names, keys and replication of the streams are a promise to pipelines."""
    streams = {stream["stream"]: stream for stream in catalog_of(config)["streams"]}

    assert sorted(streams) == ["alias", "delete", "group", "identify", "page", "screen", "track"]
    for stream in streams.values():
        assert stream["key_properties"] == ["message_id"]
        assert stream["replication_key"] == "spool_position"
        assert stream["replication_method"] == "INCREMENTAL"


def test_discovery_opens_neither_port_nor_spool(tmp_path: Path, config: Json) -> None:
    """Meltano discovers before every command: nothing is touched by it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        catalog = singer.discover({**config, "listen_seconds": 60, "port": port})

    assert len(catalog["streams"]) == 7
    assert list(tmp_path.iterdir()) == []


def test_everything_is_emitted_in_order(config: Json, spool_url: str) -> None:
    """Each event becomes one record of its stream, in the order of the spool."""
    fill(spool_url, mixed(200))

    run = singer.sync(config)

    assert sorted(run.positions) == list(range(1, 201))
    for stream in TYPES:
        positions = [record["spool_position"] for record in run.records_of(stream)]
        assert positions == sorted(positions)
    assert {record["message_id"]: record["type"] for record in run.records} == {
        event["messageId"]: event["type"] for event in deliveries.events(200)
    }


def test_every_schema_comes_before_the_first_record(config: Json, spool_url: str) -> None:
    """Targets may open all their tables first; no SCHEMA is sent twice."""
    fill(spool_url, mixed(20))

    kinds = [message["type"] for message in singer.sync(config).messages]

    assert kinds[:7] == ["SCHEMA"] * 7
    assert kinds.count("SCHEMA") == 7
    assert kinds[-1] == "STATE"


def test_next_run_goes_on_after_the_last(config: Json, spool_url: str) -> None:
    """What was emitted is not emitted again, and nothing is skipped."""
    fill(spool_url, mixed(30))
    first = singer.sync(config)
    fill(spool_url, mixed(30, seed=1))

    second = singer.sync(config, state=first.state)
    third = singer.sync(config, state=second.state)

    assert sorted(first.positions) == list(range(1, 31))
    assert sorted(second.positions) == list(range(31, 61))
    assert third.records == []
    assert third.state == second.state


def test_bookmarks_of_quiet_streams_advance_too(config: Json, spool_url: str) -> None:
    """All streams have come as far as the pass, also those without an event."""
    fill(spool_url, events(3))

    run = singer.sync(config)

    assert bookmarks(run.state) == dict.fromkeys(TYPES, 3)


def test_full_refresh_replays_what_is_retained(config: Json, spool_url: str) -> None:
    """A run without a state emits everything that is there."""
    fill(spool_url, mixed(30))
    first = singer.sync(config)
    singer.sync(config, state=first.state)

    assert singer.sync(config).records == first.records


def test_older_state_replays_from_there(config: Json, spool_url: str) -> None:
    """A state that was set back takes the confirmation back with it."""
    for body in events(5):
        fill(spool_url, [body])
    singer.sync(config, state=singer.sync(config).state)
    assert confirmed(spool_url) == {"default": 5}

    run = singer.sync(config, state=state_at(2, spool_id(spool_url)))

    assert run.positions == [3, 4, 5]
    assert confirmed(spool_url) == {"default": 2}


def test_state_inside_a_block_is_exclusive(config: Json, spool_url: str) -> None:
    """A bookmark in the middle of one commit's events splits them exactly."""
    fill(spool_url, events(5))

    run = singer.sync(config, state=state_at(3, spool_id(spool_url)))

    assert run.positions == [4, 5]


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(lambda _: state_at(2, "another spool"), id="of another spool"),
        pytest.param(lambda own: state_at(6, own), id="beyond the head"),
        pytest.param(lambda _: state_at(2, ""), id="without a spool"),
        pytest.param(
            lambda own: {
                "bookmarks": {
                    **state_at(5, own)["bookmarks"],
                    **state_at(5, "other", "page")["bookmarks"],
                }
            },
            id="of another spool in part",
        ),
    ],
)
def test_foreign_state_is_ignored_and_nothing_confirmed(
    config: Json,
    spool_url: str,
    state: Callable[[str], Json],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A state that cannot be right is never trusted: the run starts at the oldest event."""
    fill(spool_url, events(5))

    run = singer.sync(config, state=state(spool_id(spool_url)))

    assert run.positions == [1, 2, 3, 4, 5]
    assert confirmed(spool_url) == {"default": 0}
    assert run.state == state_at(5, spool_id(spool_url))
    assert "The state is not of this spool" in caplog.text


def test_events_are_confirmed_by_the_next_run_only(config: Json, spool_url: str) -> None:
    """What was emitted may be lost on the way: only a state that came back confirms it."""
    fill(spool_url, events(3))

    first = singer.sync(config)
    assert confirmed(spool_url) == {"default": 0}

    singer.sync(config, state=first.state)
    assert confirmed(spool_url) == {"default": 3}


def test_stream_that_is_selected_later_gets_its_history(config: Json, spool_url: str) -> None:
    """A stream without a bookmark starts at the beginning; the others do not repeat."""
    fill(spool_url, [event(1, "track"), event(2, "page"), event(3, "track")])
    catalog = catalog_of(config)
    deselect(catalog, "page")
    first = singer.sync(config, catalog=catalog)
    fill(spool_url, [event(4, "track")])

    second = singer.sync(config, state=first.state)

    assert first.positions == [1, 3]
    assert sorted(second.positions) == [2, 4]
    assert confirmed(spool_url) == {"default": 0}


def test_slowest_stream_decides_what_is_confirmed(config: Json, spool_url: str) -> None:
    """Where the bookmarks differ, only what lies before all of them has arrived everywhere."""
    fill(spool_url, mixed(40))
    own = spool_id(spool_url)
    state = state_at(30, own)
    state["bookmarks"] |= state_at(10, own, "page")["bookmarks"]

    run = singer.sync(config, state=state)

    assert confirmed(spool_url) == {"default": 10}
    assert min(record["spool_position"] for record in run.records_of("page")) > 10
    assert all(record["spool_position"] > 30 for record in run.records if record["type"] != "page")
    assert bookmarks(run.state) == dict.fromkeys(TYPES, 40)


def test_deselected_stream_holds_nothing_up(config: Json, spool_url: str) -> None:
    """What nobody wants is passed over and confirmed with the rest."""
    fill(spool_url, [event(1, "track"), event(2, "page")])
    catalog = catalog_of(config)
    for stream in set(TYPES) - {"track"}:
        deselect(catalog, stream)

    first = singer.sync(config, catalog=catalog)
    singer.sync(config, catalog=catalog, state=first.state)

    assert first.positions == [1]
    assert set(first.schemas) == {"track"}
    assert bookmarks(first.state)["track"] == 2
    assert confirmed(spool_url) == {"default": 2}


def test_consumers_do_not_confirm_for_one_another(config: Json, spool_url: str) -> None:
    """Two pipelines drain one spool, each at its own pace."""
    fill(spool_url, events(5))
    lake = {**config, "consumer": "lake"}

    first = singer.sync(config)
    singer.sync(config, state=first.state)

    assert singer.sync(lake).positions == first.positions
    assert confirmed(spool_url) == {"default": 5, "lake": 0}


def test_confirmed_events_go_after_their_retention(config: Json, spool_url: str) -> None:
    """Without a receiver the tap prunes; what is within `retention_days` stays."""
    fill(spool_url, events(5))
    state = singer.sync(config).state

    singer.sync(config, state=state)
    assert len(rows(spool_url)) == 5

    singer.sync({**config, "retention_days": 0}, state=state)
    assert rows(spool_url) == []
    assert singer.sync(config, state=state).state == state


def test_gap_before_the_oldest_event_is_told(
    config: Json, spool_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A state older than what is retained is a warning, since something cannot be replayed."""
    for body in events(5):
        fill(spool_url, [body])
    state = singer.sync(config).state
    singer.sync({**config, "retention_days": 0}, state=state)
    fill(spool_url, events(1, first=6))

    singer.sync(config, state=state_at(2, spool_id(spool_url)))

    assert "ends at position 2, but the oldest retained event is 6" in caplog.text


def test_tap_drains_while_a_writer_holds_the_spool(config: Json, spool_url: str) -> None:
    """A receiver at work neither stops the tap nor is stopped by it."""
    with opened(spool_url) as store:
        store.commit([received(*events(3))])
        run = singer.sync(config)
        store.commit([received(*events(3, first=4))])

    assert run.positions == [1, 2, 3]
    assert singer.sync(config, state=run.state).positions == [4, 5, 6]


def test_property_that_is_not_selected_is_not_emitted(config: Json, spool_url: str) -> None:
    """Selection works as with any tap: properties can be left out."""
    fill(spool_url, mixed(20))
    catalog = catalog_of(config)
    deselect(catalog, "track", "properties", "context")

    run = singer.sync(config, catalog=catalog)

    assert "context" not in run.schemas["track"]["properties"]
    assert all("context" not in record for record in run.records_of("track"))
    assert all("context" in record for record in run.records_of("page"))
    assert len(run.records) == 20


def test_stream_map_changes_its_stream_and_no_other(config: Json, spool_url: str) -> None:
    """The SDK's stream maps work; the fast way is only taken where there is none."""
    fill(spool_url, mixed(40))
    plain = singer.sync(config)
    maps = {"track": {"event": "event.upper()", "context": "__NULL__"}}

    run = singer.sync({**config, "stream_maps": maps})

    assert [record["event"] for record in run.records_of("track")] == [
        record["event"].upper() for record in plain.records_of("track")
    ]
    assert all("context" not in record for record in run.records_of("track"))
    assert run.records_of("page") == plain.records_of("page")
    assert sorted(run.positions) == list(range(1, 41))


def test_stream_can_be_renamed(config: Json, spool_url: str) -> None:
    """An alias is a table's name."""
    fill(spool_url, events(3))

    run = singer.sync({**config, "stream_maps": {"track": {"__alias__": "events"}}})

    assert len(run.records_of("events")) == 3
    assert "events" in run.schemas
    assert bookmarks(run.state)["track"] == 3


def test_flattening_of_open_objects_is_refused(config: Json) -> None:
    """The SDK would drop them without a word: the message names what helps."""
    with pytest.raises(ConfigValidationError) as error:
        TapSegmentWebhook(config={**config, "flattening_enabled": True, "flattening_max_depth": 1})

    assert "payload_format" in "".join(error.value.errors)


def test_flattened_json_strings_keep_everything(config: Json, spool_url: str) -> None:
    """With `json_string` flattening loses nothing."""
    fill(spool_url, mixed(40))
    texts = {**config, "payload_format": "json_string"}

    flat = singer.sync({**texts, "flattening_enabled": True, "flattening_max_depth": 2})

    assert by_position(flat.records) == by_position(singer.sync(texts).records)
    assert flat.schemas["track"]["properties"].keys() == flat.records_of("track")[0].keys()
    original = {event["messageId"]: event for event in deliveries.events(40)}
    for record in flat.records_of("track"):
        assert json.loads(record["properties"]) == json.loads(
            deliveries.encode(original[record["message_id"]]["properties"])
        )


@pytest.mark.parametrize("payload_format", ["object", "json_string"])
def test_every_way_through_gives_the_same_records(
    config: Json, spool_url: str, payload_format: str
) -> None:
    """Fast lines, the SDK's maps, and the SDK's own record loop agree."""
    fill(spool_url, [*mixed(60), event(61, "track", odd=1, timestamp="soon")])
    config["payload_format"] = payload_format

    fast = singer.sync(config).records
    mapped = singer.sync({**config, "stream_maps": {"*": {"channel": "channel"}}}).records
    tap = TapSegmentWebhook(config=config)
    own = [record for stream in tap.discover_streams() for record in stream.own_records()]

    assert by_position(mapped) == by_position(fast)
    assert by_position(own) == by_position(fast)
    assert len(fast) == 61


def test_absent_spool_ends_a_run_at_once(
    config: Json, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the receiver has ever run there is nothing to emit, and nothing is made."""
    run = singer.sync(config)

    assert run.records == []
    assert list(tmp_path.iterdir()) == []
    assert "There is no spool" in caplog.text


def test_absent_spool_is_no_failure(config: Json) -> None:
    """A pipeline that was scheduled too early succeeds, with a hint in its log."""
    run = singer.run(config)

    assert run.code == 0
    assert run.records == []
    assert "segment-receiver serve" in run.log


def test_empty_spool_ends_a_run_at_once(config: Json, spool_url: str) -> None:
    """It never waits for events."""
    fill(spool_url, [])

    run = singer.sync(config)

    assert run.records == []
    assert bookmarks(run.state) == dict.fromkeys(TYPES, 0)


def test_real_run_is_the_same_run(config: Json, spool_url: str) -> None:
    """The command with its files for config, state and catalog does what the tap in here does."""
    fill(spool_url, mixed(40))
    state = state_at(10, spool_id(spool_url))

    run = singer.run(config, state=state, catalog=catalog_of(config))

    assert run.code == 0
    assert run.records == singer.sync(config, state=state).records
    assert "Emitted 30 records" in run.log
    assert "40 received = 40 stored" in run.log


def test_connection_test_confirms_nothing(config: Json, spool_url: str) -> None:
    """`--test` looks, and leaves no trace."""
    fill(spool_url, mixed(40))

    run = singer.run(config, "--test", state=state_at(30, spool_id(spool_url)))

    assert run.code == 0
    assert confirmed(spool_url) == {}


def test_wrong_setting_is_told_with_the_others(config: Json) -> None:
    """Every mistake is reported, at the start."""
    run = singer.run({**config, "port": "many", "payload_format": "xml", "retention_days": -1})

    assert run.code == 1
    assert run.messages == []
    for name in ("port", "payload_format", "retention_days"):
        assert name in run.log


def test_file_that_is_no_spool_is_a_clear_error(config: Json, tmp_path: Path) -> None:
    """What cannot be read is told in a sentence."""
    (tmp_path / "spool.db").write_bytes(b"no database at all" * 100)

    run = singer.run(config)

    assert run.code == 1
    assert run.records == []
    assert "cannot be read as a spool" in run.log
    assert "Traceback" not in run.log


def test_other_kind_of_spool_is_a_clear_error(config: Json) -> None:
    """A URL that this version does not know is told before anything is emitted."""
    run = singer.run({**config, "spool_url": "redis://127.0.0.1:6379/0"})

    assert run.code == 1
    assert "sqlite:///PATH" in run.log
    assert "Traceback" not in run.log


def peak_of_run(config: Json) -> int:
    """Return the most memory that a run has, in bytes."""
    with singer.command(config) as words:
        process = subprocess.Popen(
            words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


def test_memory_does_not_grow_with_what_waits(config: Json, spool_url: str) -> None:
    """What waits is emitted page by page, however much it is."""
    empty = peak_of_run(config)
    with opened(spool_url) as store:
        for number in range(64):
            store.commit([received(event(number, note="x" * 1_000_000))])

    assert peak_of_run(config) - empty < 24 << 20


@pytest.fixture(scope="module")
def large_spool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a spool that holds much more than a pipe."""
    url = f"sqlite:///{tmp_path_factory.mktemp('large')}/spool.db"
    fill(url, mixed(8000))
    return url


class Started(NamedTuple):
    """A run whose target does not read unless it is told to."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    log: Path

    def rest(self) -> bytes:
        """Read everything that is still to come, until the run has ended."""
        output = self.output.read()
        self.process.wait(60)
        return output


@pytest.fixture
def started(large_spool: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Started]:
    """Start a run."""
    variables = getattr(request, "param", {})
    log = tmp_path / "tap.log"
    with (
        singer.command({"spool_url": large_spool}) as words,
        log.open("wb") as errors,
        subprocess.Popen(
            words, env=environment(**variables), stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        assert process.stdout is not None
        yield Started(process, process.stdout, log)
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("started", [{}, {"PYTHONUNBUFFERED": "1"}], indirect=True)
def test_stop_signal_ends_a_run_with_whole_lines_and_a_true_state(
    started: Started, number: int
) -> None:
    """However slow the target is, a signal cuts no line, and the state is what was emitted."""
    first = [started.output.readline() for _ in range(8)]  # all schemas, and a record

    started.process.send_signal(number)
    run = Run(singer.parse(b"".join(first) + started.rest()))

    assert started.process.returncode == 0
    assert 0 < len(run.records) < 8000
    assert sorted(run.positions) == list(range(1, len(run.records) + 1))
    assert bookmarks(run.state) == dict.fromkeys(TYPES, len(run.records))
    assert run.messages[-1]["type"] == "STATE"


def test_run_goes_on_where_a_signal_ended_it(started: Started, large_spool: str) -> None:
    """Two runs, the first of which was stopped, emit everything once."""
    first = [started.output.readline() for _ in range(8)]
    started.process.terminate()
    stopped = Run(singer.parse(b"".join(first) + started.rest()))

    rest = singer.sync({"spool_url": large_spool}, state=stopped.state)

    assert sorted(stopped.positions + rest.positions) == list(range(1, 8001))


def test_target_that_leaves_is_one_clear_line(started: Started) -> None:
    """A closed pipe is an error of the run, told in a sentence, without a traceback."""
    started.output.readline()
    started.output.close()

    assert started.process.wait(60) == 1
    log = started.log.read_text("utf-8")
    assert log.count("The target stopped reading") == 1
    assert "Traceback" not in log
    assert "Broken" not in log
