"""Measurements and how they are shown: ratios are the result, numbers are context."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

OURS = "ours"


@dataclass(frozen=True)
class Measurement:
    """One thing that was measured: by receiver or program, a value for each round."""

    what: str
    unit: str
    rounds: dict[str, list[float]] = field(default_factory=dict)

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
        return own | {"ratios": self.ratios(), "rounds": self.rounds}


def table(measurements: list[Measurement]) -> str:
    """Return *measurements* as text, one line for each value, ratios last."""
    lines = [f"{'':44}{'median':>12}  {'unit':<12}ours is"]
    for measurement in measurements:
        lines += ["", measurement.what, *_lines(measurement)]
    return "\n".join(lines)


def _lines(measurement: Measurement) -> list[str]:
    ratios = measurement.ratios()
    return [
        f"  {who:<42}{_number(value):>12}  {measurement.unit:<12}{_times(ratios.get(who))}".rstrip()
        for who, value in measurement.medians().items()
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} x"
