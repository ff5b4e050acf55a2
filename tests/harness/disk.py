"""The disk as SQLite sees it: written down, made to fail, and cut off at any moment.

SQLite reaches files through a table of functions, its VFS. `Disk` puts itself
in front of the usual one, in this process and for whoever opens a file next:
the code under test runs unchanged, on the SQLite that it always uses.

What a power cut may leave is decided afterwards, from the record: everything
that was synced, and of the rest any sectors, in any combination, torn writes,
lost and returned directory entries. That a directory was synced is not assumed
either: SQLite asks for it, or it does not.
"""

from __future__ import annotations

import _sqlite3
import ctypes
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tap_segment_webhook.spool.folder import Folder
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from typing_extensions import Self

SECTOR: Final = 512

OK, READONLY, FULL = 0, 8, 13
IOERR_READ, IOERR_WRITE, IOERR_FSYNC, CANTOPEN = 266, 778, 1034, 14
"""What SQLite is told when a file does not do what it is asked (sqlite.org/rescode.html)."""

# A name is passed on where it lies: SQLite keeps more behind its end.
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_Close = CFUNCTYPE(c_int, c_void_p)
_Transfer = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)
_OpenDirectory = CFUNCTYPE(c_int, c_char_p, POINTER(c_int))


class _Vfs(ctypes.Structure):
    pass


_SetSystemCall = CFUNCTYPE(c_int, POINTER(_Vfs), c_char_p, c_void_p)
_GetSystemCall = CFUNCTYPE(c_void_p, POINTER(_Vfs), c_char_p)

_Vfs._fields_ = [
    ("version", c_int),
    ("file_size", c_int),
    ("longest_path", c_int),
    ("next", c_void_p),
    ("name", c_char_p),
    ("data", c_void_p),
    ("open", _Open),
    ("delete", _Delete),
    # access, full_pathname, dl_open, dl_error, dl_sym, dl_close, randomness, sleep, time, error,
    # time64: as they are
    ("others", c_void_p * 11),
    ("set_system_call", _SetSystemCall),
    ("get_system_call", _GetSystemCall),
    ("next_system_call", c_void_p),
]


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", c_int),
        ("close", _Close),
        ("read", _Transfer),
        ("write", _Transfer),
        ("truncate", _Truncate),
        ("sync", _Sync),
        ("others", c_void_p * 13),
    )


class _File(ctypes.Structure):
    _fields_ = (("methods", POINTER(_Methods)),)


class Operation(NamedTuple):
    """One thing that SQLite did to one file."""

    kind: str
    """What was done: a file was made, written, cut or synced, or its name was given or taken.

    `create`, `write`, `truncate`, `sync`, `delete`, `link`, `rename`, or
    `directory`, which is the sync of its folder.
    """
    path: str
    offset: int = 0
    """Where it was written, or the size it was cut to."""
    data: bytes = b""
    """What was written, or the name that the file had before."""


Fault = "Callable[[str, str], int]"
"""Given the kind of an operation and a path: `OK`, or the error that happens instead."""


