"""The receiver over real HTTP: each delivery gets its answer, and a 200 means it is on disk."""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import re
import resource
import signal
import socket
import struct
import subprocess
import threading
import zlib
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from harness import deliveries, spool
from harness.answers import counts, reason
from harness.deliveries import Delivery, array, encode, sign, single
from harness.process import DidNotStart
from harness.receiver import HOST, SECRET, Receiver
from harness.waiting import wait_until
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

MIB = 1 << 20
MAX_BODY = 4 * MIB
NEXT_SECRET = "not-a-real-secret-either"  # noqa: S105
NO_EVENT = b'{"type":"order","messageId":"order-1"}'
ENGAGE_ONLY = {"All": False, "Webhooks": True}
NO_LINGER = struct.pack("ii", 1, 0)  # closing is a reset
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Give a receiver with several sources."""
    sources: list[dict[str, Any]] = [
        {"name": "app", "shared_secrets": [NEXT_SECRET, SECRET]},
        {"name": "open", "allow_unsigned": True},
    ]
    with Receiver(
        tmp_path_factory.mktemp("receiver"),
        max_body_bytes=MAX_BODY,
        sources=sources,
        integration_name="Warehouse",
    ) as running:
        yield running


def new_event(kind: str = "track", **fields: Any) -> deliveries.Event:
    """Return an event that was never sent before."""
    return {"type": kind, "messageId": f"new-{next(NUMBERS)}", **fields}


def stored(receiver: Receiver) -> dict[bytes, str]:
    """Return the bytes of each event in the spool, and the source of each."""
    return {body: source for body, _, source, _ in spool.rows(receiver.spool_url)}


def books(receiver: Receiver, source: str = "default") -> dict[str, int]:
    """Return the counts of *source* as `/metrics` shows them."""
    families = text_string_to_metric_families(receiver.get("/metrics").text)
    return {
        sample.labels["outcome"]: int(sample.value)
        for family in families
        for sample in family.samples
        if sample.name == "segment_receiver_events_total" and sample.labels["source"] == source
    }


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Return the headers of *body*, one event."""
    return single_of(body).headers(secret)


def single_of(body: bytes) -> Delivery:
    """Return the delivery of one event's bytes."""
    return Delivery(body, body)


def connect(receiver: Receiver) -> socket.socket:
    """Open a bare connection."""
    return socket.create_connection((HOST, receiver.port), timeout=60)


def head_of(delivery: Delivery) -> bytes:
    """Return the head of a request that posts *delivery*."""
    lines = ["POST /webhook HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(delivery.body)}"]
    lines += [f"{name}: {value}" for name, value in delivery.headers(SECRET).items()]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_signed_event_is_stored_byte_for_byte(receiver: Receiver, method: str) -> None:
    """An authentic event is answered with 200, whatever method Segment is set to use."""
    event = encode(new_event(properties={"note": "é☕", "n": 1.5}))

    answer = receiver.post(event, signed(event), method=method)

    assert counts(answer) == {"received": 1, "stored": 1}
    assert stored(receiver)[event] == "default"


def test_events_of_all_types_are_stored_in_order(receiver: Receiver) -> None:
    """An array is stored as a whole, in its order, from one signature over its first element."""
    events = list(deliveries.events(40, seed=1))

    answer = receiver.deliver(array(events))

    meant = [encode(event) for event in events if event["integrations"] != ENGAGE_ONLY]
    assert counts(answer) == {
        "received": 40,
        "stored": len(meant),
        "filtered": 40 - len(meant),
    }
    assert [body for body in stored(receiver) if body in meant] == meant


def test_duplicate_is_counted_and_not_stored(receiver: Receiver) -> None:
    """A retry of Segment's is answered with 200 and stored once."""
    delivery = single(new_event())
    receiver.deliver(delivery)

    assert counts(receiver.deliver(delivery)) == {"received": 1, "duplicate": 1}
    assert list(stored(receiver)).count(delivery.body) == 1


