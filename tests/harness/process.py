"""A program as a real process: started, waited for, signalled, killed and started again."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

START_SECONDS = 60
STOP_SECONDS = 60
_LOOK_SECONDS = 0.01
_TAIL_LINES = 30


class DidNotStart(Exception):
    """A program is not ready; the message says whether it ended, and ends with its log's end."""


class Process(ABC):
    """A program that listens on a port, running inside a `with` block.

    What it writes to stderr is appended to the file *log*. It is ready once it
    has written what *listening* matches, whose group is the port. *variables*
    are its environment, if it is not to have ours.
    """

    def __init__(
        self, log: Path, listening: str, variables: Mapping[str, str] | None = None, port: int = 0
    ) -> None:
        self.port = port
        self._log = log
        self._listening = re.compile(listening)
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def words(self) -> Sequence[str | Path]:
        """Return the command that starts it."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.stop()

    def start(self) -> None:
        """Start it, and return once it is ready.

        Raises:
            DidNotStart: it ended instead, or was not ready in time.
        """
        assert self._process is None
        with self._log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                self.words(), env=self._variables, stdout=subprocess.DEVNULL, stderr=log
            )
        try:
            wait_until_ready(self._process, lambda: self._has_said_where(begin), self._log)
        except BaseException:
            self.kill()  # also if we are interrupted: no `with` block will end it then
            raise

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The process, which has to run."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.running.pid

    @property
    def log(self) -> str:
        """Everything it has written to stderr, over all its starts."""
        return self._log.read_text("utf-8", errors="replace")

    def memory_peak(self) -> int:
        """Return the most memory it ever had, in bytes."""
        return memory_peak(self.pid)

    def signal(self, number: int) -> None:
        """Send it the signal *number*, and do not wait."""
        self.running.send_signal(number)

    def kill(self) -> None:
        """Kill it (`kill -9`), and return once it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop (SIGTERM); return its exit code."""
        return self._end(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        return self._end()

    def _end(self, number: int | None = None) -> int:
        process, self._process = self.running, None
        return end(process, number)

    def _has_said_where(self, begin: int) -> bool:
        found = self._listening.search(self._log.read_bytes()[begin:].decode(errors="replace"))
        if found:
            self.port = int(found[1])
        return found is not None


def wait_until_ready(
    process: subprocess.Popen[Any], is_ready: Callable[[], bool], log: Path
) -> None:
    """Return as soon as *is_ready* is true of *process*, which writes to the file *log*.

    Raises:
        DidNotStart: it ended instead, or was not ready in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        code = process.poll()
        if code is not None or time.monotonic() > deadline:
            why = f"is not ready after {START_SECONDS} s" if code is None else f"ended with {code}"
            said = tail(log.read_text("utf-8", errors="replace"))
            raise DidNotStart(f"The program {why}. Its log ends with:\n{said}")
        time.sleep(_LOOK_SECONDS)


def end(process: subprocess.Popen[Any], number: int | None = None) -> int:
    """Send *process* the signal *number*, if any; return its exit code once it has ended.

    Raises:
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    if number is not None:
        process.send_signal(number)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def tail(text: str) -> str:
    """Return the last lines of a log."""
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])


def memory_peak(pid: int) -> int:
    """Return the most memory that the process *pid* ever had, in bytes."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("utf-8"))
    assert match
    return int(match[1]) * 1024