class Disk:
    """What SQLite does to files, inside a `with` block.

    Args:
        fault: asked before each operation, `read` and `open` among them.
        syncs: whether a sync reaches the real disk; opening thousands of
            images is faster without. Those of folders are recorded only with it.

    Only where `is_reachable` says so.
    """

    def __init__(
        self, fault: Callable[[str, str], int] | None = None, *, syncs: bool = True
    ) -> None:
        self.record: list[Operation] = []
        self.fault = fault
        self._syncs = syncs
        self._paths: dict[int, str] = {}
        self._methods: dict[int, _Methods] = {}
        self._sqlite = _sqlite()
        find = self._sqlite.sqlite3_vfs_find
        find.restype = POINTER(_Vfs)
        self._below = find(None)
        self._vfs = _Vfs.from_buffer_copy(self._below.contents)
        self._vfs.name = b"disk under test"
        self._vfs.open = _Open(self._open)
        self._vfs.delete = _Delete(self._delete)

    def __enter__(self) -> Self:
        self._sqlite.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)
        below = self._below
        self._open_directory = _OpenDirectory(
            below.contents.get_system_call(below, b"openDirectory") or 0
        )
        self._hook = _OpenDirectory(self._sync_directory)
        below.contents.set_system_call(below, b"openDirectory", ctypes.cast(self._hook, c_void_p))
        return self

    def __exit__(self, *_: object) -> None:
        assert not self._paths, f"still open: {set(self._paths.values())}"
        self._below.contents.set_system_call(self._below, b"openDirectory", None)
        self._sqlite.sqlite3_vfs_unregister(ctypes.byref(self._vfs))

    def _error(self, kind: str, path: str) -> int:
        return self.fault(kind, path) if self.fault else OK

    def _open(self, _: int, name: int | None, file: int, flags: int, out: int) -> int:
        path = ctypes.string_at(name).decode() if name else ""
        if path and (error := self._error("open", path)):
            ctypes.c_void_p.from_address(file).value = None  # or SQLite would close it
            return error
        is_new = bool(path) and (not Path(path).exists() or self._is_unseen_and_empty(path))
        done: int = self._below.contents.open(
            ctypes.cast(self._below, c_void_p), name, file, flags, out
        )
        if done == OK and path:
            if is_new:
                self.record.append(Operation("create", path))
            self._paths[file] = path
            handle = _File.from_address(file)
            handle.methods = ctypes.pointer(self._wrapped(handle.methods))
        return done

    def _is_unseen_and_empty(self, path: str) -> bool:
        """Tell whether *path* was just made by somebody who then lets SQLite open it."""
        return not Path(path).stat().st_size and all(done.path != path for done in self.record)

    def _wrapped(self, methods: Any) -> _Methods:
        """Return the table of functions that stands in front of *methods*."""
        address = ctypes.cast(methods, c_void_p).value or 0
        if address not in self._methods:
            below = methods.contents
            wrapped = _Methods.from_buffer_copy(below)

            def close(file: int) -> int:
                self._paths.pop(file, None)
                return int(below.close(file))

            def read(file: int, buffer: int, size: int, offset: int) -> int:
                error = self._error("read", self._paths[file])
                return error or int(below.read(file, buffer, size, offset))

            def write(file: int, buffer: int, size: int, offset: int) -> int:
                path = self._paths[file]
                if error := self._error("write", path):
                    return error
                data = ctypes.string_at(buffer, size)
                self.record.append(Operation("write", path, offset, data))
                return int(below.write(file, buffer, size, offset))

            def truncate(file: int, size: int) -> int:
                path = self._paths[file]
                if error := self._error("truncate", path):
                    return error
                self.record.append(Operation("truncate", path, size))
                return int(below.truncate(file, size))

            def sync(file: int, flags: int) -> int:
                path = self._paths[file]
                if error := self._error("sync", path):
                    return error
                self.record.append(Operation("sync", path))  # before that of its folder, within
                return int(below.sync(file, flags)) if self._syncs else OK

            wrapped.close, wrapped.read, wrapped.write = (
                _Close(close),
                _Transfer(read),
                _Transfer(write),
            )
            wrapped.truncate, wrapped.sync = _Truncate(truncate), _Sync(sync)
            self._methods[address] = wrapped
            wrapped_address = ctypes.addressof(wrapped)
            self._methods[wrapped_address] = wrapped
        return self._methods[address]

    def _delete(self, _: int, name: bytes, sync_directory: int) -> int:
        path = name.decode()
        if error := self._error("delete", path):
            return error
        if Path(path).exists():
            self.record.append(Operation("delete", path))
        return int(
            self._below.contents.delete(ctypes.cast(self._below, c_void_p), name, sync_directory)
        )

    def _sync_directory(self, path: bytes, descriptor: Any) -> int:
        self.record.append(Operation("directory", path.decode()))
        return int(self._open_directory(path, descriptor))


class RecordedFolder(Folder):
    """Names of files, each change of which is written down by *disk* as well."""

    def __init__(self, disk: Disk) -> None:
        self._record = disk.record

    @override
    def create(self, path: Path) -> None:
        self._record.append(Operation("create", str(path)))
        super().create(path)

    @override
    def link(self, path: Path, name: Path) -> None:
        if path.exists():
            self._record.append(Operation("link", str(name), data=str(path).encode()))
        super().link(path, name)

    @override
    def rename(self, path: Path, name: Path) -> None:
        self._record.append(Operation("rename", str(name), data=str(path).encode()))
        super().rename(path, name)

    @override
    def remove(self, path: Path) -> None:
        if path.exists():
            self._record.append(Operation("delete", str(path)))
        super().remove(path)

    @override
    def sync(self, path: Path) -> None:
        self._record.append(Operation("directory", str(path)))
        super().sync(path)


