"""The stand-in for Segment: it accepts, drops and fails as the real one, and tells all of it."""

from __future__ import annotations

import gzip
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import requests
from harness.process import DidNotStart
from harness.segment import ANSWER_SECONDS, HOST, KEY, PROGRAM, Segment
from harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Json = dict[str, Any]

NUMBERS = itertools.count(1)
OTHER_KEY = "not-a-real-write-key-of-another1"
SUCCESS = {"success": True}
GZIP = {"content-encoding": "gzip"}
EMPTY_BATCH = gzip.compress(b'{"batch": []}', mtime=0)


def new_event(kind: str = "track", **fields: Any) -> Json:
    """Return an event that was never sent before; a field that is None is left out."""
    given = {
        "type": kind,
        "messageId": f"new-{next(NUMBERS)}",
        "userId": "usr_1",
        **({"event": "Lesson Started"} if kind == "track" else {}),
        **({"groupId": "acct_1"} if kind == "group" else {}),
        **({"previousId": "anon-1"} if kind == "alias" else {}),
        **fields,
    }
    return {name: value for name, value in given.items() if value is not None}


def post(
    segment: Segment,
    body: Any,
    *,
    path: str = "batch",
    key: str = KEY,
    seconds: float = ANSWER_SECONDS,
    headers: Mapping[str, str] | None = None,
) -> requests.Response:
    """Post *body*, bytes or what becomes JSON, without following where it may lead."""
    return requests.post(
        f"{segment.endpoint}/{path}",
        data=body if isinstance(body, bytes) else json.dumps(body).encode(),
        auth=(key, "") if key else None,
        headers=dict(headers or {}),
        timeout=seconds,
        allow_redirects=False,
    )


def send(segment: Segment, *events: Any, **fields: Any) -> requests.Response:
    """Post *events* as a batch."""
    return post(segment, {"batch": events, **fields})


# What it accepts


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
@pytest.mark.parametrize("path", ["batch", "import", "b"])
def test_it_accepts_a_batch(segment: Segment, kind: str, path: str) -> None:
    """An event of each type is accepted, under each name that a batch has."""
    event = new_event(kind)

    answer = post(segment, {"batch": [event]}, path=path)

    assert (answer.status_code, answer.json()) == (200, SUCCESS)
    assert segment.accepted() == [{"event": event, "key": KEY, "request": 1}]


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
@pytest.mark.parametrize("letters", [1, None])
def test_it_accepts_a_single_call(segment: Segment, kind: str, letters: int | None) -> None:
    """The path says the type, in full or by its first letter."""
    event = new_event(kind)
    del event["type"]

    answer = post(segment, event, path=kind[:letters])

    assert answer.json() == SUCCESS
    assert segment.events() == [event]


def test_it_keeps_an_event_verbatim(segment: Segment) -> None:
    """What Segment would compute from is stored as it came: numbers, times, unknown fields."""
    event = (
        b'{"type":"track","userId":"u","event":"\\u00e9","properties":{"n":1.10,"big":12345678901'
        b'234567890},"sentAt":"2019","receivedAt":1,"originalTimestamp":null,"x":[]}'
    )

    post(segment, b'{"batch": [ ' + event + b"\n]}")

    lines = requests.get(f"{segment.base_url}/stand-in/events", timeout=ANSWER_SECONDS).content
    assert lines == b'{"event":%b,"key":"%b","request":1}\n' % (event, KEY.encode())


def test_it_keeps_what_stands_beside_the_events(segment: Segment) -> None:
    """A `sentAt` of the whole batch can be asked for."""
    send(segment, new_event(), sentAt="2026-03-04T11:20:31.402Z", context={"direct": True})

    (request,) = segment.requests()
    assert request["envelope"] == {
        "sentAt": "2026-03-04T11:20:31.402Z",
        "context": {"direct": True},
    }


