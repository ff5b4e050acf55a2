"""Operator, account and user of NATS, as signed tokens: what `.creds` files are made of.

The claims are those of NATS's JWT, version 2; keys are Ed25519 in the form of `nkeys`.
"""

from __future__ import annotations

import base64
import json
import os
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import nkeys

if TYPE_CHECKING:
    from pathlib import Path

_LIMITS: Final = dict.fromkeys(
    ("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1
)
_STORAGE: Final = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


class Account:
    """An account with JetStream, of an operator that is made for it."""

    def __init__(self) -> None:
        operator, system, self._pair = (
            _pair(kind)
            for kind in (
                nkeys.PREFIX_BYTE_OPERATOR,
                nkeys.PREFIX_BYTE_ACCOUNT,
                nkeys.PREFIX_BYTE_ACCOUNT,
            )
        )
        preload = ", ".join(
            f"{_name(pair)}: {_signed(operator, pair, {'type': 'account', 'limits': limits})}"
            for pair, limits in ((system, _LIMITS), (self._pair, _LIMITS | _STORAGE))
        )
        self.configuration = (
            f"operator: {_signed(operator, operator, {'type': 'operator'})}\n"
            f"system_account: {_name(system)}\n"
            f"resolver: MEMORY\nresolver_preload: {{ {preload} }}\n"
        )
        """What a server needs to know of them."""

    def write_credentials(self, path: Path) -> str:
        """Write the credentials of a new user to *path*; return the secret in it."""
        user = _pair(nkeys.PREFIX_BYTE_USER)
        token = _signed(self._pair, user, {"type": "user", "subs": -1, "data": -1, "payload": -1})
        seed = bytes(user.seed).decode()
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
            "utf-8",
        )
        return seed


def _pair(kind: int) -> nkeys.KeyPair:
    return nkeys.from_seed(bytearray(nkeys.encode_seed(os.urandom(32), kind)))


def _name(pair: nkeys.KeyPair) -> str:
    return str(pair.public_key.decode())


def _signed(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, claims: dict[str, Any]) -> str:
    """Return the token in which *issuer* says of *subject* what *claims* hold."""
    body = {
        "jti": uuid.uuid4().hex,
        "iat": int(time.time()),
        "iss": _name(issuer),
        "sub": _name(subject),
        "name": claims["type"],
        "nats": {**claims, "version": 2},
    }
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, body))
    return f"{signed}.{_encoded(issuer.sign(signed.encode()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
