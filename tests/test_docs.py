"""What is written about the packages is what they are."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from click import Group
from harness.docs import PLUGINS, REPOSITORY, current, readme
from tap_segment_webhook.commands import main as segment_receiver
from target_segment_api.commands import main as segment_sender

if TYPE_CHECKING:
    from collections.abc import Iterator


LINK = re.compile(r"\]\(([^)#]+)")
PROGRAMS = {
    "tap-segment-webhook": ("segment-receiver", segment_receiver),
    "target-segment-api": ("segment-sender", segment_sender),
}
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\]", re.MULTILINE)


def documents() -> Iterator[str]:
    """Yield the place of each document that is written by hand."""
    for pattern in ("*.md", "*/*.md", "examples/*/*.md"):
        for path in REPOSITORY.glob(pattern):
            place = path.relative_to(REPOSITORY)
            if not place.parts[0].startswith("."):
                yield str(place)


def commands(group: Group, *parents: str) -> Iterator[str]:
    """Yield the words of each command under *group*."""
    for name, command in group.commands.items():
        if isinstance(command, Group):
            yield from commands(command, *parents, name)
        else:
            yield " ".join((*parents, name))


@pytest.mark.parametrize("name", PLUGINS)
def test_generated_parts_are_current(name: str) -> None:
    """The settings in a README are those of the schema (`make format` writes them)."""
    assert readme(name).read_text("utf-8") == current(name)


@pytest.mark.parametrize("package", PLUGINS)
def test_every_command_is_documented(package: str) -> None:
    """The README of a package names every command of its program."""
    text = readme(package).read_text("utf-8")
    program, group = PROGRAMS[package]

    assert [name for name in commands(group) if f"{program} {name}" not in text] == []


@pytest.mark.parametrize("document", sorted(documents()))
def test_links_to_files_exist(document: str) -> None:
    """No document links to a file that is not there."""
    path = REPOSITORY / document
    links = [link for link in LINK.findall(path.read_text("utf-8")) if "://" not in link]

    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("package", PLUGINS)
def test_changelog_is_of_this_version(package: str) -> None:
    """The newest entry of the changelog is the version of both packages."""
    versions = RELEASE.findall((REPOSITORY / "CHANGELOG.md").read_text("utf-8"))

    assert versions[0] == version(package)
