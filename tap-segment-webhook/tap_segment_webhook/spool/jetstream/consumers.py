"""How far each pipeline has confirmed, as one value a pipeline in the bucket of the spool."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from tap_segment_webhook.errors import SpoolUnavailable
from tap_segment_webhook.spool.jetstream.link import PATIENCE_SECONDS, Away, Refused
from tap_segment_webhook.spool.jetstream.state import Conflict
from tap_segment_webhook.spool.model import Replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_segment_webhook.spool.jetstream.state import State

    Value = dict[str, Any] | None

_QUICK_SECONDS: Final = 2.0


class JetStreamConsumers:
    """The consumers of the spool whose identity is *spool_id* (see `engine.Consumers`).

    Args:
        state: the bucket.
        spool_id: the keys start with it.
        is_patient: whether to wait while the servers elect a leader; a receiver does not.
    """

    def __init__(self, state: State, spool_id: str, *, is_patient: bool) -> None:
        self._state = state
        self._prefix = f"{spool_id}.consumer."
        self._seconds = PATIENCE_SECONDS if is_patient else _QUICK_SECONDS

    def register(self, name: str) -> None:
        """Make *name* known."""
        self._change(name, lambda value: value or _new(name))

    def confirm(self, name: str, position: int, now: int) -> None:
        """Record durably that all up to *position* has reached the target of *name*."""
        self._change(
            name,
            lambda value: {**(value or _new(name)), "position": position, "confirmed_at": now},
        )

    def forget(self, name: str) -> bool:
        """Stop keeping events for *name*; tell whether it was known."""
        return self._change(name, lambda _: None) is not None

    def ask_for(self, name: str, replay: Replay) -> None:
        """Have the next run of *name* emit *replay*."""
        self._change(name, lambda value: {**(value or _new(name)), "replay": replay._asdict()})

    def end_replay(self, name: str) -> bool:
        """Take back what *name* was to be given again; tell whether there was anything."""
        before = self._change(name, lambda value: value and {**value, "replay": None})
        return bool(before and before["replay"])

    def positions(self) -> dict[str, int]:
        """Return the confirmed position of every known consumer."""
        return {value["name"]: value["position"] for value in self._all()}

    def replays(self) -> dict[str, Replay]:
        """Return what each consumer is to be given again."""
        return {
            value["name"]: Replay(**value["replay"]) for value in self._all() if value["replay"]
        }

    def floor(self) -> int:
        """Return the position up to which no consumer needs an event; with none known, 0."""
        values = self._all()
        needed = [value["replay"]["first"] - 1 for value in values if value["replay"]]
        return min([*(value["position"] for value in values), *needed], default=0)

    def _all(self) -> list[dict[str, Any]]:
        try:
            found = self._state.under(self._prefix, seconds=self._seconds)
        except (Away, Refused) as error:
            raise SpoolUnavailable(f"The confirmed positions cannot be read: {error}.") from error
        values = [entry.value for entry in found.values() if entry.value is not None]
        return sorted(values, key=lambda value: str(value["name"]))

    def _change(self, name: str, make: Callable[[Value], Value]) -> Value:
        """Put what *make* makes of the value of *name*; return the one before."""
        encoded = base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")
        key = f"{self._prefix}{encoded or '='}"
        try:
            while True:
                before, revision = self._state.get(key, seconds=self._seconds)
                after = make(before)
                if after == before:
                    return before
                try:
                    self._state.put(key, after, revision, self._seconds)
                except Conflict:
                    continue
                return before
        except (Away, Refused) as error:
            raise SpoolUnavailable(
                f"The position of {name!r} cannot be written: {error}."
            ) from error


def _new(name: str) -> dict[str, Any]:
    return {"name": name, "position": 0, "confirmed_at": None, "replay": None}
