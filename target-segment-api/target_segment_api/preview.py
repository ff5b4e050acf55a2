"""What would be sent, without sending it: the target's own way, with other ends.

Every event is also checked against its JSON Schema.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

from target_segment_api.books import FIGURES
from target_segment_api.budget import Budget
from target_segment_api.client import ACCEPTED, Answer
from target_segment_api.dispatcher import Dispatcher
from target_segment_api.encoding import encode
from target_segment_api.mapping.field import name_kind
from target_segment_api.receipts import Receipts
from target_segment_api.rules import explain
from target_segment_api.settings import Settings
from target_segment_api.target import TargetSegmentApi

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_api.event import Event


class _Scale:
    """Weighs the batches of one lane instead of sending them."""

    def __init__(self) -> None:
        self.batches = 0
        self.bytes = 0

    def post(self, body: bytes) -> Answer:
        self.batches += 1
        self.bytes += len(body)
        return ACCEPTED


class _Reasons:
    """Counts why events would be set aside, and sets none aside."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(
        self,
        *,
        event: Any,  # noqa: ARG002 - as everything that takes rejects
        reasons: Sequence[str],
        stream: str,
        key: Any,  # noqa: ARG002
        message_id: str | None,  # noqa: ARG002
    ) -> None:
        self.counts.update((stream, reason) for reason in reasons)

    def check(self, events: int) -> None:
        """All of them are wanted."""

    def sync(self) -> None:
        """Nothing is kept."""

    close = sync


class PreviewTarget(TargetSegmentApi):
    """Does all that the target does, up to what would be sent."""

    problems: Callable[[Event], list[str]] = staticmethod(explain)

    @cached_property
    @override
    def settings(self) -> Settings:
        found = Settings.from_config(self.config)
        return found._replace(
            check_write_key="off",
            dry_run=True,
            max_events_per_second=0,
            on_invalid="reject",
            receipts_path=None,
        )

    @cached_property
    @override
    def budget(self) -> Budget:
        return Budget(max_events=None, max_new_users=None, count_users=True)

    @cached_property
    @override
    def dispatcher(self) -> Dispatcher:
        self._scales: list[_Scale] = []
        self._reasons = _Reasons()
        return Dispatcher(
            self.settings,
            transport=self._make_scale,
            write_state=self._write_state_message,
            rejects=self._reasons,
            receipts=Receipts(None),
            changes=self.changes,
        )

    def _make_scale(self) -> _Scale:
        self._scales.append(_Scale())
        return self._scales[-1]

    def findings(self, *, show_values: bool = False) -> dict[str, Any]:
        """Return what was found, after `listen`, as JSON has it.

        The sample events have kinds of values in place of values, unless *show_values*.
        """
        books = self.dispatcher.books.as_dict()
        mappings = [
            {
                "stream": stream,
                "call": number,
                "rows": call.rows,
                "skipped": call.skipped,
                "events": call.events,
                "invalid": call.invalid,
                "sample": call.sample if show_values else _mask_sample(call.sample),
            }
            for stream, tally in self.dispatcher.books.streams.items()
            for number, call in enumerate(tally.calls)
        ]
        return {
            **books,
            "mappings": mappings,
            "unused_mappings": self.mappings.unused,
            "missing_columns": [
                str(mistake) for found in self.mappings.missing.values() for mistake in found
            ],
            "api_calls": books["total"]["sent"],
            "users": self.budget.users,
            "batches": sum(scale.batches for scale in self._scales),
            "bytes": sum(scale.bytes for scale in self._scales),
            "invalid": [
                {"stream": stream, "reason": reason, "events": count}
                for (stream, reason), count in self._reasons.counts.most_common()
            ],
        }


def _mask_sample(event: Event | None) -> Any:
    """Return *event* with what kind each of its values is; which call it is, is no secret."""
    return event and {**_mask(event), "type": event["type"]}


def _mask(value: Any) -> Any:
    """Return *value* with what kind each scalar in it is in its place."""
    if isinstance(value, dict):
        return {key: _mask(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mask(item) for item in value]
    return value if value is None else f"<{name_kind(value)}>"


def describe(findings: dict[str, Any]) -> str:
    """Return *findings* as a table for people."""
    streams: dict[str, dict[str, int]] = findings["streams"]
    columns = [name for name in FIGURES if name != "pending"]
    titles = ["valid" if name == "sent" else name for name in columns]
    width = max([6, *map(len, streams)])
    lines = [f"{'stream':<{width}}" + "".join(f"{title:>12}" for title in titles)]
    for stream, figures in streams.items():
        lines.append(f"{stream:<{width}}" + "".join(f"{figures[name]:>12,}" for name in columns))
    lines.append("")
    lines.append(
        f"{findings['api_calls']:,} API calls, {findings['users']:,} different users (as Segment "
        f"bills them), {findings['batches']:,} batches, {findings['bytes']:,} bytes before "
        "compression."
    )
    for mapping in findings["mappings"]:
        lines.append(
            f"mappings.{mapping['stream']}[{mapping['call']}]: {mapping['rows']:,} rows, "
            f"{mapping['skipped']:,} skipped by its trigger, {mapping['events']:,} events, "
            f"{mapping['invalid']:,} of them invalid."
        )
        if mapping["sample"] is not None:
            lines.append(f"    {encode(mapping['sample']).decode()}")
    lines += findings["missing_columns"]
    lines += [f"mappings.{stream}: no stream came." for stream in findings["unused_mappings"]]
    lines += [
        f"{fault['events']:,} of stream {fault['stream']} would be set aside: {fault['reason']}"
        for fault in findings["invalid"]
    ]
    lines.append("Nothing was sent.")
    return "\n".join(lines)
