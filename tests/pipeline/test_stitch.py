"""What Stitch does not do for Segment, and what its tables look like: docs/from-stitch.md."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml
from harness import singer, spool
from harness.deliveries import events
from harness.meltano import REPOSITORY, TAP, Meltano
from harness.pipeline import Pipeline

if TYPE_CHECKING:
    from pathlib import Path

    from harness.postgres import Server

EXAMPLE = REPOSITORY / "examples" / "stitch"
SENT = list(events(60))
TYPES = Counter(event["type"] for event in SENT)
REPORT = "SELECT to_timestamp(_sdc_sync_started_at / 1000), count(*) FROM segment.track GROUP BY 1"
LOADED = re.compile(r"target-postgres METRIC +metric_name=record_count metric_value=(\d+)")
OURS = {"context", "integrations", "extra", "source", "spool_position"}
ODD = (
    "message_id,text",
    "properties__n_value,text",
    "properties__n_value__bigint,bigint",
    "properties__n_value__double,double precision",
    "properties__n_value__string,text",
    "properties__deep__a_b__c,bigint",
    "shop_id,text",
)
ADDED_BY_STITCH = {"_sdc_batched_at", "_sdc_received_at", "_sdc_sequence", "_sdc_table_version"}

Columns = dict[str, dict[str, str]]


@pytest.fixture
def flow(tmp_path: Path, meltano: Meltano, server: Server) -> Pipeline:
    """Give a pipeline whose project is the test's own, with the session's plugins as installed."""
    return Pipeline(tmp_path, meltano.share(tmp_path / "project"), server)


def test_tables_and_columns_can_be_selected(flow: Pipeline) -> None:
    """`meltano select` names the tables, and leaves out columns."""
    flow.load(SENT)

    flow.meltano("select", TAP, "track", "*")
    flow.meltano("select", TAP, "identify", "*")
    flow.meltano("select", "--exclude", TAP, "track", "anonymous_id")
    flow.collect()

    found = columns(flow)
    assert set(found) == {"track", "identify"}
    assert "anonymous_id" in found["identify"]
    assert set(found["identify"]) - set(found["track"]) == {"anonymous_id", "traits"}
    assert flow.count("track") == TYPES["track"]


def test_one_table_can_be_loaded_again(flow: Pipeline) -> None:
    """A reset of one table refills it with all that is retained, and touches no other."""
    flow.load(SENT)
    flow.collect()
    before = flow.tables()

    execute(flow, "DROP TABLE segment.track")
    only = flow.meltano.using(TAP_SEGMENT_WEBHOOK__SELECT_FILTER='["track"]')
    only("run", "--full-refresh", "collect")
    after = flow.tables()
    flow.meltano("run", "collect")
    again = flow.tables()

    assert [row["message_id"] for row in after.pop("track")] == [
        row["message_id"] for row in before.pop("track")
    ]
    assert after == before  # with the target's own columns: no row was written again
    again.pop("track")
    assert again == before


def test_runs_are_scheduled_and_leave_logs_and_reports(flow: Pipeline) -> None:
    """`meltano schedule` runs the job; its log says what was extracted, and what was loaded."""
    flow.load(SENT)

    flow.meltano("schedule", "add", "hourly", "--job", "collect", "--interval", "@hourly")
    flow.meltano("schedule", "run", "hourly")
    (run,) = json.loads(flow.meltano("logs", "list", "--format", "json"))["runs"]
    log = flow.meltano("logs", "show", run["log_id"])
    ((started_at, loaded),) = execute(flow, REPORT)

    assert run["state"] == "SUCCESS"
    extracted = ", ".join(f"{name} {count}" for name, count in sorted(TYPES.items()))
    assert f"Emitted 60 records: {extracted}." in log
    assert "60 received = 60 stored + 0 duplicate + 0 filtered + 0 rejected." in log
    assert sorted(map(int, LOADED.findall(log))) == sorted(TYPES.values())
    assert loaded == TYPES["track"]
    assert abs(started_at - datetime.fromisoformat(run["started_at"])) < timedelta(minutes=5)


def test_tables_can_have_the_columns_of_stitch(flow: Pipeline) -> None:
    """The example's stream maps make the listed columns, with their types, beside our own."""
    project = yaml.safe_load(flow.meltano.project_file.read_text("utf-8"))
    (tap,) = (each for each in project["plugins"]["extractors"] if each["name"] == TAP)
    tap["config"] = {"stream_maps": stream_maps(EXAMPLE / "columns.csv")}
    flow.meltano.project_file.write_text(yaml.safe_dump(project), "utf-8")
    flow.load(SENT)

    flow.collect()

    found = columns(flow)
    rows = flow.tables()
    for table, named in listed().items():
        added = {column for column in found[table] if column.startswith("_sdc_")}
        ours = found[table].keys() - named - added
        assert added >= ADDED_BY_STITCH
        assert ours - {"properties", "traits", "category"} == OURS
        assert {column: found[table][column] for column in named} == {
            # What Singer calls a number is to target-postgres an exact one.
            column: "numeric" if kind == "double precision" else kind
            for column, kind in named.items()
        }
        assert len(rows[table]) == TYPES[table]
    for event in SENT:
        if event["type"] == "page":
            (row,) = (row for row in rows["page"] if row["message_id"] == event["messageId"])
            assert row["timestamp"] == event["timestamp"]
            assert row["version"] == 2
            assert row["context__page__url"] == event["context"]["page"]["url"]
            assert row["context__user_agent"] == event["context"]["userAgent"]
            assert row["properties__title"] == event["properties"]["title"]


