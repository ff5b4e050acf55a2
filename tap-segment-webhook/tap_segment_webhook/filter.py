"""Which events are switched off for us in their own `integrations` object.

Segment's rule: the name itself decides if it is there, else `All` does; what
is neither false nor absent is on. Names are compared as they are written.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tap_segment_webhook.event import read_tolerantly


class _Switches(msgspec.Struct, gc=False):
    integrations: Any = None


_decode = msgspec.json.Decoder(_Switches).decode


def switched_off(body: bytes, name: str) -> bool:
    """Tell whether the event in *body* is not meant for the integration *name*."""
    try:
        integrations = _decode(body).integrations
    except (msgspec.MsgspecError, UnicodeDecodeError):
        integrations = read_tolerantly(body).get("integrations")
    if not isinstance(integrations, dict):
        return False
    return integrations.get(name, integrations.get("All")) is False
