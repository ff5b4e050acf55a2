"""The loop guard: an event that this target has sent does not go through it again. Pure.

Segment hands an event that was sent to one of its sources on to webhooks, where
a tap may receive it and a pipeline send it here once more. So each event carries
in its context the namespaces of the targets it went through, as Segment's own
Repeater destination does in `context.repeatChain`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from target_segment_api.event import Event

CHAIN: Final = "sentThrough"

_BEFORE_CONTEXT: Final = ("type", "userId", "anonymousId", "timestamp", "channel")


def has_passed(event: Event, namespace: str) -> bool:
    """Tell whether *event* was sent with this *namespace* before."""
    context = event.get("context")
    chain = context.get(CHAIN) if isinstance(context, dict) else None
    return isinstance(chain, list) and namespace in chain


def mark(event: Event, namespace: str) -> None:
    """Note in the context of *event* that it went through *namespace*.

    A context that was absent comes where `event` puts one that was not: message
    ids depend on the order.
    """
    context = event.get("context", {})
    if not isinstance(context, dict):
        return  # invalid, and found to be so
    chain = context.get(CHAIN)
    chain = [*chain, namespace] if isinstance(chain, list) else [namespace]
    later = (
        {}
        if "context" in event
        else {name: event.pop(name) for name in [*event] if name not in _BEFORE_CONTEXT}
    )
    event["context"] = {**context, CHAIN: chain}
    event.update(later)
