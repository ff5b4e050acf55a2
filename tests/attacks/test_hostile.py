"""Whatever is sent to the receiver, it neither fails, nor says yes to what it does not keep."""

from __future__ import annotations

import gzip
import json
import os
import socket
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
import yaml
from harness import deliveries
from harness.attacks import ROUNDS, attack
from harness.receiver import HOST, SECRET, Receiver
from harness.spool import balanced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tap_segment_webhook.call import CALLS
from tap_segment_webhook.spool.model import Counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemathesis import Case

AREA = "receiver"
ODDITIES = "bombs, bottomless JSON, floods of headers, odd paths, two lengths"
KEY = "not-a-real-key"
BASIC = {"Authorization": f"Basic {b64encode(f'{KEY}:'.encode()).decode()}"}
MEMORY_BYTES = 200 << 20
DESCRIPTION = Path(__file__).parents[2] / "tap-segment-webhook" / "openapi.yml"
API = schemathesis.openapi.from_dict(yaml.safe_load(DESCRIPTION.read_text("utf-8")))
OPERATIONS = [found.ok() for found in API.get_all_operations() if isinstance(found, Ok)]
TAKING = [each for each in OPERATIONS if each.path not in ("/health", "/metrics")]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
IS_LONG = "SOAK_ROUNDS" in os.environ
REQUESTS = settings(
    max_examples=150 if IS_LONG else 12, deadline=None, suppress_health_check=list(HealthCheck)
)
BYTES = settings(
    max_examples=1000 if IS_LONG else 12, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Give a receiver; at the end its books balance, it has said nothing odd and is small."""
    sources = [{"name": "open", "allow_unsigned": True}]
    with Receiver(
        tmp_path_factory.mktemp("hostile"), write_key=KEY, sources=sources, integration_name="Us"
    ) as running:
        yield running

        assert running.get("/health").status_code == 200
        balanced(running.spool_url)
        assert running.memory_peak() < MEMORY_BYTES
        assert "Traceback" not in running.log


def test_description_names_every_path() -> None:
    """What is not described would not be attacked."""
    paths = {operation.path for operation in OPERATIONS}

    assert paths == {
        *("/webhook", "/webhook/{source}", "/health", "/metrics"),
        *("/v1/{call}", "/v1/batch", "/v1/b", "/v1/import", "/v1/m"),
        *("/v1/pixel/{call}", "/v1/projects/{write_key}/settings"),
    }
    described = API["/v1/{call}"]["POST"].definition.raw
    assert described["requestBody"]["required"] is True
    enum = yaml.safe_load(DESCRIPTION.read_text("utf-8"))["paths"]["/v1/{call}"]["parameters"][0]
    assert {*enum["schema"]["enum"]} == {*CALLS, *(name[0] for name in CALLS)}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("operation", TAKING, ids=lambda operation: operation.label)
def test_every_answer_is_as_described(receiver: Receiver, operation: Any, mode: Any) -> None:
    """To what fits the description, and to what does not; and a 200 never says yes in vain."""
    session = requests.Session()
    before = balanced(receiver.spool_url)
    said = Counts()
    kept = 0

    @REQUESTS
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        nonlocal said, kept
        if operation.path == "/webhook/{source}":
            case.path_parameters["source"] = "open"
        key = BASIC if operation.path.startswith("/v1") else {}
        answer = case.call(base_url=receiver.base_url, session=session, headers=key)
        tally.rounds += 1
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code == 200 and "received" in answer.text:
            counts = json.loads(answer.content)
            said = said.plus(Counts(*(counts[name] for name in Counts._fields)))
        elif answer.status_code == 400 or "/pixel/" in operation.path:
            kept += 1

    with attack(
        AREA, "requests that fit the description of its interface, and that do not"
    ) as tally:
        ask()

        booked = balanced(receiver.spool_url)
        entered = Counts(*(now - then for now, then in zip(booked, before, strict=True)))
        tally.events, tally.lost = said.stored, max(0, said.stored - entered.stored)
        if not kept:
            assert entered == said
        else:
            assert said.received <= entered.received <= said.received + kept
            assert entered.stored >= said.stored


def test_bytes_that_are_no_http_cost_nothing(receiver: Receiver) -> None:
    """They are answered 400 or cut off."""

    @BYTES
    @given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
    def send(noise: bytes) -> None:
        answer = answered(receiver, noise + b"\r\n\r\n", closes=True)
        tally.rounds += 1

        assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 2"))
        assert not answer.startswith(b"HTTP/1.1 5")

    with attack(AREA, "bytes that are no HTTP") as tally:
        send()
        balanced(receiver.spool_url)


def test_tampered_delivery_is_refused(receiver: Receiver) -> None:
    """One bit of body or signature is enough, and nothing is kept of it."""
    event = {"type": "track", "event": "Order Completed", "userId": "usr_1", "messageId": "m-1"}

    @BYTES
    @given(st.data())
    def deliver(data: st.DataObject) -> None:
        body = bytearray(deliveries.encode(event))
        headers = deliveries.Delivery(bytes(body), bytes(body)).headers(SECRET)
        signature = bytearray(headers["X-Signature"].encode())
        part = data.draw(st.sampled_from([body, signature]))
        place = data.draw(st.integers(0, len(part) - 1))
        mask = data.draw(st.integers(1, 127))
        if part is signature:
            digits = b"0123456789abcdef"
            part[place] = digits[(digits.index(part[place]) + 1 + mask % 15) % 16]
        else:
            part[place] ^= mask

        answer = receiver.post(bytes(body), {**headers, "X-Signature": signature.decode()})

        tally.rounds += 1
        assert answer.status_code == 401

    before = balanced(receiver.spool_url)
    with attack(AREA, "deliveries of which a bit was changed") as tally:
        deliver()

        assert balanced(receiver.spool_url) == before


def test_replayed_delivery_is_stored_once(receiver: Receiver) -> None:
    """A signature has no time in it: only the id tells a second one."""
    event = {"type": "track", "event": "x", "userId": "u", "messageId": "replayed"}
    delivery = deliveries.Delivery(deliveries.encode(event), deliveries.encode(event))
    before = balanced(receiver.spool_url)
    with attack(AREA, "a signed delivery is replayed") as tally:
        answers = [receiver.deliver(delivery).json() for _ in range(ROUNDS)]

        tally.rounds, tally.events = ROUNDS, 1
        assert [answer["stored"] for answer in answers] == [1] + (ROUNDS - 1) * [0]
        assert sum(answer["duplicate"] for answer in answers) == ROUNDS - 1
        assert balanced(receiver.spool_url) == before.plus(
            Counts(ROUNDS, stored=1, duplicate=ROUNDS - 1)
        )


BOMB = gzip.compress(bytes(100 << 20))
BOTTOMLESS = b'{"type":"track","properties":' + b"[" * 1_000_000


@pytest.mark.parametrize(
    ("headers", "body", "statuses"),
    [
        ({"Content-Encoding": "gzip"}, BOMB, (413,)),
        ({"Content-Encoding": "gzip"}, BOMB[:5000], (400, 413)),
        ({"Content-Encoding": "gzip"}, gzip.compress(BOMB), (400, 413)),
        ({"Content-Encoding": "gzip, gzip"}, gzip.compress(BOMB), (400, 413, 415)),
        ({}, bytes(17 << 20), (413,)),
        ({}, BOTTOMLESS, (400,)),
        ({}, b"[" * 1_000_000, (400,)),
        ({}, b'{"a":' * 200_000 + b"1" + b"}" * 200_000, (400,)),
        ({}, b'{"type":"track","properties":{"n":' + b"9" * 1_000_000 + b"}}", (200, 400)),
        ({f"X-{number}": "x" * 100 for number in range(5000)}, b"{}", (400, 431)),
        ({"X-Long": "x" * 10_000_000}, b"{}", (400, 431)),
        ({"Cookie": "a=b; " * 100_000}, b"{}", (400, 431)),
    ],
)
def test_bombs_and_floods_are_refused(
    receiver: Receiver, headers: dict[str, str], body: bytes, statuses: tuple[int, ...]
) -> None:
    """With a status of 4xx, or cut off; a 200 only for what is stored."""
    before = balanced(receiver.spool_url)
    with attack(AREA, ODDITIES) as tally:
        try:
            answer = receiver.post(body, headers, path="/webhook/open")
        except requests.ConnectionError:
            answer = None  # cut off before it had sent all

        after = balanced(receiver.spool_url)
        tally.rounds = 1
        assert answer is None or answer.status_code in statuses
        if answer is not None and answer.status_code == 200:
            assert after.received == before.received + answer.json()["received"]
        assert after.stored + after.rejected - before.stored - before.rejected <= 1


@pytest.mark.parametrize(
    "path",
    [
        *("//webhook", "/webhook//", "/webhook/../metrics", "/./webhook", "/webhook;x=1"),
        *("/webhook%00", "/webhook/%2e%2e/metrics", "/WEBHOOK", "/webhook/op%65n/", "/v1"),
        *("/v1/../webhook", "/v1//batch", "/v1/batch%2f", "/v1/batch;", "/v1/pixel/../batch"),
        *("/v1/projects/../settings", "/v1/projects//settings", "/v1/projects/%00/settings"),
        *("/etc/passwd", "/%", "/\\webhook", "*", "http://127.0.0.1/webhook/none"),
    ],
)
def test_odd_paths_lead_nowhere(receiver: Receiver, path: str) -> None:
    """Sent as they are, which no ordinary client does."""
    body = b'{"type":"track","userId":"u","event":"x"}'
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n"
        f"Authorization: {BASIC['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    before = balanced(receiver.spool_url)
    with attack(AREA, ODDITIES) as tally:
        answer = answered(receiver, head.encode() + body)

        tally.rounds = 1
        assert answer.startswith(b"HTTP/1.1 4")
        assert balanced(receiver.spool_url) == before


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 50\r\n",
        b"Content-Length: 50\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
def test_ambiguous_length_is_never_two_requests(receiver: Receiver, head: bytes) -> None:
    """A proxy and we must not read different requests from the same bytes."""
    smuggled = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    start = b"POST /webhook/open HTTP/1.1\r\nHost: x\r\n"
    with attack(AREA, ODDITIES) as tally:
        answer = answered(receiver, start + head + b"\r\n0\r\n\r\n" + smuggled, closes=True)

        tally.rounds = 1
        assert b"segment_receiver_" not in answer
        assert not answer.startswith(b"HTTP/1.1 5")
        balanced(receiver.spool_url)


def answered(receiver: Receiver, request: bytes, *, closes: bool = False) -> bytes:
    """Send *request* as it is, and that nothing more comes if it *closes*; return the answer."""
    with socket.create_connection((HOST, receiver.port), timeout=10) as connection:
        connection.sendall(request)
        if closes:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))
