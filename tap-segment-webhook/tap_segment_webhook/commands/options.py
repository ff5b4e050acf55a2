"""What commands take alike: where the settings are, and whether a program reads the answer."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_segment_webhook.settings import Settings

Command = TypeVar("Command", bound="Callable[..., Any]")

_HINT = "'--config'"

as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")


def with_settings(command: Command) -> Command:
    """Give *command* a `--config` option, and the settings that it names as `settings`."""
    option = click.option(
        "--config",
        "settings",
        multiple=True,
        metavar="FILE|ENV",
        callback=_read_settings,
        help="A JSON file, or ENV for TAP_SEGMENT_WEBHOOK_* variables (the default). Repeatable.",
    )
    return option(command)


def read_config(names: tuple[str, ...]) -> dict[str, Any]:
    """Return what the files among *names* say together, the later over the earlier."""
    config: dict[str, Any] = {}
    for name in names:
        if name != "ENV":
            try:
                found = json.loads(Path(name).read_bytes())
            except OSError as error:
                reason = f"{name} cannot be read: {error.strerror}."
                raise click.BadParameter(reason, param_hint=_HINT) from error
            except ValueError as error:
                reason = f"{name} cannot be read as JSON: {error}."
                raise click.BadParameter(reason, param_hint=_HINT) from error
            if not isinstance(found, dict):
                reason = f"{name} is JSON, but no object with settings in it."
                raise click.BadParameter(reason, param_hint=_HINT)
            config.update(found)
    return config


def _read_settings(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> Settings:
    from singer_sdk.exceptions import ConfigValidationError  # noqa: PLC0415 - a fast --help

    from tap_segment_webhook.settings import Settings  # noqa: PLC0415 - as above
    from tap_segment_webhook.tap import TapSegmentWebhook  # noqa: PLC0415 - as above

    config = read_config(names)
    try:
        with _signals_kept():
            tap = TapSegmentWebhook(
                config=config, parse_env_config=not names or "ENV" in names, setup_mapper=False
            )
    except ConfigValidationError as error:
        raise click.ClickException("\n".join(error.errors)) from error
    return Settings.from_config(tap.config)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Undo what the SDK makes of Ctrl-C and SIGTERM: to print a STATE and to end well."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
