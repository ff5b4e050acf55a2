"""The whole way of an event: a receiver, Meltano's jobs, the tables, and Segment again."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from harness.deliveries import array, encode, single
from harness.meltano import TAP, TARGET
from harness.receiver import PREFIX, SECRET, Receiver
from harness.segment import KEY
from harness.target import PREFIX as TARGET_PREFIX
from harness.waiting import wait_until
from harness.way_back import NAMESPACE
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from harness.deliveries import Event
    from harness.meltano import Meltano
    from harness.postgres import Server
    from harness.rows import Row
    from harness.segment import Segment

WAIT_SECONDS = 180
STREAMS = ("alias", "delete", "group", "identify", "page", "screen", "track")


class Pipeline:
    """A receiver in *folder*, *meltano* to drain its spool, and a database on *server* to fill.

    *settings* are those of the plugin, for the receiver and the tap alike. The
    database, and the state of the runs, are named after *folder*.
    """

    def __init__(self, folder: Path, meltano: Meltano, server: Server, **settings: Any) -> None:
        self.folder = folder
        self.rejects = folder / "rejects.jsonl"
        self.receiver = Receiver(folder, **settings)
        self.database = replace(server, database=folder.name)
        self.meltano = meltano.using(
            **_variables(
                PREFIX, spool_url=self.receiver.spool_url, shared_secret=SECRET, **settings
            ),
            TARGET_POSTGRES_SQLALCHEMY_URL=self.database.sqlalchemy_url,
            TAP_POSTGRES_SQLALCHEMY_URL=self.database.dsn,
            MELTANO_RUN_STATE_ID_SUFFIX=folder.name,
        )
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self.database.database))
            )

    def load(self, events: Iterable[Event]) -> None:
        """Put *events* into the spool at once, while no receiver runs."""
        lines = self.folder / "events.jsonl"
        lines.write_bytes(b"\n".join(map(encode, events)))
        self.receiver.commands.output("load", lines)

    def collect(self, *options: str) -> None:
        """Run Meltano's job `collect` to its end."""
        self.meltano("run", *options, "collect")

    def fill(self) -> None:
        """Fill the tables as `collect` does with a first run, in a third of the time."""
        self.meltano.using(
            TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA="segment", TARGET_POSTGRES_LOAD_METHOD="upsert"
        ).pipe(TAP, TARGET)

    @contextmanager
    def collecting(self, rows: int, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """Run the job, and give the process once that many *rows* of track are committed."""
        meltano = self.meltano.using(TARGET_POSTGRES_BATCH_SIZE_ROWS="100", **settings)
        with (
            # Meltano takes a run that was killed for a running one, unless it is forced.
            meltano.started("run", "--force", "collect") as run,
            psycopg.connect(self.database.dsn, autocommit=True) as connection,
        ):
            wait_until(
                lambda: _count(connection, "track") >= rows or run.poll() is not None, WAIT_SECONDS
            )
            assert run.poll() is None, meltano.log.read_text("utf-8")
            yield run

    def sending(self, segment: Segment, **settings: Any) -> Meltano:
        """Return the project with a target that sends to *segment*, with more *settings*."""
        given = {
            "write_key": KEY,
            "endpoint": segment.endpoint,
            "max_events_per_second": 0,
            "rejects_path": str(self.rejects),
            "message_id_namespace": NAMESPACE,
            **settings,
        }
        return self.meltano.using(**_variables(TARGET_PREFIX, **given))

    def tables(self) -> dict[str, list[Row]]:
        """Return all rows of each stream's table, in the order of their positions.

        Numbers inside JSON are as exact as PostgreSQL keeps them.
        """
        query = sql.SQL("SELECT * FROM segment.{} ORDER BY spool_position")
        with psycopg.connect(self.database.dsn, row_factory=dict_row) as connection:
            set_json_loads(partial(json.loads, parse_float=Decimal), connection)
            return {
                stream: connection.execute(query.format(sql.Identifier(stream))).fetchall()
                for stream in STREAMS
            }

    def count(self, stream: str) -> int:
        """Return how many rows the table of *stream* has; 0 if there is no table yet."""
        with psycopg.connect(self.database.dsn) as connection:
            return _count(connection, stream)


def deliver(receiver: Receiver, sent: Sequence[Event], *, of: int, path: str = "/webhook") -> None:
    """Post *sent* in deliveries *of* so many events, in order."""
    for start in range(0, len(sent), of):
        part = sent[start : start + of]
        delivery = single(*part) if of == 1 else array(part)
        assert receiver.deliver(delivery, path=path).status_code == 200


def _count(connection: psycopg.Connection[Any], stream: str) -> int:
    query = sql.SQL("SELECT count(*) FROM segment.{}").format(sql.Identifier(stream))
    try:
        row = connection.execute(query).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return 0
    assert row is not None
    return int(row[0])


def _variables(prefix: str, **settings: Any) -> dict[str, str]:
    """Return *settings* as the environment variables that Meltano reads."""
    return {
        f"{prefix}{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