def test_it_unpacks_gzip(segment: Segment) -> None:
    """A compressed body counts with both its sizes."""
    body = json.dumps({"batch": [new_event() for _ in range(100)]}).encode()
    packed = gzip.compress(body)

    post(segment, packed, headers=GZIP)

    (request,) = segment.requests()
    assert (request["bytes"], request["wire_bytes"]) == (len(body), len(packed))
    assert request["headers"]["content-encoding"] == "gzip"
    assert segment.counts()["accepted"] == 100


@pytest.mark.parametrize("authorization", [f"{KEY}:", KEY, None])
def test_it_takes_the_write_key_from_the_header_or_the_body(
    segment: Segment, authorization: str | None
) -> None:
    """Basic authorization does without a colon, and a body without authorization."""
    body: Json = {"batch": [new_event()]}
    headers = {}
    if authorization is None:
        body["writeKey"] = KEY
    else:
        code = requests.auth._basic_auth_str(authorization, "").split()[1]
        headers["authorization"] = f"Basic {code}"

    post(segment, body, key="", headers=headers)

    assert segment.counts()["accepted"] == 1
    assert "authorization" not in segment.requests()[0]["headers"]


@pytest.mark.parametrize(
    "timestamp",
    ["2026-03-04T11:20:31.402Z", "2026-03-04T11:20:31+01:00", "2026-03-04 11:20", "2026-03-04"],
)
def test_it_accepts_every_time_of_iso_8601(segment: Segment, timestamp: str) -> None:
    """Also one without a zone, or without a time."""
    send(segment, new_event(timestamp=timestamp))

    assert segment.counts()["accepted"] == 1


def test_it_accepts_again_what_has_no_id(segment: Segment) -> None:
    """Segment gives an id to an event without one, so a repetition is another event."""
    event = new_event(messageId=None)

    send(segment, event, event)

    assert segment.events() == [event, event]


def test_it_accepts_an_id_once(tmp_path: Path) -> None:
    """A known id is answered with 200 and not stored again, whatever source it came from."""
    first, second = new_event(), new_event()
    with Segment(tmp_path, write_keys=(KEY, OTHER_KEY)) as segment:
        send(segment, first)
        answer = post(segment, {"batch": [first | {"event": "Changed"}, second]}, key=OTHER_KEY)

        assert answer.json() == SUCCESS
        assert segment.events() == [first, second]
        assert segment.counts()["duplicates"] == 1


def test_it_accepts_sdk_metrics_as_nothing(segment: Segment) -> None:
    """They get 200, and are no events."""
    assert post(segment, {"series": []}, path="m").json() == SUCCESS
    assert segment.counts()["accepted"] == 0


# What it drops


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (new_event(userId=None), "no_user_anon_id"),
        (new_event() | {"userId": None}, "no_user_anon_id"),
        (new_event(userId=""), "id_not_string"),
        (new_event(userId=7), "id_not_string"),
        (new_event(anonymousId=""), "id_not_string"),
        (new_event(anonymousId=7), "id_not_string"),
        (new_event(event=None), "event_not_defined"),
        (new_event(event=""), "event_not_string"),
        (new_event(event=7), "event_not_string"),
        (new_event(properties=[]), "properties_not_object"),
        (new_event() | {"properties": None}, "properties_not_object"),
        (new_event("identify", traits="x"), "traits_not_object"),
        (new_event("page", name=""), "name_not_string"),
        (new_event("page") | {"name": None}, "name_not_string"),
        (new_event("screen", name=7), "name_not_string"),
        (new_event("page", category=""), "category_not_string"),
        (new_event("screen", category=7), "category_not_string"),
        (new_event("group", groupId=None), "group_id_required"),
        (new_event("group", groupId=7), "group_id_not_string"),
        (new_event("alias", previousId=None), "previous_id_required"),
        (new_event("alias", userId=None, anonymousId="a"), "user_id_required"),
        (new_event(messageId="x" * 100), "invalid_message_id"),
        (new_event(messageId=7), "invalid_message_id"),
        (new_event(timestamp="yesterday"), "timestamp_not_iso_8601"),
        (new_event(timestamp=1772623530), "timestamp_not_iso_8601"),
        (new_event("delete"), "unknown_type"),
        ({"userId": "usr_1", "event": "No type"}, "unknown_type"),
        ("no object", "not_an_object"),
    ],
)
def test_it_drops_a_bad_event(segment: Segment, event: Any, reason: str) -> None:
    """It is answered as if all was well, and the others of its batch are accepted."""
    good = new_event(messageId="y" * 99)

    answer = send(segment, event, good)

    assert (answer.status_code, answer.json()) == (200, SUCCESS)
    assert segment.events() == [good]
    assert segment.drops() == [{"event": event, "reason": reason, "key": KEY, "request": 1}]
    assert segment.counts()["dropped"] == {reason: 1}


