"""One run of a sender: Singer lines in at its standard input, and what the stand-in got of them.

Start-up is left out, for everybody: the clock starts when the sender has read
the first line, which stays in the pipe as long as it is still importing. It ends
when the stand-in answers the last request. So does the account of processor time
begin at the first line; it ends with the process.
"""

from __future__ import annotations

import array
import fcntl
import os
import subprocess
import tempfile
import termios
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from benchmarks import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

    from harness.segment import Segment

    from benchmarks.records import Records

READY_SECONDS = 60
LONGEST_SECONDS = 900
LOOK_SECONDS = 0.02
LOG_END = 2000

Json = dict[str, Any]


class Incomplete(Exception):
    """Not every event was accepted, so there is no rate; the message says what happened."""


class Run(NamedTuple):
    """What one run came to."""

    events: int
    started_at: float
    """On the clock that the stand-in gives for its requests, too."""
    seconds: float
    cpu_seconds: float
    memory_bytes: int
    """The most that it ever had."""
    accepted: list[Json]
    """The requests with which events were accepted, in order."""
    log: str

    @property
    def events_per_second(self) -> float:
        """The rate from the first line to the last answer."""
        return self.events / self.seconds

    @property
    def cpu_seconds_per_100_000(self) -> float:
        """The processor time for 100,000 events."""
        return self.cpu_seconds / self.events * 100_000


def send(
    command: Sequence[str],
    given: Records,
    segment: Segment,
    *,
    delay_ms: float,
    at_start: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Let *command* send what is *given* to *segment*; call *at_start* as the clock starts.

    Raises:
        Incomplete: it did not send it all.
    """
    segment.forget()
    segment.delay(delay_ms)
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=os.environ | dict(environment or {}),
        )
        try:
            os.write(writing, given.schema)
            _wait_until_read(reading, process, log)
            used = sum(psutil.Process(process.pid).cpu_times()[:2])
            at_start()
            started_at = time.monotonic()
            feeder = subprocess.Popen(["cat", str(given.path)], stdout=writing)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            os.close(reading)
            os.close(writing)
        cpu_seconds, memory = _watch(process)
        feeder.wait()
        text = _read(log)
    accepted = [each for each in segment.requests() if each["accepted"]]
    found = sum(each["accepted"] for each in accepted)
    if process.returncode or found != given.events:
        raise Incomplete(
            f"{found:,} of {given.events:,} events were accepted (exit code {process.returncode})."
            f"\n{text[-LOG_END:]}"
        )
    ended_at = accepted[-1]["time"] + delay_ms / 1000
    return Run(
        given.events,
        started_at,
        ended_at - started_at,
        cpu_seconds - used,
        memory,
        accepted,
        text,
    )


def _wait_until_read(pipe: int, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Return when *process* has taken all that was in the *pipe*."""
    deadline, waiting = time.monotonic() + READY_SECONDS, array.array("i", [1])
    while waiting[0]:
        if process.poll() is not None or time.monotonic() > deadline:
            raise Incomplete(f"It did not begin to read.\n{_read(log)[-LOG_END:]}")
        time.sleep(0.002)
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)


def _watch(process: subprocess.Popen[bytes]) -> tuple[float, int]:
    """Wait for the end of *process*; return its processor time and its peak of memory."""
    deadline, peak = time.monotonic() + LONGEST_SECONDS, 0
    while True:
        # What wait4 says of memory is no use: before its exec, the child has our pages.
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime, peak
        peak = max(peak, machine.memory_peak_bytes(process.pid))
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(LOOK_SECONDS)


def _read(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")
