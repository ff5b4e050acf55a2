"""The real receiver as a process of its own, started, talked to, killed and started again."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.deliveries import Delivery
    from typing_extensions import Self

HOST = "127.0.0.1"
PROGRAMS = Path(sys.executable).parent
SECRET = "not-a-real-secret"  # noqa: S105
START_SECONDS = 60
STOP_SECONDS = 60
ANSWER_SECONDS = 60
PREFIX = "TAP_SEGMENT_WEBHOOK_"

_LISTENING = re.compile(r"Listening on http://[^ ]+:(\d+)/webhook")


class DidNotStart(Exception):
    """The receiver does not listen; the message is what it said."""


class Receiver:
    """A `segment-receiver serve` on a spool in *folder*, running inside a `with` block.

    Its settings are those of one source that signs with `SECRET`, on a free
    port; *settings* are put over them, and None takes one away. *variables*
    are added to its environment, and *prefix* is a command that runs it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        variables: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self.spool = folder / "spool.db"
        self.config = folder / "receiver.json"
        given = {
            "spool_url": f"sqlite:///{self.spool}",
            "host": HOST,
            "port": 0,
            "shared_secret": SECRET,
            **settings,
        }
        self.settings = {name: value for name, value in given.items() if value is not None}
        self.spool_url: str = self.settings["spool_url"]
        self.config.write_text(json.dumps(self.settings), "utf-8")
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._variables = dict(variables or {})
        self._prefix = prefix

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    def start(self) -> None:
        """Start it, and return once it listens.

        Raises:
            DidNotStart: it ended instead, or did not listen in time.
        """
        assert self._process is None
        self._process = subprocess.Popen(
            [
                *self._prefix,
                str(PROGRAMS / "segment-receiver"),
                "serve",
                "--config",
                str(self.config),
            ],
            env=environment(**self._variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        ports: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, args=(self._process, ports))
        port = None
        try:
            self._listener.start()
            with suppress(queue.Empty):
                port = ports.get(timeout=START_SECONDS)
        finally:
            if port is None:
                self.kill()  # also if we are interrupted: no `with` block will end it then
        if port is None:
            raise DidNotStart(self.log)
        self.port = port

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where deliveries are posted to."""
        return f"{self.base_url}/webhook"

    @property
    def base_url(self) -> str:
        """The address without a path."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> str:
        """Everything it has written to stderr, over all its starts."""
        return "".join(self._lines)

    def post(
        self,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = "/webhook",
        method: str = "POST",
    ) -> requests.Response:
        """Send *body* and return the answer, whatever it is."""
        return requests.request(
            method,
            self.base_url + path,
            data=body,
            headers=dict(headers or {}),
            timeout=ANSWER_SECONDS,
        )

    def deliver(self, delivery: Delivery, *, path: str = "/webhook") -> requests.Response:
        """Send *delivery* as Segment would, signed with `SECRET`."""
        return self.post(delivery.body, delivery.headers(SECRET), path=path)

    def get(self, path: str) -> requests.Response:
        """Ask for the page *path*."""
        return requests.get(self.base_url + path, timeout=ANSWER_SECONDS)

    def status(self) -> dict[str, Any]:
        """Return what `segment-receiver status --json` says."""
        found: dict[str, Any] = json.loads(self.command("status", "--json"))
        return found

    def command(self, *arguments: str) -> str:
        """Run `segment-receiver` with *arguments* on the same settings; return its output."""
        return subprocess.run(
            [str(PROGRAMS / "segment-receiver"), *arguments, "--config", str(self.config)],
            check=True,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            timeout=ANSWER_SECONDS,
        ).stdout

    def memory_peak(self) -> int:
        """Return the most memory it ever had, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert match
        return int(match[1]) * 1024

    def open_files(self) -> int:
        """Return how many files and connections it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def signal(self, number: int) -> None:
        """Send it the signal *number*, and do not wait."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it (`kill -9`), and return once it is gone."""
        self.signal(signal.SIGKILL)
        self._end()

    def stop(self) -> int:
        """Ask it to stop (SIGTERM); return its exit code."""
        self.signal(signal.SIGTERM)
        return self._end()

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        return self._end()

    def _end(self) -> int:
        assert self._process is not None
        process, self._process = self._process, None
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            self._listener.join()
            assert process.stderr is not None
            process.stderr.close()

    def _listen(self, process: subprocess.Popen[str], ports: queue.SimpleQueue[int | None]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._lines.append(line)
            if match := _LISTENING.search(line):
                ports.put(int(match[1]))
        ports.put(None)


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without the plugin's own variables, and with *more*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return kept | more