def test_wrapped_elements_are_stored_unwrapped(receiver: Receiver) -> None:
    """The Extensible Webhook's batches are batches."""
    first, second = encode(new_event()), encode(new_event("page"))
    body = b'[{"json":' + first + b'},{"json":' + second + b"}]"

    answer = receiver.post(body, signed(first))

    assert counts(answer) == {"received": 2, "stored": 2}
    assert stored(receiver).keys() >= {first, second}


def test_bad_element_does_not_cost_the_others(receiver: Receiver) -> None:
    """The good elements of an array are stored, the bad one is set aside and counted."""
    first, last = encode(new_event()), encode(new_event())
    bad = b'{"type":"order","n":%d}' % next(NUMBERS)

    answer = receiver.post(b"[" + b",".join([first, bad, last]) + b"]", signed(first))

    assert counts(answer) == {"received": 3, "stored": 2, "rejected": 1}
    assert stored(receiver).keys() >= {first, last}


def test_single_that_is_no_event_is_refused_and_kept(receiver: Receiver) -> None:
    """An authentic delivery that is no event is answered with 400, and set aside once."""
    before = books(receiver)

    assert "Its type is not one of" in reason(receiver.post(NO_EVENT, signed(NO_EVENT)), 400)
    assert "Its type is not one of" in reason(receiver.post(NO_EVENT, signed(NO_EVENT)), 400)

    after = books(receiver)
    assert after["rejected"] == before["rejected"] + 1
    assert after["duplicate"] == before["duplicate"] + 1


def test_signature_of_a_later_element_does_not_count(receiver: Receiver) -> None:
    """Segment signs the first element: an array signed over another one is refused."""
    first, second = encode(new_event()), encode(new_event())
    body = b"[" + first + b"," + second + b"]"

    assert "does not match" in reason(receiver.post(body, signed(second)), 401)
    assert "does not match" in reason(receiver.post(body, signed(body)), 401)


def test_missing_or_wrong_signature_is_refused_and_nothing_kept(receiver: Receiver) -> None:
    """A stranger's delivery is answered with 401; it leaves no trace in spool and books."""
    event = encode(new_event())
    before = books(receiver)

    assert "missing" in reason(receiver.post(event), 401)
    assert "1 secrets tried" in reason(receiver.post(event, signed(event, "guessed")), 401)
    assert reason(receiver.post(b"garbage", {"X-Signature": "garbage"}), 401)

    assert event not in stored(receiver)
    assert books(receiver) == before


@pytest.mark.parametrize("secret", [SECRET, NEXT_SECRET])
def test_either_secret_of_a_rotation_signs(receiver: Receiver, secret: str) -> None:
    """A named source with two secrets takes both; its events carry its name."""
    event = encode(new_event())

    answer = receiver.post(event, signed(event, secret), path="/webhook/app")

    assert counts(answer) == {"received": 1, "stored": 1}
    assert stored(receiver)[event] == "app"


def test_secret_of_one_source_does_not_open_another(receiver: Receiver) -> None:
    """Each source has its own secrets."""
    event = encode(new_event())

    assert "1 secrets tried" in reason(receiver.post(event, signed(event, NEXT_SECRET)), 401)


def test_unsigned_is_taken_where_it_is_allowed(receiver: Receiver) -> None:
    """A source that allows it needs no signature, and no right one."""
    events = [encode(new_event()), encode(new_event())]

    receiver.post(events[0], path="/webhook/open")
    receiver.post(events[1], {"X-Signature": "wrong"}, path="/webhook/open")

    assert [stored(receiver)[event] for event in events] == ["open", "open"]


def test_default_source_has_its_name_in_the_path(receiver: Receiver) -> None:
    """`/webhook` is short for `/webhook/default`."""
    event = encode(new_event())

    assert counts(receiver.post(event, signed(event), path="/webhook/default"))["stored"] == 1


