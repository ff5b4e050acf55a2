"""The tap's streams: one for each of Segment's calls, all alike.

A stream by itself reads the spool the SDK's ordinary way, a record at a time.
A real run reads it once for all streams: see `drain`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from singer_sdk import Stream
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib import Schema

from tap_segment_webhook.event import CODES
from tap_segment_webhook.lines import Lines
from tap_segment_webhook.schema import PRIMARY_KEYS, REPLICATION_KEY, stream_schema
from tap_segment_webhook.settings import spool_location
from tap_segment_webhook.spool.opening import open_existing

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import Catalog

    from tap_segment_webhook.spool.model import Block

INCREMENTAL = "INCREMENTAL"


class EventStream(Stream):
    """The events of one type, in the order of their positions in the spool."""

    is_sorted = True
    primary_keys = PRIMARY_KEYS
    replication_key = REPLICATION_KEY

    def __init__(self, tap: Tap, name: str, *, drain: Callable[[], None]) -> None:
        payload_format = tap.config["payload_format"]
        super().__init__(tap, schema=stream_schema(name, payload_format), name=name)
        self._drain = drain
        self._schema_written = False
        self.code = CODES[name]
        self.lines = Lines(name, payload_format)

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        # Selection and metadata are the catalog's; keys and replication are the spool's.
        super().apply_catalog(catalog)
        self.primary_keys = PRIMARY_KEYS
        self.replication_key = REPLICATION_KEY
        self.forced_replication_method = INCREMENTAL

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        # Have all streams drained together, or yield the records of this one.
        del context
        if self.takes_sdk_path:
            return self.own_records()
        self._drain()
        return ()

    def own_records(self) -> Iterator[dict[str, Any]]:
        """Yield the records of this stream alone; confirm nothing."""
        with open_existing(spool_location(self.config)) as reader:
            if reader is not None:
                after = self.bookmark or 0
                yield from records(self, reader.blocks(after, reader.head()))

    @property
    def takes_sdk_path(self) -> bool:
        """Whether the SDK must see each record itself: `--test`, limits, BATCH."""
        return self.ABORT_AT_RECORD_COUNT is not None or bool(self.config.get("batch_config"))

    @property
    def passes_untouched(self) -> bool:
        """Whether the SDK would change nothing: no map, no flattening, everything selected."""
        schema = Schema.from_dict(self.schema).to_dict()
        return (
            [type(stream_map) for stream_map in self.stream_maps] == [SameRecordTransform]
            and not self.config.get("flattening_enabled")
            and all(self.mask.values())
            and self.effective_schema in (self.schema, schema)
        )

    @property
    def bookmark(self) -> int | None:
        """The position up to which this stream was emitted, None if it never was."""
        value = self.stream_state.get("replication_key_value")
        return value if isinstance(value, int) else None

    @property
    def replayed(self) -> str | None:
        """The id of the replay that was emitted last."""
        value = self.stream_state.get("replayed")
        return value if isinstance(value, str) else None

    def note_replay(self, replay_id: str) -> None:
        """Let the state say that this replay was emitted."""
        self.stream_state["replayed"] = replay_id

    def is_foreign(self, spool_id: str, head: int) -> bool:
        """Whether the bookmark is of another spool, or beyond the *head* of this one."""
        bookmark = self.bookmark
        return bookmark is not None and (
            self.stream_state.get("spool_id") != spool_id or bookmark > head
        )

    def restart(self) -> None:
        """Forget the bookmark."""
        self.stream_state.clear()

    def advance(self, position: int, spool_id: str) -> None:
        """Set the bookmark, which never moves back and names the spool it belongs to."""
        if position >= (self.bookmark or 0):
            self.stream_state.update(
                replication_key=REPLICATION_KEY, replication_key_value=position, spool_id=spool_id
            )

    def write_record(self, record: dict[str, Any]) -> None:
        """Emit *record* through the SDK: selection, maps, flattening."""
        self._write_record_message(record)

    def write_schema(self) -> None:
        """Emit the SCHEMA message, if this run has not yet."""
        self._write_schema_message()

    @override
    def _write_schema_message(self) -> None:
        # The drain needs every SCHEMA before its first record; the SDK writes each again later.
        if not self._schema_written:
            super()._write_schema_message()
            self._schema_written = True


def records(stream: EventStream, blocks: Iterable[Block]) -> Iterator[dict[str, Any]]:
    """Yield the records of *stream* in *blocks* that it has not emitted yet."""
    after = stream.bookmark or 0
    for block in blocks:
        for code, row in zip(block.codes, block.rows(), strict=True):
            if code == stream.code and row[1] > after:
                yield stream.lines.read(row)
