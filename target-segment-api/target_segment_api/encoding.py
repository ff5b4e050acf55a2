"""JSON, read and written so that numbers keep their digits. Pure."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(float_hook=Decimal).decode

_HALF_PAIRS = re.compile("[\ud800-\udfff]")
_INT_DIGITS: Final = 4000  # Python refuses to make an int of more than 4,300


def decode(text: bytes | str) -> Any:
    r"""Return the value of the JSON *text*; numbers with a point are `Decimal`.

    Also reads what some taps write and the fast reader refuses: half a surrogate
    pair (`"\ud83d"`), `NaN`, bytes that are no UTF-8 (replaced), and numbers of any
    size; only one whose exponent alone has twenty digits becomes null, as `NaN` does.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return _decode(text)
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError):
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        try:
            return json.loads(
                text, parse_float=_number, parse_int=_integer, parse_constant=lambda _: None
            )
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def encode(value: Any) -> bytes:
    """Return *value* as JSON without white space, in UTF-8.

    `Decimal` keeps its digits as a number, and has to be finite, as those of
    `decode` are. A float that is not becomes null, as in JavaScript's
    `JSON.stringify`; half a surrogate pair becomes U+FFFD, as in browsers and in Go.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return _encode(_cleaned(value))


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < _INT_DIGITS else Decimal(text)


def _cleaned(value: Any) -> Any:
    """Return *value* with everything replaced that JSON in UTF-8 cannot hold.

    Without recursion, for the fast reader nests deeper than Python calls.
    """
    top: list[Any] = [value]
    copies: list[Any] = [top]
    for copy in copies:  # which grows meanwhile
        for place, item in [*(copy.items() if isinstance(copy, dict) else enumerate(copy))]:
            if isinstance(item, str):
                copy[place] = _whole(item)
            elif isinstance(item, dict):
                copy[place] = {_whole(key): entry for key, entry in item.items()}
                copies.append(copy[place])
            elif isinstance(item, list | tuple):
                copy[place] = [*item]
                copies.append(copy[place])
    return top[0]


def _whole(text: str) -> str:
    return _HALF_PAIRS.sub("\ufffd", text)