@pytest.mark.parametrize(
    ("integrations", "outcome"),
    [
        ({}, "stored"),
        (None, "stored"),
        ([], "stored"),
        ({"All": True}, "stored"),
        ({"All": False}, "filtered"),
        ({"All": False, "Warehouse": True}, "stored"),
        ({"All": False, "Warehouse": {"key": 1}}, "stored"),
        ({"All": True, "Warehouse": False}, "filtered"),
        ({"Warehouse": False}, "filtered"),
    ],
)
def test_event_that_is_switched_off_for_us_is_filtered(
    receiver: Receiver, integrations: Any, outcome: str
) -> None:
    """What the sender did not mean for us is counted and not stored."""
    answer = receiver.deliver(single(new_event(integrations=integrations)))

    assert counts(answer) == {"received": 1, outcome: 1}


def test_gzip_is_taken(receiver: Receiver) -> None:
    """A compressed delivery is the same delivery; its signature covers the JSON."""
    event = encode(new_event())

    answer = receiver.post(gzip.compress(event), {**signed(event), "Content-Encoding": "gzip"})

    assert counts(answer) == {"received": 1, "stored": 1}
    assert event in stored(receiver)


@pytest.mark.parametrize(
    "mangle",
    [
        pytest.param(lambda zipped: zipped[:-5], id="cut off"),
        pytest.param(lambda _: b"not gzip at all", id="no gzip"),
        pytest.param(lambda zipped: zipped + b"more", id="more follows"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda zipped: zipped[:-8] + b"\0" * 8, id="wrong checksum"),
    ],
)
def test_bad_gzip_is_refused(receiver: Receiver, mangle: Any) -> None:
    """A body that cannot be decompressed as a whole is answered with 400."""
    event = encode(new_event())

    answer = receiver.post(
        mangle(gzip.compress(event)), {**signed(event), "Content-Encoding": "gzip"}
    )

    assert "gzip" in reason(answer, 400)
    assert event not in stored(receiver)


def zeros(size: int) -> bytes:
    """Return *size* zeros, compressed."""
    deflate = zlib.compressobj(9, wbits=31)
    pieces = [deflate.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*pieces, deflate.flush()])


def test_gzip_bomb_is_refused_in_bounded_memory(receiver: Receiver) -> None:
    """256 MiB that come as 256 KiB are never held: not in memory, and not in the answer's time."""
    bomb = zeros(256 * MIB)
    assert len(bomb) < MIB
    before = receiver.memory_peak()

    answer = receiver.post(bomb, {"Content-Encoding": "gzip"})

    assert "max_body_bytes" in reason(answer, 413)
    assert receiver.memory_peak() - before < 32 * MIB


def test_what_follows_a_gzip_body_is_not_gathered(receiver: Receiver) -> None:
    """A stranger cannot fill the memory behind the end of a compressed body."""
    before = receiver.memory_peak()

    receiver.post(gzip.compress(b"{}") + bytes(24 * MIB), {"Content-Encoding": "gzip"})

    assert receiver.memory_peak() - before < 12 * MIB


def test_body_over_the_limit_is_refused(receiver: Receiver) -> None:
    """A byte more than `max_body_bytes` is 413; the limit itself is good."""
    event = encode(new_event(note=""))
    filled = event.replace(b'"note":""', b'"note":"' + b"x" * (MAX_BODY - len(event)) + b'"')
    assert len(filled) == MAX_BODY

    assert counts(receiver.deliver(single_of(filled)))["stored"] == 1
    assert "max_body_bytes" in reason(receiver.deliver(single_of(b" " + filled)), 413)
    assert "max_body_bytes" in reason(receiver.post(bytes(5 * MAX_BODY)), 413)


def test_chunked_body_is_taken(receiver: Receiver) -> None:
    """A body whose length is not told in advance is a body."""
    event = encode(new_event())
    with closing(http.client.HTTPConnection(HOST, receiver.port, timeout=60)) as connection:
        pieces = iter([event[:5], event[5:6], event[6:]])
        connection.request("POST", "/webhook", pieces, signed(event), encode_chunked=True)
        assert connection.getresponse().status == 200

    assert event in stored(receiver)


