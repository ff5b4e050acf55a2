"""The Singer tap: its settings, its streams, and a run from the spool to standard output."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities, TapCapabilities

from tap_segment_webhook.drain import Drain
from tap_segment_webhook.errors import PortUnusable, SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.event import TYPES
from tap_segment_webhook.messages import MessageWriter
from tap_segment_webhook.settings import Settings, closed, mistakes
from tap_segment_webhook.spool.layout import spool_path
from tap_segment_webhook.spool.reader import Reader
from tap_segment_webhook.spool.store import Store, now_ms
from tap_segment_webhook.streams import EventStream, records

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum

_DAY_MS = 86_400_000
_QUOTE_NO_SECRET = ("is a required property", "Additional properties", "['name']")
_LIVE_SECONDS = 0.5  # how often a listening tap looks for what has come in


class TapSegmentWebhook(Tap):
    """Receives Segment webhooks, keeps every event on disk, and emits it to any target."""

    name = "tap-segment-webhook"
    package_name = "tap-segment-webhook"
    message_writer_class = MessageWriter
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        TapCapabilities.CATALOG,
        TapCapabilities.STATE,
        TapCapabilities.DISCOVER,
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    config_jsonschema = th.PropertiesList(
        th.Property(
            "spool_url",
            th.StringType,
            default="sqlite:///segment-spool.db",
            title="Spool URL",
            description=(
                "Where events wait: `sqlite:///PATH`, relative to where the command runs, or "
                "`sqlite:////PATH`, absolute."
            ),
        ),
        th.Property(
            "host",
            th.StringType,
            default="127.0.0.1",
            title="Host",
            description=(
                "The address that the receiver listens on. The default is reached only from this "
                "machine; put a proxy with TLS in front, or set `0.0.0.0`."
            ),
        ),
        th.Property(
            "port",
            th.IntegerType(minimum=0, maximum=65535),
            default=8765,
            title="Port",
            description="The port that the receiver listens on; 0 takes a free one.",
        ),
        th.Property(
            "shared_secret",
            th.StringType(min_length=1),
            secret=True,
            title="Shared Secret",
            description=(
                "The shared secret of the webhook destination in Segment, which signs what is "
                "posted to `/webhook`."
            ),
        ),
        th.Property(
            "sources",
            th.ArrayType(
                th.ObjectType(
                    th.Property(
                        "name",
                        th.StringType(pattern=r"^[A-Za-z0-9_-]+$"),
                        required=True,
                        description="What `/webhook/NAME` and the column `source` say.",
                    ),
                    th.Property(
                        "shared_secrets",
                        th.ArrayType(th.StringType(min_length=1)),
                        description="Any of them may sign: two allow rotation without a gap.",
                    ),
                    th.Property(
                        "allow_unsigned",
                        th.BooleanType,
                        description="Accept deliveries without a valid signature.",
                    ),
                    additional_properties=False,
                )
            ),
            secret=True,
            title="Sources",
            description=(
                "More sources, each posting to `/webhook/NAME`: a list of objects with `name`, "
                "`shared_secrets` and `allow_unsigned`."
            ),
        ),
        th.Property(
            "allow_unsigned",
            th.BooleanType,
            default=False,
            title="Allow Unsigned",
            description=(
                "Accept deliveries to `/webhook` without a valid signature, from anybody who can "
                "reach the port."
            ),
        ),
        th.Property(
            "integration_name",
            th.StringType,
            title="Integration Name",
            description=(
                "If set, events whose `integrations` object switches this name (or `All`) off are "
                "counted as filtered and not stored."
            ),
        ),
        th.Property(
            "listen_seconds",
            th.IntegerType(minimum=0),
            default=0,
            title="Listen Seconds",
            description=(
                "Let the tap itself run the receiver for so long while it emits; 0 only drains "
                "what waits."
            ),
        ),
        th.Property(
            "dedup_window_events",
            th.IntegerType(minimum=0),
            default=1_000_000,
            title="Dedup Window Events",
            description=(
                "How many of the latest message ids are remembered, also across restarts, at "
                "about 100 bytes of memory each. Older duplicates are left to the target's upsert."
            ),
        ),
        th.Property(
            "retention_days",
            th.IntegerType(minimum=0),
            default=7,
            title="Retention Days",
            description=(
                "How long an event stays for replay after every consumer has confirmed it. An "
                "unconfirmed event is never deleted."
            ),
        ),
        th.Property(
            "max_spool_bytes",
            th.IntegerType(minimum=1),
            title="Max Spool Bytes",
            description="Over it the receiver answers 503 until there is room; unset, no limit.",
        ),
        th.Property(
            "max_body_bytes",
            th.IntegerType(minimum=1024, maximum=1 << 30),
            default=16 << 20,
            title="Max Body Bytes",
            description="The largest delivery, after decompression; over it the answer is 413.",
        ),
        th.Property(
            "payload_format",
            th.StringType,
            default="object",
            allowed_values=["object", "json_string"],
            title="Payload Format",
            description=(
                "`object`: context, properties, traits, integrations and extra are open objects. "
                "`json_string`: they are JSON text, for targets that drop or garble open objects."
            ),
        ),
        th.Property(
            "consumer",
            th.StringType(min_length=1),
            default="default",
            title="Consumer",
            description=(
                "The name of this pipeline. Several may drain one spool; an event is pruned only "
                "when every known consumer has confirmed it."
            ),
        ),
    ).to_dict()

    def __init__(self, *args: Any, validate_config: bool = True, **kwargs: Any) -> None:
        self._stop = threading.Event()
        self._draining = False
        self._drained = False
        try:
            super().__init__(*args, validate_config=validate_config, **kwargs)
        except ConfigValidationError as error:
            raise _invalid([_without_secret(reason) for reason in error.errors]) from None
        if validate_config and (reasons := mistakes(self.config)):
            raise _invalid(reasons)

    @override
    def discover_streams(self) -> list[EventStream]:
        # Opens neither port nor spool.
        return [EventStream(self, name) for name in TYPES]

    def own_records(self, stream: EventStream) -> Iterator[dict[str, Any]]:
        """Yield the records of one *stream*; confirms nothing."""
        settings = Settings.from_config(self.config)
        with _open(settings) as reader:
            if reader is not None:
                after = stream.bookmark or 0
                yield from records(stream, reader.blocks(after, reader.head()))

    def drain_once(self) -> None:
        """Emit what waits for all selected streams, unless this run already has.

        Ends the process with 1 and a message if the spool cannot be read, with
        `listen_seconds` not written, or if the target is gone.
        """
        if self._drained:
            return
        self._drained = self._draining = True
        settings = Settings.from_config(self.config)
        try:
            if settings.listen_seconds:
                self._listen(settings)
            else:
                self._drain_waiting(settings)
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

    def _drain_waiting(self, settings: Settings) -> None:
        with _open(settings) as reader:
            if reader is None:
                self.logger.warning(
                    "There is no spool at %s yet: start the receiver (segment-receiver serve), "
                    "or set listen_seconds.",
                    settings.spool_url,
                )
                return
            drain = self._begin(reader, settings)
            drain.run(reader.head())
            self._report(drain, reader)
        if not self._stop.is_set():
            _prune(settings)

    def _listen(self, settings: Settings) -> None:
        # Imported here: draining alone needs no HTTP server.
        from tap_segment_webhook.receiver.server import Receiver, start  # noqa: PLC0415

        if reasons := closed(settings.sources):
            raise _invalid(reasons)
        receiver = Receiver(settings)
        thread = start(receiver)
        try:
            with closing(Reader(settings.spool_url)) as reader:
                drain = self._begin(reader, settings)
                until = time.monotonic() + settings.listen_seconds
                while thread.is_alive() and (left := until - time.monotonic()) > 0:
                    drain.run(reader.head())
                    if self._stop.wait(min(_LIVE_SECONDS, left)):
                        break
                ended_early = not thread.is_alive()
                receiver.stop()
                thread.join()
                drain.run(reader.head())
                self._report(drain, reader)
        finally:
            receiver.stop()
            thread.join()
        if ended_early:
            raise receiver.broken or SpoolUnavailable("The receiver ended before its time.")

    def _begin(self, reader: Reader, settings: Settings) -> Drain:
        """Record what the target has confirmed, and prepare to emit the rest."""
        streams = [stream for stream in self._event_streams() if stream.selected]
        head = reader.head()
        reader.consumers.register(settings.consumer)
        if any(stream.is_foreign(reader.spool_id, head) for stream in streams):
            self.logger.warning(
                "The state is not of this spool (%s, head %d): it is ignored. Everything that is "
                "retained is emitted again, and nothing is confirmed.",
                settings.spool_url,
                head,
            )
            for stream in streams:
                stream.restart()
        bookmarks = [stream.bookmark for stream in streams]
        confirmed = [bookmark for bookmark in bookmarks if bookmark is not None]
        # A state that we are started with went through the target: it has what lies before it.
        if confirmed and len(confirmed) == len(bookmarks):
            reader.consumers.confirm(settings.consumer, min(confirmed), now_ms())
            self._warn_of_gap(reader, min(confirmed))
        drain = Drain(reader, streams, write_state=self._write_state, stopped=self._stop.is_set)
        drain.begin()
        return drain

    def _warn_of_gap(self, reader: Reader, bookmark: int) -> None:
        oldest = reader.oldest()
        if oldest is not None and oldest > bookmark + 1:
            self.logger.warning(
                "The state ends at position %d, but the oldest retained event is %d: the events "
                "between were confirmed, and pruned after retention_days.",
                bookmark,
                oldest,
            )

    def _event_streams(self) -> Iterable[EventStream]:
        return (stream for stream in self.streams.values() if isinstance(stream, EventStream))

    def _write_state(self) -> None:
        self.state_writer.write_state(self.state)

    def _report(self, drain: Drain, reader: Reader) -> None:
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(drain.emitted.items()))
        self.logger.info(
            "Emitted %s records%s.", f"{sum(drain.emitted.values()):,}", counts and f": {counts}"
        )
        for source, books in reader.books().items():
            self.logger.info(
                "The books of source %s: %d received = %d stored + %d duplicate + %d filtered + "
                "%d rejected.",
                source,
                *books,
            )

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # In a drain the SDK's handler could cut a line in two; the drain ends at the next page.
        self._stop.set()
        if not self._draining:
            super()._handle_termination(signum, frame)


def _invalid(reasons: list[str]) -> ConfigValidationError:
    return ConfigValidationError(
        "Config validation failed", errors=reasons, schema=TapSegmentWebhook.config_jsonschema
    )


def _without_secret(reason: str) -> str:
    """Return the SDK's *reason*, which may quote the value, without the value of a secret."""
    _, place, path = reason.partition("config[")
    name = path.partition("]")[0].strip("'")
    schema = TapSegmentWebhook.config_jsonschema["properties"].get(name, {})
    if not schema.get("secret") or any(word in reason for word in _QUOTE_NO_SECRET):
        return reason
    return f"{place}{path} has the wrong type or form. Its value is secret and not shown."


@contextmanager
def _open(settings: Settings) -> Iterator[Reader | None]:
    """Open the spool for reading; None if there is none yet."""
    if not spool_path(settings.spool_url).exists():
        yield None
        return
    with closing(Reader(settings.spool_url)) as reader:
        yield reader


def _prune(settings: Settings) -> None:
    """Prune what may go, unless a receiver writes the spool: then that one does."""
    try:
        store = Store(settings.spool_url, dedup_window_events=None, purpose="a tap that prunes")
    except SpoolUnusable as error:
        logging.getLogger(TapSegmentWebhook.name).debug("Not pruning: %s", error)
        return
    with closing(store):
        while store.tidy(settings.retention_days * _DAY_MS):
            pass
