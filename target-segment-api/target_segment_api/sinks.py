"""From one stream's records to events that are ready to be sent, or set aside with reasons."""

from __future__ import annotations

import abc
import sys
from typing import TYPE_CHECKING, Any, Final

from singer_sdk import Sink
from singer_sdk.exceptions import MissingKeyPropertiesError
from singer_sdk.mapper import RemoveRecordTransform

from target_segment_api.encoding import encode
from target_segment_api.errors import DeliveryStopped
from target_segment_api.event import Event, call_of, text_id, to_event, user_of
from target_segment_api.identity import message_id
from target_segment_api.loop import has_passed, mark
from target_segment_api.verbatim import make_verbatim

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_api.changes import Change
    from target_segment_api.target import TargetSegmentApi
    from target_segment_api.verbatim import Columns

_NO_CALL: Final = (
    "Stream {!r} is skipped: no call of Segment is known for it. Give it an entry in mappings, or "
    "name it after a call (identify, track, page, screen, group, alias) if it has the columns of "
    "tap-segment-webhook; or set on_unmapped: fail to stop at such a stream."
)
_DELETE: Final = (
    "Stream {!r} is skipped: the Tracking API has no call to delete a user. Segment takes such "
    "requests through its Public API (POST /regulations)."
)

_BEFORE_ID: Final = b'{"messageId":"'
_AFTER_ID: Final = b'",'


class SegmentSink(Sink):
    """What all streams share: keys are there, events are checked, identified, and handed on."""

    replication_key: str | None = None
    """The column that says which version of a row a record is."""

    def __init__(
        self,
        target: TargetSegmentApi,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        super().__init__(target, stream_name, schema, key_properties)
        self._settings = target.settings
        self._dispatcher = target.dispatcher
        self._budget = target.budget
        self._problems = target.problems
        self._tally = target.dispatcher.books.of(stream_name)

    @override
    def get_validator(self) -> None:
        # The record's schema is not the contract here: the event's is (`rules`).
        return None

    @property
    def is_fast(self) -> bool:
        """Whether its usual records can be passed on without taking their objects apart."""
        return False

    def pass_on(self, record: Columns) -> bool:  # noqa: ARG002 - another sink can
        """Send the event of *record* the fast way; False if it has to take the careful one.

        Raises:
            BudgetReached: there is nothing left for it.
            DeliveryStopped: something went wrong; call `finish`.
        """
        return False

    def skip(self) -> None:
        """Count a record that a stream map filtered out."""
        self._tally.records += 1
        self._tally.skipped += 1

    @override
    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        """Send what *record* becomes; *context* is the RECORD message that it came in."""
        self._tally.records += 1
        if not all(name in record for name in self.key_properties):
            raise MissingKeyPropertiesError(
                f"A record of stream {self.stream_name!r} lacks its key "
                f"({', '.join(self.key_properties)})."
            )
        self._process(record, context.get("version"))

    @override
    def process_batch(self, context: dict[str, Any]) -> None:
        # Only of BATCH messages: a record is on its way as soon as it was read.
        for record in context.get("records", ()):
            self.process_record(record, {})

    @override
    def clean_up(self) -> None:
        # Counted once: record by record, the SDK's counter costs as much as reading the record.
        self.record_counter_metric.increment(self._tally.records)
        super().clean_up()

    @abc.abstractmethod
    def _process(self, record: dict[str, Any], version: int | None) -> None:
        """Send what *record* becomes, of the full-table *version* if there is one."""

    def _send(
        self, event: Event, key: Any, version: Any, faults: list[str], change: Change | None = None
    ) -> bool:
        """Send *event*, which a record with *key* made, or set it aside for *faults* or others.

        Tells whether there were none.
        """
        settings, name = self._settings, self.stream_name
        if has_passed(event, settings.namespace):
            self._tally.events += 1
            self._tally.looped += 1
            self._dispatcher.settle_row(change)
            return True
        mark(event, settings.namespace)
        body, identifier = encode(event), event.get("messageId")
        if identifier is None:
            identifier, body = self._identify(key, version, body)
        reasons = faults + self._problems(event)
        if len(body) > settings.max_event_bytes:
            reasons.append(f"It has {len(body):,} bytes; {settings.max_event_bytes:,} are allowed.")
        if not reasons:
            self._budget.spend(event)
            self._tally.events += 1
            self._dispatcher.send(body, identifier, name, key, user_of(event), change=change)
        elif settings.on_invalid == "fail":
            raise DeliveryStopped(
                f"An event of stream {name!r} (record {self._tally.records:,}) would not be taken "
                f"by Segment: {' '.join(reasons)} It was not sent (on_invalid: fail)."
            )
        else:
            self._tally.events += 1
            event["messageId"] = identifier
            self._dispatcher.reject(
                event=event, reasons=reasons, stream=name, key=key, message_id=identifier
            )
            self._dispatcher.settle_row(change)
        return not reasons

    def _identify(self, key: Any, version: Any, content: bytes) -> tuple[str, bytes]:
        """Return the derived message id of the event in *content*, and its body with it."""
        identifier = message_id(self._settings.namespace, self.stream_name, key, version, content)
        return identifier, b"".join((_BEFORE_ID, identifier.encode(), _AFTER_ID, content[1:]))


class EventSink(SegmentSink):
    """Sends a stream with the tap's columns as the call that it is named after."""

    def __init__(
        self,
        target: TargetSegmentApi,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        super().__init__(target, stream_name, schema, key_properties)
        self._keeps_id = self._settings.message_id == "keep"
        self._max_event_bytes = self._settings.max_event_bytes
        self._verbatim = None
        self._call = call_of(stream_name, schema["properties"])
        if self._call is not None:
            if {*self.key_properties} <= {"message_id"} and not self._keeps_id:
                self._verbatim = make_verbatim(self._call, self._settings.namespace)
        elif not _is_removed(target, stream_name):
            is_delete = stream_name.rpartition("-")[2] == "delete"  # tap-postgres: schema-delete
            reason = (_DELETE if is_delete else _NO_CALL).format(stream_name)
            if self._settings.on_unmapped == "fail":
                raise DeliveryStopped(reason)
            self.logger.warning("%s", reason)

    @property
    @override
    def is_fast(self) -> bool:
        return self._verbatim is not None

    @override
    def pass_on(self, record: Columns) -> bool:
        if self._verbatim is None:
            return False
        try:
            ready = self._verbatim(record)
        except ValueError:
            return False
        identifier, body = self._identify(ready.key, None, ready.content)
        if len(body) > self._max_event_bytes:
            return False
        if not self._budget.is_unlimited:
            self._budget.spend(ready.ids)
        self._tally.records += 1
        self._tally.events += 1
        self._dispatcher.send(body, identifier, self.stream_name, ready.key, ready.user)
        return True

    @override
    def _process(self, record: dict[str, Any], version: int | None) -> None:
        if self._call is None:
            self._tally.skipped += 1
            return
        event, key, faults = to_event(self._call, record), text_id(record.get("message_id")), []
        if self._keeps_id and key:
            event["messageId"] = key
        elif self._keeps_id:
            faults.append("messageId is missing, and message_id is keep.")
        # An event never changes, so it needs no version; its position in some spool is none.
        self._send(event, key, None, faults)


def _is_removed(target: TargetSegmentApi, stream_name: str) -> bool:
    """Tell whether a stream map takes all of the stream away."""
    maps = target.mapper.stream_maps.get(stream_name, ())
    return any(isinstance(stream_map, RemoveRecordTransform) for stream_map in maps)
