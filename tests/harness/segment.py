"""The stand-in for Segment as a process of its own: started, put in a mood, asked what came."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from harness.process import Process
from requests import Response

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
KEY = "not-a-real-write-key-of-a-source"
ANSWER_SECONDS = 60

_LISTENING = r"Listening on http://[^ ]+:(\d+)/v1"
PROGRAM = Path(__file__).with_name("stand_in.py")

Json = dict[str, Any]


class Segment(Process):
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
        super().__init__(folder / "segment.log", _LISTENING, port=port)
        self.journal = folder / "accepted.jsonl"
        self._options = [
            *(word for key in write_keys for word in ("--write-key", key)),
            f"--delay-ms={delay_ms}",
            *(["--count-only"] if count_only else []),
            *([f"--journal={self.journal}"] if journal else []),
            *arguments,
        ]

    def words(self) -> list[str | Path]:
        """Return the command that starts it."""
        return [sys.executable, PROGRAM, f"--port={self.port}", *self._options]

    @property
    def endpoint(self) -> str:
        """What a target is told as its endpoint."""
        return f"{self.base_url}/v1"

    @property
    def base_url(self) -> str:
        """The address without a path."""
        return f"http://{HOST}:{self.port}"

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

    def _ask(self, method: str, page: str, body: object = None) -> Response:
        url = f"{self.base_url}/stand-in/{page}".rstrip("/")
        answer = requests.request(method, url, data=json.dumps(body), timeout=ANSWER_SECONDS)
        assert answer.ok, answer.text
        return answer

    def _lines_of(self, page: str) -> list[Json]:
        return [json.loads(line) for line in self.lines(page)]
