"""Whatever is posted gets its answer, is counted, and cannot stop the tap."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from harness import singer
from harness.receiver import Receiver
from jsonschema import Draft202012Validator
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEP = b"[" * 100_000


class Case(NamedTuple):
    """What is posted, and what must become of it."""

    name: str
    body: bytes
    status: int
    counts: Counts


def event(number: int, text: bytes = b"") -> bytes:
    """Return an event with *text* in it, which may be anything."""
    return b'{"type":"track","messageId":"bad-%d"%b}' % (number, text)


def takes(name: str, number: int, text: bytes) -> Case:
    """Return the case of an event that is stored although *text* is odd."""
    return Case(name, event(number, text), 200, Counts(1, stored=1))


def refuses(name: str, body: bytes) -> Case:
    """Return the case of a delivery that is refused as a whole, and set aside."""
    return Case(name, body, 400, Counts(1, rejected=1))


CASES = [
    refuses("empty", b""),
    refuses("space", b" \r\n\t "),
    refuses("not JSON", b"hello"),
    refuses("a form", b"type=track&messageId=m-1"),
    refuses("null", b"null"),
    refuses("a number", b"17"),
    refuses("a text", b'"track"'),
    refuses("NULs", bytes(1000)),
    refuses("UTF-16", event(1).decode().encode("utf-16")),
    refuses("byte order mark", b"\xef\xbb\xbf" + event(2)),
    refuses("empty object", b"{}"),
    refuses("unknown type", b'{"type":"order","messageId":"bad-3"}'),
    refuses("type of another kind", b'{"type":["track"],"messageId":"bad-4"}'),
    refuses("truncated object", event(5)[:-1]),
    refuses("truncated text", event(6)[:-2]),
    refuses("two objects", event(7) + event(8)),
    refuses("control character", event(9, b',"event":"\x07"')),
    refuses("deep object", event(10, b',"a":' + DEEP)),
    refuses("closed deep object", event(11, b',"a":' + DEEP + DEEP.replace(b"[", b"]"))),
    refuses("empty array", b"[]"),
    refuses("truncated array", b"[" + event(12) + b"," + event(13)),
    refuses("deep array", DEEP),
    Case("scalars", b'[1,2.5,"scalar",true]', 200, Counts(4, rejected=4)),
    Case("same scalars", b'["a","a"]', 200, Counts(2, rejected=1, duplicate=1)),
    Case("array in array", b"[[" + event(14) + b"]]", 200, Counts(1, rejected=1)),
    Case("nonsense in array", b"[" + event(15) + b",{15}]", 200, Counts(2, stored=1, rejected=1)),
    Case(
        "one bad of three",
        b"[" + event(16) + b',{"type":"order","n":16},' + event(17) + b"]",
        200,
        Counts(3, stored=2, rejected=1),
    ),
    Case(
        "one deep of two",
        b"[" + event(18, b',"a":' + b"[" * 5000 + b"]" * 5000) + b"," + event(19) + b"]",
        200,
        Counts(2, stored=1, rejected=1),
    ),
    Case(
        "same id twice", b"[" + event(20) + b"," + event(20) + b"]", 200, Counts(2, 1, duplicate=1)
    ),
    takes("duplicate keys", 31, b',"userId":"a","userId":"b","properties":{"a":1,"a":2}'),
    takes("NUL", 32, rb',"event":"\u0000","properties":{"\u0000":["\u0000"]}'),
    takes("lone surrogates", 33, rb',"userId":"\ud83d","properties":{"\udc00":"\ud83d\ud83d"}'),
    takes("wrong encoding", 34, b',"event":"\xff\xfe","properties":{"\xe9":"\xc3"}'),
    takes("number beyond a float", 35, b',"properties":{"a":1e400,"b":-1E+999999}'),
    takes("400 digits", 36, b',"userId":%b,"properties":{"a":%b}' % (b"9" * 400, b"9" * 400)),
    takes("5,000 digits", 37, b',"version":%b,"properties":{"a":%b}' % (b"9" * 5000, b"9" * 5000)),
    takes("NaN", 38, b',"properties":{"a":NaN,"b":[Infinity,-Infinity]},"timestamp":NaN'),
    takes("context is an array", 39, b',"context":[],"integrations":[],"properties":[]'),
    takes("context is a text", 40, b',"context":"{}","properties":"","integrations":false'),
    takes("numeric ids", 41, b',"userId":12345678901234567890123,"anonymousId":-0,"version":2.0'),
    takes("ids of other kinds", 42, b',"userId":{"id":1},"event":["a"],"channel":true'),
    takes("Go time", 43, b',"originalTimestamp":"2026-03-04 11:40:10.208 +0000 UTC m=+7.29"'),
    takes("garbage times", 44, b',"timestamp":"soon","sentAt":1772623530,"receivedAt":""'),
    takes("late times", 45, b',"timestamp":"10000-01-01T00:00:00Z","sentAt":"9999-12-31T23:59Z"'),
    takes("a million keys deep in names", 46, b',"properties":{"%b":1}' % (b"a." * 100_000)),
    takes(
        "10,000 properties",
        47,
        b',"properties":{%b}' % b",".join(b'"p%d":0' % n for n in range(10_000)),
    ),
    takes("5 MB of one property", 48, b',"properties":{"a":"%b"}' % (b"x" * 5_000_000)),
    takes("names that mean something", 49, b',"__proto__":{},"":{},"_originals":{},"record":1'),
    takes("long id", 50, b',"messageId":"%b"' % (b"i" * 10_000)),
    takes("pretty-printed", 51, b'\r\n,\r\n"properties" : {\n\t"a" : 1\r\n}\n'),
    takes("raw line separators", 52, ',"event":"\u2028\u2029\x85"'.encode()),
    Case("no id", b'{"type":"track","note":"no id"}', 200, Counts(1, stored=1)),
    Case("empty id", b'{"type":"page","messageId":""}', 200, Counts(1, stored=1)),
    Case("id of another kind", b'{"type":"page","messageId":[1]}', 200, Counts(1, stored=1)),
]


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Give a receiver that takes anything from anybody."""
    folder = tmp_path_factory.mktemp("receiver")
    with Receiver(folder, shared_secret=None, allow_unsigned=True) as running:
        yield running