def answers_to(receiver: Receiver, body: bytes, headers: dict[str, str]) -> list[tuple[int, Any]]:
    """Return what a request is answered that comes whole, in a chunk, and as the last one.

    The receiver takes the first, which is one packet, in a way of its own.
    """
    length = {"Content-Length": str(len(body))}
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    forms = (
        (length, body),
        ({"Transfer-Encoding": "chunked"}, chunk + b"0\r\n\r\n"),
        ({**length, "Connection": "close"}, body),
    )
    found = []
    for more, content in forms:
        lines = [f"{name}: {value}" for name, value in {**headers, **more}.items()]
        head = "\r\n".join(["POST /webhook HTTP/1.1", f"Host: {HOST}", *lines, "", ""])
        with connect(receiver) as client, http.client.HTTPResponse(client) as answer:
            client.sendall(head.encode() + content)
            answer.begin()
            found.append((answer.status, {**json.load(answer), "kept": not answer.will_close}))
    return found


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {}, 401),
        (b"{}", {"X-Signature": "0" * 40}, 401),
        (b"{}", {"Authorization": "Bearer wrong"}, 401),
        (b"{}", signed(b"{}"), 400),
        (b"", signed(b""), 400),
        (b"[]", signed(b"[]"), 400),
        (b'[{"type":', signed(b'[{"type":'), 400),
        (b'{"type":"sale"}', signed(b'{"type":"sale"}'), 400),
        (b"a=b", {**signed(b"a=b"), "Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {**signed(b"{}"), "Content-Encoding": "br"}, 415),
        (b"{}", {**signed(b"{}"), "Content-Encoding": "gzip"}, 400),
    ],
)
def test_answer_does_not_depend_on_how_a_request_comes(
    receiver: Receiver, body: bytes, headers: dict[str, str], status: int
) -> None:
    """Whole, in pieces, or the last on its connection: it is the same delivery."""
    whole, chunked, last = answers_to(receiver, body, headers)

    assert whole == chunked
    assert whole[0] == last[0] == status
    assert whole[1]["kept"]
    assert not last[1]["kept"]
    assert {**whole[1], "kept": False} == last[1]


def test_event_is_one_however_it_comes(receiver: Receiver) -> None:
    """The first time it is stored, and recognised in every other way."""
    event = encode(new_event())

    found = [answer["stored"] for _, answer in answers_to(receiver, event, signed(event))]

    assert found == [1, 0, 0]
    assert event in stored(receiver)


def test_refusals_on_one_connection_do_not_add_up(receiver: Receiver) -> None:
    """Who is refused may go on trying: only heads without an end are cut off."""
    body = encode(new_event(note="x" * 10_000))
    with closing(http.client.HTTPConnection(HOST, receiver.port, timeout=60)) as connection:
        for _ in range(20):
            connection.request("POST", "/webhook", body)
            with connection.getresponse() as answer:
                answer.read()
                assert answer.status == 401


def test_connection_is_kept_for_the_next_delivery(receiver: Receiver) -> None:
    """Deliveries follow one another on one connection, also after a refusal."""
    events = [encode(new_event()) for _ in range(3)]
    with closing(http.client.HTTPConnection(HOST, receiver.port, timeout=60)) as connection:
        found = []
        for event, headers in zip(events, [signed(events[0]), {}, signed(events[2])], strict=True):
            connection.request("POST", "/webhook", event, headers)
            with connection.getresponse() as answer:
                answer.read()
                found.append(answer.status)

    assert found == [200, 401, 200]


@pytest.mark.parametrize("encoding", ["deflate", "br", "gzip, gzip"])
def test_other_encoding_is_refused(receiver: Receiver, encoding: str) -> None:
    """What cannot be decompressed is 415."""
    answer = receiver.post(b"{}", {"Content-Encoding": encoding})

    assert "Content-Encoding" in reason(answer, 415)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; b=x"])
def test_form_is_refused(receiver: Receiver, kind: str) -> None:
    """A form cannot be verified: 415 says so."""
    assert "JSON" in reason(receiver.post(b"a=1", {"Content-Type": kind}), 415)


