"""Real NATS servers, alone and as a cluster on loopback: started, stopped, killed, frozen."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import uuid
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from harness.receiver import PROGRAMS
from harness.waiting import wait_until
from nats.aio.client import Client
from nats.errors import Error as NatsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self

    Login = tuple[str, str] | None


HOST = "127.0.0.1"
STOP_SECONDS = 30
MAX_PAYLOAD = 1 << 20


class Server:
    """One `nats-server` with JetStream in *folder*, on a port that stays the same over restarts.

    *more* is added to its configuration, *jetstream* to that of JetStream.
    """

    def __init__(
        self, folder: Path, *, number: int = 1, more: str = "", jetstream: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.folder = folder
        self._number = number
        self._more = more
        self._jetstream = jetstream
        self._config = folder / "nats.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self.join(())

    def join(self, routes: Sequence[int], *, own: int = 0) -> None:
        """Be the server with the route *own* of a cluster whose servers have *routes*."""
        cluster = ""
        if routes:
            urls = ", ".join(f"nats-route://{HOST}:{port}" for port in routes)
            cluster = (
                f"cluster {{ name: test, listen: '{HOST}:{own}', routes: [{urls}], "
                "pool_size: -1 }\n"
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

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and return once it answers."""
        assert self._process is None
        with (self.folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(PROGRAMS / "nats-server"), "-c", str(self._config)], stdout=log, stderr=log
            )
        wait_until(self._answers)

    def stop(self) -> None:
        """Let it end by itself."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it (`kill -9`), if it runs."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Have it stand still, its connections open, as behind a cut network."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(number)
        process.wait(STOP_SECONDS)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "nats.log").read_text("utf-8")
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False


class Cluster:
    """Three servers that know one another; *login* is a user and a password, if they ask."""

    def __init__(self, folder: Path, *, login: Login = None) -> None:
        self.routes = [free_port() for _ in range(3)]
        self._login = login
        self.servers = [
            Server(folder / f"server-{number}", number=number) for number in range(1, 4)
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
