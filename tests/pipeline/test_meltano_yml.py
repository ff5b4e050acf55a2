"""meltano.yml and plugin.yml say what the plugin says, and Meltano takes them as they are."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import yaml
from harness.docs import own_settings
from harness.meltano import REPOSITORY, TAP, Meltano
from tap_segment_webhook.commands import main
from tap_segment_webhook.tap import TapSegmentWebhook

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]

PROJECT_FILE = REPOSITORY / "meltano.yml"
PLUGIN_FILE = REPOSITORY / TAP / "plugin.yml"
# The schema's default is relative to where a program runs, which Meltano decides, not the user.
SPOOL_URL = "sqlite:///${MELTANO_PROJECT_ROOT}/segment-spool.db"


def test_settings_are_those_of_the_schema() -> None:
    """Names, order, kinds, defaults, secrets, titles and descriptions are the plugin's own."""
    wanted = [as_meltano(name, of) for name, of in own_settings(TapSegmentWebhook).items()]

    found = [{**setting, "options": options(setting)} for setting in definition()["settings"]]

    assert found == wanted


def test_capabilities_are_those_of_the_plugin() -> None:
    """Meltano passes a state or a catalog only to who says that it takes one."""
    assert definition()["capabilities"] == sorted(
        capability.value for capability in TapSegmentWebhook.capabilities
    )


def test_commands_are_those_of_segment_receiver() -> None:
    """What `meltano invoke tap-segment-webhook:…` offers is there."""
    (script,) = entry_points(group="console_scripts", name="segment-receiver")
    commands: Json = definition()["commands"]

    assert script.load() is main
    assert set(commands) == set(main.commands)
    for name, command in commands.items():
        assert command["executable"] == script.name
        assert command["args"] == name


def test_plugin_yml_is_the_same_definition() -> None:
    """Who adds the plugin to a project gets what this project has, but from the index."""
    plugin: Json = yaml.safe_load(PLUGIN_FILE.read_text("utf-8"))
    ours = definition()

    assert plugin.pop("pip_url") == TAP
    assert plugin.pop("description") == TapSegmentWebhook.__doc__
    assert ours.pop("pip_url") == f"-e ${{MELTANO_PROJECT_ROOT}}/{TAP}"
    assert plugin == ours


def test_install_leaves_meltano_yml_alone(meltano: Meltano) -> None:
    """Installing from a clone makes no change to commit."""
    assert meltano.project_file.read_bytes() == PROJECT_FILE.read_bytes()


def test_plugin_yml_can_be_added_to_a_project(tmp_path: Path) -> None:
    """`meltano add --from-ref` takes over the whole definition, without asking MeltanoHub."""
    (tmp_path / "meltano.yml").write_text("default_environment: dev\nenvironments: [{name: dev}]\n")
    project = Meltano(tmp_path, MELTANO_HUB_URL="http://127.0.0.1:9")

    project(
        "add", TAP, "--plugin-type", "extractor", "--from-ref", str(PLUGIN_FILE), "--no-install"
    )

    added = definition(project.project_file)
    plugin: Json = yaml.safe_load(PLUGIN_FILE.read_text("utf-8"))
    assert {name: added.get(name) for name in plugin} == plugin


def definition(project_file: Path = PROJECT_FILE) -> Json:
    """Return how *project_file* defines the tap."""
    project = yaml.safe_load(project_file.read_text("utf-8"))
    (found,) = (each for each in project["plugins"]["extractors"] if each["name"] == TAP)
    return dict(found)


def options(setting: Json) -> list[str] | None:
    """Return the values to choose from."""
    return [option["value"] for option in setting["options"]] if "options" in setting else None


def as_meltano(name: str, setting: Json) -> Json:
    """Return *setting* of the schema as a setting of meltano.yml, options without their labels."""
    kind, *_ = setting["type"]
    wanted = {
        "name": name,
        "label": setting["title"],
        "kind": "options" if "enum" in setting else kind,
        "description": setting["description"],
        "options": setting.get("enum"),
    }
    if "default" in setting:
        wanted["value"] = SPOOL_URL if name == "spool_url" else setting["default"]
    if setting.get("secret"):
        wanted["sensitive"] = True
    return wanted