@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=utf-8", "x/y"])
def test_content_type_does_not_matter_otherwise(receiver: Receiver, kind: str) -> None:
    """Whatever JSON is called, it is read as JSON."""
    event = encode(new_event())

    answer = receiver.post(event, {**signed(event), "Content-Type": kind})

    assert counts(answer)["stored"] == 1


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_other_method_is_refused(receiver: Receiver, method: str) -> None:
    """A delivery is sent with one of three methods; 405 names them."""
    answer = receiver.post(b"", method=method)

    assert reason(answer, 405)
    assert answer.headers["Allow"] == "POST, PUT, PATCH"


@pytest.mark.parametrize("path", ["/", "/webhook/", "/webhook/nobody", "/webhook/app/x", "/v2"])
def test_unknown_path_is_404(receiver: Receiver, path: str) -> None:
    """A mistyped path is no place for a delivery."""
    event = encode(new_event())

    assert "/webhook" in reason(receiver.post(event, signed(event), path=path), 404)


def test_pages_are_only_read(receiver: Receiver) -> None:
    """What is only shown takes no delivery."""
    answer = receiver.post(b"{}", path="/health")

    assert reason(answer, 405)
    assert answer.headers["Allow"] == "GET, HEAD"


def test_health_is_ok_while_it_can_store(receiver: Receiver) -> None:
    """A healthy receiver says so, and counts nothing for it."""
    before = books(receiver)

    assert receiver.get("/health").json() == {"status": "ok"}
    assert books(receiver) == before


def test_metrics_tell_the_books(receiver: Receiver) -> None:
    """The figures are those of `status`, and received is the sum of the others."""
    receiver.deliver(array([new_event(), new_event()]))

    shown, status = books(receiver), receiver.status()

    assert shown == status["books"]["default"]
    assert shown["received"] == sum(shown.values()) - shown["received"]
    text = receiver.get("/metrics").text
    assert f"segment_receiver_head_position {float(status['head_position'])}" in text
    assert 'segment_receiver_requests_total{status="401"}' in text


def test_broken_http_does_not_hurt(receiver: Receiver) -> None:
    """What is no HTTP is answered with 400, and others are served."""
    with connect(receiver) as garbage:
        garbage.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no HTTP\r\n\r\n")
        assert b" 400 " in garbage.recv(1000)

    assert counts(receiver.deliver(single(new_event())))["stored"] == 1


def test_client_that_leaves_in_the_middle_costs_nothing(receiver: Receiver) -> None:
    """A delivery that was cut off by its sender is not stored, not even in part."""
    delivery = single(new_event())
    before = books(receiver)
    with connect(receiver) as client:
        client.sendall(head_of(delivery) + delivery.body[:-5])

    assert counts(receiver.deliver(single(new_event())))["stored"] == 1
    assert delivery.body not in stored(receiver)
    assert books(receiver)["received"] == before["received"] + 1


def test_unfinished_bodies_are_bounded_together(receiver: Receiver) -> None:
    """Large bodies that never end take up room to a limit; then other large ones must wait."""
    large = single(new_event(note="x" * 3 * MIB))
    answers: list[requests.Response] = []
    with ExitStack() as stack:

        def leave_unfinished(size: int) -> None:
            """Send a body of *size* bytes without the last one."""
            client = stack.enter_context(connect(receiver))
            client.sendall(head_of(Delivery(bytes(size), b"")) + bytes(size - 1))

        def is_full() -> bool:
            """Take up more room, and see whether there is none for something large."""
            leave_unfinished(MIB)
            answers.append(receiver.deliver(large))
            return answers[-1].status_code == 503

        for _ in range(14):
            leave_unfinished(MAX_BODY)
        wait_until(is_full)
        assert counts(receiver.deliver(single(new_event())))["stored"] == 1

    assert "under way" in reason(answers[-1], 503)
    assert int(answers[-1].headers["Retry-After"]) > 0
    wait_until(lambda: receiver.deliver(large).status_code == 200)


