"""One run of the tap: from what the target has confirmed to the end of the spool."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

from tap_segment_webhook.clock import now_ms
from tap_segment_webhook.drain import Drain
from tap_segment_webhook.errors import SpoolUnavailable, SpoolUnusable
from tap_segment_webhook.spool.opening import open_existing, open_reader, open_writer

if TYPE_CHECKING:
    import logging
    import threading
    from collections.abc import Callable

    from tap_segment_webhook.settings import Settings
    from tap_segment_webhook.spool.engine import Reader
    from tap_segment_webhook.streams import EventStream

_DAY_MS: Final = 86_400_000
_LIVE_SECONDS: Final = 0.5  # how often a listening tap looks for what has come in


class Run:
    """Emits events to standard output, for all *streams* together.

    Args:
        settings: the tap's.
        streams: the selected ones; their bookmarks say what the target has confirmed.
        write_state: emits a STATE message with all bookmarks.
        stop: once set, the run ends at the next page, with a true state.
        logger: the tap's.
    """

    def __init__(
        self,
        settings: Settings,
        streams: list[EventStream],
        *,
        write_state: Callable[[], None],
        stop: threading.Event,
        logger: logging.Logger,
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._write_state = write_state
        self._stop = stop
        self._logger = logger

    def drain_waiting(self) -> None:
        """Emit what waits now, then prune what may go.

        Raises:
            SpoolUnusable: the spool cannot be read.
            BrokenPipeError: the target is gone.
        """
        settings = self._settings
        with open_existing(settings.spool) as reader:
            if reader is None:
                self._logger.warning(
                    "There is no spool at %s yet: start the receiver (segment-receiver serve), "
                    "or set listen_seconds.",
                    settings.spool_url,
                )
                return
            drain = self._begin(reader)
            drain.run(reader.head())
            self._report(drain, reader)
        self._prune()

    def listen(self) -> None:
        """Run the receiver for `listen_seconds`, and emit what comes in within about a second.

        Raises:
            SpoolUnusable, PortUnusable: the receiver cannot start.
            SpoolUnavailable: it ended before its time.
            BrokenPipeError: the target is gone.
        """
        settings = self._settings
        # Imported here: draining alone needs no HTTP server.
        from tap_segment_webhook.receiver.server import Receiver, start  # noqa: PLC0415

        receiver = Receiver(settings)
        thread = start(receiver)
        try:
            with closing(open_reader(settings.spool)) as reader:
                drain = self._begin(reader)
                until = time.monotonic() + settings.listen_seconds
                while thread.is_alive() and (left := until - time.monotonic()) > 0:
                    drain.run(reader.head())
                    if self._stop.wait(min(_LIVE_SECONDS, left)):
                        break
                ended_early = not thread.is_alive()
                receiver.stop()
                thread.join()
                drain.run(reader.head())
                self._report(drain, reader)
        finally:
            receiver.stop()
            thread.join()
        if ended_early:
            raise receiver.broken or SpoolUnavailable("The receiver ended before its time.")

    def _begin(self, reader: Reader) -> Drain:
        """Record what the target has confirmed, and prepare to emit the rest."""
        settings, streams = self._settings, self._streams
        head = reader.head()
        reader.consumers.register(settings.consumer)
        if any(stream.is_foreign(reader.spool_id, head) for stream in streams):
            self._logger.warning(
                "The state is not of this spool (%s, head %d): it is ignored. Everything that is "
                "retained is emitted again, and nothing is confirmed.",
                settings.spool_url,
                head,
            )
            for stream in streams:
                stream.restart()
        bookmarks = [stream.bookmark for stream in streams]
        confirmed = [bookmark for bookmark in bookmarks if bookmark is not None]
        # A state that we are started with went through the target: it has what lies before it.
        if confirmed and len(confirmed) == len(bookmarks):
            reader.consumers.confirm(settings.consumer, min(confirmed), now_ms())
            self._warn_of_gap(reader, min(confirmed))
        drain = Drain(reader, streams, write_state=self._write_state, stopped=self._stop.is_set)
        drain.begin()
        self._replay(drain, reader)
        return drain

    def _replay(self, drain: Drain, reader: Reader) -> None:
        """Emit again what this consumer was asked to, until a state says that its target has it."""
        consumer = self._settings.consumer
        replay = reader.consumers.replays().get(consumer)
        if replay is None or not self._streams:
            return
        if all(stream.replayed == replay.id for stream in self._streams):
            reader.consumers.end_replay(consumer)
            self._logger.info("The replay has reached the target.")
        elif drain.replay(replay):
            count = sum(drain.emitted.values())
            self._logger.info("Emitted %s records again, as asked by replay.", f"{count:,}")

    def _warn_of_gap(self, reader: Reader, bookmark: int) -> None:
        oldest = reader.oldest()
        if oldest is not None and oldest > bookmark + 1:
            self._logger.warning(
                "The state ends at position %d, but the oldest retained event is %d: the events "
                "between were confirmed, and pruned after retention_days, or erased.",
                bookmark,
                oldest,
            )

    def _report(self, drain: Drain, reader: Reader) -> None:
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(drain.emitted.items()))
        self._logger.info(
            "Emitted %s records%s.", f"{sum(drain.emitted.values()):,}", counts and f": {counts}"
        )
        for source, books in reader.books().items():
            self._logger.info(
                "The books of source %s: %d received = %d stored + %d duplicate + %d filtered + "
                "%d rejected.",
                source,
                *books,
            )

    def _prune(self) -> None:
        """Prune what may go, unless a receiver writes the spool: then that one does."""
        retention_ms = self._settings.retention_days * _DAY_MS
        try:
            with closing(
                open_writer(self._settings.spool, purpose="a tap that prunes", only_prunes=True)
            ) as store:
                while not self._stop.is_set() and store.tidy(retention_ms):
                    pass
        except (SpoolUnavailable, SpoolUnusable) as error:
            # The run has done its work, and the next one prunes as well.
            self._logger.debug("Nothing was pruned: %s", error)
