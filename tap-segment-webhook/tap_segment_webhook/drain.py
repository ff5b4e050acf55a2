"""One ordered pass over the spool for all selected streams.

Nothing in Singer asks for one stream after the other. Reading once, in the
order of positions, makes a single number say how far everything has come: all
bookmarks advance together, also those of streams without an event, and every
STATE is valid for all of them.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from tap_segment_webhook import timestamp
from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.errors import SpoolUnusable
from tap_segment_webhook.messages import write_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from singer_sdk.metrics import Counter as Counter_

    from tap_segment_webhook.event import Row
    from tap_segment_webhook.spool.engine import Reader
    from tap_segment_webhook.spool.model import Block, Replay
    from tap_segment_webhook.streams import EventStream

_PAGE_BYTES: Final = 256 << 10  # so that a stop signal is heeded soon, whatever the target does
_PAGE_EVENTS: Final = 512
_STATE_SECONDS: Final = 1.0


class Drain:
    """Emits what *reader* holds for *streams*.

    Args:
        reader: the spool.
        streams: the selected ones.
        write_state: emits a STATE message with all bookmarks.
        stopped: asked between pages; once true, a pass ends at that boundary.
    """

    def __init__(
        self,
        reader: Reader,
        streams: list[EventStream],
        *,
        write_state: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._reader = reader
        self._streams = {stream.code: stream for stream in streams}
        self._write_state = write_state
        self._stopped = stopped
        self._after = {stream.code: stream.bookmark or 0 for stream in streams}
        self._position = min(self._after.values(), default=0)
        self._untouched = {stream.code for stream in streams if stream.passes_untouched}
        self._state_at = time.monotonic()
        self.emitted: Counter[str] = Counter()

    def begin(self) -> None:
        """Emit every SCHEMA: none may come after the first record of any stream."""
        for stream in self._streams.values():
            stream.write_schema()

    def run(self, until: int) -> None:
        """Emit everything up to the position *until*, then a STATE that says so.

        Raises:
            SpoolUnusable: at some event; all before it are emitted, and the STATE says so.
        """
        try:
            self._pass(until)
        except SpoolUnusable:
            self._write_state()
            raise
        self._write_state()

    def _pass(self, until: int) -> None:
        with self._counting() as counters:
            for page in pages(self._reader.blocks(self._position, until)):
                if self._stopped():
                    break
                self._emit(self._select(page), counters)
                self._advance(page[-1].position)
            else:
                self._advance(until)

    def replay(self, replay: Replay) -> bool:
        """Emit again what *replay* names and was emitted before; no bookmark moves.

        What was not emitted before comes with `run`. Returns whether it came to
        its end; then a STATE says so.
        """
        with self._counting() as counters:
            for page in pages(self._reader.blocks(replay.first - 1, replay.last)):
                if self._stopped():
                    return False
                self._emit(self._select_again(page, replay), counters)
        for stream in self._streams.values():
            stream.note_replay(replay.id)
        self._write_state()
        return True

    @contextmanager
    def _counting(self) -> Iterator[dict[str, Counter_]]:
        """Give the SDK's counter of each stream, by code."""
        with ExitStack() as stack:
            yield {
                code: stack.enter_context(stream.get_record_counter())
                for code, stream in self._streams.items()
            }

    def _emit(self, rows: Mapping[str, list[Row]], counters: Mapping[str, Counter_]) -> None:
        """Emit one page of *rows*, by code."""
        extracted = timestamp.from_ms(now_ms())
        write_lines(
            b"".join(
                self._streams[code].lines.encode(found, extracted)
                for code, found in rows.items()
                if code in self._untouched
            )
        )
        for code in rows.keys() - self._untouched:
            stream = self._streams[code]
            for row in rows[code]:
                stream.write_record(stream.lines.read(row))
        for code, found in rows.items():
            self.emitted[self._streams[code].name] += len(found)
            counters[code].increment(len(found))

    def _select_again(self, page: list[Block], replay: Replay) -> dict[str, list[Row]]:
        """Return the events of *page* that *replay* names and their stream has emitted, by code."""
        rows: defaultdict[str, list[Row]] = defaultdict(list)
        for block in page:
            for code, row in zip(block.codes, block.rows(), strict=True):
                if row[1] <= self._after.get(code, 0) and replay.names(code, row):
                    rows[code].append(row)
        return rows

    def _select(self, page: list[Block]) -> dict[str, list[Row]]:
        """Return the events of *page* that each stream has not emitted yet, by code."""
        rows: defaultdict[str, list[Row]] = defaultdict(list)
        for block in page:
            for code, row in zip(block.codes, block.rows(), strict=True):
                rows[code].append(row)
        first = page[0].first_position
        for code in list(rows):
            after = self._after.get(code)
            if after is None:
                del rows[code]
            elif after >= first:
                rows[code] = [row for row in rows[code] if row[1] > after]
        return rows

    def _advance(self, position: int) -> None:
        self._position = max(self._position, position)
        for stream in self._streams.values():
            stream.advance(self._position, self._reader.spool_id)
        if time.monotonic() - self._state_at > _STATE_SECONDS:
            self._write_state()
            self._state_at = time.monotonic()


def pages(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Group *blocks* into pages of a bounded size, a single larger block excepted.

    Where the next one cannot be read, they end so too, after all that came before it.
    """
    page: list[Block] = []
    size = events = 0
    failure = None
    try:
        for block in blocks:
            if page and (size + len(block.body) > _PAGE_BYTES or events >= _PAGE_EVENTS):
                yield page
                page, size, events = [], 0, 0
            page.append(block)
            size += len(block.body)
            events += len(block.codes)
    except SpoolUnusable as error:
        failure = error
    if page:
        yield page
    if failure:
        raise failure