def test_header_flood_is_cut_off(receiver: Receiver) -> None:
    """Headers without an end are answered with 431, not gathered."""
    before = receiver.memory_peak()
    with connect(receiver) as client:
        client.sendall(b"POST /webhook HTTP/1.1\r\n")
        try:
            for number in range(50_000):
                client.sendall(b"X-Header-%d: %s\r\n" % (number, b"x" * 1000))
        except OSError:
            pass  # it has stopped reading

        answer = client.recv(100)

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert receiver.memory_peak() - before < 16 * MIB


def test_flood_of_requests_sent_ahead_is_cut_off(tmp_path: Path) -> None:
    """Who asks and asks without waiting for an answer is not listened to for long."""
    with Receiver(tmp_path) as receiver:
        before = receiver.memory_peak()
        with connect(receiver) as client, pytest.raises(ConnectionError):
            client.sendall(b"GET /nowhere HTTP/1.1\r\n\r\n" * 1_000_000)

        assert counts(receiver.deliver(single(new_event())))["stored"] == 1
        assert receiver.memory_peak() - before < 32 * MIB


def test_slow_client_is_cut_off_and_others_are_served(receiver: Receiver) -> None:
    """Whoever drips a request is not waited for, and holds up nobody."""
    delivery = single(new_event())
    with connect(receiver) as client:
        client.sendall(head_of(delivery))
        client.settimeout(0.5)

        def was_cut_off() -> bool:
            """Send one byte more, and see whether the connection still stands."""
            assert counts(receiver.deliver(single(new_event())))["stored"] == 1
            try:
                client.sendall(b" ")
                return client.recv(100) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(was_cut_off)

    assert delivery.body not in stored(receiver)


def test_requests_sent_ahead_are_answered_in_order(receiver: Receiver) -> None:
    """Who does not wait for an answer before the next request gets each, and in its turn."""
    sent = [single(new_event()) for _ in range(3)]
    first, second, third = (head_of(delivery) + delivery.body for delivery in sent)
    nowhere = b"GET /nowhere HTTP/1.1\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"
    with connect(receiver) as client:
        client.sendall(first + nowhere + second + third[:-1])
        receiver.get("/health")  # by now it waits for the rest of the third
        client.sendall(third[-1:] + nowhere + last)

        answers = client.makefile("rb").read()

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [
        b"200",
        b"404",
        b"200",
        b"200",
        b"404",
        b"200",
    ]
    bodies = [delivery.body for delivery in sent]
    assert [body for body in stored(receiver) if body in bodies] == bodies


def test_clients_that_reset_leave_nothing_behind(tmp_path: Path) -> None:
    """Strangers who break their connections off after an answer take no memory with them."""
    with Receiver(tmp_path) as receiver:
        for _ in range(500):
            reset_after_answer(receiver)
        before = receiver.memory_peak()
        for _ in range(3000):
            reset_after_answer(receiver)
        after = receiver.memory_peak()

    assert after - before < 4 * MIB


def test_client_that_resets_before_its_answers_is_no_error(tmp_path: Path) -> None:
    """Requests whose client is gone are no failure of ours: the log stays silent."""
    with Receiver(tmp_path) as receiver:
        for _ in range(20):
            with connect(receiver) as client:
                sent = [single(new_event()) for _ in range(3)]
                client.sendall(b"".join(head_of(each) + each.body for each in sent))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        assert counts(receiver.deliver(single(new_event())))["stored"] == 1

    assert "Traceback" not in receiver.log


def reset_after_answer(receiver: Receiver) -> None:
    """Ask for something that is not there, and answer the answer with a reset."""
    with connect(receiver) as client:
        client.sendall(b"GET /nowhere HTTP/1.1\r\n\r\n")
        assert b" 404 " in client.recv(1000)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)


