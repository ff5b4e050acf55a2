"""What a real browser sends with Segment's analytics.js, from pages set up as the README says."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from harness import browser, clients, rows, singer, spool
from harness.browser import LANGUAGE, TIMEZONE, Website, visiting
from harness.deliveries import NESTED
from harness.docs import readme
from harness.proxy import Proxy
from harness.receiver import HOST, Receiver
from harness.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.browser import Visit
    from harness.deliveries import Event
    from harness.rows import Row

pytestmark = pytest.mark.skipif(not browser.PROGRAM, reason="This machine has no Chromium.")

KEY, SOURCE = "of-the-website", "website"
OK, UNAVAILABLE = 200, 503
ANALYTICS = "@segment/analytics-next"
WAYS = ("settings of the receiver", "settings in the page", "batches", "settings of Segment")
STANDARD, IN_PAGE, BATCHES, OF_SEGMENT = WAYS
BUILDS = ("index.js", "standalone.js")
PATH, QUERY, TITLE = "/page.html", "?utm_source=jornal&utm_campaign=mar%C3%A7o", "Preços"
BATCHING = '{ strategy: "batching", config: { credentials: "include", timeout: 1000 } }'
CHOSEN = "2026-01-02T03:04:05.006Z"

PAGE = """<!DOCTYPE html>
<html lang="pt"><meta charset="utf-8"><title>Preços</title><link rel="icon" href="data:,">
<script type="importmap">{{"imports": {{"@segment/analytics-next": "/npm.js"}}}}</script>
<script type="module" src="{}"></script></html>
"""
# The package has a build for pages that makes this name a global one.
NPM = 'import "/index.js"; export const { AnalyticsBrowser } = self.AnalyticsNext;'
# What Segment's snippet does with the other build: `load` notes its arguments, and loads it.
SNIPPET = """
const analytics = (window.analytics = []);
analytics._cdn = location.origin;
analytics.load = (key, options) => {
  analytics._writeKey = key;
  analytics._loadOptions = options;
  document.head.append(Object.assign(document.createElement("script"), { src: "/standalone.js" }));
};
%s
while (!window.analytics.initialized) await new Promise((then) => setTimeout(then, 5));
const loaded = window.analytics;
export { loaded as analytics };
"""
# What Segment's CDN says, as far as analytics.js looks at it.
SETTINGS_OF_SEGMENT = {
    "integrations": {"Segment.io": {"apiKey": KEY, "apiHost": "api.segment.io/v1"}},
    "metrics": {"sampleRate": 0},
}
REPORT = """
const report = (what) => fetch("/report", { method: "POST", body: JSON.stringify(what) });
"""
MAKE_CALLS = """
import { analytics } from "/analytics.js";
const made = [];
for (const [method, ...args] of CALLS) {
  const event = (await analytics[method](...args))?.event;
  if (event) {
    const { messageId, timestamp } = event;
    const anonymousId = JSON.parse(localStorage.getItem("ajs_anonymous_id"));
    made.push({ messageId, timestamp, anonymousId });
  }
}
await report({ made, userAgent: navigator.userAgent, userAgentData: navigator.userAgentData });
"""
TRACK = """
import { analytics } from "/analytics.js";
const track = async (count) => {
  const tracks = Array.from({ length: count }, (_, number) => analytics.track("Made", { number }));
  return (await Promise.all(tracks)).map((context) => context.event.messageId);
};
"""
TRACK_MANY = f"""{TRACK}
await report(await track(30));
"""
LEAVE_AT_ONCE = f"""{TRACK}
await analytics;
track(5);
location.href = "/next.html";
"""
TRACK_AND_LEAVE = f"""{TRACK}
await track(5);
location.href = "/next.html";
"""
LOAD = 'import "/analytics.js";'
LOAD_LATER = """
await report("The page was left.");
await fetch("/gate");
await import("/analytics.js");
"""
CALL_IN_VAIN = """
import { analytics } from "/analytics.js";
analytics.page();
await analytics.catch(() => report("It did not load."));
"""


class Seen(NamedTuple):
    """What is left of a visit to a page that made every call."""

    way: str
    site: str
    reported: dict[str, Any]
    found: list[Row]
    visit: Visit
    began: datetime
    ended: datetime


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Give a receiver that is in no trouble."""
    with receiving(tmp_path_factory.mktemp("receiver")) as running:
        yield running


