"""Sends events that were set aside again, and keeps aside what still is not taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from target_segment_api.client import Client
from target_segment_api.dispatcher import Dispatcher
from target_segment_api.encoding import encode
from target_segment_api.event import user_of
from target_segment_api.journal import Line, read, rewriting
from target_segment_api.receipts import Receipts
from target_segment_api.rules import problems

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_api.batch import Outgoing
    from target_segment_api.settings import Settings


class Outcome(NamedTuple):
    """How many rejects were sent, and how many are left."""

    sent: int
    left: int


class _Accepted:
    """Remembers which events were accepted, and notes them as *receipts* do."""

    def __init__(self, receipts: Receipts, progress: Callable[[int], None]) -> None:
        self._receipts = receipts
        self._progress = progress
        self.ids: set[str] = set()

    def add(self, events: Sequence[Outgoing]) -> None:
        self._receipts.add(events)
        self.ids.update(event.message_id for event in events)
        self._progress(len(events))

    def sync(self) -> None:
        self._receipts.sync()

    def close(self) -> None:
        self._receipts.close()


class _StillAside:
    """Takes what is refused again: it stays in the file that it came from."""

    def add(
        self, *, event: Any, reasons: Sequence[str], stream: str, key: Any, message_id: str | None
    ) -> None:
        pass

    def check(self, events: int) -> None:
        pass

    def sync(self) -> None:
        pass

    close = sync


def retry(settings: Settings, progress: Callable[[int], None]) -> Outcome:
    """Send the rejects that keep the rules by now; take those that are accepted off the file.

    They keep their message ids, so one that had been accepted after all is no
    second event to Segment for 24 hours. *progress* is told of events as they are done.

    Raises:
        DeliveryStopped: not all was delivered; what was accepted is off the file all the same.
        FileUnusable: the file is in use, or cannot be written.
    """
    accepted = _Accepted(Receipts(settings.receipts_path), progress)
    dispatcher = Dispatcher(
        settings,
        transport=lambda: Client(settings),
        write_state=lambda state: None,  # noqa: ARG005 - there is none
        rejects=_StillAside(),
        receipts=accepted,
        find_key=lambda: Client(settings).look_up().known,
    )
    with rewriting(settings.rejects_path) as journal:
        lines = list(read(settings.rejects_path))
        try:
            for line in lines:
                _send(line, dispatcher, settings.max_event_bytes)
            dispatcher.finish()
        finally:
            left = [line for line in lines if _message_id(line) not in accepted.ids]
            if len(left) < len(lines):
                journal.keep(left)
    return Outcome(len(lines) - len(left), len(left))


def _send(line: Line, dispatcher: Dispatcher, max_event_bytes: int) -> None:
    """Send the event of *line* if it keeps the rules."""
    identifier = _message_id(line)
    if line.entry is None or identifier is None:
        return
    event, stream = line.entry["event"], str(line.entry.get("stream"))
    body = encode(event)
    if problems(event) or len(body) > max_event_bytes:
        return
    tally = dispatcher.books.of(stream)
    tally.records += 1
    tally.events += 1
    dispatcher.send(body, identifier, stream, line.entry.get("key"), user_of(event))


def _message_id(line: Line) -> str | None:
    event = line.entry.get("event") if line.entry else None
    identifier = event.get("messageId") if isinstance(event, dict) else None
    return identifier if isinstance(identifier, str) else None
