"""What the books cannot show: events that never came, or come late.

Pure. Nobody can count what was not delivered; but a receiver that was away for
longer than Segment tries again, a silence that is longer than any before, and
events that arrive long after Segment had them can all be seen.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from tap_segment_webhook import timestamp
from tap_segment_webhook.spool.model import PATIENCE_MS

if TYPE_CHECKING:
    from tap_segment_webhook.spool.model import Absence, Signs

_AWAY_MS: Final = 3 * 60_000  # a receiver that runs leaves a sign every minute
_QUIET_MS: Final = 3_600_000
_QUIET_TIMES: Final = 3
_LATE_MS: Final = 15 * 60_000


def warnings(signs: Signs, *, now: int, delay: int | None) -> list[str]:
    """Return a sentence for each gap that *signs* tell of.

    *now* in milliseconds since 1970; *delay*, in milliseconds, is how long
    after Segment we had the latest events, if they say so.
    """
    found = [tell_absence(absence) for absence in signs.absences]
    away = now - signs.receiver_at
    if away > _AWAY_MS:
        until = timestamp.from_ms(signs.receiver_at + PATIENCE_MS)
        found.append(
            f"No receiver has run for {_span(away)}. "
            + (
                f"Segment tries again what came first until {until}: start it before."
                if away < PATIENCE_MS
                else "Segment tries again for 4 h: some of what it had to deliver is given up."
            )
        )
    elif signs.event_at is not None:
        quiet, usual = now - signs.event_at, signs.longest_pause or 0
        if quiet > max(_QUIET_MS, _QUIET_TIMES * usual):
            found.append(
                f"Nothing has been stored for {_span(quiet)}; the longest pause that is retained "
                f"was {_span(usual)}. Does Segment's delivery overview show failures?"
            )
    if delay is not None and delay > _LATE_MS:
        found.append(
            f"The latest events came {_span(delay)} after Segment had received them: Segment "
            "delivers them again after failures, or history was loaded."
        )
    return found


def tell_absence(absence: Absence) -> str:
    """Say what an *absence* of the receiver means."""
    since, until = timestamp.from_ms(absence.since), timestamp.from_ms(absence.until)
    return (
        f"No receiver ran from {since} to {until} ({_span(absence.until - absence.since)}), longer "
        "than Segment tries again (4 h): what it gave up on comes with a Replay in Segment."
    )


def _span(milliseconds: int) -> str:
    minutes, _ = divmod(timedelta(milliseconds=milliseconds), timedelta(minutes=1))
    return f"{minutes // 60:,} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004
