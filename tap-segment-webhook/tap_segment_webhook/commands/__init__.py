"""`segment-receiver`: a module for each command.

`options` has what commands take alike, `console` what they say alike. The
Singer SDK is loaded only where settings are read, so that `--help` is fast.
"""

from __future__ import annotations

import logging
import os
import sys

import click

from tap_segment_webhook.commands.erase import erase
from tap_segment_webhook.commands.ids import ids
from tap_segment_webhook.commands.load import load
from tap_segment_webhook.commands.rejects import rejects
from tap_segment_webhook.commands.replay import replay
from tap_segment_webhook.commands.salvage import salvage
from tap_segment_webhook.commands.serve import serve
from tap_segment_webhook.commands.status import status


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[erase, ids, load, rejects, replay, salvage, serve, status],
)
@click.version_option(package_name="tap-segment-webhook")
def main() -> None:
    """Receive Segment webhooks, and look after what was received."""
    level = os.environ.get("TAP_SEGMENT_WEBHOOK_LOGLEVEL", "INFO").upper()
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    logging.getLogger("tap-segment-webhook").setLevel(logging.WARNING)
    # The SDK tells of each setting that it finds in the environment, before every command.
    logging.getLogger("singer_sdk.configuration._dict_config").setLevel(logging.WARNING)
