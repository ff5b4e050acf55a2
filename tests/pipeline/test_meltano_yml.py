"""meltano.yml and plugin.yml say what the plugins say, and Meltano takes them as they are."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from harness.docs import PLUGINS, own_settings
from harness.meltano import JOBS, OURS, REPOSITORY, SENDER, TAP, Meltano

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]

PROJECT_FILE = REPOSITORY / "meltano.yml"
KINDS = {TAP: "extractor", SENDER: "loader"}
SCRIPTS = {TAP: "segment-receiver", SENDER: "segment-sender"}
# The schema's defaults are relative to where a program runs, which Meltano decides, not the user.
PATHS = {
    "spool_url": "sqlite:///${MELTANO_PROJECT_ROOT}/segment-spool.db",
    "rejects_path": "${MELTANO_PROJECT_ROOT}/segment-rejects.jsonl",
    "changes_path": "${MELTANO_PROJECT_ROOT}/segment-changes.db",
}


@pytest.mark.parametrize("name", OURS)
def test_settings_are_those_of_the_schema(name: str) -> None:
    """Names, order, kinds, defaults, secrets, titles and descriptions are the plugin's own."""
    wanted = [as_meltano(each, of) for each, of in own_settings(PLUGINS[name]).items()]

    found = [{**setting, "options": options(setting)} for setting in definition(name)["settings"]]

    assert found == wanted


@pytest.mark.parametrize("name", OURS)
def test_capabilities_are_those_of_the_plugin(name: str) -> None:
    """Meltano passes a state or a catalog only to who says that it takes one."""
    assert definition(name)["capabilities"] == sorted(
        capability.value for capability in PLUGINS[name].capabilities
    )


@pytest.mark.parametrize("name", OURS)
def test_commands_are_those_of_the_program(name: str) -> None:
    """What `meltano invoke PLUGIN:…` offers is there."""
    (script,) = entry_points(group="console_scripts", name=SCRIPTS[name])
    commands: Json = definition(name)["commands"]

    assert set(commands) == set(script.load().commands)
    for word, command in commands.items():
        assert command["executable"] == script.name
        assert command["args"] == word


@pytest.mark.parametrize("name", OURS)
def test_plugin_yml_is_the_same_definition(name: str) -> None:
    """Who adds the plugin to a project gets what this project has, but from the index."""
    plugin = yaml.safe_load(plugin_file(name).read_text("utf-8"))
    ours = definition(name)

    assert plugin.pop("pip_url") == name
    assert plugin.pop("description") == PLUGINS[name].__doc__
    assert ours.pop("pip_url") == f"-e ${{MELTANO_PROJECT_ROOT}}/{name}"
    assert plugin == ours


def test_jobs_are_what_the_tests_install() -> None:
    """Each job is one extractor and one loader, which may have been inherited under a name."""
    project = yaml.safe_load(PROJECT_FILE.read_text("utf-8"))

    found = {job["name"]: [task.split() for task in job["tasks"]] for job in project["jobs"]}

    assert {
        job: [tuple(word.partition("--")[0] for word in task) for task in tasks]
        for job, tasks in found.items()
    } == {job: [plugins] for job, plugins in JOBS.items()}


def test_each_job_confirms_in_its_own_name() -> None:
    """Two jobs that drain one spool must not confirm for each other (`consumer`)."""
    project = yaml.safe_load(PROJECT_FILE.read_text("utf-8"))
    taps = [
        each
        for each in project["plugins"]["extractors"]
        if TAP in (each["name"], each.get("inherit_from"))
    ]
    drained = [word for job in project["jobs"] for task in job["tasks"] for word in task.split()]

    names = [each.get("config", {}).get("consumer", "default") for each in taps]

    assert len(set(names)) == len(taps)
    assert all(drained.count(each["name"]) == 1 for each in taps)


def test_install_leaves_meltano_yml_alone(installed: Meltano) -> None:
    """Installing from a clone makes no change to commit."""
    assert installed.project_file.read_bytes() == PROJECT_FILE.read_bytes()


@pytest.mark.parametrize("name", OURS)
def test_plugin_yml_can_be_added_to_a_project(tmp_path: Path, name: str) -> None:
    """`meltano add --from-ref` takes over the whole definition, without asking MeltanoHub."""
    (tmp_path / "meltano.yml").write_text("default_environment: dev\nenvironments: [{name: dev}]\n")
    project = Meltano(tmp_path, MELTANO_HUB_URL="http://127.0.0.1:9")
    file = str(plugin_file(name))

    project("add", name, "--plugin-type", KINDS[name], "--from-ref", file, "--no-install")

    (added,) = words(project.project_file)["plugins"][f"{KINDS[name]}s"]
    plugin = words(plugin_file(name))
    assert {key: added.get(key) for key in plugin} == plugin


def plugin_file(name: str) -> Path:
    """Return where the plugin *name* is defined for other projects."""
    return REPOSITORY / name / "plugin.yml"


def definition(name: str) -> Json:
    """Return how meltano.yml defines the plugin *name*."""
    plugins = yaml.safe_load(PROJECT_FILE.read_text("utf-8"))["plugins"]
    (found,) = (each for each in plugins[f"{KINDS[name]}s"] if each["name"] == name)
    return dict(found)


def words(path: Path) -> Json:
    """Return the YAML in *path*, each value as text: to Meltano `off` is a word, not false."""
    found: Json = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # noqa: S506
    return found


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
        wanted["value"] = PATHS.get(name, setting["default"])
    if setting.get("secret"):
        wanted["sensitive"] = True
    return wanted