def test_it_drops_a_bad_single_call(segment: Segment) -> None:
    """A call is judged as an event of a batch is."""
    assert post(segment, {"userId": "usr_1"}, path="track").json() == SUCCESS
    assert segment.counts()["dropped"] == {"event_not_defined": 1}


def test_it_drops_what_comes_with_an_unknown_key(segment: Segment) -> None:
    """Nothing in the answer says so, and the id stays unknown."""
    event = new_event()

    answer = post(segment, {"batch": [event]}, key=OTHER_KEY)

    assert answer.json() == SUCCESS
    assert segment.counts()["dropped"] == {"unknown_write_key": 1}
    send(segment, event)
    assert segment.events() == [event]


@pytest.mark.parametrize(("count", "accepted"), [(2_500, 2_500), (2_501, 0)])
def test_it_drops_more_than_2500_events(segment: Segment, count: int, accepted: int) -> None:
    """The whole batch is dropped, with 200."""
    assert send(segment, *(new_event() for _ in range(count))).json() == SUCCESS

    dropped = {"too_many_events": count} if count > accepted else {}
    assert segment.counts()["accepted"] == accepted
    assert segment.counts()["dropped"] == dropped


def test_it_answers_an_empty_batch(segment: Segment) -> None:
    """There is nothing in it to accept, which is no error."""
    assert send(segment).json() == SUCCESS
    assert segment.counts()["dropped"] == {"empty_batch": 1}


# What it refuses


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"batch": [',
        b'{"batch": {}}',
        b'{"batch": [{"a": NaN}]}',
        b'{"batch": [{"a": "\xff"}]}',
        b'{"batch": []} {}',
        b'{"batch": [' + b"[" * 100_000,
    ],
)
def test_it_refuses_what_is_no_json(segment: Segment, body: bytes) -> None:
    """What JSON does not allow, or is no batch, gets 400."""
    assert post(segment, body).status_code == 400
    assert segment.counts()["by_status"] == {"400": 1}


@pytest.mark.parametrize(
    "packed",
    [b"{}", EMPTY_BATCH[:-9], EMPTY_BATCH + b"more"],
)
def test_it_refuses_what_is_no_gzip(segment: Segment, packed: bytes) -> None:
    """A body that is not what its header says gets 400."""
    assert post(segment, packed, headers=GZIP).status_code == 400


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("size", "status"), [(500_000, 200), (500_001, 400)])
def test_it_refuses_more_than_500_kb(
    segment: Segment, size: int, status: int, *, packed: bool
) -> None:
    """The size of a body is the one before compression."""
    body = json.dumps({"batch": [new_event()]}).encode().ljust(size)

    answer = post(segment, gzip.compress(body), headers=GZIP) if packed else post(segment, body)

    assert answer.status_code == status
    assert segment.counts()["accepted"] == (1 if status == 200 else 0)


@pytest.mark.parametrize("path", ["batch", "track"])
@pytest.mark.parametrize(("size", "status"), [(32_000, 200), (32_001, 400)])
def test_it_refuses_an_event_of_more_than_32_kb(
    segment: Segment, path: str, size: int, status: int
) -> None:
    """One event that is too large costs the whole batch."""
    event = new_event(properties={"long": ""})
    event["properties"]["long"] = "x" * (size - len(json.dumps(event)))
    body: Json = {"batch": [new_event(), event]} if path == "batch" else event

    assert post(segment, body, path=path).status_code == status
    assert (segment.events() == []) is (status == 400)


