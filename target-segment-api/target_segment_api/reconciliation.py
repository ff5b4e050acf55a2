"""What a comparison of receipts and arrivals comes to, for programs and for people."""

from __future__ import annotations

from functools import reduce
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from target_segment_api.comparison import Figures
from target_segment_api.timestamp import from_ms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_segment_api.comparison import Comparison, Hour, Limits, Missing, Period

_RARE: Final = {"pending", "unknown"}  # a column only where there are some


class Reconciliation(NamedTuple):
    """Everything that is to be said."""

    period: Period
    limits: Limits
    receipts: int
    unreadable: int
    arrivals: int
    others: int
    retained_since: int | None
    hours: list[Hour]
    """In the order of streams, and then of time."""
    missing: list[Missing]
    """The first of them."""

    @classmethod
    def of(cls, comparison: Comparison, limits: Limits, shown: int) -> Reconciliation:
        """Ask a sorted *comparison*, and for *shown* events of those that are missing."""
        return cls(
            period=comparison.period,
            limits=limits,
            receipts=comparison.receipts,
            unreadable=comparison.unreadable,
            arrivals=comparison.arrivals,
            others=comparison.others(),
            retained_since=comparison.retained_since,
            hours=comparison.hours(limits),
            missing=comparison.missing(limits, shown),
        )

    @property
    def total(self) -> Figures:
        """The figures of all hours together."""
        return _sum(hour.figures for hour in self.hours)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values; moments as text, in UTC."""
        return {
            "at": from_ms(self.limits.now),
            "since": _moment(self.period.since),
            "until": _moment(self.period.until),
            "late_seconds": self.limits.late // 1000,
            "settle_seconds": self.limits.settle // 1000,
            "retained_since": _moment(self.retained_since),
            "receipts": self.receipts,
            "unreadable_receipts": self.unreadable,
            "arrivals": self.arrivals,
            "others": self.others,
            "total": self.total._asdict(),
            "streams": {
                stream: _sum(hour.figures for hour in hours)._asdict()
                for stream, hours in groupby(self.hours, attrgetter("stream"))
            },
            "hours": [
                {"stream": hour.stream, "hour": from_ms(hour.start), **hour.figures._asdict()}
                for hour in self.hours
            ],
            "missing": [
                {**event._asdict(), "accepted_at": from_ms(event.accepted_at)}
                for event in self.missing
            ],
        }

    def __str__(self) -> str:
        """Return it as a table and a few sentences."""
        total = self.total
        shown = [name for name in Figures._fields if name not in _RARE or getattr(total, name)]

        def row(stream: str, hour: str, figures: Figures) -> list[str]:
            return [stream, hour, *(f"{getattr(figures, name):,}" for name in shown)]

        rows = [
            ["stream", "hour (UTC)", *shown],
            *(row(hour.stream, _hour(hour.start), hour.figures) for hour in self.hours),
            row("total", "", total),
        ]
        return "\n".join([*_aligned(rows), "", *self._sentences()])

    def _sentences(self) -> Iterable[str]:
        total = self.total
        yield (
            f"{total.sent:,} sent = {total.delivered:,} delivered + {total.missing:,} missing "
            f"+ {total.pending:,} pending + {total.unknown:,} unknown"
        )
        if total.late:
            yield f"{total.late:,} took longer than {self.limits.late // 1000:,} s."
        if total.pending:
            yield (
                f"{total.pending:,} are pending: their receipts are younger than "
                f"{self.limits.settle // 1000:,} s."
            )
        if total.unknown:
            yield (
                f"{total.unknown:,} are unknown: they are older than what is retained where they "
                f"were looked for, which is complete since {_moment(self.retained_since)}."
            )
        if total.duplicated:
            yield f"{total.duplicated:,} are there more than once."
        if self.others:
            yield f"{self.others:,} other events are there that have no receipt of this period."
        if self.unreadable:
            yield (
                f"{self.unreadable:,} receipts were cut off when a process was killed; their "
                "events were not confirmed and come again."
            )
        yield from self._missing_lines()

    def _missing_lines(self) -> Iterable[str]:
        if self.missing:
            yield "Missing, the oldest first:"
        for event in self.missing:
            yield f"  {from_ms(event.accepted_at)}  {event.stream}  {event.message_id}"
        left = self.total.missing - len(self.missing)
        if self.missing and left:
            yield f"  and {left:,} more: --missing {self.total.missing} lists all."


def _sum(figures: Iterable[Figures]) -> Figures:
    return reduce(Figures.plus, figures, Figures())


def _aligned(rows: list[list[str]]) -> Iterable[str]:
    """Yield *rows* as lines: two columns of words, then figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if place > 1 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells)


def _hour(start: int) -> str:
    return from_ms(start)[:16].replace("T", " ")


def _moment(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else from_ms(milliseconds)
