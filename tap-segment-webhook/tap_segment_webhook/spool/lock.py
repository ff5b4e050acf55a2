"""One writer at a time: an advisory lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from tap_segment_webhook.errors import SpoolUnusable

if TYPE_CHECKING:
    from pathlib import Path


class Lock:
    """Held from construction until `release` or the end of the process, however it ends.

    The file beside the spool stays; only the kernel's lock on it means anything.

    Raises:
        SpoolUnusable: another process holds it; the message says which.
    """

    def __init__(self, path: Path, purpose: str) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolUnusable(f"{path} cannot be opened: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 200, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise SpoolUnusable(
                f"The spool is already written by {holder or 'another process'}. "
                "Stop that one first, or choose another spool_url."
            ) from error
        with suppress(OSError):  # a full disk does not make it less of a lock
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"process {os.getpid()} ({purpose})\n".encode(), 0)

    def release(self) -> None:
        """Let another process write."""
        os.close(self._file)
