"""What a run may cost: events, and users as Segment bills them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_api.errors import BudgetReached

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Budget:
    """Counts events and different users.

    Segment bills the different `userId`s of a month, and the `anonymousId`s
    without one (its documentation of MTUs). Users are only remembered, at
    about 100 bytes each, where there is a limit or *count_users* is set; and
    never more of them than the limit.
    """

    def __init__(
        self, *, max_events: int | None, max_new_users: int | None, count_users: bool = False
    ) -> None:
        self._max_events = max_events
        self._max_users = max_new_users
        self._counts_users = count_users or max_new_users is not None
        self._users: set[str] = set()
        self._events = 0
        self.is_unlimited = max_events is None and not self._counts_users
        """Whether nothing has to be counted."""

    @property
    def users(self) -> int:
        """How many different users were counted."""
        return len(self._users)

    def spend(self, event: Mapping[str, Any]) -> None:
        """Count *event*.

        Raises:
            BudgetReached: there is nothing left for it.
        """
        if self._max_events is not None and self._events >= self._max_events:
            raise BudgetReached(f"max_events ({self._max_events:,}) is reached.")
        self._events += 1
        if self._counts_users:
            self._count_user(event)

    def _count_user(self, event: Mapping[str, Any]) -> None:
        user = f"u{event['userId']}" if "userId" in event else f"a{event.get('anonymousId')}"
        if user in self._users:
            return
        if self._max_users is not None and len(self._users) >= self._max_users:
            raise BudgetReached(f"max_new_users ({self._max_users:,}) is reached.")
        self._users.add(user)
