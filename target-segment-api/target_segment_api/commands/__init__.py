"""`segment-sender`: a module for each command.

`options` has what commands take alike, `console` what they say alike. The
Singer SDK is loaded only where a target is made, so that `--help` is fast.
"""

from __future__ import annotations

import logging
import os
import sys

import click

from target_segment_api.commands.check import check
from target_segment_api.commands.console import Program
from target_segment_api.commands.preview import preview
from target_segment_api.commands.reconcile import reconcile
from target_segment_api.commands.rejects import rejects
from target_segment_api.commands.test import run_cases


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[check, preview, reconcile, rejects, run_cases],
)
@click.version_option(package_name="target-segment-api")
def main() -> None:
    """Look before you send to Segment, and after what it would not take."""
    level = os.environ.get("TARGET_SEGMENT_API_LOGLEVEL", "WARNING").upper()
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    for name in ("singer_sdk", "singer_sdk.metrics", "target-segment-api"):
        logging.getLogger(name).setLevel(level)
