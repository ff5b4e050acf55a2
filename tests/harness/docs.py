"""The settings tables of the READMEs, made from the plugins' schemas.

`python tests/harness/docs.py` writes them; with `--check` it only looks, and
fails if one is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tap_segment_webhook.tap import TapSegmentWebhook
from target_segment_api.target import TargetSegmentApi

if TYPE_CHECKING:
    from singer_sdk.plugin_base import PluginBase

REPOSITORY = Path(__file__).parents[2]
PLUGINS: dict[str, type[PluginBase]] = {
    "tap-segment-webhook": TapSegmentWebhook,
    "target-segment-api": TargetSegmentApi,
}
START, END = "<!-- settings -->\n", "<!-- /settings -->\n"


def main() -> None:
    """Write the tables, or tell which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = [readme(name) for name in PLUGINS if current(name) != readme(name).read_text("utf-8")]
    if check and stale:
        sys.exit(f"Out of date: {', '.join(map(str, stale))}. Run `make format`.")
    for name in PLUGINS:
        if readme(name) in stale:
            readme(name).write_text(current(name), "utf-8")


def readme(name: str) -> Path:
    """Return where the README of the package *name* is."""
    return REPOSITORY / name / "README.md"


def current(name: str) -> str:
    """Return the README of the package *name* as it should be.

    Raises:
        ValueError: it lacks the two comments that the table stands between.
    """
    before, _, rest = readme(name).read_text("utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{readme(name)} has no {START.strip()} … {END.strip()}.")
    return f"{before}{START}{table(PLUGINS[name])}{END}{after}"


def table(plugin: type[PluginBase]) -> str:
    """Return the settings of *plugin* as a table in Markdown."""
    rows = [
        f"| `{name}` | {default(setting)} | {meaning(setting)} |\n"
        for name, setting in own_settings(plugin).items()
    ]
    return "".join(["| setting | default | meaning |\n", "|---|---|---|\n", *rows])


def own_settings(plugin: type[PluginBase]) -> dict[str, dict[str, Any]]:
    """Return the schema of each setting of *plugin*, without those that the SDK gives to all."""
    given: dict[str, Any] = {"type": "object", "properties": {}}
    plugin.append_builtin_config(given)
    settings: dict[str, dict[str, Any]] = plugin.config_jsonschema["properties"]
    return {
        name: {**setting, "required": name in plugin.config_jsonschema.get("required", ())}
        for name, setting in settings.items()
        if name not in given["properties"]
    }


def default(setting: dict[str, Any]) -> str:
    """Return the default of *setting* as the table shows it."""
    if "default" not in setting:
        return "required" if setting["required"] else ""
    value = setting["default"]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def meaning(setting: dict[str, Any]) -> str:
    """Return the description of *setting*, and whether it is a secret."""
    description: str = setting["description"].replace("|", r"\|")
    return f"{description} Secret." if setting.get("secret") else description


if __name__ == "__main__":
    main()
