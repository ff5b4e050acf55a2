"""The Singer target: what the SDK has to know of it, and what is done its own way.

The SDK gathers records in a sink and drains it, one request after the other,
and prints a state only at the end or after five minutes. Here events are on
their way as soon as they were read, and a state goes out as soon as it is true.
"""

from __future__ import annotations

import gc
import logging
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

import click
from singer_sdk import Target
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib.exceptions import InvalidInputLine

from target_segment_api.batch_files import read_records
from target_segment_api.budget import Budget
from target_segment_api.changes import Changes
from target_segment_api.client import Client, Silent
from target_segment_api.config import SCHEMA, without_secret
from target_segment_api.dispatcher import Dispatcher
from target_segment_api.encoding import encode
from target_segment_api.errors import BudgetReached
from target_segment_api.mapping.mappings import Mappings
from target_segment_api.reader import Reader, lines_of
from target_segment_api.receipts import Receipts
from target_segment_api.rejects import Rejects
from target_segment_api.rows import RowSink
from target_segment_api.rules import problems
from target_segment_api.settings import Settings, mistakes
from target_segment_api.sinks import EventSink, SegmentSink
from target_segment_api.verbatim import read_block, read_message

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from singer_sdk.helpers.capabilities import CapabilitiesEnum
    from singer_sdk.mapper import StreamMap

    from target_segment_api.event import Event
    from target_segment_api.verbatim import Record

_COLLECT_OBJECTS: Final = 10_000
_RECORD: Final = "RECORD"

_log = logging.getLogger("target-segment-api")


