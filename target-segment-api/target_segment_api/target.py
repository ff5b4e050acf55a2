"""The Singer target, as far as this version has it: its settings, and a refusal to send.

A target that read its input and sent nothing would lose data in silence, and
Meltano would save a state for it. So it reads nothing and fails.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

import click
from singer_sdk import Target
from singer_sdk import typing as th
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.io_base import SingerReader

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO, NoReturn

    from singer_sdk.helpers.capabilities import CapabilitiesEnum


class CannotSend(click.ClickException):
    """Input was given to a version that cannot send it."""


class RefusingReader(SingerReader):
    """Reads nothing and refuses."""

    @override
    def process_lines(self, file_input: IO[str] | None, callbacks: Mapping[Any, Any]) -> NoReturn:
        raise CannotSend(
            f"Sending to Segment is not part of {TargetSegmentApi.name} "
            f"{TargetSegmentApi.get_plugin_version()}. Nothing was read and nothing was sent."
        )


class TargetSegmentApi(Target):
    """Will send any stream to Segment's Tracking API; this version refuses to."""

    name = "target-segment-api"
    package_name = "target-segment-api"
    message_reader_class = RefusingReader
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
    ]

    config_jsonschema = th.PropertiesList(
        th.Property(
            "write_key",
            th.StringType(min_length=1),
            required=True,
            secret=True,
            title="Write Key",
            description="The write key of the source in Segment that the events are to appear in.",
        ),
        th.Property(
            "region",
            th.StringType,
            default="us",
            allowed_values=["us", "eu"],
            title="Region",
            description="The region of the Segment workspace: `us` or `eu`.",
        ),
        th.Property(
            "endpoint",
            th.StringType(pattern=r"^https?://.+/v1$"),
            title="Endpoint",
            description="Instead of the region's: any base URL that ends in `/v1`.",
        ),
    ).to_dict()