@pytest.fixture(scope="module", params=WAYS)
def seen(
    request: pytest.FixtureRequest, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """Have a page, set up in one of the ways of the README, make every call there is."""
    way, folder = request.param, tmp_path_factory.mktemp("page")
    before, began = stored(receiver), now()
    with browsing(folder, receiver.base_url, way, MAKE_CALLS) as (site, visit):
        reported = site.report()
        wait_until(lambda: len(stored(receiver)) - len(before) == len(reported["made"]))
    ended = now()
    tables = rows.tables(singer.sync(receiver.settings))
    found = sorted((row for table in tables.values() for row in table), key=position)
    return Seen(way, site.url, reported, found[len(before) :], visit, began, ended)


def test_every_field_of_every_call_is_in_its_record(seen: Seen) -> None:
    """All that the page says, and all that analytics.js adds to it, is what the tap emits."""
    assert seen.found == [
        {**rows.expected(event), "source": SOURCE, "spool_position": number}
        for number, event in enumerate(expected(seen), position(seen.found[0]))
    ]


def test_times_are_those_of_the_call_and_of_its_way(seen: Seen) -> None:
    """A call is made, sent and received in this order, while the page is looked at."""
    for row in seen.found:
        made = row["original_timestamp"]
        assert made == rows.moment(CHOSEN) or seen.began <= made <= row["sent_at"]
        assert seen.began <= row["sent_at"] <= row["received_at"] <= seen.ended


def test_a_reset_page_has_another_visitor(seen: Seen) -> None:
    """Until `reset` the anonymous id is one, and after it another."""
    before, after = {row["anonymous_id"] for row in seen.found[:-1]}, seen.found[-1]

    assert len(before) == 1
    assert after["anonymous_id"] not in before


def test_the_browser_asks_before_it_posts_and_is_answered(seen: Seen) -> None:
    """A preflight asks for each path, from the page's origin, and each post is a 200."""
    asked = {made.path for made in seen.visit.exchanges if made.method == "OPTIONS"}
    posts = [made for made in seen.visit.exchanges if made.path in asked and made.method == "POST"]

    assert {made.path for made in posts} == asked
    assert {made.path.rpartition("/")[0] for made in posts} == {"/v1"}
    assert {(made.status, made.headers["origin"]) for made in posts} == {(OK, seen.site)}
    assert (len(posts) < len(seen.found)) == (seen.way == BATCHES)


def test_the_page_has_nothing_to_complain_of(seen: Seen) -> None:
    """The console stays empty, and nobody is asked for anything but the two servers."""
    assert seen.visit.console == []
    assert seen.visit.hosts == {HOST}
    assert seen.visit.addresses == {HOST}


@pytest.mark.parametrize("way", [STANDARD, BATCHES])
def test_calls_that_cannot_be_stored_are_sent_again(way: str, tmp_path: Path) -> None:
    """A 503, and then a moment in which nobody listens: analytics.js tries again, all arrives."""
    with (
        receiving(tmp_path, max_spool_bytes=1) as full,
        browsing(tmp_path, full.base_url, way, TRACK_MANY) as (site, visit),
    ):
        sent = site.report()
        full.stop()
        with receiving(tmp_path, port=full.port) as receiver:
            wait_until(lambda: len(stored(receiver)) >= len(sent))

    assert sorted(stored(receiver)) == sorted(sent)
    assert UNAVAILABLE in {made.status for made in visit.exchanges}
    assert {made.status for made in visit.exchanges if "x-retry-count" in made.headers} >= {OK}


@pytest.mark.parametrize("way", [IN_PAGE, BATCHES])
def test_calls_whose_answer_is_lost_are_not_doubled(way: str, tmp_path: Path) -> None:
    """Killed between its commit and its answer, the receiver knows again what is sent again."""
    killed: list[int] = []
    with receiving(tmp_path) as receiver:

        def let_through(status: int, _: int) -> bool:
            if status != OK or killed:
                return True
            killed.append(receiver.pid)
            receiver.kill()
            receiver.start()
            return False

        with (
            Proxy(receiver, let_through) as proxy,
            browsing(tmp_path, proxy.url, way, TRACK_MANY) as (site, _),
        ):
            sent = site.report()
            wait_until(lambda: len(stored(receiver)) >= len(sent))
        books = receiver.status()["books"][SOURCE]

    assert sorted(stored(receiver)) == sorted(sent)
    assert books["duplicate"] > 0
    assert len(killed) == 1


def test_calls_of_a_page_that_is_left_at_once_arrive_once(
    receiver: Receiver, tmp_path: Path
) -> None:
    """What was under way when the page was left is sent by the next one, and not stored twice."""
    before = stored(receiver)
    with browsing(tmp_path, receiver.base_url, STANDARD, LEAVE_AT_ONCE, then=LOAD):
        wait_until(lambda: len(stored(receiver)) >= len(before) + 5)

    assert numbers(receiver, before) == [0, 1, 2, 3, 4]


def test_a_batch_is_sent_when_its_page_is_left(receiver: Receiver, tmp_path: Path) -> None:
    """The browser asks and posts for a page that is no longer there."""
    before = stored(receiver)
    with browsing(tmp_path, receiver.base_url, BATCHES, TRACK_AND_LEAVE):
        wait_until(lambda: len(stored(receiver)) >= len(before) + 5)

    assert numbers(receiver, before) == [0, 1, 2, 3, 4]


def test_calls_wait_in_the_browser_while_the_receiver_is_away(tmp_path: Path) -> None:
    """With the settings in the page, what one could not send is sent by a later one."""
    with receiving(tmp_path) as receiver:
        receiver.stop()
        url = receiver.base_url
        with browsing(tmp_path, url, IN_PAGE, TRACK_AND_LEAVE, then=LOAD_LATER) as (site, _):
            site.report()
            with receiving(tmp_path, port=receiver.port):
                site.open_gate()
                wait_until(lambda: len(stored(receiver)) >= 5)

    assert numbers(receiver, []) == [0, 1, 2, 3, 4]


def test_an_unknown_key_is_told_in_the_console(receiver: Receiver, tmp_path: Path) -> None:
    """A page with a wrong key sends nothing, and its developer reads why."""
    before, url = stored(receiver), receiver.base_url
    with browsing(tmp_path, url, STANDARD, CALL_IN_VAIN, key="of-nobody") as (site, visit):
        site.report()

    assert "No source has this write key" in "".join(visit.console)
    assert stored(receiver) == before


def calls(site: str) -> list[tuple[list[Any], Event]]:
    """Return all calls of the page at *site*, and what each has to become."""
    page = page_of(site)
    traits = {"email": "inês@harbor.example", "endereço": {"cidade": "São Paulo"}, "nada": None}
    known = {"userId": "usr_7"}
    chosen = {"context": {"loja": {"é": [1]}}, "integrations": {"All": False, "Armazém": True}}
    return [
        (["page"], {"properties": page}),
        (
            ["page", "Loja", "Preços", {"ordem": ["ç", 1]}],
            {
                "category": "Loja",
                "name": "Preços",
                "properties": {**page, "ordem": ["ç", 1], "category": "Loja", "name": "Preços"},
            },
        ),
        (
            ["track", "Pedido concluído", NESTED],
            {"event": "Pedido concluído", "properties": NESTED},
        ),
        (
            ["track", "Half", {"an emoji": "\ud83d", "float": 0.1, "large": 2**53 - 1}],
            {
                "event": "Half",
                "properties": {"an emoji": "\ufffd", "float": 0.1, "large": 2**53 - 1},
                "_originals": {"properties.an emoji": '"\\ud83d"'},
            },
        ),
        (
            ["track", "Chosen", {}, {**chosen, "timestamp": CHOSEN}],
            {"event": "Chosen", "properties": {}, "originalTimestamp": CHOSEN, **chosen},
        ),
        (["alias", "usr_7", "anterior"], {"userId": "usr_7", "previousId": "anterior"}),
        (["identify", "usr_7", traits], {**known, "traits": traits}),
        (["group", "org_3", traits], {**known, "groupId": "org_3", "traits": traits}),
        (
            ["screen", "App", "Carrinho", {"itens": 2}],
            {**known, "category": "App", "name": "Carrinho", "properties": {"itens": 2}},
        ),
        (["reset"], {}),
        (["track", "After"], {"event": "After", "properties": {}}),
    ]


def expected(seen: Seen) -> Iterator[Event]:
    """Yield the events that the calls of a page have to become; times on the way are as found."""
    told = [(call[0], event) for call, event in calls(seen.site) if event]
    release = clients.releases_for_node(ANALYTICS)[ANALYTICS]
    page = {
        "page": page_of(seen.site),
        "campaign": {"source": "jornal", "name": "março"},
        "library": {"name": "analytics.js", "version": f"next-{release}"},
        "locale": LANGUAGE,
        "timezone": TIMEZONE,
        "userAgent": seen.reported["userAgent"],
        "userAgentData": seen.reported["userAgentData"],
    }
    integrations = {"Segment.io": True} if seen.way == OF_SEGMENT else {}
    for (kind, event), made, row in zip(told, seen.reported["made"], seen.found, strict=True):
        original = event.get("originalTimestamp", made["timestamp"])
        late = row["received_at"] - row["sent_at"]
        yield {
            **event,
            "type": kind,
            "originalTimestamp": original,
            "messageId": made["messageId"],
            "anonymousId": made["anonymousId"],
            "context": {**page, **event.get("context", {})},
            "integrations": {**integrations, **event.get("integrations", {})},
            "timestamp": said(rows.moment(original) + late),
            "sentAt": said(row["sent_at"]),
            "receivedAt": said(row["received_at"]),
            "_metadata": {"bundled": ["Segment.io"], "bundledIds": [], "unbundled": []},
        }


def page_of(site: str) -> Event:
    """Return how analytics.js describes the page."""
    url = f"{site}{PATH}{QUERY}"
    return {"path": PATH, "referrer": "", "search": QUERY, "title": TITLE, "url": url}


def receiving(folder: Path, **settings: Any) -> Receiver:
    """Return a receiver with a source for the website."""
    return Receiver(folder, sources=[{"name": SOURCE, "write_keys": [KEY]}], **settings)


@contextmanager
def browsing(
    folder: Path,
    url: str,
    way: str,
    script: str,
    *,
    then: str = "",
    key: str = KEY,
) -> Iterator[tuple[Website, Visit]]:
    """Have a browser look at a page that runs *script*, and sends to *url* set up in one *way*.

    The script may go to `/next.html`, which runs *then*.
    """
    built = clients.modules() / "node_modules" / ANALYTICS / "dist" / "umd"
    files = {
        PATH: PAGE.format("/page.js"),
        "/next.html": PAGE.format("/next.js"),
        "/next.js": REPORT + then,
        "/npm.js": NPM,
        "/analytics.js": set_up(way, url, key),
        f"/v1/projects/{KEY}/settings": json.dumps(SETTINGS_OF_SEGMENT),
        **{f"/{name}": (built / name).read_text("utf-8") for name in BUILDS},
    }
    with Website(files) as site:
        made = json.dumps([call for call, _ in calls(site.url)])
        site.files["/page.js"] = f"const CALLS = {made};\n{REPORT}{script}"
        with visiting(site.url + PATH + QUERY, folder) as visit:
            yield site, visit


def set_up(way: str, url: str, key: str) -> str:
    """Return the script of the README that sets analytics.js up in this *way*."""
    _, _, text = readme("tap-segment-webhook").read_text("utf-8").partition("### A browser\n")
    section = re.split(r"\n##+ ", text)[0]
    asking, knowing, loading = re.findall(r"```js\n(.*?)```", section, re.DOTALL)
    script: str = {STANDARD: asking, OF_SEGMENT: SNIPPET % loading}.get(way, knowing)
    host = f'"{url.removeprefix("http://")}/v1", protocol: "http"'
    if way == BATCHES:
        host += f", deliveryStrategy: {BATCHING}"
    script = script.replace("WRITE_KEY", key).replace('"collect.example.com/v1"', host)
    return script.replace("https://collect.example.com", url)


def stored(receiver: Receiver) -> list[str]:
    """Return the message ids in the spool, which may be in use."""
    return [json.loads(body)["messageId"] for body, *_ in spool.rows(receiver.spool_url)]


def numbers(receiver: Receiver, before: list[str]) -> list[int]:
    """Return the numbers of the calls that `track` made, sorted, without those from *before*."""
    records = singer.sync(receiver.settings).records_of("track")
    found = [record for record in records if record["message_id"] not in before]
    return sorted(record["properties"]["number"] for record in found)


def position(row: Row) -> int:
    """Return where *row* stands in the spool."""
    return int(row["spool_position"])


def said(moment: datetime) -> str:
    """Return *moment* as Segment writes it."""
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def now() -> datetime:
    """Return the time to the millisecond, as records have it."""
    moment = datetime.now(timezone.utc).replace(tzinfo=None)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