@pytest.mark.parametrize("key", ["", "abc123"])
def test_it_refuses_an_empty_or_very_short_key(segment: Segment, key: str) -> None:
    """Only these are seen at once."""
    assert post(segment, {"batch": [new_event()]}, key=key).status_code == 400
    assert segment.events() == []


@pytest.mark.parametrize(("method", "path"), [("GET", "batch"), ("POST", "nothing")])
def test_it_knows_no_other_page(segment: Segment, method: str, path: str) -> None:
    """A wrong endpoint gets 404."""
    answer = requests.request(method, f"{segment.endpoint}/{path}", timeout=ANSWER_SECONDS)

    assert answer.status_code == 404


@pytest.mark.parametrize(("key", "status"), [(KEY, 200), (OTHER_KEY, 404)])
def test_it_tells_whether_a_key_is_known(segment: Segment, key: str, status: int) -> None:
    """The settings of a source are there for a known key only."""
    answer = requests.get(f"{segment.endpoint}/projects/{key}/settings", timeout=ANSWER_SECONDS)

    assert answer.status_code == status
    assert isinstance(answer.json(), dict)


# Its moods


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500, 503])
def test_it_answers_what_it_is_told(segment: Segment, status: int) -> None:
    """Status, headers and body are those of the mood, and nothing is accepted."""
    segment.moods({"status": status, "headers": {"Retry-After": "2"}, "body": "no"})

    answer = send(segment, new_event())

    assert (answer.status_code, answer.text) == (status, "no")
    assert answer.headers["retry-after"] == "2"
    assert segment.counts()["by_status"] == {str(status): 1}
    assert segment.events() == []


def test_it_fails_as_often_as_it_is_told(segment: Segment) -> None:
    """Of several moods the first that applies is taken, until its count is used up."""
    segment.moods({"status": 429, "count": 2}, {"status": 500, "count": 1})

    statuses = [send(segment, new_event()).status_code for _ in range(4)]

    assert statuses == [429, 429, 500, 200]


def test_it_recovers_after_the_time_it_is_told(segment: Segment) -> None:
    """A mood with seconds ends by itself."""
    segment.moods({"status": 503, "seconds": 1})

    assert send(segment, new_event()).status_code == 503
    wait_until(lambda: send(segment, new_event()).ok)


def test_it_fails_by_chance_the_same_way_each_time(segment: Segment) -> None:
    """What chance decides comes from the seed, anew after `forget`."""
    segment.moods({"status": 500, "probability": 0.5})

    rounds = []
    for _ in range(2):
        segment.forget()
        rounds.append([send(segment, new_event()).status_code for _ in range(20)])

    assert rounds[0] == rounds[1]
    assert set(rounds[0]) == {200, 500}


def test_it_refuses_what_contains_poison(segment: Segment) -> None:
    """A mood can be about the content of a body, also of a compressed one."""
    segment.moods({"status": 400, "match": "pois\u00f6n"})
    body = {"batch": [new_event(event="pois\u00f6n")]}
    poison = gzip.compress(json.dumps(body, ensure_ascii=False).encode())

    assert post(segment, poison, headers=GZIP).status_code == 400
    assert send(segment, new_event()).status_code == 200


def test_it_fails_the_check_of_a_key_only_if_it_is_told(segment: Segment) -> None:
    """A mood is about events, unless it says which path it is about."""
    page = f"{segment.endpoint}/projects/{KEY}/settings"
    segment.moods({"status": 503})
    assert requests.get(page, timeout=ANSWER_SECONDS).status_code == 200

    segment.moods({"status": 503, "path": "/v1/projects"})

    assert requests.get(page, timeout=ANSWER_SECONDS).status_code == 503
    assert send(segment, new_event()).status_code == 200


def test_it_resets_after_it_has_accepted(segment: Segment) -> None:
    """The client cannot know that a second attempt is a repetition."""
    segment.moods({"kind": "reset", "count": 1})
    event = new_event()

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        send(segment, event)

    assert segment.events() == [event]
    assert send(segment, event).json() == SUCCESS
    assert segment.counts()["duplicates"] == 1


