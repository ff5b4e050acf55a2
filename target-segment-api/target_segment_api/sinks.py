"""From one stream's records to events that are ready to be sent, or set aside with reasons."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from singer_sdk import Sink
from singer_sdk.exceptions import MissingKeyPropertiesError
from singer_sdk.mapper import RemoveRecordTransform

from target_segment_api.encoding import encode
from target_segment_api.errors import DeliveryStopped
from target_segment_api.event import Event, call_of, text_id, to_event
from target_segment_api.identity import message_id
from target_segment_api.loop import has_passed, mark
from target_segment_api.mapping.call import STATES

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_api.changes import Change
    from target_segment_api.mapping.call import Call
    from target_segment_api.target import TargetSegmentApi

_NO_CALL: Final = (
    "Stream {!r} is skipped: no call of Segment is known for it. Give it an entry in mappings, or "
    "name it after a call (identify, track, page, screen, group, alias) if it has the columns of "
    "tap-segment-webhook; or set on_unmapped: fail to stop at such a stream."
)
_DELETE: Final = (
    "Stream {!r} is skipped: the Tracking API has no call to delete a user. Segment takes such "
    "requests through its Public API (POST /regulations)."
)


class EventSink(Sink):
    """Turns the records of one stream into events and hands them to the target's dispatcher."""

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
        self._calls = target.mappings.of(stream_name)
        self._call = None if self._calls else call_of(stream_name, schema["properties"])
        self._changes = target.changes if self._calls else None
        if self._calls is not None:
            self._tally.begin_calls(len(self._calls))
            if self._changes is not None and not self.key_properties:
                raise DeliveryStopped(
                    f"Stream {stream_name!r} has no key, by which changed_only could know a row "
                    "again. Give it one (`__key_properties__` in stream_maps)."
                )
        elif self._call is None and not _is_removed(target, stream_name):
            is_delete = stream_name.rpartition("-")[2] == "delete"  # tap-postgres: schema-delete
            reason = (_DELETE if is_delete else _NO_CALL).format(stream_name)
            if self._settings.on_unmapped == "fail":
                raise DeliveryStopped(reason)
            self.logger.warning("%s", reason)

    @override
    def get_validator(self) -> None:
        # The record's schema is not the contract here: the event's is (`rules`).
        return None

    def skip(self) -> None:
        """Count a record that a stream map filtered out."""
        self._tally.records += 1
        self._tally.skipped += 1

    @override
    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        self._tally.records += 1
        self.record_counter_metric.increment()
        if not all(name in record for name in self.key_properties):
            raise MissingKeyPropertiesError(
                f"A record of stream {self.stream_name!r} lacks its key "
                f"({', '.join(self.key_properties)})."
            )
        if self._calls is not None:
            self._map(record, context.get("version"))
        elif self._call is not None:
            # An event never changes, so it needs no version; its position in some spool is none.
            event = to_event(self._call, record)
            self._send(event, text_id(record.get("message_id")), None, [], None)
        else:
            self._tally.skipped += 1

    @override
    def process_batch(self, context: dict[str, Any]) -> None:
        # Only of BATCH messages: a record is on its way as soon as it was read.
        for record in context.get("records", ()):
            self.process_record(record, {})

    @override
    def activate_version(self, new_version: int) -> None:
        """Send what mappings make of the rows that a full table no longer has."""
        if self._changes is None or self._calls is None:
            return
        for key, change in self._changes.gone(self.stream_name, new_version):
            record = dict.fromkeys(self.schema["properties"])
            record.update(zip(self.key_properties, key, strict=True))
            self._tally.records += 1
            self._make(self._calls, record, key, change)

    def _map(self, record: dict[str, Any], version: int | None) -> None:
        """Send what the stream's calls make of *record*, unless it has not changed."""
        assert self._calls is not None
        key = [record[name] for name in self.key_properties] or None
        change = None
        if self._changes is not None:
            change = self._changes.see(self.stream_name, key, record, version=version)
            if change is None:
                self._tally.unchanged += 1
                return
        self._make(self._calls, record, key, change)

    def _make(
        self, calls: tuple[Call, ...], record: dict[str, Any], key: Any, change: Change | None
    ) -> None:
        deleted = record.get("_sdc_deleted_at") is not None
        state = change.state if change else "deleted" if deleted else "added"
        made = []
        for call, tally in zip(calls, self._tally.calls, strict=True):
            root = record
            if call.uses_row_form:
                root = row_form(record, key, state)
            elif state == "deleted":
                continue  # only a call that asks for the state is meant for what is gone
            tally.rows += 1
            if call.when is not None and not call.when(root):
                tally.skipped += 1
                continue
            version = change.counter if change else record.get(self.replication_key or "")
            if call.version is not None:
                version = call.version(root) or None
            for event, faults, _ in call.make(root):
                tally.events += 1
                tally.sample = tally.sample or event
                tally.invalid += bool(faults)
                made.append((event, version, faults))
        if change is not None:
            change.outstanding = len(made)
            if not made:
                self._dispatcher.settle_row(change)
        if not made:
            self._tally.skipped += 1
        for event, version, faults in made:
            self._send(event, key, version, faults, change)

    def _send(
        self, event: Event, key: Any, version: Any, faults: list[str], change: Change | None
    ) -> None:
        """Send *event*, which a record with *key* made, or set it aside for *faults* or others."""
        settings, name = self._settings, self.stream_name
        if has_passed(event, settings.namespace):
            self._tally.events += 1
            self._tally.looped += 1
            self._dispatcher.settle_row(change)
            return
        mark(event, settings.namespace)
        if settings.message_id == "keep" and self._calls is None and key:
            event["messageId"] = key
        identifier = event.get("messageId")
        body = encode(event)
        if not isinstance(identifier, str):
            identifier = message_id(settings.namespace, name, key, version, body)
            body = b'{"messageId":"%b",%b' % (identifier.encode(), body[1:])
        reasons = faults + self._problems(event)
        if settings.message_id == "keep" and self._calls is None and not key:
            reasons.append("messageId is missing, and message_id is keep.")
        if len(body) > settings.max_event_bytes:
            reasons.append(f"It has {len(body):,} bytes; {settings.max_event_bytes:,} are allowed.")
        if not reasons:
            self._budget.spend(event)
            self._tally.events += 1
            user = event.get("previousId") or event.get("userId") or event.get("anonymousId")
            self._dispatcher.send(body, identifier, name, key, user, change)
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


def row_form(record: dict[str, Any], key: Any, state: str) -> dict[str, Any]:
    """Return *record* as Segment's Reverse ETL shows a row to a mapping, and as it is."""
    return {
        "type": "track",
        "event": STATES[state],
        "properties": record,
        "__segment_id": text_id(key[0]) if isinstance(key, list) and len(key) == 1 else key,
        "row_state": state,
        **record,
    }


def _is_removed(target: TargetSegmentApi, stream_name: str) -> bool:
    """Tell whether a stream map takes all of the stream away."""
    maps = target.mapper.stream_maps.get(stream_name, ())
    return any(isinstance(stream_map, RemoveRecordTransform) for stream_map in maps)
