"""Meltano as a user runs it, on a copy of this repository's project.

State, logs, run files and the plugins' environments lie in the copy's folder,
so it meets neither your own project nor another copy.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from harness.process import end
from harness.receiver import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
TAP = "tap-segment-webhook"
TARGET = "target-postgres"
READER = "tap-postgres"
SENDER = "target-segment-api"
OURS = (TAP, SENDER)
JOBS = {
    "collect": (TAP, TARGET),
    "activate": (READER, SENDER),
    "roundtrip": (TAP, SENDER),
}
RUN_SECONDS = 180
INSTALL_SECONDS = 600

_OTHERS = ("MELTANO_", "TAP_", "TARGET_")


class MeltanoFailed(Exception):
    """Meltano or a plugin ended with an exit code other than 0; the message is its log."""


class Meltano:
    """The project in *folder*, which is made from this repository's; *settings* are variables."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.log = folder / "meltano.log"
        self.project_file = folder / "meltano.yml"
        self._settings = settings
        if not self.project_file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / "meltano.yml", self.project_file)
            for name in OURS:
                (folder / name).symlink_to(REPOSITORY / name)

    def using(self, **settings: str) -> Meltano:
        """Return the same project with more *settings*."""
        return Meltano(self.folder, **{**self._settings, **settings})

    def install(self, *jobs: str) -> None:
        """Install the plugins of *jobs*, or of all of them."""
        plugins = {name for job in jobs or JOBS for name in JOBS[job]}
        self("install", *sorted(plugins), seconds=INSTALL_SECONDS)

    def share(self, folder: Path) -> Meltano:
        """Make a project in *folder* that has the plugins installed in this one; return it."""
        project = Meltano(folder, **self._settings)
        own = self.project_file.read_text("utf-8")
        own = own.replace("-e ${MELTANO_PROJECT_ROOT}", f"-e {self.folder}")
        project.project_file.write_text(own, "utf-8")
        (folder / ".meltano").mkdir()
        for kind in ("extractors", "loaders"):
            (folder / ".meltano" / kind).symlink_to(self.folder / ".meltano" / kind)
        return project

    def pipe(self, tap: str, target: str) -> None:
        """Run the *tap* into the *target*, from scratch and without Meltano, which starts slowly.

        Both are this project's, with its variables; what meltano.yml says does not reach them.

        Raises:
            MeltanoFailed: one of them failed.
        """
        with self.log.open("wb") as log:
            environment = self._environment()
            with subprocess.Popen(
                self._alone("extractors", tap), env=environment, stdout=subprocess.PIPE, stderr=log
            ) as source:
                loaded = subprocess.run(
                    self._alone("loaders", target),
                    check=False,
                    env=environment,
                    stdin=source.stdout,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    timeout=RUN_SECONDS,
                )
        if source.returncode or loaded.returncode:
            raise MeltanoFailed(
                f"{self.log.read_text('utf-8', errors='replace')}\n"
                f"{tap} ended with {source.returncode}, {target} with {loaded.returncode}."
            )

    def _alone(self, kind: str, plugin: str) -> list[str]:
        """Return the command of an installed *plugin*, which takes its settings from variables."""
        return [str(self.folder / ".meltano" / kind / plugin / "venv/bin" / plugin), "--config=ENV"]

    def __call__(self, *arguments: str, seconds: float = RUN_SECONDS) -> str:
        """Run `meltano` with *arguments*; return what it printed.

        Raises:
            MeltanoFailed: it failed.
        """
        with self.started(*arguments) as process:
            try:
                output, _ = process.communicate(timeout=seconds)
                end = f"ended with {process.returncode}"
            except subprocess.TimeoutExpired:
                end = f"had not ended after {seconds} s"
        if process.returncode != 0:
            log = self.log.read_text("utf-8", errors="replace")
            raise MeltanoFailed(f"{log}\nmeltano {' '.join(arguments)} {end}.")
        return output

    @contextmanager
    def started(
        self, *arguments: str, stdin: int = subprocess.DEVNULL
    ) -> Iterator[subprocess.Popen[str]]:
        """Start `meltano` with *arguments*; nothing of it is left after the block."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [PROGRAMS / "meltano", *arguments],
                cwd=self.folder,
                env=self._environment(),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # so that Ctrl-C reaches only us, who stop all of it
            )
        try:
            yield process
        finally:
            _stop(process)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS)}
        return {
            **kept,
            "MELTANO_CLI_LOG_FORMAT": "uncolored",
            "NO_COLOR": "1",
            "XDG_STATE_HOME": str(self.folder / "logs"),  # Meltano's own copies of its logs
            **self._settings,
        }


def plugin(process: subprocess.Popen[str], name: str) -> psutil.Process | None:
    """Return the plugin *name* that *process*, a `meltano run`, has started and that works now."""
    for child in psutil.Process(process.pid).children():
        words = child.cmdline()
        if any(Path(word).name == name for word in words[:2]) and "--discover" not in words:
            return child
    return None


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask *process* to stop, then kill what is left of it and of its plugins."""
    with suppress(subprocess.TimeoutExpired):
        end(process, signal.SIGTERM)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.stdout is not None
    process.stdout.close()
