"""The real target as a process of its own: fed with Singer messages, signalled, killed."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any, NamedTuple

from click.testing import CliRunner
from harness import messages
from harness.process import memory_peak
from harness.receiver import PROGRAMS, environment
from harness.segment import KEY
from harness.waiting import wait_until
from target_segment_api.target import TargetSegmentApi

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TARGET = str(PROGRAMS / "target-segment-api")
PREFIX = "TARGET_SEGMENT_API_"
RUN_SECONDS = 120
STALLED_SECONDS = 0.5

Json = dict[str, Any]


class Run(NamedTuple):
    """What one run of the target has left behind."""

    code: int
    states: list[Json]
    log: str

    @property
    def positions(self) -> list[int]:
        """The positions of all states, in the order they were printed."""
        return [state["position"] for state in self.states]


class Target:
    """A `target-segment-api` that sends to *endpoint*; its files are in *folder*.

    Its settings are those of the source with the write key `KEY`, as fast as it
    is answered; *settings* are put over them, and None takes one away.
    """

    def __init__(self, folder: Path, endpoint: str, **settings: Any) -> None:
        given = {
            "write_key": KEY,
            "endpoint": endpoint,
            "max_events_per_second": 0,
            "rejects_path": str(folder / "rejects.jsonl"),
            "receipts_path": str(folder / "receipts.jsonl"),
            **settings,
        }
        self.settings = {name: value for name, value in given.items() if value is not None}
        self._config = folder / "target.json"
        self._folder = folder

    def run(self, given: bytes | Iterable[messages.Message], **variables: str) -> Run:
        """Run it over all of the *given* input, to its end."""
        done = subprocess.run(
            self._words(),
            check=False,
            input=given if isinstance(given, bytes) else messages.encode(given),
            capture_output=True,
            env=environment(**variables),
            timeout=RUN_SECONDS,
        )
        states = [json.loads(line) for line in done.stdout.splitlines()]
        return Run(done.returncode, states, done.stderr.decode(errors="replace"))

    def run_here(self, given: Iterable[messages.Message]) -> Run:
        """Run it over all of the *given* input in this process, which saves the time of a start.

        The log is then only the error that it ends with.
        """
        given_path = self._folder / "input.jsonl"
        given_path.write_bytes(messages.encode(given))
        words = [*self._words()[1:], "--input", str(given_path)]
        handlers = logging.root.handlers[:]
        try:
            result = CliRunner().invoke(TargetSegmentApi.cli, words)
        finally:
            logging.root.handlers[:] = handlers
        states = [json.loads(line) for line in result.stdout.splitlines()]
        unexpected = not isinstance(result.exception, SystemExit | None)
        traceback = "".join(format_exception(result.exception)) if unexpected else ""
        return Run(result.exit_code, states, result.stderr + traceback)

    @contextmanager
    def running(self, **variables: str) -> Iterator[Running]:
        """Run it while the block lasts, with an input that stays open; kill it if it still runs."""
        process = subprocess.Popen(
            self._words(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**variables),
        )
        running = Running(process)
        try:
            yield running
        finally:
            running.end()

    @property
    def rejects(self) -> list[Json]:
        """What was set aside, by all runs, without a line that was cut off."""
        return self._lines("rejects_path")

    @property
    def receipts(self) -> list[Json]:
        """The receipts of all runs, without a line that was cut off."""
        return self._lines("receipts_path")

    def _words(self) -> list[str]:
        self._config.write_text(json.dumps(self.settings), "utf-8")
        return [TARGET, "--config", str(self._config)]

    def _lines(self, setting: str) -> list[Json]:
        found = []
        with suppress(FileNotFoundError):
            for line in Path(self.settings[setting]).read_bytes().splitlines():
                with suppress(ValueError):
                    found.append(json.loads(line))
        return found


class Running:
    """A target that runs, whose input is open."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.states: list[Json] = []
        self.fed = 0
        """How many bytes it, or the pipe to it, has taken."""
        self._log: list[bytes] = []
        self._threads: list[threading.Thread] = []
        self._start(self._read_states)
        self._start(self._read_log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return b"".join(self._log).decode(errors="replace")

    @property
    def position(self) -> int:
        """The position of the last state it has printed; 0 if it has not."""
        return self.states[-1]["position"] if self.states else 0

    def write(self, given: Iterable[messages.Message]) -> None:
        """Write messages to its input, however long it takes."""
        self._feed([messages.encode(given)], False)  # noqa: FBT003 - as for the thread

    def feed(self, parts: Iterable[bytes], *, close: bool = True) -> None:
        """Write *parts* to its input from now on, in a thread, and then *close* it."""
        self._start(self._feed, parts, close)

    def close(self) -> None:
        """Let its input end."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def signal(self, number: int) -> None:
        """Send it the signal *number*, and do not wait."""
        self._process.send_signal(number)

    def kill(self) -> Run:
        """Kill it (`kill -9`); return what it has left behind."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def wait(self, seconds: float = RUN_SECONDS) -> Run:
        """Wait until it ends by itself; return what it has left behind."""
        code = self._process.wait(seconds)
        self.end()
        return Run(code, self.states, self.log)

    def end(self) -> None:
        """Kill it if it has not ended, and close the pipes to it."""
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        self.close()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def has_stalled(self) -> bool:
        """Look for a while whether it takes nothing of its input any more."""
        fed, deadline = self.fed, time.monotonic() + STALLED_SECONDS
        wait_until(lambda: self.fed != fed or time.monotonic() > deadline)
        return self.fed == fed > 0

    def memory_peak(self) -> int:
        """Return the most memory it ever had, in bytes."""
        return memory_peak(self.pid)

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _feed(self, parts: Iterable[bytes], close: bool) -> None:  # noqa: FBT001
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            for part in parts:
                self._process.stdin.write(part)
                self._process.stdin.flush()
                self.fed += len(part)
        if close:
            self.close()

    def _read_states(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.states.append(json.loads(line))

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)
