"""Names of files, and when they are safe from a power cut: whenever `sync` has returned."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Folder:
    """Gives names to files and takes them away, in any folder."""

    def create(self, path: Path) -> None:
        """Make an empty file, for its user alone."""
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

    def link(self, path: Path, name: Path) -> None:
        """Give the file at *path*, if there is one, the other *name* as well."""
        with suppress(FileNotFoundError):
            os.link(path, name)

    def rename(self, path: Path, name: Path) -> None:
        """Give the file at *path* another *name*, in one step; what had that name loses it."""
        path.replace(name)

    def remove(self, path: Path) -> None:
        """Take its name from the file at *path*, if there is one."""
        path.unlink(missing_ok=True)

    def sync(self, path: Path) -> None:
        """Return once the names in the folder of *path* are on disk as they are."""
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
