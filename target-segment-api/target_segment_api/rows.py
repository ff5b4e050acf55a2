"""From the rows of a mapped stream to the events that its mapping makes of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from target_segment_api.errors import DeliveryStopped
from target_segment_api.event import text_id
from target_segment_api.mapping.call import STATES, Call
from target_segment_api.mapping.value import MISSING, ValueFailed
from target_segment_api.sinks import SegmentSink

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_api.books import CallTally
    from target_segment_api.changes import Change
    from target_segment_api.mapping.call import Made
    from target_segment_api.target import TargetSegmentApi


class RowSink(SegmentSink):
    """Sends what the calls of a mapping make of each row; with `changed_only`, of each change."""

    def __init__(
        self,
        target: TargetSegmentApi,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        super().__init__(target, stream_name, schema, key_properties)
        self._calls = target.mappings.of(stream_name) or ()
        self._changes = target.changes
        if missing := target.mappings.check(stream_name, schema):
            self.logger.warning("%s", " ".join(map(str, missing)))
        self._tally.begin_calls(len(self._calls))
        if self._changes is not None and not self.key_properties:
            raise DeliveryStopped(
                f"Stream {stream_name!r} has no key, by which changed_only could know a row "
                "again. Give it one (`__key_properties__` in stream_maps)."
            )

    @override
    def activate_version(self, new_version: int) -> None:
        """Send what the calls make of the rows that a full table no longer has."""
        if self._changes is None:
            return
        if reason := self._changes.doubt(self.stream_name):
            self.logger.warning(
                "No row of stream %r is taken for deleted at the end of its version %s: %s.",
                self.stream_name,
                new_version,
                reason,
            )
            return
        for key, change in self._changes.gone(self.stream_name, new_version):
            if len(key) != len(self.key_properties):
                raise DeliveryStopped(
                    f"Stream {self.stream_name!r} had a key of {len(key)} columns when its rows "
                    f"were remembered, and has one of {len(self.key_properties)}. Choose another "
                    "changes_path: every row is then sent once more."
                )
            record = dict.fromkeys(self.schema["properties"])
            record.update(zip(self.key_properties, key, strict=True))
            self._tally.records += 1
            self._send_all(record, key, change)

    @override
    def _process(self, record: dict[str, Any], version: int | None) -> None:
        key = [record[name] for name in self.key_properties] or None
        if self._changes is None:
            self._send_all(record, key, None)
            return
        change = self._changes.see(self.stream_name, key, record, version=version)
        if change is None:
            self._tally.unchanged += 1
        else:
            self._send_all(record, key, change)

    def _send_all(self, record: dict[str, Any], key: Any, change: Change | None) -> None:
        """Send the events of one row; its *change* is confirmed with the last of them."""
        deleted = record.get("_sdc_deleted_at") is not None
        state = change.state if change else "deleted" if deleted else "added"
        made = [
            (found, version, tally)
            for call, tally in zip(self._calls, self._tally.calls, strict=True)
            for found, version in self._make(call, tally, record, key, state)
        ]
        if change is not None and self._changes is not None:
            self._changes.expect(change, len(made))
        if not made:
            self._tally.skipped += 1
            self._dispatcher.settle_row(change)
        latest = change.counter if change else record.get(self.replication_key or "")
        for found, version, tally in made:
            known = latest if version is None else version
            is_sound = self._send(found.event, key, known, found.faults, change)
            tally.invalid += not is_sound

    def _make(
        self, call: Call, tally: CallTally, record: dict[str, Any], key: Any, state: str
    ) -> list[tuple[Made, Any]]:
        """Return the events that one call makes of a row, and the version that it gives it."""
        root = root_of(call, record, key, state)
        tally.rows += 1
        if not is_meant(call, root, state):
            tally.skipped += 1
            return []
        made = list(call.make(root))
        tally.events += len(made)
        if tally.sample is None and made:
            tally.sample = made[0].event
        version = _read_version(call, root, made)
        return [(found, version) for found in made]


def is_meant(call: Call, root: dict[str, Any], state: str) -> bool:
    """Tell whether *call* is for the row *root*.

    A row that is deleted is only for a call whose trigger asks for the state of rows; one that
    asks for a column of the same name does not.
    """
    if state == "deleted" and not any(root.get(name) == STATES[state] for name in call.asks):
        return False
    return call.when is None or call.when(root)


def _read_version(call: Call, root: dict[str, Any], made: list[Made]) -> Any:
    """Return the version that *call* gives the row *root*; None leaves it to the stream."""
    try:
        version = call.version(root) if call.version is not None else None
    except ValueFailed as error:
        for found in made:
            found.faults.append(f"version: {error.reason}")
        return None
    return None if version is MISSING or version == "" else version


def root_of(call: Call, record: dict[str, Any], key: Any, state: str) -> dict[str, Any]:
    """Return *record* as *call* looks at it: also as Segment's Reverse ETL shows a row.

    A column that has a name of Reverse ETL's (`type`, say) hides it, but from an exported call.
    """
    if not call.uses_row_form:
        return record
    form = {
        "type": "track",
        "event": STATES[state],
        "properties": record,
        "__segment_id": text_id(key[0]) if isinstance(key, list) and len(key) == 1 else key,
        "row_state": state,
    }
    return {**record, **form} if call.is_exported else {**form, **record}
