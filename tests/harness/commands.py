"""The commands of `segment-receiver`, run in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from tap_segment_webhook.commands import main

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


class Commands:
    """`segment-receiver` with one configuration, kept in *folder* under a *name*."""

    def __init__(self, folder: Path, name: str = "config.json", **settings: Any) -> None:
        self.config = folder / name
        self.config.write_text(json.dumps(settings), "utf-8")

    def run(self, *words: str | Path, answer: str = "") -> Result:
        """Run a command to its end, whatever that is; type *answer* if it asks."""
        arguments = [*map(str, words), "--config", str(self.config)]
        return CliRunner().invoke(main, arguments, input=answer)

    def output(self, *words: str | Path) -> str:
        """Return the output of a command that succeeds."""
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    def refusal(self, *words: str | Path) -> str:
        """Return why a command does not do what it is asked; it says so in a line."""
        result = self.run(*words)
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit), result.exception
        return str(result.stderr)
