"""The Singer tap: what the SDK has to know of it, and how it is told to stop."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import Tap
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities

from tap_segment_webhook.config import SCHEMA, without_secret
from tap_segment_webhook.errors import PortUnusable, SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.event import TYPES
from tap_segment_webhook.messages import MessageWriter
from tap_segment_webhook.run import Run
from tap_segment_webhook.settings import Settings, closed, mistakes
from tap_segment_webhook.streams import EventStream

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum


class TapSegmentWebhook(Tap):
    """Receives Segment webhooks, keeps every event on disk, and emits it to any target."""

    name = "tap-segment-webhook"
    package_name = "tap-segment-webhook"
    message_writer_class = MessageWriter
    config_jsonschema = SCHEMA
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        TapCapabilities.CATALOG,
        TapCapabilities.STATE,
        TapCapabilities.DISCOVER,
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    def __init__(self, *args: Any, validate_config: bool = True, **kwargs: Any) -> None:
        self._stop = threading.Event()
        self._draining = False
        self._drained = False
        try:
            super().__init__(*args, validate_config=validate_config, **kwargs)
        except ConfigValidationError as error:
            raise _invalid([without_secret(reason) for reason in error.errors]) from None
        if validate_config and (reasons := mistakes(self.config)):
            raise _invalid(reasons)

    @override
    def discover_streams(self) -> list[EventStream]:
        # Opens neither port nor spool.
        return [EventStream(self, name, drain=self.drain_once) for name in TYPES]

    def drain_once(self) -> None:
        """Emit what waits for all selected streams, unless this run already has.

        Ends the process with 1 and a message if the spool cannot be read, with
        `listen_seconds` not written, or if the target is gone.
        """
        if self._drained:
            return
        self._drained = self._draining = True
        settings = Settings.from_config(self.config)
        streams = [
            stream
            for stream in self.streams.values()
            if isinstance(stream, EventStream) and stream.selected
        ]
        run = Run(
            settings, streams, write_state=self._write_state, stop=self._stop, logger=self.logger
        )
        try:
            if not settings.listen_seconds:
                run.drain_waiting()
            elif reasons := closed(settings.sources):
                raise _invalid(reasons)
            else:
                run.listen()
        except (PortUnusable, SpoolUnusable, SpoolUnavailable) as error:
            self.logger.error("%s", error)  # noqa: TRY400 - it says all that a user needs
            sys.exit(1)
        except BrokenPipeError:
            self.logger.error(  # noqa: TRY400 - the target's own message says why it ended
                "The target stopped reading. The spool keeps what it did not confirm."
            )
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        finally:
            self._draining = False

    def _write_state(self) -> None:
        self.state_writer.write_state(self.state)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # In a drain the SDK's handler could cut a line in two; the drain ends at the next page.
        self._stop.set()
        if not self._draining:
            super()._handle_termination(signum, frame)


def _invalid(reasons: list[str]) -> ConfigValidationError:
    return ConfigValidationError("Config validation failed", errors=reasons, schema=SCHEMA)