def test_thousands_of_idle_connections_do_not_shut_out_an_honest_client(receiver: Receiver) -> None:
    """More connections than it keeps make room for one another; a delivery gets through."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        for _ in range(2200):
            stack.enter_context(connect(receiver))

        assert counts(receiver.deliver(single(new_event())))["stored"] == 1
        assert receiver.open_files() < 2200


def test_log_holds_no_secret_and_no_event(receiver: Receiver) -> None:
    """After all that was sent, the log names neither secrets nor content."""
    event = encode(new_event(userId="private@harbor.example", writeKey="wk-private"))
    receiver.post(event, signed(event))
    receiver.post(event, signed(event, "guessed"))
    receiver.post(NO_EVENT + event, signed(NO_EVENT + event))
    pages = receiver.get("/metrics").text + receiver.get("/health").text

    for secret in (SECRET, NEXT_SECRET, sign(event, SECRET), "private", "new-"):
        assert secret not in receiver.log
        assert secret not in pages


def test_debug_log_holds_no_secret_either(tmp_path: Path) -> None:
    """The most talkative log is as silent about secrets and content."""
    event = encode(new_event(userId="private@harbor.example"))
    with Receiver(tmp_path, variables={"TAP_SEGMENT_WEBHOOK_LOGLEVEL": "DEBUG"}) as receiver:
        receiver.post(event, signed(event))
        receiver.post(event, {"X-Signature": "0" * 40})
        receiver.post(NO_EVENT, signed(NO_EVENT))

    assert "Listening" in receiver.log
    for secret in (SECRET, sign(event, SECRET), "0" * 40, "private", "order"):
        assert secret not in receiver.log


def test_full_spool_is_503_and_nothing_is_lost(tmp_path: Path) -> None:
    """Over `max_spool_bytes` Segment is told to come again, and what is stored stays."""
    with Receiver(tmp_path, max_spool_bytes=3 * MIB) as receiver:
        sent = [single(new_event(note="x" * MIB)) for _ in range(4)]
        statuses = [receiver.deliver(delivery).status_code for delivery in sent[:3]]

        wait_until(lambda: receiver.get("/health").status_code == 503)
        answer = receiver.deliver(sent[3])

        assert statuses == [200, 200, 200]
        assert "max_spool_bytes" in reason(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
        assert list(stored(receiver)) == [delivery.body for delivery in sent[:3]]
        assert receiver.stop() == 0


def test_vanished_spool_stops_it(tmp_path: Path) -> None:
    """When the file is gone nothing is acknowledged any more, and it ends with an error."""
    with Receiver(tmp_path) as receiver:
        receiver.deliver(single(new_event()))
        receiver.spool.unlink()

        wait_until(lambda: refuses(receiver))

        assert receiver.wait() == 1
    assert "is gone" in receiver.log
    assert "Stopping" in receiver.log


def test_nearly_full_disk_is_503(tmp_path: Path) -> None:
    """It refuses while there is still room to tidy up, and keeps what it has accepted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    small_disk = ("sh", "-c", 'mount -t tmpfs -o size=70m tmpfs "$0" && exec "$@"', str(disk))
    own_mounts = ("unshare", "--user", "--map-root-user", "--mount")
    if subprocess.run([*own_mounts, *small_disk, "true"], check=False).returncode:
        pytest.skip("This system lets nobody mount a small disk.")
    spool_url = spool.url_in(disk)
    with Receiver(tmp_path, spool_url=spool_url, prefix=[*own_mounts, *small_disk]) as receiver:
        statuses = [
            receiver.deliver(single(new_event(note="x" * MIB))).status_code for _ in range(4)
        ]
        wait_until(lambda: receiver.get("/health").status_code == 503)
        answer = receiver.deliver(single(new_event()))

        assert statuses == [200] * 4
        assert "are kept in reserve" in reason(answer, 503)
        assert books(receiver)["stored"] == 4
        assert receiver.stop() == 0