class _Content:
    """A file: what was synced of it, and what was done since."""

    def __init__(self, synced: bytes = b"") -> None:
        self.synced = bytearray(synced)
        self.since: list[Operation] = []

    def sync(self) -> None:
        for operation in self.since:
            _apply(self.synced, operation)
        self.since = []


class Platter:
    """What a disk holds for certain, and what it may hold, after part of a record.

    Args:
        lies: whether the disk says that it has synced when it has not.
        files: what it holds for certain at the beginning, by path.
    """

    def __init__(self, *, lies: bool = False, files: Mapping[str, bytes] | None = None) -> None:
        self._lies = lies
        self._files = {path: _Content(content) for path, content in (files or {}).items()}
        self._entries = dict(self._files)  # the names that were synced
        self._renames: list[set[str]] = []  # names that change together, or not at all

    def play(self, operation: Operation) -> None:
        """Let *operation* happen."""
        kind, path, *_ = operation
        if kind == "create":
            self._files[path] = _Content()
        elif kind == "delete":
            self._files.pop(path, None)
        elif kind in ("link", "rename"):
            before = operation.data.decode()
            if before in self._files:
                self._files[path] = self._files[before]
            if kind == "rename":
                del self._files[before]
                self._renames.append({before, path})
        elif kind in ("write", "truncate"):
            self._files[path].since.append(operation)
        elif not self._lies:
            if kind == "sync":
                self._files[path].sync()
            else:
                self._sync_directory(str(Path(path).parent))

    def _sync_directory(self, folder: str) -> None:
        self._renames = []
        for name in self._entries.keys() | self._files.keys():
            if str(Path(name).parent) == folder:
                if name in self._files:
                    self._entries[name] = self._files[name]
                else:
                    del self._entries[name]

    def cut(self, random: Random) -> dict[str, bytes]:
        """Return the files that a power cut at this moment may leave, one way of many."""
        share = random.choice((0.0, 0.1, 0.5, 0.9, 1.0))  # of what was not synced and arrived
        prefix = random.random() < 0.3  # it arrived in the order in which it was written
        left: dict[str, _Content] = {}
        renamed: dict[str, bool] = {}
        for names in self._renames:
            renamed.update(dict.fromkeys(names, random.random() < share))
        for name in sorted(self._entries.keys() | self._files.keys()):
            old, new = self._entries.get(name), self._files.get(name)
            is_new = renamed[name] if name in renamed else random.random() < share
            content = new if old is new or is_new else old
            if content is not None:
                left[name] = content
        images = {  # one for each file, whatever names it has
            content: bytes(_torn(content, share, random, prefix=prefix))
            for content in dict.fromkeys(left.values())
        }
        return {name: images[content] for name, content in left.items()}


def _torn(content: _Content, share: float, random: Random, *, prefix: bool) -> bytearray:
    """Return what is left of *content* if about *share* of what was not synced arrived."""
    image = bytearray(content.synced)
    pieces = [piece for operation in content.since for piece in _sectors(operation)]
    arrived = int(random.random() * (len(pieces) + 1)) if prefix else 0
    for number, piece in enumerate(pieces):
        if number < arrived if prefix else random.random() < share:
            _apply(image, piece)
    return image


def _sectors(operation: Operation) -> list[Operation]:
    """Cut a write at the borders of sectors: each is written whole or not at all."""
    if operation.kind != "write":
        return [operation]
    kind, path, offset, data = operation
    borders = [0, *range(SECTOR - offset % SECTOR, len(data), SECTOR), len(data)]
    return [
        Operation(kind, path, offset + start, data[start:end]) for start, end in pairwise(borders)
    ]


def _apply(image: bytearray, operation: Operation) -> None:
    _, _, offset, data = operation
    if operation.kind == "truncate":
        del image[offset:]
        image.extend(bytes(offset - len(image)))
    else:
        image.extend(bytes(max(0, offset - len(image))))
        image[offset : offset + len(data)] = data


def is_reachable() -> bool:
    """Tell whether there can be a `Disk`: some builds of Python hide the SQLite they contain."""
    return hasattr(_sqlite(), "sqlite3_vfs_register")


def _sqlite() -> Any:
    """Return the library that the `sqlite3` module uses, or the program that contains it."""
    return ctypes.CDLL(getattr(_sqlite3, "__file__", None))
