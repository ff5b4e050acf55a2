"""What we rely on in the SDK beyond its documentation is still there."""

from __future__ import annotations

import inspect

import pytest
from singer_sdk import Stream, Tap
from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.mapper import SameRecordTransform
from tap_segment_webhook.streams import EventStream
from tap_segment_webhook.tap import TapSegmentWebhook


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (Stream, "_write_schema_message", ["self"]),
        (Stream, "_write_record_message", ["self", "record"]),
        (Tap, "_handle_termination", ["self", "signum", "frame"]),
        (MsgSpecWriter, "write_message", ["self", "message"]),
        (MsgSpecWriter, "format_message", ["self", "message"]),
        (SameRecordTransform, "transform", None),
    ],
)
def test_name_is_still_there(owner: type, name: str, parameters: list[str] | None) -> None:
    """An upgrade that renames it fails here, not in somebody's pipeline."""
    function = getattr(owner, name)

    if parameters is not None:
        assert list(inspect.signature(function).parameters) == parameters


def test_attributes_are_still_there() -> None:
    """A stream and a tap still have what a pass over the spool asks of them."""
    tap = TapSegmentWebhook(config={})
    stream = tap.streams["track"]

    assert isinstance(stream, EventStream)
    assert stream.ABORT_AT_RECORD_COUNT is None
    assert isinstance(stream.stream_maps[0], SameRecordTransform)
    assert all(stream.mask.values())
    assert stream.effective_schema
    assert stream.stream_state == {}
    assert tap.state_writer is not None
    assert stream.passes_untouched


def test_same_record_transform_changes_nothing() -> None:
    """The fast way leaves out a transformation that would have done nothing."""
    tap = TapSegmentWebhook(config={})
    record = {"message_id": "m-1", "context": {"a": [1]}}

    assert tap.streams["track"].stream_maps[0].transform(record) == record
