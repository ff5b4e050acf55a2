"""`segment-sender reconcile` finds in a spool and in a real PostgreSQL what Segment has dropped."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from click.testing import CliRunner
from harness.deliveries import events
from harness.meltano import SENDER, TAP
from harness.pipeline import deliver
from harness.receiver import ANSWER_SECONDS
from harness.way_back import forwarded
from target_segment_api.commands import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result
    from harness.pipeline import Pipeline
    from harness.postgres import Server
    from harness.segment import Segment

Json = dict[str, Any]

MOMENT = "2026-03-04T11:20:00.000Z"


def test_what_segment_drops_is_found(
    pipeline: Callable[..., Pipeline], segment: Segment, tmp_path: Path
) -> None:
    """Exactly those events, in the spool, in the warehouse, and through Meltano.

    There the plugins' environments are apart: a pipe joins them, and each knows its own files.
    """
    flow, receipts = pipeline(), tmp_path / "receipts.jsonl"
    flow.load(events(200))
    segment.moods({"kind": "drop", "events": 1, "count": 3})
    sending = flow.sending(segment, receipts_path=str(receipts), max_batch_events=20)
    sending.pipe(TAP, SENDER)
    with flow.receiver as receiver:
        deliver(receiver, forwarded(segment), of=20)
    flow.fill()

    ids = sending("invoke", f"{TAP}:ids")
    asked = (f"{SENDER}:reconcile", "--arrived", "-", "--json", "--settle", "0")
    with sending.started("invoke", *asked, stdin=subprocess.PIPE) as process:
        said, _ = process.communicate(ids, timeout=ANSWER_SECONDS)
    found_by = {
        "spool": reconcile(receipts, "--spool", flow.receiver.spool_url),
        "warehouse": reconcile(receipts, "--database", flow.database.dsn),
        "Meltano": (process.returncode, json.loads(said)),
    }

    lost = {drop["event"]["messageId"] for drop in segment.drops()}
    assert len(lost) == 3
    for code, found in found_by.values():
        assert code == 1
        assert {event["message_id"] for event in found["missing"]} == lost
        assert found["total"]["delivered"] == len(segment.events())
        assert found["total"]["sent"] == len(segment.events()) + 3
        assert (found["total"]["late"], found["total"]["duplicated"]) == (0, 0)
        assert found["others"] > 0  # the events that were sent to Segment in the first place


@pytest.fixture
def database(server: Server) -> Iterator[psycopg.Connection]:
    """Give a connection to a database that is left as it was."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA books")
        yield connection
        connection.execute("DROP SCHEMA books CASCADE")


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "text"])
def test_times_are_understood_in_every_type(
    database: psycopg.Connection, server: Server, tmp_path: Path, kind: str
) -> None:
    """Without a zone they are UTC, wherever the server stands; without a time nothing is late."""
    database.execute("ALTER ROLE postgres SET timezone TO 'Asia/Tokyo'")
    database.execute(f"CREATE TABLE books.track (message_id text, received_at {kind})")
    zone = "" if kind == "timestamp" else "Z"
    rows = [("a", f"2026-03-04 11:25:00{zone}"), ("b", f"2026-03-04 11:25:01{zone}"), ("c", None)]
    for row in rows:
        database.execute("INSERT INTO books.track VALUES (%s, %s)", row)

    code, found = reconcile(receipts_of(tmp_path, "a", "b", "c"), *at(server), "--late", "300")

    database.execute("ALTER ROLE postgres RESET timezone")
    assert code == 0
    assert found["total"]["late"] == 1


def test_row_that_is_there_twice_is_duplicated(
    database: psycopg.Connection, server: Server, tmp_path: Path
) -> None:
    """A target that appends has an event as often as it was loaded."""
    database.execute("CREATE TABLE books.page (message_id text, received_at timestamptz)")
    for name in ("a", "a", "b", None):
        database.execute("INSERT INTO books.page VALUES (%s, %s)", (name, MOMENT))

    code, found = reconcile(receipts_of(tmp_path, "a", "b"), *at(server))

    assert code == 0
    assert (found["total"]["delivered"], found["total"]["duplicated"]) == (2, 1)


def test_tables_of_others_can_be_named(
    database: psycopg.Connection, server: Server, tmp_path: Path
) -> None:
    """Segment's own warehouse has the message id as `id`, and its tables in the plural."""
    for table in ("tracks", "identifies", "Odd name"):
        name = psycopg.sql.Identifier("books", table)
        database.execute(psycopg.sql.SQL("CREATE TABLE {} (id text, at timestamp)").format(name))
        database.execute(psycopg.sql.SQL("INSERT INTO {} VALUES (%s)").format(name), (table,))
    words = ("--table", "tracks", "--table", "Odd name", "--id-column", "id", "--time-column", "at")

    _, found = reconcile(
        receipts_of(tmp_path, "tracks", "identifies", "Odd name"), *at(server), *words
    )

    assert [event["message_id"] for event in found["missing"]] == ["identifies"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "Schema books does not have alias, group, identify, page, screen, track, or not for"),
        (
            "--table orders --table absent",
            "Schema books does not have absent, orders.received_at, or",
        ),
        ("--table orders", "Schema books does not have orders.received_at, or not for this user."),
        ("--table orders --time-column note", "A value cannot be read as a moment (22007)."),
    ],
)
def test_what_is_not_there_is_told(
    database: psycopg.Connection, server: Server, tmp_path: Path, words: str, reason: str
) -> None:
    """A mistyped name is no missing event; and no content of a column is ever shown."""
    database.execute("CREATE TABLE books.orders (message_id text, note text)")
    database.execute("INSERT INTO books.orders VALUES ('a', 'private')")

    result = invoked(receipts_of(tmp_path, "a"), *at(server), *words.split())

    assert result.exit_code == 2, result.exception
    assert reason in result.stderr
    assert "private" not in result.output


def test_address_of_sqlalchemy_is_understood(
    database: psycopg.Connection, server: Server, tmp_path: Path
) -> None:
    """The address that target-postgres was given can be copied."""
    database.execute("CREATE TABLE books.track (message_id text, received_at timestamptz)")

    code, found = reconcile(
        receipts_of(tmp_path, "a"), "--database", server.sqlalchemy_url, "--schema", "books"
    )

    assert code == 1
    assert found["total"]["missing"] == 1


def at(server: Server) -> tuple[str, ...]:
    """Return the options that name the schema of a test."""
    return ("--database", server.dsn, "--schema", "books")


def receipts_of(folder: Path, *names: str) -> Path:
    """Return a file of receipts for events of these ids, all accepted at `MOMENT`."""
    path = folder / "receipts.jsonl"
    fields = {"accepted_at": MOMENT, "stream": "users", "key": None, "batch": 1}
    lines = [json.dumps({**fields, "message_id": name}) + "\n" for name in names]
    path.write_text("".join(lines), "utf-8")
    return path


def reconcile(receipts: Path, *words: str) -> tuple[int, Json]:
    """Return the exit code of `segment-sender reconcile --json`, and what it says."""
    result = invoked(receipts, *words, "--json", "--settle", "0")
    assert result.stderr == ""
    return result.exit_code, json.loads(result.stdout)


def invoked(receipts: Path, *words: str) -> Result:
    """Run `segment-sender reconcile` with *receipts* to its end."""
    return CliRunner().invoke(main, ["reconcile", f"--receipts={receipts}", *words])