def test_it_accepts_and_says_it_failed(segment: Segment) -> None:
    """A gateway can time out although what is behind it did its work."""
    segment.moods({"status": 504, "accept": True})
    event = new_event()

    assert send(segment, event).status_code == 504
    assert segment.events() == [event]


def test_it_closes_without_reading(segment: Segment) -> None:
    """The connection ends before the body is sent, and nothing is accepted."""
    segment.moods({"kind": "close"})
    with socket.create_connection((HOST, segment.port), ANSWER_SECONDS) as connection:
        connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")

        assert connection.recv(1) == b""

    assert segment.events() == []
    assert segment.counts()["by_status"] == {"close": 1}


def test_it_hangs(segment: Segment) -> None:
    """The client gives up; nothing was accepted."""
    segment.moods({"kind": "hang"})

    with pytest.raises(requests.ReadTimeout):
        post(segment, {"batch": [new_event()]}, seconds=0.2)

    assert segment.events() == []
    assert segment.counts()["by_status"] == {"hang": 1}


def test_it_is_slow(segment: Segment) -> None:
    """An answer comes after its time; who gives up before it was accepted all the same."""
    segment.moods({"kind": "slow", "seconds": 0.3})
    patient, impatient = new_event(), new_event()

    answer = send(segment, patient)
    with pytest.raises(requests.ReadTimeout):
        post(segment, {"batch": [impatient]}, seconds=0.1)

    assert answer.elapsed.total_seconds() >= 0.3
    assert segment.events() == [patient, impatient]


@pytest.mark.parametrize("status", [200, 502])
def test_it_answers_as_a_proxy(segment: Segment, status: int) -> None:
    """A page is no acceptance, even with status 200."""
    segment.moods({"kind": "html", "status": status})

    answer = send(segment, new_event())

    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html"
    assert "<html>" in answer.text
    assert segment.events() == []


def test_it_drops_everything(segment: Segment) -> None:
    """A source that is disabled answers like any other."""
    segment.moods({"kind": "drop"})

    assert send(segment, new_event()).json() == SUCCESS
    assert segment.counts()["dropped"] == {"mood": 1}