class TargetSegmentApi(Target):
    """Sends any stream to Segment's Tracking API, losing nothing."""

    name = "target-segment-api"
    package_name = "target-segment-api"
    message_reader_class = Reader
    config_jsonschema = SCHEMA
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        PluginCapabilities.ABOUT,
        PluginCapabilities.STREAM_MAPS,
        PluginCapabilities.FLATTENING,
        PluginCapabilities.STRUCTURED_LOGGING,
    ]

    problems: Callable[[Event], list[str]] = staticmethod(problems)
    """Every reason why Segment would not take an event."""

    message_reader: Reader
    _sinks_active: dict[str, SegmentSink]  # type: ignore[assignment]  # no other kind is made here

    def __init__(self, *args: Any, validate_config: bool = True, **kwargs: Any) -> None:
        self._signal: int | None = None
        self._over_budget = False
        try:
            super().__init__(*args, validate_config=validate_config, **kwargs)
        except ConfigValidationError as error:
            raise _invalid([without_secret(reason) for reason in error.errors]) from None
        if validate_config and (reasons := mistakes(self.config)):
            raise _invalid(reasons)
        if validate_config and (faults := self.mappings.mistakes):
            raise _invalid([str(fault) for fault in faults])
        self.max_parallelism = 1  # one dispatcher serves all sinks
        self._fast: dict[str, SegmentSink] = {}
        self.message_reader.pass_on = self._pass_on
        self.message_reader.on_pause = self._pause
        self.message_reader.on_failure = self._finish_after

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once."""
        return Settings.from_config(self.config)

    @cached_property
    def budget(self) -> Budget:
        """What this run may cost."""
        settings = self.settings
        return Budget(max_events=settings.max_events, max_new_users=settings.max_new_users)

    @cached_property
    def mappings(self) -> Mappings:
        """What the rows of each stream become."""
        return Mappings(
            self.config.get("mappings") or {}, strict_parity=bool(self.config["strict_parity"])
        )

    @cached_property
    def changes(self) -> Changes | None:
        """What remembers rows, if `changed_only` is set."""
        settings = self.settings
        if settings.changes_path is None:
            return None
        return Changes(settings.changes_path, settings.namespace, keep=not settings.dry_run)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """What delivers; made when there is something to deliver."""
        settings = self.settings
        _collect_less_often()
        return Dispatcher(
            settings,
            transport=Silent if settings.dry_run else lambda: Client(settings),
            write_state=self._write_state_message,
            rejects=Rejects(settings.rejects_path, settings.max_rejects),
            receipts=Receipts(None if settings.dry_run else settings.receipts_path),
            changes=self.changes,
            find_key=lambda: Client(settings).look_up().known,
        )

    @override
    def get_sink_class(self, stream_name: str) -> type[SegmentSink]:
        return RowSink if self.mappings.of(stream_name) is not None else EventSink

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        # Those of all targets that load tables have no meaning here.
        super().append_builtin_config(config_jsonschema)
        for name in ("add_record_metadata", "batch_size_rows", "load_method"):
            config_jsonschema["properties"].pop(name, None)

    @override
    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        super()._process_schema_message(message_dict)
        stream = message_dict["stream"]
        maps = self.mapper.stream_maps[stream]
        columns = message_dict.get("bookmark_properties") or [None]
        for stream_map in maps:
            if sink := self._sinks_active.get(stream_map.stream_alias):
                sink.replication_key = columns[0]
        self._fast.pop(stream, None)
        if len(maps) == 1 and _changes_nothing(maps[0]):
            only = self._sinks_active[maps[0].stream_alias]
            if only.is_fast:
                self._fast[stream] = only

    def _pass_on(self, block: bytes) -> Iterator[bytes]:
        """Send the records of *block* that can take the fast way; yield its other lines in turn."""
        lines: list[bytes] = []
        messages: Iterable[Record | None] | None = read_block(block) if self._fast else None
        if messages is None:
            lines = lines_of(block)
            # Each in its turn: a SCHEMA among them opens the fast way, and a record has to take the
            # same way, to the same message id, wherever a block begins.
            messages = (read_message(line) if self._fast else None for line in lines)
        reader = self.message_reader
        for place, message in enumerate(messages):
            if reader.is_stopping:
                return
            if message is not None and self._is_passed_on(message):
                reader.counts[_RECORD] += 1
                continue
            lines = lines or lines_of(block)
            yield lines[place]

    def _is_passed_on(self, message: Record) -> bool:
        """Send the event of *message* the fast way; False if it has to take the careful one."""
        sink = self._fast.get(message.stream)
        try:
            return sink is not None and sink.pass_on(message.record)
        except BudgetReached as error:
            self._end_over_budget(error)
            return True

    @override
    def _process_record_message(self, message_dict: dict[str, Any]) -> None:
        # As the SDK's own, without its validation, its copies, and its parsing of dates, which
        # together cost ten times what is left. Stream maps and flattening are the SDK's.
        stream, given = message_dict.get("stream"), message_dict.get("record")
        if not isinstance(stream, str) or not isinstance(given, dict):
            raise InvalidInputLine("It lacks stream or record.")
        if stream not in self.mapper.stream_maps:
            self._assert_sink_exists(stream)
        for stream_map in self.mapper.stream_maps[stream]:
            record: dict[str, Any] | None = given
            sink = self._sinks_active[stream_map.stream_alias]
            if not _changes_nothing(stream_map):
                record = stream_map.transform(given.copy())
            if record is None:
                sink.skip()
                continue
            try:
                sink.process_record(record, message_dict)
            except BudgetReached as error:
                self._end_over_budget(error)
                return

    @override
    def _process_batch_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"stream", "encoding", "manifest"})
        stream, version = message_dict["stream"], message_dict.get("version")
        for record in read_records(message_dict):
            self._process_record_message({"stream": stream, "version": version, "record": record})
            if self._over_budget or self._signal is not None:
                return

    @override
    def _process_state_message(self, message_dict: dict[str, Any]) -> None:
        self._assert_line_requires(message_dict, requires={"value"})
        self.dispatcher.end_epoch(message_dict["value"])

    @override
    def _process_activate_version_message(self, message_dict: dict[str, Any]) -> None:
        for stream_map in self.mapper.stream_maps.get(message_dict["stream"], ()):
            if sink := self._sinks_active.get(stream_map.stream_alias):
                try:
                    sink.activate_version(message_dict["version"])
                except BudgetReached as error:
                    self._end_over_budget(error)
                    return

    @override
    def process_endofpipe(self) -> None:
        try:
            self.dispatcher.finish()
        except click.ClickException as error:
            if self._signal is None:
                raise
            _log.error("%s", error.message)
        super().process_endofpipe()
        for stream in self.mappings.unused:
            _log.warning("No stream came for mappings.%s. Is its name right?", stream)
        if self._over_budget and not self.dispatcher.states_written:
            _log.warning(
                "The budget ended before the tap's first STATE, so the next run begins where this "
                "one did. Raise max_events or max_new_users over what lies between two states."
            )
        if self._signal is not None:
            # What was read was delivered or is told as pending; but the input has not ended.
            sys.exit(128 + self._signal)

    @override
    def _write_state_message(self, state: dict[str, Any]) -> None:
        sys.stdout.write(encode(state).decode() + "\n")
        sys.stdout.flush()

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # The SDK drains inside the handler, and may confirm what was never sent (meltano/sdk
        # issue 3775). Here the reader stops at the next message, and the rest is as at the end.
        # Meltano sends more than one signal; only the first counts.
        if self._signal is None:
            self._signal = signum
            self.message_reader.stop()
            self.dispatcher.give_up_soon()

    def _pause(self) -> None:
        self.dispatcher.pause()

    def _end_over_budget(self, reason: BudgetReached) -> None:
        _log.warning("%s Stopping cleanly: what was read before is delivered.", reason)
        self._over_budget = True
        self.message_reader.stop()

    def _finish_after(self, failure: Exception) -> None:
        """Deliver what was read before the *failure*, which is what is told."""
        try:
            self.dispatcher.finish()
        except click.ClickException as error:
            if error is not failure:
                _log.error("%s", error.message)
        if self._signal is not None and isinstance(failure, click.ClickException):
            # It came of the signal: a lane that was full did not empty in time.
            _log.error("%s", failure.message)
            sys.exit(128 + self._signal)


def _collect_less_often() -> None:
    """Let the cyclic collector look only at what is new, and every 10,000 objects, not 700."""
    gc.freeze()
    gc.set_threshold(_COLLECT_OBJECTS)


def _changes_nothing(stream_map: StreamMap) -> bool:
    return type(stream_map) is SameRecordTransform and not stream_map.flattening_enabled


def _invalid(reasons: list[str]) -> ConfigValidationError:
    return ConfigValidationError(
        f"Config validation failed: {'; '.join(reasons)}", errors=reasons, schema=SCHEMA
    )