def test_write_that_fails_loses_nothing(tmp_path: Path) -> None:
    """When the system refuses to write, no 200 is given; every earlier one is kept."""
    accepted = []
    with Receiver(tmp_path) as receiver:
        resource.prlimit(receiver.pid, resource.RLIMIT_FSIZE, (MIB, MIB))
        try:
            for _ in range(100):
                delivery = single(new_event(note="x" * 100_000))
                answer = receiver.deliver(delivery)
                if answer.status_code != 200:
                    break
                accepted.append(delivery.body)
        except OSError:
            pass  # it has given up
        receiver.wait()
    with receiver:
        answer = receiver.deliver(single(new_event()))

    assert 0 < len(accepted) < 100
    assert list(stored(receiver))[: len(accepted)] == accepted
    assert counts(answer)["stored"] == 1


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" * 100])
def test_file_that_is_no_spool_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    """It does not start on somebody else's file, and leaves it alone."""
    receiver = Receiver(tmp_path)
    receiver.spool.write_bytes(content)

    with pytest.raises(DidNotStart, match="cannot be read as a spool") as error:
        receiver.start()

    assert "Traceback" not in str(error.value)
    assert receiver.spool.read_bytes() == content


def refuses(receiver: Receiver) -> bool:
    """Tell whether *receiver* takes no delivery."""
    try:
        return receiver.deliver(single(new_event())).status_code == 503
    except OSError:
        return True


def is_deaf(receiver: Receiver) -> bool:
    """Tell whether *receiver* takes no connection."""
    try:
        connect(receiver).close()
    except OSError:
        return True
    return False


def test_request_under_way_is_answered_when_it_is_stopped(tmp_path: Path) -> None:
    """SIGTERM closes the door, not the hand: a delivery half received is taken and answered."""
    delivery = single(new_event())
    half = len(delivery.body) // 2
    with Receiver(tmp_path) as receiver:
        with connect(receiver) as client:
            client.sendall(head_of(delivery) + delivery.body[:half])
            receiver.get("/health")  # by now the half was read
            receiver.signal(signal.SIGTERM)
            wait_until(lambda: is_deaf(receiver))
            client.sendall(delivery.body[half:])
            answer = client.recv(1000)
        assert receiver.wait() == 0

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert list(stored(receiver)) == [delivery.body]
    assert "Stopped. Everything that was answered with 200 is in the spool." in receiver.log


def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    """Everything that was answered with 200 before it stopped is in the spool."""
    accepted: list[bytes] = []
    with Receiver(tmp_path) as receiver:

        def send() -> None:
            try:
                while True:
                    delivery = single(new_event())
                    if receiver.deliver(delivery).status_code == 200:
                        accepted.append(delivery.body)
            except OSError:
                pass  # it has stopped

        senders = [threading.Thread(target=send) for _ in range(8)]
        for sender in senders:
            sender.start()
        wait_until(lambda: len(accepted) > 100)
        assert receiver.stop() == 0
        for sender in senders:
            sender.join()

    assert stored(receiver).keys() >= set(accepted)


def test_restart_recognises_what_came_before(tmp_path: Path) -> None:
    """Duplicates are known across a restart."""
    delivery = array([new_event(), new_event()])
    with Receiver(tmp_path) as receiver:
        receiver.deliver(delivery)
    with receiver:
        assert counts(receiver.deliver(delivery)) == {"received": 2, "duplicate": 2}
        assert "has stored 2 events so far" in receiver.log


def test_receiver_that_nobody_could_send_to_does_not_start(tmp_path: Path) -> None:
    """Without a secret it says what is missing, instead of refusing everything."""
    with pytest.raises(DidNotStart, match="Neither shared_secret nor write_key"):
        Receiver(tmp_path, shared_secret=None).start()


def test_port_in_use_is_a_clear_error(receiver: Receiver, tmp_path: Path) -> None:
    """A second receiver on one port says so in a line, without a traceback."""
    with pytest.raises(DidNotStart, match="Address already in use") as error:
        Receiver(tmp_path, port=receiver.port).start()

    assert "Traceback" not in str(error.value)


def test_second_receiver_on_a_spool_is_refused(receiver: Receiver, tmp_path: Path) -> None:
    """Two receivers never write one spool; the second is told which process does."""
    with pytest.raises(DidNotStart, match=f"process {receiver.pid} ") as error:
        Receiver(tmp_path, spool_url=receiver.spool_url).start()

    assert "Traceback" not in str(error.value)
