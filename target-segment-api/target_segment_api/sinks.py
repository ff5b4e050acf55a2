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
from target_segment_api.verbatim import make_verbatim

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_api.settings import Settings
    from target_segment_api.target import TargetSegmentApi
    from target_segment_api.verbatim import Columns

_NO_CALL: Final = (
    "Stream {!r} is skipped: no call of Segment is known for it. Name it after one (identify, "
    "track, page, screen, group, alias), with the columns of tap-segment-webhook, by a "
    "stream_maps alias for example; or set on_unmapped: fail to stop at such a stream."
)
_DELETE: Final = (
    "Stream {!r} is skipped: the Tracking API has no call to delete a user. Segment takes such "
    "requests through its Public API (POST /regulations)."
)


class EventSink(Sink):
    """Turns the records of one stream into events and hands them to the target's dispatcher."""

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
        self._call = call_of(stream_name, schema["properties"])
        if self._call is None and not _is_removed(target, stream_name):
            is_delete = stream_name.rpartition("-")[2] == "delete"  # tap-postgres: schema-delete
            reason = (_DELETE if is_delete else _NO_CALL).format(stream_name)
            if self._settings.on_unmapped == "fail":
                raise DeliveryStopped(reason)
            self.logger.warning("%s", reason)
        self._verbatim = None
        if self._call and {*self.key_properties} <= {"message_id"} and _derives(self._settings):
            self._verbatim = make_verbatim(self._call, self._settings.namespace)

    @override
    def get_validator(self) -> None:
        # The record's schema is not the contract here: the event's is (`rules`).
        return None

    @property
    def is_fast(self) -> bool:
        """Whether its usual records can be passed on without taking their objects apart."""
        return self._verbatim is not None

    def pass_on(self, record: Columns) -> bool:
        """Send the event of *record* the fast way; False if it has to take the careful one.

        Raises:
            BudgetReached: there is nothing left for it.
            DeliveryStopped: something went wrong; call `finish`.
        """
        ready = self._verbatim(record) if self._verbatim else None
        if ready is None:
            return False
        identifier, body = self._identify(ready.key, ready.content)
        if len(body) > self._settings.max_event_bytes:
            return False
        self._budget.spend(ready.ids)
        self._tally.records += 1
        self._tally.events += 1
        self.record_counter_metric.increment()
        self._dispatcher.send(body, identifier, self.stream_name, ready.key, ready.user)
        return True

    def _identify(self, key: Any, content: bytes) -> tuple[str, bytes]:
        """Return the derived message id of the event in *content*, and its body with it."""
        # An event never changes, so it needs no version; its position in some spool is none.
        identifier = message_id(self._settings.namespace, self.stream_name, key, None, content)
        return identifier, b'{"messageId":"%b",%b' % (identifier.encode(), content[1:])

    def skip(self) -> None:
        """Count a record that a stream map filtered out."""
        self._tally.records += 1
        self._tally.skipped += 1

    @override
    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:
        tally = self._tally
        tally.records += 1
        self.record_counter_metric.increment()
        if not all(name in record for name in self.key_properties):
            raise MissingKeyPropertiesError(
                f"A record of stream {self.stream_name!r} lacks its key "
                f"({', '.join(self.key_properties)})."
            )
        if self._call is None:
            tally.skipped += 1
            return
        event = to_event(self._call, record)
        if has_passed(event, self._settings.namespace):
            tally.events += 1
            tally.looped += 1
            return
        self._send(event, text_id(record.get("message_id")))

    @override
    def process_batch(self, context: dict[str, Any]) -> None:
        # Only of BATCH messages: a record is on its way as soon as it was read.
        for record in context.get("records", ()):
            self.process_record(record, context)

    def _send(self, event: Event, key: Any) -> None:
        """Send *event*, whose record's `message_id` is *key*, or set it aside."""
        settings, name = self._settings, self.stream_name
        mark(event, settings.namespace)
        if settings.message_id == "keep":
            identifier = key
            if key:
                event["messageId"] = key
            body = encode(event)
            reasons = self._problems(event)
            if not key:
                reasons.append("messageId is missing, and message_id is keep.")
        else:
            identifier, body = self._identify(key, encode(event))
            reasons = self._problems(event)
        if len(body) > settings.max_event_bytes:
            reasons.append(f"It has {len(body):,} bytes; {settings.max_event_bytes:,} are allowed.")
        if not reasons:
            self._budget.spend(event)
            self._tally.events += 1
            user = event.get("previousId") or event.get("userId") or event.get("anonymousId")
            self._dispatcher.send(body, identifier, name, key, user)
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


def _derives(settings: Settings) -> bool:
    return settings.message_id == "derive"


def _is_removed(target: TargetSegmentApi, stream_name: str) -> bool:
    """Tell whether a stream map takes all of the stream away."""
    maps = target.mapper.stream_maps.get(stream_name, ())
    return any(isinstance(stream_map, RemoveRecordTransform) for stream_map in maps)
