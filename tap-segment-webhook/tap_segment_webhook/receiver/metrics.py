"""The figures of `/metrics`, in the text format that Prometheus reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from tap_segment_webhook.spool.engine import Writer


def render(
    store: Writer, positions: Mapping[str, int], waiting_bytes: int, statuses: Mapping[int, int]
) -> bytes:
    """Return all figures; the event counts are those since the spool was created."""
    registry = CollectorRegistry()
    registry.register(_Figures(store, positions, waiting_bytes, statuses))
    return generate_latest(registry)


class _Figures:
    def __init__(
        self,
        store: Writer,
        positions: Mapping[str, int],
        waiting_bytes: int,
        statuses: Mapping[int, int],
    ) -> None:
        self._store = store
        self._positions = positions
        self._waiting_bytes = waiting_bytes
        self._statuses = statuses

    def collect(self) -> Iterator[Metric]:
        """Yield each figure (what a Prometheus registry calls)."""
        events = CounterMetricFamily(
            "segment_receiver_events",
            "Events by what became of them; received is the sum of the others.",
            labels=["source", "outcome"],
        )
        for source, counts in self._store.books.items():
            for outcome, count in counts._asdict().items():
                events.add_metric([source, outcome], count)
        yield events
        requests = CounterMetricFamily(
            "segment_receiver_requests", "Requests by status, since the start.", labels=["status"]
        )
        for status, count in self._statuses.items():
            requests.add_metric([str(status)], count)
        yield requests
        waiting = GaugeMetricFamily(
            "segment_receiver_waiting_events",
            "Events that a consumer has not confirmed.",
            labels=["consumer"],
        )
        for consumer, position in self._positions.items():
            waiting.add_metric([consumer], self._store.head - position)
        yield waiting
        for name, help_text, value in (
            ("head_position", "The last position given to an event.", self._store.head),
            (
                "last_stored_timestamp_seconds",
                "When an event was last stored, in seconds since 1970; 0 if none is retained.",
                self._store.stored_at / 1000,
            ),
            ("spool_bytes", "Bytes of the spool in use.", self._store.used_bytes),
            ("rejects", "Rejects that are kept.", self._store.rejects),
            ("uncommitted_bytes", "Bytes that wait for the disk.", self._waiting_bytes),
        ):
            yield GaugeMetricFamily(f"segment_receiver_{name}", help_text, value=value)
