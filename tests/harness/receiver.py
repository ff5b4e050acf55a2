"""The real receiver as a process of its own, started, talked to, killed and started again."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from harness.commands import Commands
from harness.process import Process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.deliveries import Delivery

HOST = "127.0.0.1"
PROGRAMS = Path(sys.executable).parent
SECRET = "not-a-real-secret"  # noqa: S105
ANSWER_SECONDS = 60
PREFIX = "TAP_SEGMENT_WEBHOOK_"
_PLUGINS = ("TAP_", "TARGET_")

_LISTENING = r"Listening on http://[^ ]+:(\d+)/webhook"


class Receiver(Process):
    """A `segment-receiver serve` on a spool in *folder*, running inside a `with` block.

    Its settings are those of one source that signs with `SECRET`, on a free
    port; *settings* are put over them, and None takes one away. *variables*
    are added to its environment, and *prefix* is a command that runs it. Its other
    commands are `commands`, which run in this process.
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
        given = {
            "spool_url": f"sqlite:///{self.spool}",
            "host": HOST,
            "port": 0,
            "shared_secret": SECRET,
            **settings,
        }
        self.settings = {name: value for name, value in given.items() if value is not None}
        self.spool_url: str = self.settings["spool_url"]
        self.commands = Commands(folder, "receiver.json", **self.settings)
        self.config = self.commands.config
        self._prefix = prefix
        super().__init__(folder / "receiver.log", _LISTENING, environment(**(variables or {})))

    def words(self) -> list[str]:
        """Return the command that starts it."""
        program = str(PROGRAMS / "segment-receiver")
        return [*self._prefix, program, "serve", "--config", str(self.config)]

    @property
    def url(self) -> str:
        """Where deliveries are posted to."""
        return f"{self.base_url}/webhook"

    @property
    def base_url(self) -> str:
        """The address without a path."""
        return f"http://{HOST}:{self.port}"

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
        found: dict[str, Any] = json.loads(self.commands.output("status", "--json"))
        return found

    def open_files(self) -> int:
        """Return how many files and connections it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without the variables of plugins, and with *more*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PLUGINS)}
    return kept | more
