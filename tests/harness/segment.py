"""The stand-in for Segment as a process of its own: started, put in a mood, asked what came."""

from __future__ import annotations

import json
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
from requests import Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

HOST = "127.0.0.1"
KEY = "not-a-real-write-key-of-a-source"
START_SECONDS = 60
STOP_SECONDS = 60
ANSWER_SECONDS = 60

_LISTENING = re.compile(r"Listening on http://[^ ]+:(\d+)/v1")

Json = dict[str, Any]


class DidNotStart(Exception):
    """The stand-in ended before it listened; the message is what it said."""


class Segment:
    """The stand-in for Segment's Tracking API, running inside a `with` block.

    It knows the sources of *write_keys*. Started again, it has the same port,
    and of what it had accepted it knows what is in its *journal*, a file in
    *folder*. *arguments* are added to its command line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        write_keys: Sequence[str] = (KEY,),
        delay_ms: float = 0,
        count_only: bool = False,
        journal: bool = False,
        port: int = 0,
        arguments: Sequence[str] = (),
    ) -> None:
        self.port = port
        self.journal = folder / "accepted.jsonl"
        self._options = [
            *(word for key in write_keys for word in ("--write-key", key)),
            f"--delay-ms={delay_ms}",
            *(["--count-only"] if count_only else []),
            *([f"--journal={self.journal}"] if journal else []),
            *arguments,
        ]
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []

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
            [sys.executable, __file__, f"--port={self.port}", *self._options],
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
    def endpoint(self) -> str:
        """What a target is told as its endpoint."""
        return f"{self.base_url}/v1"

    @property
    def base_url(self) -> str:
        """The address without a path."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> str:
        """Everything it has written to stderr, over all its starts."""
        return "".join(self._lines)

    def moods(self, *rules: Json) -> None:
        """Put it in the mood of *rules* from now on; without any, in none."""
        self._ask("PUT", "moods", rules)

    def delay(self, ms: float) -> None:
        """Let every answer take *ms* milliseconds from now on."""
        self._ask("PUT", "delay", ms)

    def forget(self) -> None:
        """Let it forget everything it received; moods and delay stay."""
        self._ask("DELETE", "")

    def counts(self) -> Json:
        """Return how many requests and events there were, by what became of them."""
        counts: Json = self._ask("GET", "counts").json()
        return counts

    def events(self) -> list[Json]:
        """Return the events it has accepted, in the order it did."""
        return [accepted["event"] for accepted in self.accepted()]

    def accepted(self) -> list[Json]:
        """Return the events it has accepted, each with its write key and request."""
        return self._lines_of("events")

    def drops(self) -> list[Json]:
        """Return the events it has dropped, each with the reason."""
        return self._lines_of("drops")

    def requests(self) -> list[Json]:
        """Return all requests, in the order they were complete."""
        return self._lines_of("requests")

    def lines(self, page: str) -> list[bytes]:
        """Return the lines of a *page* as they are, which keep the digits of numbers."""
        return self._ask("GET", page).content.splitlines()

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

    def _ask(self, method: str, page: str, body: object = None) -> Response:
        url = f"{self.base_url}/stand-in/{page}".rstrip("/")
        answer = requests.request(method, url, data=json.dumps(body), timeout=ANSWER_SECONDS)
        assert answer.ok, answer.text
        return answer

    def _lines_of(self, page: str) -> list[Json]:
        return [json.loads(line) for line in self.lines(page)]

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


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    from harness.segment_server import main

    main()
