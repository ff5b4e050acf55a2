"""What a spool holds as JSON lines, without content: for who compares it with something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tap_segment_webhook import timestamp
from tap_segment_webhook.event import NAMES, read_identity
from tap_segment_webhook.record import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_segment_webhook.spool.engine import Reader
    from tap_segment_webhook.spool.model import Block


def list_ids(reader: Reader, now: int) -> Iterator[bytes]:
    """Yield lots of lines, in the order of positions: `message_id`, `type`, `received_at`.

    The id is the one that the tap emits, and the time that of the commit. Where
    events were pruned, also while we read, comes a line `{"retained_since": …}`:
    of what was committed before, not all is there any more. It is *now*, in
    milliseconds, if nothing is.
    """
    head, position = reader.head(), 0
    for block in reader.blocks(0, head):
        if block.first_position != position + 1:
            yield _retained_since(block.received_at)
        yield b"".join(_lines(block))
        position = block.position
    if position < head:
        yield _retained_since(now)


def _lines(block: Block) -> Iterator[bytes]:
    moment = timestamp.from_ms(block.received_at)
    for code, (body, *_) in zip(block.codes, block.rows(), strict=True):
        yield _line(message_id=read_identity(body), type=NAMES[code], received_at=moment)


def _retained_since(moment: int) -> bytes:
    return _line(retained_since=timestamp.from_ms(moment))


def _line(**fields: str) -> bytes:
    return encode_json(fields) + b"\n"