def test_columns_hold_only_values_of_their_type(tmp_path: Path) -> None:
    """Whatever is sent, no value stops a run: of another type it is null, and text is JSON."""
    wanted = tmp_path / "columns.csv"
    wanted.write_text("".join(f"track,{column}\n" for column in ODD), "utf-8")
    url = spool.url_in(tmp_path)
    values = [7, 2.5, "7", True, None, {"a": 1.50}, [], -(10**30), 10**18, "x" * 30]
    spool.fill(
        url,
        [
            spool.event(n, properties={"nValue": value, "deep": value, "n value": "hidden"})
            for n, value in enumerate(values)
        ],
    )
    spool.fill(url, [spool.event(90, properties={"deep": {"a_b": {"c": 1}}}, shopId="s-1")])
    spool.fill(url, [spool.event(91, properties={"n value": 3})])

    run = singer.sync({"spool_url": url, "stream_maps": stream_maps(wanted, "--only")})

    def found(column: str) -> list[Any]:
        return [record[f"properties__{column}"] for record in run.records]

    assert {frozenset(record) for record in run.records} == {
        frozenset(column.partition(",")[0] for column in ODD)
    }
    assert found("n_value__bigint") == [7, *[None] * 10, 3]
    assert found("n_value__double") == [None, 2.5, *[None] * 5, -1e30, 1e18, None, None, None]
    assert found("n_value__string") == [None, None, "7", *[None] * 6, "x" * 30, None, None]
    assert found("n_value")[:7] == ["7", "2.5", "7", "true", None, '{"a": 1.5}', "[]"]
    assert found("deep__a_b__c") == [*[None] * 10, 1, None]
    assert [record["shop_id"] for record in run.records[-2:]] == ["s-1", None]


def stream_maps(columns: Path, *options: str) -> dict[str, Any]:
    """Return what the example prints for the *columns* in a file."""
    words: list[str | Path] = [sys.executable, EXAMPLE / "stream_maps.py", *options, columns]
    made: dict[str, Any] = json.loads(subprocess.check_output(words, text=True))
    return made


def listed() -> Columns:
    """Return the columns of each table that the example lists, with their types."""
    wanted: Columns = {}
    with (EXAMPLE / "columns.csv").open(encoding="utf-8") as lines:
        for table, column, data_type in csv.reader(lines):
            wanted.setdefault(table, {})[column] = data_type
    return wanted


def columns(flow: Pipeline) -> Columns:
    """Return the columns of each table, with their types."""
    found: Columns = {}
    query = (
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'segment'"
    )
    for table, column, data_type in execute(flow, query):
        found.setdefault(table, {})[column] = data_type
    return found


def execute(flow: Pipeline, statement: str) -> list[tuple[Any, ...]]:
    """Run *statement* in the warehouse, and return its rows."""
    with psycopg.connect(flow.database.dsn) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []
