"""The receiver as Segment's Tracking API: paths, keys, limits, answers, browsers."""

from __future__ import annotations

import gzip
import itertools
import json
from base64 import b64encode
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
from harness import singer, spool
from harness.answers import counts, reason
from harness.receiver import Receiver
from tap_segment_webhook.call import CALLS, MAX_BODY_BYTES, MAX_CALL_BYTES
from tap_segment_webhook.discard import MAX_BATCH_EVENTS
from tap_segment_webhook.spool.model import Counts
from tap_segment_webhook.spool.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tap_segment_webhook.spool.model import KeptReject

KEY = "not-a-real-key"
NEXT_KEY = "not-a-real-key-either"
APP_KEY = "key-of-app"
SHORT = {name[0]: name for name in CALLS}
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Give a receiver with several keys."""
    sources: list[dict[str, Any]] = [
        {"name": "app", "write_keys": [APP_KEY, NEXT_KEY]},
        {"name": "hooks", "shared_secrets": ["not-a-real-secret"]},
    ]
    with Receiver(
        tmp_path_factory.mktemp("tracking"),
        write_key=KEY,
        sources=sources,
        integration_name="Warehouse",
    ) as running:
        yield running


def basic(text: str) -> dict[str, str]:
    """Return the header of Basic with *text*, which is user, colon and password."""
    return {"Authorization": "Basic " + b64encode(text.encode()).decode()}


def new_call(**fields: Any) -> dict[str, Any]:
    """Return a call that was never sent before."""
    number = next(NUMBERS)
    return {"type": "track", "event": "x", "userId": "u", "messageId": f"call-{number}", **fields}


def post(
    receiver: Receiver, path: str, body: Any, headers: dict[str, str] | None = None
) -> requests.Response:
    """Post *body* with the key of the default source, unless *headers* say another."""
    given = basic(f"{KEY}:") if headers is None else headers
    return receiver.post(json.dumps(body).encode(), given, path=path)


def stored(receiver: Receiver) -> dict[str, tuple[str, str]]:
    """Return type and source of each stored event, by its id."""
    found = {}
    for body, _, source, _ in spool.rows(receiver.spool_url):
        event = json.loads(body)
        found[event["messageId"]] = (event["type"], source)
    return found


def books(receiver: Receiver) -> dict[str, Counts]:
    """Return the counts of each source."""
    with closing(Reader(receiver.spool_url)) as reader:
        return reader.books()


def kept_rejects(receiver: Receiver) -> list[KeptReject]:
    """Return what was set aside, oldest first."""
    with closing(Reader(receiver.spool_url)) as reader:
        return list(reader.rejects())


@pytest.mark.parametrize(("path", "kind"), [*SHORT.items(), *zip(CALLS, CALLS, strict=True)])
def test_single_call_is_stored_under_its_paths(receiver: Receiver, path: str, kind: str) -> None:
    """Long and short paths are the same."""
    call = new_call()

    assert counts(post(receiver, f"/v1/{path}", call)) == {"received": 1, "stored": 1}
    assert stored(receiver)[call["messageId"]] == (kind, "default")


@pytest.mark.parametrize("path", ["batch", "b", "import"])
def test_batch_is_stored_under_its_paths(receiver: Receiver, path: str) -> None:
    """In order, each call under its own type; what comes again is a duplicate."""
    calls = [new_call(type=kind) for kind in CALLS]

    first = post(receiver, f"/v1/{path}", {"batch": calls})
    again = post(receiver, f"/v1/{path}", {"batch": calls})

    assert counts(first) == {"received": 6, "stored": 6}
    assert counts(again) == {"received": 6, "duplicate": 6}
    found = stored(receiver)
    assert [found[call["messageId"]][0] for call in calls] == list(CALLS)
    positions = list(found)
    assert [positions.index(call["messageId"]) for call in calls] == sorted(
        positions.index(call["messageId"]) for call in calls
    )


@pytest.mark.parametrize(
    ("headers", "in_body", "source"),
    [
        (basic(f"{KEY}:"), None, "default"),
        (basic(KEY), None, "default"),
        (basic(f"{KEY}:x"), None, "default"),
        (basic(f"{APP_KEY}:"), None, "app"),
        (basic(f"{NEXT_KEY}:"), None, "app"),
        ({}, KEY, "default"),
        ({}, NEXT_KEY, "app"),
        ({"Authorization": "Bearer a-token-of-oauth"}, APP_KEY, "app"),
        (basic("unknown:"), APP_KEY, "app"),
    ],
)
def test_key_decides_the_source(
    receiver: Receiver, headers: dict[str, str], in_body: str | None, source: str
) -> None:
    """In the header with or without the colon, or in the body, of single calls and of batches."""
    single, in_batch = new_call(), new_call()
    key = {} if in_body is None else {"writeKey": in_body}

    assert post(receiver, "/v1/track", {**single, **key}, headers).status_code == 200
    assert post(receiver, "/v1/batch", {"batch": [in_batch], **key}, headers).status_code == 200

    found = stored(receiver)
    assert found[single["messageId"]] == found[in_batch["messageId"]] == ("track", source)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, {}),
        (basic("unknown:"), {}),
        (basic("not-a-real-secret:"), {}),
        ({}, {"writeKey": "unknown"}),
        ({}, {"writeKey": 5}),
        ({"Authorization": f"Bearer {KEY}x"}, {}),
        ({"Authorization": "Basic \x80"}, {}),
    ],
)
def test_unknown_key_is_refused_and_nothing_is_kept(
    receiver: Receiver, headers: dict[str, str], key: dict[str, Any]
) -> None:
    """Segment would answer 200 and drop it."""
    before = books(receiver)

    for path, body in (("track", new_call(**key)), ("batch", {"batch": [new_call()], **key})):
        assert "write key" in reason(post(receiver, f"/v1/{path}", body, headers), 401)
    assert "write key" in reason(post(receiver, "/v1/batch", "no object", headers), 401)

    assert books(receiver) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/json", None])
def test_content_type_does_not_matter(receiver: Receiver, kind: str | None) -> None:
    """Browsers send JSON as text/plain, which needs no preflight."""
    headers = basic(f"{KEY}:") | ({} if kind is None else {"Content-Type": kind})

    assert counts(post(receiver, "/v1/t", new_call(), headers)) == {"received": 1, "stored": 1}


def test_gzip_is_taken(receiver: Receiver) -> None:
    """The limits hold for what comes out of it."""
    headers = basic(f"{KEY}:") | {"Content-Encoding": "gzip"}
    good = gzip.compress(json.dumps({"batch": [new_call()]}).encode())
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES + 1))

    assert counts(receiver.post(good, headers, path="/v1/batch")) == {"received": 1, "stored": 1}
    assert "512,000 bytes" in reason(receiver.post(bomb, headers, path="/v1/batch"), 400)


def test_too_large_a_body_is_400_as_at_segment(receiver: Receiver) -> None:
    """Not 413, which SDKs do not know; one byte less is read."""
    body = json.dumps({"batch": []}).encode()
    fits = body + b" " * (MAX_BODY_BYTES - len(body))

    assert counts(receiver.post(fits, basic(f"{KEY}:"), path="/v1/batch")) == {}
    assert "512,000" in reason(receiver.post(fits + b" ", basic(f"{KEY}:"), path="/v1/batch"), 400)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("track", new_call(event="x" * MAX_CALL_BYTES)),
        ("batch", {"batch": [new_call(), new_call(event="x" * MAX_CALL_BYTES)]}),
        ("batch", ["no", "object"]),
        ("identify", "no object"),
    ],
)
def test_what_is_answered_400_is_kept_in_rejects(receiver: Receiver, path: str, body: Any) -> None:
    """It was authentic: nothing of it may vanish, and nothing of it counts as stored."""
    before = stored(receiver)

    said = reason(post(receiver, f"/v1/{path}", body), 400)

    reject = kept_rejects(receiver)[-1]
    assert (reject.reason, json.loads(reject.body)) == (said, body)
    assert stored(receiver) == before


def test_what_segment_drops_is_answered_200_and_kept(receiver: Receiver) -> None:
    """SDKs behave as with Segment, and the books say what became of it."""
    calls = [new_call(), new_call(event=""), new_call(type="delete"), 7]

    answer = post(receiver, "/v1/batch", {"batch": calls})

    assert counts(answer) == {"received": 4, "stored": 1, "rejected": 3}
    said = [reject.reason for reject in kept_rejects(receiver)[-3:]]
    assert "event_not_string" in said[0]
    assert "delete" in said[1]
    assert "not a JSON object" in said[2]


def test_too_many_calls_are_answered_200_and_kept(receiver: Receiver) -> None:
    """Segment drops all of a batch of 2,501."""
    size = MAX_BATCH_EVENTS + 1
    calls = [{"type": "identify", "userId": "u", "messageId": f"{n}"} for n in range(size)]

    answer = post(receiver, "/v1/batch", {"batch": calls})

    assert counts(answer) == {"received": size, "rejected": size}
    assert len(kept_rejects(receiver)) >= size


def test_retry_of_rejects_stores_what_segment_would_have_dropped(tmp_path: Path) -> None:
    """They are events, and whoever asks for them gets them."""
    with Receiver(tmp_path, write_key=KEY) as receiver:
        post(
            receiver, "/v1/batch", {"batch": [new_call(userId=17), new_call(type="page", name="")]}
        )
        receiver.stop()

        said = receiver.commands.output("rejects", "retry")

        assert said == "2 stored, 0 duplicates, 0 are still no events.\n"
        assert books(receiver) == {"default": Counts(received=2, stored=2)}


def test_switched_off_call_is_filtered(receiver: Receiver) -> None:
    """`integrations` of the batch counts as that of each call."""
    body = {"integrations": {"Warehouse": False}, "batch": [new_call()]}

    assert counts(post(receiver, "/v1/batch", body)) == {"received": 1, "filtered": 1}


def test_empty_batch_is_nothing(receiver: Receiver) -> None:
    """It is answered as at Segment, and no book changes."""
    before = books(receiver)

    assert counts(post(receiver, "/v1/batch", {"batch": []})) == {}
    assert books(receiver) == before


def test_metrics_of_sdks_are_taken_and_forgotten(receiver: Receiver) -> None:
    """They are no events."""
    before = books(receiver)

    assert counts(post(receiver, "/v1/m", {"series": [{"metric": "x"}]}, {})) == {}
    assert books(receiver) == before


@pytest.mark.parametrize("path", ["", "x", "track/", "batch/x", "pixel/x", "pixel/t", "projects/x"])
def test_unknown_path_is_404(receiver: Receiver, path: str) -> None:
    """And says which there are."""
    assert "batch" in reason(post(receiver, f"/v1/{path}", new_call()), 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_calls_are_only_posted(receiver: Receiver, method: str) -> None:
    """And the answer says so."""
    answer = receiver.post(b"{}", basic(f"{KEY}:"), path="/v1/track", method=method)

    assert "posted" in reason(answer, 405)
    assert answer.headers["Allow"] == "POST, OPTIONS"


@pytest.mark.parametrize("path", ["track", "batch", "m", f"projects/{KEY}/settings", "anything"])
def test_page_of_another_origin_may_ask(receiver: Receiver, path: str) -> None:
    """A preflight is answered for whatever headers an SDK sends."""
    headers = {
        "Origin": "https://harbor.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-retry-count",
    }

    answer = receiver.post(b"", headers, path=f"/v1/{path}", method="OPTIONS")

    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "https://harbor.example"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
    assert answer.headers["Access-Control-Allow-Headers"] == (
        "authorization,content-type,x-retry-count"
    )


def test_page_may_read_every_answer(receiver: Receiver) -> None:
    """Also a refusal: else an SDK in a browser sees only a network error."""
    for answer in (
        post(receiver, "/v1/track", new_call()),
        post(receiver, "/v1/track", new_call(), {}),
        post(receiver, "/v1/nothing", {}),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Origin" not in receiver.get("/health").headers


def test_page_may_send_its_cookies(receiver: Receiver) -> None:
    """A browser that does accepts no answer for all origins, and a cache must keep them apart."""
    headers = {**basic(f"{KEY}:"), "Origin": "https://harbor.example"}

    answer = post(receiver, "/v1/track", new_call(), headers)

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://harbor.example"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Vary"] == "origin"


def test_settings_of_a_key_point_back_at_the_receiver(receiver: Receiver) -> None:
    """An SDK in a browser that is told where to ask needs to be told no more."""
    answer = receiver.get(f"/v1/projects/{APP_KEY}/settings")

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.json()["integrations"]["Segment.io"] == {
        "apiKey": APP_KEY,
        "apiHost": f"127.0.0.1:{receiver.port}/v1",
        "protocol": "http",
    }


@pytest.mark.parametrize("inner", ["", ", inner.example"])
def test_settings_behind_proxies_name_the_first(receiver: Receiver, inner: str) -> None:
    """A page of TLS must not be sent to plain HTTP."""
    headers = {
        "X-Forwarded-Host": f"events.harbor.example{inner}",
        "X-Forwarded-Proto": f"https{inner}",
    }
    url = f"{receiver.base_url}/v1/projects/{KEY}/settings"

    answer = requests.get(url, headers=headers, timeout=60)

    shown = answer.json()["integrations"]["Segment.io"]
    assert (shown["apiHost"], shown["protocol"]) == ("events.harbor.example/v1", "https")
    assert answer.headers["Cache-Control"] == "no-store"  # or a forged host would be everybody's


@pytest.mark.parametrize("key", ["unknown", "", "not-a-real-secret", f"{KEY}/x"])
def test_settings_of_an_unknown_key_are_404(receiver: Receiver, key: str) -> None:
    """As Segment answers: the one way to try a key."""
    assert reason(receiver.get(f"/v1/projects/{key}/settings"), 404)


@pytest.mark.parametrize("kind", CALLS)
def test_pixel_is_stored_before_the_image_is_shown(receiver: Receiver, kind: str) -> None:
    """An image in a mail is a call."""
    call = new_call(writeKey=APP_KEY)
    data = b64encode(json.dumps(call).encode()).decode()

    answer = requests.get(f"{receiver.base_url}/v1/pixel/{kind}", params={"data": data}, timeout=60)

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/gif")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.content.startswith(b"GIF89a")
    assert stored(receiver)[call["messageId"]] == (kind, "app")


def test_pixel_that_is_not_stored_shows_no_image(receiver: Receiver) -> None:
    """A 200 always means that it is kept."""
    assert reason(receiver.get("/v1/pixel/track?userId=u&event=x"), 401)
    assert reason(receiver.get("/v1/pixel/track?data=%25"), 400)
    assert receiver.get(f"/v1/pixel/track?writeKey={KEY}&event=x").status_code == 200
    assert "no_user_anon_id" in kept_rejects(receiver)[-1].reason


def test_full_spool_is_503_and_a_page_may_read_when_to_come_back(tmp_path: Path) -> None:
    """SDKs keep what they have and try again."""
    with Receiver(tmp_path, write_key=KEY, max_spool_bytes=1) as receiver:
        answer = post(receiver, "/v1/batch", {"batch": [new_call()]})

    assert "max_spool_bytes" in reason(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Access-Control-Expose-Headers"] == "retry-after"


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_webhook_may_show_the_secret_instead_of_signing(receiver: Receiver, scheme: str) -> None:
    """As partners' webhooks do, which Segment does not sign."""
    secret = "not-a-real-secret"  # noqa: S105
    body = json.dumps(new_call()).encode()

    def shows(text: str) -> requests.Response:
        header = basic(f"{text}:") if scheme == "Basic" else {"Authorization": f"Bearer {text}"}
        return receiver.post(body, header, path="/webhook/hooks")

    good, bad = shows(secret), shows(f"{secret}x")

    assert counts(good) == {"received": 1, "stored": 1}
    assert "Authorization does not match" in reason(bad, 401)


def test_write_key_opens_no_webhook(receiver: Receiver) -> None:
    """Every visitor of a page can read one."""
    body = json.dumps(new_call(type="delete")).encode()

    for path in ("/webhook/app", "/webhook/hooks", "/webhook"):
        answer = receiver.post(body, basic(f"{APP_KEY}:"), path=path)
        assert answer.status_code == 401


def test_tap_emits_what_was_called(tmp_path: Path) -> None:
    """Through the fast and the careful reading alike, with the time corrected."""
    usual = new_call(
        context={"library": {"name": "x"}},
        timestamp="2026-03-04T10:00:00.000Z",
        properties={"n": 1.5},
    )
    unusual = {**usual, "messageId": "unusual", "more": "\0"}
    batch = {"batch": [usual, unusual], "sentAt": "2026-03-04T10:00:05.000Z", "writeKey": KEY}
    with Receiver(tmp_path, write_key=KEY) as receiver:
        assert post(receiver, "/v1/batch", batch, {}).status_code == 200
        run = singer.run({"spool_url": receiver.spool_url})

    first, second = run.records
    different = {"message_id", "extra", "spool_position"}
    assert {name: value for name, value in first.items() if name not in different} == {
        name: value for name, value in second.items() if name not in different
    }
    happened, received_at = (
        datetime.fromisoformat(first[name].rstrip("Z")) for name in ("timestamp", "received_at")
    )
    assert received_at - happened == timedelta(seconds=5)
    assert first["source"] == "default"
    assert KEY not in run.log
