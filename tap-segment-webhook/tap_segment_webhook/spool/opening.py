"""Opens a spool: the one place that chooses the engine, by the URL."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from tap_segment_webhook.errors import NoSpool
from tap_segment_webhook.spool.layout import spool_path
from tap_segment_webhook.spool.reader import Reader as FileReader
from tap_segment_webhook.spool.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_segment_webhook.spool.engine import Reader, Writer
    from tap_segment_webhook.spool.model import Location


def open_writer(
    location: Location,
    *,
    purpose: str = "segment-receiver",
    create: bool = True,
    only_prunes: bool = False,
) -> Writer:
    """Open the spool at *location* for writing.

    Args:
        location: where it is and how it is kept.
        purpose: what opens it, for the message that another writer gets.
        create: make it if it is absent; else that is an error.
        only_prunes: nothing is committed, so that recent ids need not be loaded.

    Raises:
        SpoolUnusable: it cannot be written, and why.
    """
    if location.is_remote:
        from tap_segment_webhook.spool.jetstream.writer import (  # noqa: PLC0415 - an extra
            JetStreamWriter,
        )

        return JetStreamWriter(location, create=create)
    if not create:
        _ensure_file(location)
    return Store(
        location.url,
        dedup_window_events=None if only_prunes else location.dedup_window_events,
        max_bytes=location.max_bytes,
        purpose=purpose,
    )


def open_reader(location: Location) -> Reader:
    """Open the existing spool at *location* for reading.

    Raises:
        SpoolUnusable: there is none, or it cannot be read.
    """
    if location.is_remote:
        from tap_segment_webhook.spool.jetstream.reader import (  # noqa: PLC0415 - an extra
            JetStreamReader,
        )

        return JetStreamReader(location)
    _ensure_file(location)
    return FileReader(location.url)


@contextmanager
def open_existing(location: Location) -> Iterator[Reader | None]:
    """Open the spool at *location* for reading; give None if there is none yet.

    Raises:
        SpoolUnusable: it cannot be read.
    """
    try:
        reader = open_reader(location)
    except NoSpool:
        yield None
        return
    with closing(reader):
        yield reader


def _ensure_file(location: Location) -> None:
    if not spool_path(location.url).exists():
        raise NoSpool(f"There is no spool at {location.url} yet.")