def test_it_drops_some(segment: Segment) -> None:
    """What is lost after a 200 is mostly not all: here one event of each of two requests."""
    sent = [new_event() for _ in range(12)]
    segment.moods({"kind": "drop", "events": 1, "count": 2})

    answers = [send(segment, *sent[start : start + 4]).json() for start in (0, 4, 8)]

    lost = [drop["event"] for drop in segment.drops()]
    assert answers == [SUCCESS] * 3
    assert [sent.index(event) // 4 for event in lost] == [0, 1]
    assert segment.events() == [event for event in sent if event not in lost]
    assert segment.counts()["dropped"] == {"mood": 2}


def test_it_takes_its_time(segment: Segment) -> None:
    """A delay is that of every answer, and clients wait side by side."""
    segment.delay(200)
    answers: list[requests.Response] = []
    clients = [
        threading.Thread(target=lambda: answers.append(send(segment, new_event())))
        for _ in range(8)
    ]

    for client in clients:
        client.start()
    for client in clients:
        client.join()

    times = [request["time"] for request in segment.requests()]
    assert min(answer.elapsed.total_seconds() for answer in answers) >= 0.2
    assert max(times) - min(times) < 8 * 0.2


@pytest.mark.parametrize(
    "mood",
    [
        *({}, {"status": "x"}, {"kind": "angry"}, {"kind": "slow"}, {"staus": 500}),
        {"status": 500, "events": 1},
    ],
)
def test_it_refuses_a_mood_it_does_not_know(segment: Segment, mood: Json) -> None:
    """A mistake in a test is found by the stand-in."""
    with pytest.raises(AssertionError, match="message"):
        segment.moods(mood)


# What it tells


def test_it_tells_what_was_requested(segment: Segment) -> None:
    """A request is there with what became of it."""
    event = new_event()

    headers = {"user-agent": "target/1.0", "x-retry-count": "3"}

    post(segment, {"batch": [event, event, {}]}, headers=headers)

    (request,) = segment.requests()
    assert headers.items() <= request["headers"].items()
    del request["time"], request["headers"], request["port"]
    assert request == {
        "n": 1,
        "method": "POST",
        "path": "/v1/batch",
        "key": KEY,
        "mood": None,
        "status": 200,
        "events": 3,
        "accepted": 1,
        "duplicates": 1,
        "dropped": 1,
        "bytes": len(json.dumps({"batch": [event, event, {}]})),
        "wire_bytes": len(json.dumps({"batch": [event, event, {}]})),
        "envelope": {},
    }


def test_it_forgets(segment: Segment) -> None:
    """After it, an id is unknown again, and requests are counted from one."""
    event = new_event()
    send(segment, event, {})

    segment.forget()

    assert segment.counts() == {
        "requests": 0,
        "by_status": {},
        "accepted": 0,
        "duplicates": 0,
        "dropped": {},
    }
    assert segment.drops() == segment.requests() == []
    send(segment, event)
    assert segment.accepted() == [{"event": event, "key": KEY, "request": 1}]


def test_it_can_do_without_the_events(tmp_path: Path) -> None:
    """With `--count-only` it still knows an id, and says that it has no events to show."""
    event = new_event()
    with Segment(tmp_path, count_only=True) as segment:
        send(segment, event, event, {})

        counts = segment.counts()
        assert (counts["accepted"], counts["duplicates"]) == (1, 1)
        assert counts["dropped"] == {"unknown_type": 1}
        with pytest.raises(AssertionError, match="count-only"):
            segment.events()


# The process


def test_it_is_the_same_after_a_restart(tmp_path: Path) -> None:
    """With a journal, neither what was accepted nor the port is lost, even when it is killed."""
    events = [new_event(), new_event()]
    with Segment(tmp_path, journal=True) as segment:
        endpoint = segment.endpoint
        post(segment, json.dumps({"batch": events[:1]}, indent=1).encode())
        segment.kill()
        segment.start()
        send(segment, *events)

        assert segment.endpoint == endpoint
        assert segment.events() == events
        lines = segment.journal.read_text("utf-8").splitlines()
        assert [json.loads(line) for line in lines] == segment.accepted()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_it_is_told(tmp_path: Path, number: signal.Signals) -> None:
    """Nobody who waits for an answer keeps it, and its last line says what came."""
    with Segment(tmp_path) as segment:
        send(segment, new_event(), {})
        segment.moods({"kind": "hang"})
        with socket.create_connection((HOST, segment.port)) as connection:
            connection.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            wait_until(lambda: len(segment.requests()) == 2)
            segment.signal(number)

            assert segment.wait() == 0

    assert segment.log.splitlines()[-1] == (
        "Stopped. 2 requests: 1 events accepted, 0 duplicates, 1 dropped (unknown_type: 1)."
    )


def test_it_takes_moods_from_a_file(tmp_path: Path) -> None:
    """The CI of a pipeline needs no client of its own to see a target fail."""
    moods = tmp_path / "moods.json"
    moods.write_text('[{"status": 500}]', "utf-8")

    with Segment(tmp_path, arguments=[f"--moods={moods}"]) as segment:
        assert send(segment, new_event()).status_code == 500


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--write-key=short", "--write-key: has at least 7 characters"),
        ("--moods=missing.json", "No such file"),
        ("--journal=/", "cannot be the journal"),
        ("--port=-1", "Cannot listen"),
    ],
)
def test_it_says_why_it_does_not_start(tmp_path: Path, argument: str, text: str) -> None:
    """A wrong option is named, without a traceback."""
    with pytest.raises(DidNotStart) as error, Segment(tmp_path, arguments=[argument]):
        pass

    assert "Traceback" not in str(error.value)
    assert text in str(error.value)


def test_it_helps() -> None:
    """The help names every page and every kind of mood."""
    help_text = subprocess.check_output([sys.executable, PROGRAM, "--help"], text=True)

    for word in ("/stand-in/drops", "--count-only", "hang", "reset", "close", "slow", "drop"):
        assert word in help_text
