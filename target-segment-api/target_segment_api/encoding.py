"""JSON, read and written so that numbers keep their digits. Pure."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(float_hook=Decimal).decode

_HALF_PAIRS = re.compile("[\ud800-\udfff]")


def decode(text: bytes | str) -> Any:
    r"""Return the value of the JSON *text*; numbers with a point are `Decimal`.

    Also reads what some taps write and the fast reader refuses: half a surrogate
    pair (`"\ud83d"`), `NaN`, bytes that are no UTF-8 (replaced).

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        try:
            return json.loads(text, parse_float=Decimal, parse_constant=lambda _: None)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def encode(value: Any) -> bytes:
    """Return *value* as JSON without white space, in UTF-8.

    `Decimal` keeps its digits as a number; what is infinite or NaN becomes null,
    as in JavaScript's `JSON.stringify`; half a surrogate pair becomes U+FFFD, as in
    browsers and in Go.
    """
    try:
        text = _encode(value)
    except UnicodeEncodeError:
        return _encode(_cleaned(value))
    # The fast writer writes a Decimal that is no number as NaN, which is no JSON.
    return _encode(_cleaned(value)) if b"NaN" in text or b"Infinity" in text else text


def _cleaned(value: Any) -> Any:
    """Return *value* with everything replaced that JSON in UTF-8 cannot hold."""
    if isinstance(value, str):
        return _HALF_PAIRS.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    return value
