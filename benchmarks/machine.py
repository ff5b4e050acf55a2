"""The machine that was measured on: absolute numbers mean nothing without it."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Return processor, cores, kernel, Python, and the disk that temporary folders are on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": _file_system(Path(tempfile.gettempdir())),
        "fsync_ms": _fsync_ms(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of SQLite and of those *packages* that are installed."""
    found = {"sqlite": sqlite3.sqlite_version}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def stolen_seconds() -> float:
    """Return how long, since the start, other machines on the same host had our processors."""
    fields = _read("/proc/stat").partition("\n")[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK") if len(fields) > 8 else 0.0


def memory_peak_bytes(pid: int) -> int:
    """Return the most memory that process *pid* ever had, or 0 where the system does not say."""
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _file_system(folder: Path) -> str:
    mounts = [line.split() for line in _read("/proc/mounts").splitlines()]
    inside = [(point, kind) for _, point, kind, *_ in mounts if folder.is_relative_to(point)]
    return max(inside, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


def _fsync_ms() -> float:
    with tempfile.TemporaryFile(buffering=0) as file:
        return round(statistics.median(_fsync_once(file.fileno()) for _ in range(50)) * 1000, 3)


def _fsync_once(descriptor: int) -> float:
    os.write(descriptor, bytes(4096))
    start = time.perf_counter()
    os.fsync(descriptor)
    return time.perf_counter() - start


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text("utf-8")
    return ""
