"""Files of JSON lines that only grow, and survive being cut off at any byte.

A line counts when its newline is there. A process that was killed may leave a
line without one: the next writer ends it, and readers report it as unreadable
and go on. Several processes may append to one file.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from target_segment_api.encoding import decode, encode
from target_segment_api.errors import FileUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Journal:
    """Appends to the file at *path*, which is made when the first entry comes.

    A new file belongs to its user alone, since events are personal data.

    Raises:
        FileUnusable: it cannot be written; raised at once, not at the first entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._unsynced = False
        if not is_writable(path):
            raise FileUnusable(f"{path} cannot be written. Choose another path, or allow it.")

    def append(self, entries: Iterable[dict[str, Any]]) -> None:
        """Write *entries*; they are on disk after the next `sync`.

        Raises:
            FileUnusable: they cannot be written.
        """
        lines = b"".join(encode(entry) + b"\n" for entry in entries)
        if not lines:
            return
        try:
            if self._file is None:
                self._file, lines = self._open(lines)
            while lines:
                lines = lines[os.write(self._file, lines) :]
        except OSError as error:
            self._release()  # what was written may be torn, which the next `_open` mends
            raise FileUnusable(f"{self._path} cannot be written: {error.strerror}.") from error
        self._unsynced = True

    def sync(self) -> None:
        """Return when everything that was appended is on disk.

        Raises:
            FileUnusable: the disk failed.
        """
        if self._file is None or not self._unsynced:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            raise FileUnusable(f"{self._path} did not reach the disk: {error.strerror}.") from error
        self._unsynced = False

    def close(self) -> None:
        """Sync, and let go of the file."""
        self.sync()
        self._release()

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self, lines: bytes) -> tuple[int, bytes]:
        """Open the file; return it with what is to be written, after the end of a torn line."""
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            fcntl.flock(file, fcntl.LOCK_SH)  # kept until `close`: see `rewriting`
            if _is_at(self._path, file):
                break
            os.close(file)  # it was replaced while we waited
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            lines = b"\n" + lines
        if not size:
            _sync_folder(self._path)
        return file, lines


def is_writable(path: Path) -> bool:
    """Tell whether a journal could be at *path*."""
    if path.exists():
        return not path.is_dir() and os.access(path, os.W_OK)
    folder = path.absolute().parent
    return folder.is_dir() and os.access(folder, os.W_OK)


class Line(NamedTuple):
    """One line of a journal."""

    text: bytes
    """As it stands in the file, without its newline."""
    entry: dict[str, Any] | None
    """What it says, or None if it is torn or no JSON object."""


def read(path: Path) -> Iterator[Line]:
    """Yield the lines of the journal at *path*, in order; none if it is absent.

    Raises:
        FileUnusable: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            for text in file:
                if text != b"\n":
                    yield Line(text.rstrip(b"\n"), _entry(text))
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileUnusable(f"{path} cannot be read: {error.strerror}.") from error


@contextmanager
def rewriting(path: Path) -> Iterator[Rewrite]:
    """Replace the journal at *path* by what is kept, in one step; keep others out meanwhile.

    Raises:
        FileUnusable: it is absent, or a target that may append to it is running.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except OSError as error:
        raise FileUnusable(f"{path} cannot be opened: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = _is_at(path, file)  # else it was replaced before we had the lock
        except OSError:
            is_ours = False
        if not is_ours:
            raise FileUnusable(
                f"{path} is in use by a target that is running. Try again when it has ended."
            )
        yield Rewrite(path, file)
    finally:
        os.close(file)


class Rewrite:
    """A journal that nobody else appends to."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._file = file

    def keep(self, lines: Iterable[Line]) -> None:
        """Let the file hold *lines* and nothing else, durably.

        Raises:
            FileUnusable: that is not possible; the file is as it was.
        """
        text = b"".join(line.text + b"\n" for line in lines)
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            fresh.unlink(missing_ok=True)  # of somebody who was killed here
            _write_new(fresh, text)
            fresh.replace(self._path)
            _sync_folder(self._path)
        except OSError as error:
            raise FileUnusable(f"{fresh} cannot be written: {error.strerror}.") from error


def _write_new(path: Path, text: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        while text:
            text = text[os.write(file, text) :]
        os.fsync(file)
    finally:
        os.close(file)


def _entry(text: bytes) -> dict[str, Any] | None:
    if not text.endswith(b"\n"):
        return None
    try:
        entry = decode(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _sync_folder(path: Path) -> None:
    folder = os.open(path.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
