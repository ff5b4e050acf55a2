"""Runs the receiver: opens the spool and the port, serves, and stops without tearing anything."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
import threading
from typing import TYPE_CHECKING, Final

import uvicorn
import uvloop

from tap_segment_webhook.errors import PortUnusable, SpoolUnavailable
from tap_segment_webhook.gaps import tell_absence
from tap_segment_webhook.receiver.app import App
from tap_segment_webhook.receiver.connection import Connection
from tap_segment_webhook.spool.committer import Committer
from tap_segment_webhook.spool.opening import open_writer

if TYPE_CHECKING:
    from tap_segment_webhook.errors import SpoolBroken
    from tap_segment_webhook.settings import Settings

_log = logging.getLogger("segment-receiver")

_DAY_MS: Final = 86_400_000
_GRACE_SECONDS: Final = 8  # for requests under way when the receiver is told to stop
_REPORT_SECONDS: Final = 60.0
_BACKLOG: Final = 2048
_COLLECT_OBJECTS: Final = 10_000


class Receiver:
    """A receiver that holds its spool and its port from construction on.

    Args:
        settings: what to listen to and where to keep it.

    Raises:
        SpoolUnusable: the spool cannot be written.
        PortUnusable: the port cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.store = open_writer(
            settings.spool,
            purpose=f"a receiver on {settings.host}:{settings.port}",
        )
        try:
            self._socket = socket.create_server(
                (settings.host, settings.port), backlog=_BACKLOG, family=_family(settings.host)
            )
        except OSError as error:
            self.store.close()
            raise PortUnusable(
                f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
                "Stop what listens there, or set another port."
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self._committer = Committer(
            self.store,
            retention_ms=settings.retention_days * _DAY_MS,
            on_broken=self._give_up,
        )
        self._app = App(settings, self.store, self._committer)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                http=Connection,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self.broken: SpoolBroken | None = None

    def run(self) -> None:
        """Serve until `stop` is called, or in the main thread until SIGTERM or SIGINT."""
        uvloop.run(self._serve())

    def stop(self) -> None:
        """Take no new work, answer what is under way, commit it; from any thread."""
        self._server.should_exit = True

    async def _serve(self) -> None:
        _raise_file_limit()
        _collect_less_often()
        self._note_absence()
        self._committer.start()
        helpers = [asyncio.create_task(Connection.sweep()), asyncio.create_task(self._report())]
        _log.info(
            "Listening on http://%s:%d/webhook. %s has stored %d events so far.",
            self._settings.host,
            self.port,
            self._settings.spool_url,
            self.store.head,
        )
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            for helper in helpers:
                helper.cancel()
            await self._committer.close()
        _log.info("Stopped. Everything that was answered with 200 is in the spool.")

    def _note_absence(self) -> None:
        """Say so if no receiver ran for longer than Segment tries again."""
        try:
            absence = self.store.begin_receiving()
        except SpoolUnavailable as error:
            _log.warning("%s", error.reason)  # and /health says so until it is mended
            return
        if absence is not None:
            _log.warning("%s", tell_absence(absence))

    async def _report(self) -> None:
        """Say once a minute what came in, if anything did."""
        before = dict(self._app.statuses)
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            statuses = dict(self._app.statuses)
            new = {
                status: count - before.get(status, 0)
                for status, count in sorted(statuses.items())
                if count != before.get(status, 0)
            }
            before = statuses
            if new:
                answers = ", ".join(f"{status}: {count:,}" for status, count in new.items())
                _log.info("The last minute's answers by status: %s.", answers)

    def _give_up(self, error: SpoolBroken) -> None:
        if self.broken is None:
            _log.error("%s Stopping; start again to recover.", error.reason)
        self.broken = error
        self.stop()


def serve(settings: Settings) -> int:
    """Run a receiver in the main thread; return the process's exit code."""
    receiver = Receiver(settings)
    # uvicorn raises a caught signal again once it has stopped; that must not kill us then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: receiver.stop())
    receiver.run()
    return 1 if receiver.broken else 0


def start(receiver: Receiver) -> threading.Thread:
    """Run *receiver* in a thread of its own, which ends after `Receiver.stop`."""
    thread = threading.Thread(target=receiver.run, name="receiver")
    thread.start()
    return thread


def _raise_file_limit() -> None:
    """Allow as many open connections as the system lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _collect_less_often() -> None:
    """Let the cyclic collector look only at what is new, and every 10,000 objects, not 700.

    A request leaves few cycles behind; looking for them cost 5 to 10 % of the processor.
    """
    gc.freeze()
    gc.set_threshold(_COLLECT_OBJECTS)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
