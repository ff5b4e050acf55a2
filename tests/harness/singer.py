"""The real tap, in a process of its own or in this one, and the Singer messages it writes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.receiver import PROGRAMS, environment
from tap_segment_webhook.tap import TapSegmentWebhook

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TAP = str(PROGRAMS / "tap-segment-webhook")
RUN_SECONDS = 120

Json = dict[str, Any]


class Run(NamedTuple):
    """What one run of the tap has left behind."""

    messages: list[Json]
    code: int = 0
    log: str = ""

    @property
    def records(self) -> list[Json]:
        """The records of all streams, in the order they came."""
        return [message["record"] for message in self.of("RECORD")]

    @property
    def states(self) -> list[Json]:
        """The values of all STATE messages."""
        return [message["value"] for message in self.of("STATE")]

    @property
    def state(self) -> Json:
        """The last state: what the next run starts with."""
        return self.states[-1]

    @property
    def schemas(self) -> dict[str, Json]:
        """The schema of each stream."""
        return {message["stream"]: message["schema"] for message in self.of("SCHEMA")}

    @property
    def positions(self) -> list[int]:
        """The spool positions of all records, in the order they came."""
        return [record["spool_position"] for record in self.records]

    def of(self, kind: str) -> list[Json]:
        """Return the messages of one *kind*."""
        return [message for message in self.messages if message["type"] == kind]

    def records_of(self, stream: str) -> list[Json]:
        """Return the records of one *stream*."""
        return [message["record"] for message in self.of("RECORD") if message["stream"] == stream]


def bookmarks(state: Json) -> dict[str, int | None]:
    """Return the position of each stream in *state*."""
    return {
        stream: bookmark.get("replication_key_value")
        for stream, bookmark in state.get("bookmarks", {}).items()
    }


def parse(output: bytes) -> list[Json]:
    """Read Singer messages; every line must be a whole one."""
    assert output == b"" or output.endswith(b"\n")
    return [json.loads(line) for line in output.splitlines()]


def run(
    config: Mapping[str, Any],
    *arguments: str,
    state: Json | None = None,
    catalog: Json | None = None,
    **variables: str,
) -> Run:
    """Run `tap-segment-webhook` to its end in a process of its own."""
    with command(config, *arguments, state=state, catalog=catalog) as words:
        done = subprocess.run(
            words,
            check=False,
            capture_output=True,
            env=environment(**variables),
            timeout=RUN_SECONDS,
        )
    return Run(parse(done.stdout), done.returncode, done.stderr.decode(errors="replace"))


def discover(config: Mapping[str, Any]) -> Json:
    """Return the catalog that `tap-segment-webhook --discover` prints."""
    with command(config, "--discover") as words:
        output = subprocess.check_output(words, env=environment(), timeout=RUN_SECONDS)
    catalog: Json = json.loads(output)
    return catalog


@contextmanager
def command(
    config: Mapping[str, Any],
    *arguments: str,
    state: Json | None = None,
    catalog: Json | None = None,
) -> Iterator[list[str]]:
    """Give the command line of a run; its files last as long as the block."""
    words = [TAP, *arguments]
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("config", config), ("state", state), ("catalog", catalog)):
            if content is not None:
                path = Path(folder, f"{name}.json")
                path.write_text(json.dumps(content), "utf-8")
                words += [f"--{name}", str(path)]
        yield words


def sync(
    config: Mapping[str, Any], *, state: Json | None = None, catalog: Json | None = None
) -> Run:
    """Run the tap to its end in this process, which saves the time of starting one."""
    tap = TapSegmentWebhook(config=dict(config), state=state, catalog=catalog)
    return Run(parse(written(tap)))


def written(tap: TapSegmentWebhook) -> bytes:
    """Return everything that a run of *tap* writes to standard output."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with redirect_stdout(output):
        tap.sync_all()
        sys.stdout.flush()
    return output.detach().getvalue()