def books(receiver: Receiver) -> Counts:
    """Return everything that was ever counted."""
    with closing(Reader(receiver.spool_url)) as reader:
        return reader.books().get("default", Counts())


def rejects(receiver: Receiver) -> list[bytes]:
    """Return what was set aside."""
    with closing(Reader(receiver.spool_url)) as reader:
        return [reject.body for reject in reader.rejects()]


def emitted(settings: dict[str, Any]) -> list[Any]:
    """Return the valid records of the whole spool."""
    run = singer.sync(settings)
    for message in run.of("RECORD"):
        Draft202012Validator(run.schemas[message["stream"]]).validate(message["record"])
        json.dumps(message).encode()
    return run.records


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_input_is_answered_counted_and_emitted(receiver: Receiver, case: Case) -> None:
    """The books balance after each delivery, and all that was stored comes out of the tap."""
    before = books(receiver)

    answer = receiver.post(case.body)

    after = books(receiver)
    assert answer.status_code == case.status
    assert Counts(*(new - old for new, old in zip(after, before, strict=True))) == case.counts
    assert after.received == sum(after[1:])
    records = emitted(receiver.settings)
    assert [record["spool_position"] for record in records] == list(range(1, after.stored + 1))


def test_refused_input_is_kept_byte_for_byte(receiver: Receiver) -> None:
    """What was set aside can be looked at, and tried again."""
    body = b'{"type":"order","n":"\xff\\u0000\n'
    receiver.post(body)

    assert body in rejects(receiver)


@pytest.mark.parametrize("name", ["not JSON", "deep object", "same id twice", "scalars"])
def test_same_input_again_is_a_duplicate(receiver: Receiver, name: str) -> None:
    """Bad input that is sent again and again fills nothing."""
    (case,) = [case for case in CASES if case.name == name]
    receiver.post(case.body)
    before = books(receiver)

    receiver.post(case.body)

    after = books(receiver)
    assert after.duplicate - before.duplicate == after.received - before.received > 0


def test_compressed_bad_input_is_bad_input(receiver: Receiver) -> None:
    """Compression changes nothing about what is inside."""
    body = b'{"type":"order","n":"compressed"}'

    answer = receiver.post(gzip.compress(body), {"Content-Encoding": "gzip"})

    assert answer.status_code == 400
    assert body in rejects(receiver)
