"""Measurements and how they are shown: ratios are the result, numbers are context."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

OURS = "ours"
NOTHING = "\N{EN DASH}"


class Asked(NamedTuple):
    """What was asked for: a bound of the ratio to a peer, or, of ours, of the value itself."""

    sign: Literal["≥", "≤"]
    bound: float

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"

    def is_met(self, found: float) -> bool:
        """Tell whether *found* is within the bound."""
        return found >= self.bound if self.sign == "≥" else found <= self.bound


@dataclass(frozen=True)
class Measurement:
    """One thing that was measured: by receiver or program, a value for each round."""

    what: str
    unit: str
    rounds: dict[str, list[float]] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)

    def add(self, who: str, value: float) -> None:
        """Note one more round of *who*."""
        self.rounds.setdefault(who, []).append(value)

    def medians(self) -> dict[str, float]:
        """Return the median of each one's rounds."""
        return {who: statistics.median(values) for who, values in self.rounds.items()}

    def ratios(self) -> dict[str, float]:
        """Return ours divided by each peer."""
        medians = self.medians()
        mine = medians.pop(OURS, None)
        return {who: round(mine / value, 3) for who, value in medians.items()} if mine else {}

    def to_json(self) -> dict[str, Any]:
        """Return all of it for the JSON file."""
        peers = self.medians()
        mine = peers.pop(OURS, None)
        own = {"what": self.what, "unit": self.unit, "ours": mine, "peers": peers}
        asked = {"asked": {who: str(bound) for who, bound in self.asked.items()}}
        return own | {"ratios": self.ratios(), **asked, "rounds": self.rounds}

    def verdict(self, who: str) -> str:
        """Return what was asked where *who* stands, and whether it is met; else an empty text."""
        asked = self.asked.get(who)
        found = self.medians().get(who) if who == OURS else self.ratios().get(who)
        if asked is None or found is None:
            return ""
        return f"asked {asked}{'' if asked.is_met(found) else ', missed'}"


def table(measurements: list[Measurement]) -> str:
    """Return *measurements* as text, one line for each value, ratios last."""
    width = max((len(who) for each in measurements for who in each.rounds), default=0)
    width = max(width, 42)
    lines = [f"{'':{width + 2}}{'median':>12}  {'unit':<12}ours is"]
    for measurement in measurements:
        lines += ["", measurement.what, *_lines(measurement, width)]
    return "\n".join(lines)


def markdown(measurements: list[Measurement]) -> str:
    """Return *measurements* as the table that stands in the README, a line for each peer."""
    rows = ["| | ours | peer | ours is |", "|---|---:|---:|---:|"]
    for measurement in measurements:
        rows += _rows(measurement)
    return "\n".join(rows)


def _lines(measurement: Measurement, width: int) -> list[str]:
    ratios = measurement.ratios()
    return [
        f"  {who:<{width}}{_number(value):>12}  {measurement.unit:<12}"
        f"{_times(ratios.get(who)):<10}{measurement.verdict(who)}".rstrip()
        for who, value in measurement.medians().items()
    ]


def _rows(measurement: Measurement) -> list[str]:
    medians, ratios = measurement.medians(), measurement.ratios()
    mine = medians.pop(OURS, None)
    what = f"{measurement.what}, {measurement.unit}"
    own = NOTHING if mine is None else _number(mine)
    found = [("", _verdict(measurement, OURS))] if not medians or measurement.verdict(OURS) else []
    found += [
        (f"{who}: {_number(value)}", f"{_times(ratios.get(who))} {_verdict(measurement, who)}")
        for who, value in medians.items()
    ]
    firsts = [f"| {what} | {own}", *["| | "] * (len(found) - 1)]
    return [
        f"{first} | {peer} | {last.strip()} |"
        for first, (peer, last) in zip(firsts, found, strict=True)
    ]


def _verdict(measurement: Measurement, who: str) -> str:
    verdict = measurement.verdict(who)
    return f"({verdict})" if verdict else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} x"
