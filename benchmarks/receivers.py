"""The receivers under test: ours and its peers, each one process on a fresh folder.

Each is a context manager that takes a folder, gives a `Running` receiver once
it is ready, and stops it with SIGTERM. The PostgreSQL of those that need one
is fresh too, and durable.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from harness.postgres import postgres
from harness.process import end, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
HOST = "127.0.0.1"
SECRET = "not-a-real-secret"  # noqa: S105
KEY = "not-a-real-key"


@dataclass(frozen=True)
class Running:
    """A receiver that is ready: its process, where it listens, how many events it has stored."""

    pid: int
    port: int
    stored: Callable[[], int] | None = None
    config: Path | None = None

    @property
    def url(self) -> str:
        """Where deliveries are posted to."""
        return f"{self.base_url}/webhook"

    @property
    def base_url(self) -> str:
        """The address without a path."""
        return f"http://{HOST}:{self.port}"


Receiver = Callable[[Path], AbstractContextManager[Running]]


@contextmanager
def ours(folder: Path, **more: Any) -> Iterator[Running]:
    """Run segment-receiver on a SQLite spool, or with *more* settings on another."""
    port, config = free_port(), folder / "config.json"
    spool = f"sqlite:///{folder / 'spool.db'}"
    settings = {
        "spool_url": spool,
        "host": HOST,
        "port": port,
        "shared_secret": SECRET,
        "write_key": KEY,
        **more,
    }
    config.write_text(json.dumps(settings), "utf-8")
    command = [str(PROGRAMS / "segment-receiver"), "serve", "--config", str(config)]
    with _process(command, folder, port) as pid:
        yield Running(pid, port, lambda: _in_spool(config), config)


@contextmanager
def bare(folder: Path) -> Iterator[Running]:
    """Run the ceiling: uvicorn without any work."""
    port = free_port()
    with _process(_uvicorn("bare", port, "--lifespan", "off"), folder, port) as pid:
        yield Running(pid, port)


@contextmanager
def fastapi_sqlite(folder: Path) -> Iterator[Running]:
    """Run FastAPI with a SQLite commit per request."""
    port, database = free_port(), str(folder / "events.db")
    with _process(_uvicorn("fastapi_sqlite", port), folder, port, database) as pid:
        yield Running(pid, port, lambda: _in_sqlite(database))


@contextmanager
def fastapi_asyncpg(folder: Path) -> Iterator[Running]:
    """Run FastAPI with asyncpg and a PostgreSQL of its own."""
    port = free_port()
    with (
        postgres(durable=True) as server,
        _process(_uvicorn("fastapi_asyncpg", port), folder, port, server.dsn) as pid,
    ):
        yield Running(pid, port, lambda: _in_postgres(server.dsn))


@contextmanager
def flask_postgres(folder: Path) -> Iterator[Running]:
    """Run Flask under gunicorn, one worker of eight threads, with a PostgreSQL of its own."""
    port = free_port()
    with (
        postgres(durable=True) as server,
        _process(_gunicorn("flask_postgres", port), folder, port, server.dsn) as pid,
    ):
        yield Running(pid, port, lambda: _in_postgres(server.dsn))


def postgres_version() -> str:
    """Return the version of the PostgreSQL that the peers use."""
    with postgres() as server, psycopg.connect(server.dsn) as connection:
        return connection.info.parameter_status("server_version") or "unknown"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _uvicorn(module: str, port: int, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", f"benchmarks.peers.{module}:app", "--host", HOST),
        *("--port", str(port), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning", *more),
    ]


def _gunicorn(module: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "gunicorn", f"benchmarks.peers.{module}:create_app()"),
        *("--bind", f"{HOST}:{port}", "--worker-class", "gthread", "--workers", "1"),
        *("--threads", "8", "--keep-alive", "60", "--log-level", "warning"),
    ]


@contextmanager
def _process(command: Sequence[str], folder: Path, port: int, database: str = "") -> Iterator[int]:
    """Run *command* until it is ready; give its process id; stop it at the end."""
    log = folder / "receiver.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"SHARED_SECRET": SECRET, "DATABASE": database},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_ready(process, lambda: _is_healthy(port), log)
        yield process.pid
    finally:
        end(process, signal.SIGTERM)


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _in_sqlite(database: str) -> int:
    connection = sqlite3.connect(database)
    (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
    connection.close()
    return int(count)


def _in_postgres(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM events").fetchone()
    assert row
    return int(row[0])


def _in_spool(config: Path) -> int:
    command = [str(PROGRAMS / "segment-receiver"), "status", "--config", str(config), "--json"]
    status = json.loads(subprocess.check_output(command))
    return sum(stream["waiting"] + stream["confirmed"] for stream in status["streams"].values())
