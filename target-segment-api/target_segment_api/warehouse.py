"""What came back, from the tables that a pipeline has filled in PostgreSQL.

The only module that knows a database's driver, which is an extra: `postgres`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from target_segment_api.arrivals import Arrival
from target_segment_api.errors import InputUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection, Error

TABLES: Final = ("alias", "group", "identify", "page", "screen", "track")
"""Those of tap-segment-webhook, but for `delete`: nobody can send one."""

_DRIVER: Final = re.compile(r"postgres(ql)?\+\w+://")  # SQLAlchemy's, which libpq does not know
_ROWS: Final = 10_000  # of one answer of the server
_DATA: Final = "22"  # the class of errors that quote what they stumbled on

_COLUMNS: Final = """
SELECT table_name, array_agg(column_name::text) FROM information_schema.columns
WHERE table_schema = %s AND table_name = ANY(%s) GROUP BY 1 ORDER BY 1
"""


def read_warehouse(
    url: str, schema: str, tables: Sequence[str], id_column: str, time_column: str
) -> Iterator[Arrival]:
    """Read all rows of *tables* in *schema*, as one snapshot; without *tables*, of `TABLES`.

    A time without a zone is UTC. The database is only read, and its rows are
    never all in memory.

    Raises:
        InputUnusable: the driver is not installed, the database cannot be
            reached, or there is no such table or column.
    """
    try:
        import psycopg  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InputUnusable(
            "--database needs a driver: pip install 'target-segment-api[postgres]'."
        ) from error
    try:
        address = psycopg.conninfo.make_conninfo(_DRIVER.sub("postgresql://", url))
    except psycopg.Error:  # which quotes the URL, password and all
        raise InputUnusable(
            "--database is no address of PostgreSQL: postgresql://USER:PASSWORD@HOST/DATABASE."
        ) from None
    try:
        with psycopg.connect(address) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("SET LOCAL TIME ZONE 'UTC'")
            found = _find(connection, schema, tables, (id_column, time_column))
            for table in found:
                yield from _read(connection, (schema, table), id_column, time_column)
    except psycopg.Error as error:
        raise InputUnusable(f"The database cannot be read: {_reason(error)}") from None


def _find(
    connection: Connection, schema: str, tables: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Return which tables there are; every one that is named has to be there."""
    rows = connection.execute(_COLUMNS, (schema, list(tables or TABLES))).fetchall()
    lacking = [f"{table}.{name}" for table, has in rows for name in columns if name not in has]
    absent = sorted(set(tables) - {table for table, _ in rows})
    if lacking or absent or not rows:
        what = ", ".join([*absent, *lacking] or TABLES)
        raise InputUnusable(
            f"Schema {schema} does not have {what}, or not for this user. Name others with "
            "--schema, --table, --id-column and --time-column."
        )
    return [table for table, _ in rows]


def _read(
    connection: Connection, table: tuple[str, str], id_column: str, time_column: str
) -> Iterator[Arrival]:
    from psycopg import sql  # noqa: PLC0415 - an extra

    query = sql.SQL(
        "SELECT {id}::text, (extract(epoch FROM {time}::timestamptz) * 1000)::bigint FROM {table}"
        " WHERE {id} IS NOT NULL"
    ).format(
        id=sql.Identifier(id_column),
        time=sql.Identifier(time_column),
        table=sql.Identifier(*table),
    )
    with connection.cursor("arrivals") as cursor:
        cursor.itersize = _ROWS
        for message_id, moment in cursor.execute(query):
            yield Arrival(message_id, moment)


def _reason(error: Error) -> str:
    """Say what PostgreSQL says, but for the content of a column."""
    if error.sqlstate and error.sqlstate.startswith(_DATA):
        return f"A value cannot be read as a moment ({error.sqlstate}). Name another --time-column."
    text = error.diag.message_primary or str(error)
    return text.strip().splitlines()[0]
