"""Real NATS servers, alone and as a cluster on loopback: started, stopped, killed, frozen."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from harness.lines import Line
from harness.process import Process
from harness.receiver import PROGRAMS
from harness.waiting import wait_until
from nats.aio.client import Client
from nats.errors import Error as NatsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Self

    Login = tuple[str, str] | None


HOST = "127.0.0.1"
RUNS_SECONDS = 0.05
MAX_PAYLOAD = 1 << 20


class Server(Process):
    """One `nats-server` with JetStream in *folder*, on a port that stays the same over restarts.

    *more* is added to its configuration, *jetstream* to that of JetStream.
    """

    def __init__(
        self, folder: Path, *, number: int = 1, more: str = "", jetstream: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            folder / "nats.log", r"Listening for client connections on \S+:(\d+)", port=free_port()
        )
        self.folder = folder
        self._number = number
        self._more = more
        self._jetstream = jetstream
        self._config = folder / "nats.conf"
        self.join(())

    def join(self, routes: Sequence[int], *, own: int = 0, more: str = "") -> None:
        """Be the server with the route *own* of a cluster whose servers have *routes*.

        *more* is added to what the configuration says of the cluster.
        """
        cluster = ""
        if routes:
            urls = ", ".join(f"nats-route://{HOST}:{port}" for port in routes)
            cluster = (
                f"cluster {{ name: test, listen: '{HOST}:{own}', routes: [{urls}], "
                f"pool_size: -1, {more} }}\n"
            )
        self._config.write_text(
            f"server_name: server-{self._number}\nlisten: '{HOST}:{self.port}'\n"
            f"jetstream {{ store_dir: '{self.folder / 'data'}', max_file_store: 4GB, "
            f"max_memory_store: 256MB, {self._jetstream} }}\n{cluster}{self._more}\n",
            "utf-8",
        )

    def configure(self, text: str) -> None:
        """Have *text* as its configuration, instead of the harness's, under the same name."""
        self._config.write_text(f"server_name: server-{self._number}\n{text}", "utf-8")

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"{HOST}:{self.port}"

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    def words(self) -> list[str]:
        """Return the command that starts it."""
        return [str(PROGRAMS / "nats-server"), "-c", str(self._config)]

    def freeze(self) -> None:
        """Have it stand still, its connections open, as a machine that hangs."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        self.signal(signal.SIGCONT)


@contextmanager
def slowed(server: Server) -> Iterator[None]:
    """Let *server* run a tenth of the time, a little at a time, as on a busy machine."""
    over = threading.Event()

    def hold_up() -> None:
        while not over.wait(RUNS_SECONDS):
            server.freeze()
            over.wait(9 * RUNS_SECONDS)
            server.thaw()

    thread = threading.Thread(target=hold_up)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Cluster:
    """Three servers that know one another; *login* is a user and a password, if they ask.

    *jetstream* is added to the configuration of JetStream.
    """

    def __init__(self, folder: Path, *, login: Login = None, jetstream: str = "") -> None:
        self.routes = [free_port() for _ in range(3)]
        self._login = login
        self.servers = [
            Server(folder / f"server-{number}", number=number, jetstream=jetstream)
            for number in range(1, 4)
        ]
        for server, own in zip(self.servers, self.routes, strict=True):
            server.join(self.routes, own=own)

    @property
    def address(self) -> str:
        """The hosts and ports of all."""
        return ",".join(server.address for server in self.servers)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self.wait_for_leader()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait_for_leader(self) -> None:
        """Return once the servers can make a stream on all three."""
        name = f"probe-{uuid.uuid4().hex}"
        config = {"name": name, "subjects": [name], "num_replicas": 3, "storage": "file"}
        wait_until(lambda: "config" in self.ask(f"STREAM.CREATE.{name}", config))
        wait_until(lambda: self.ask(f"STREAM.DELETE.{name}").get("success"))

    def ask(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return JetStream's answer to a request of its interface; empty if there was none."""
        return ask(self.address, name, body, login=self._login)

    def leader_of(self, stream: str) -> Server:
        """Return the server that leads *stream*."""
        found: list[str] = []

        def known() -> bool:
            cluster = self.ask(f"STREAM.INFO.{stream}").get("cluster", {})
            found[:] = [cluster["leader"]] if cluster.get("leader") else []
            return bool(found)

        wait_until(known)
        return self.servers[int(found[0].rpartition("-")[2]) - 1]

    def followers_of(self, stream: str) -> list[Server]:
        """Return the others."""
        leader = self.leader_of(stream)
        return [server for server in self.servers if server is not leader]


class SplitCluster(Cluster):
    """Three servers that reach one another only by lines which can be cut.

    Clients stay with the servers that they were told of: these name no others.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lines: dict[tuple[Server, Server], Line] = {}
        own = dict(zip(self.servers, self.routes, strict=True))
        for one in self.servers:
            others = [other for other in self.servers if other is not one]
            for other in others:
                self._lines[one, other] = Line(own[other])
            # What servers tell one another of a third is where nobody listens: no way around.
            one.join(
                [self._lines[one, other].port for other in others],
                own=own[one],
                more=f"no_advertise: true, advertise: '{HOST}:{free_port()}'",
            )

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for line in self._lines.values():
                stack.enter_context(line)
            super().__enter__()
            self._ends = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._ends.close()

    def cut_off(self, server: Server, *, reset: bool = False) -> None:
        """Let nothing pass between *server* and the others; with *reset*, they are told."""
        for line in self._lines_of(server):
            line.cut()
            if reset:
                line.reset()

    def mend(self, server: Server) -> None:
        """Let them reach one another again."""
        for line in self._lines_of(server):
            line.mend()

    def _lines_of(self, server: Server) -> list[Line]:
        return [line for ends, line in self._lines.items() if server in ends]


def delete_streams(address: str) -> None:
    """Delete all streams of the servers at *address*: with replicas, they vote as long as they are.

    Their names come by the page, so it is asked until none is left.
    """
    while names := ask(address, "STREAM.NAMES").get("streams"):
        for name in names:
            ask(address, f"STREAM.DELETE.{name}")


def ask(
    address: str, name: str, body: dict[str, Any] | None = None, *, login: Login = None
) -> dict[str, Any]:
    """Return JetStream's answer to a request of its interface; empty if there was none."""

    async def request() -> dict[str, Any]:
        client = Client()

        async def quiet(_: Exception) -> None:
            pass

        servers = [f"nats://{one}" for one in address.split(",")]
        try:
            user, password = login or (None, None)
            await client.connect(
                servers,
                user=user,
                password=password,
                connect_timeout=1,
                max_reconnect_attempts=1,
                error_cb=quiet,
            )
            payload = json.dumps(body).encode() if body is not None else b""
            reply = await client.request(f"$JS.API.{name}", payload, timeout=2)
            answer: dict[str, Any] = json.loads(reply.data)
        except (NatsError, OSError, TimeoutError, asyncio.TimeoutError):
            return {}
        finally:
            await client.close()
        return answer

    return asyncio.run(request())


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
