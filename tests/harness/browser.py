"""A real browser on real pages: Chromium without a window, and a website that it visits.

Nothing drives the browser. A page does what its scripts say, and tells the test
by posting to `/report` of its own site; it may wait at `/gate` to be let go on.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
from collections import defaultdict
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from harness.process import end
from harness.receiver import HOST
from harness.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from typing_extensions import Self

PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
"""Where Chromium is; empty if this machine has none."""
TIMEZONE = "America/Sao_Paulo"
LANGUAGE = "pt-BR"

_TYPES = {".html": "text/html", ".js": "text/javascript"}
_CONSOLE = re.compile(r":(?:INFO|WARNING|ERROR):CONSOLE:\d+\] (.*), source: ", re.DOTALL)
_OPTIONS = (
    "--headless=new",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-default-browser-check",
    "--no-first-run",
    "--password-store=basic",
    "--enable-logging=stderr",
    f"--accept-lang={LANGUAGE}",
    # Whatever else it would like to reach: no name has an address.
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
)


class Exchange(NamedTuple):
    """A request that the browser made, as it stood on the wire, and the status of its answer."""

    method: str
    path: str
    headers: dict[str, str]
    status: int


class Visit:
    """What a browser did and said while it was open; complete once it is closed."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "chromium.log"
        self.net_log = folder / "chromium-network.json"

    @property
    def console(self) -> list[str]:
        """What scripts wrote to the console, and what the browser complained of there."""
        return [
            match[1]
            for part in re.split(r"\n(?=\[\d)", self.log.read_text("utf-8", "replace"))
            if (match := _CONSOLE.search(part))
        ]

    @property
    def hosts(self) -> set[str | None]:
        """The hosts that pages have asked for anything, whether or not they answered."""
        return {
            urlsplit(params["url"]).hostname
            for name, _, params in self._events()
            if name == "URL_REQUEST_START_JOB"
            and urlsplit(params.get("initiator", "")).hostname == HOST
        }

    @property
    def addresses(self) -> set[str]:
        """The addresses that it connected to, or tried to."""
        return {
            params["address"].rpartition(":")[0]
            for name, _, params in self._events()
            if name == "TCP_CONNECT_ATTEMPT" and "address" in params
        }

    @property
    def exchanges(self) -> list[Exchange]:
        """The requests that got an answer, preflights too, in the order of the answers."""
        found = []
        asked: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        for name, source, params in self._events():
            if name == "HTTP_TRANSACTION_SEND_REQUEST_HEADERS":
                asked[source].append(params)
            elif name == "HTTP_TRANSACTION_READ_RESPONSE_HEADERS" and asked[source]:
                request = asked[source].pop()
                method, path, _ = request["line"].split(" ", 2)
                headers = dict(line.split(": ", 1) for line in request["headers"] if ": " in line)
                headers = {key.lower(): value for key, value in headers.items()}
                status = int(params["headers"][0].split()[1])
                found.append(Exchange(method, path, headers, status))
        return found

    def _events(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        log = json.loads(self.net_log.read_text("utf-8"))
        names = {number: name for name, number in log["constants"]["logEventTypes"].items()}
        for event in log["events"]:
            yield names[event["type"]], event["source"]["id"], event.get("params", {})


@contextmanager
def visiting(url: str, folder: Path) -> Iterator[Visit]:
    """Have a browser whose profile is in *folder* look at *url* inside the block."""
    visit = Visit(folder)
    words = [PROGRAM, *_OPTIONS, f"--user-data-dir={folder / 'profile'}"]
    words += [f"--log-net-log={visit.net_log}"]
    if os.geteuid() == 0:
        words.append("--no-sandbox")  # its sandbox cannot be had as root
    with visit.log.open("wb") as log:
        process = subprocess.Popen(
            [*words, url],
            env=os.environ | {"HOME": str(folder), "TZ": TIMEZONE},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield visit
        except TimeoutError as error:
            raise TimeoutError(f"{error} The console of the browser: {visit.console}") from error
        finally:
            _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    try:
        end(process, signal.SIGINT)  # after SIGTERM its network log may lack the end
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class Website:
    """Files served over HTTP from an origin of their own, inside a `with` block."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)
        self._reports: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._gate = threading.Semaphore(0)
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                if path == "/gate":
                    site._gate.acquire(timeout=PATIENCE_SECONDS)
                    self._answer(204)
                elif path in site.files:
                    kind = _TYPES.get(PurePosixPath(path).suffix, "application/json")
                    self._answer(200, site.files[path].encode(), f"{kind}; charset=utf-8")
                else:
                    self._answer(404)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(204)
                site._reports.put(json.loads(body))

            def _answer(self, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
                with suppress(ConnectionError):  # the browser was closed
                    self.send_response(status)
                    self.send_header("Content-Type", kind)
                    if status != 204:
                        self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def open_gate(self) -> None:
        """Let a page go on that waits at `/gate`, or will."""
        self._gate.release()

    def report(self) -> Any:
        """Return the next thing that a page reports.

        Raises:
            TimeoutError: none did.
        """
        try:
            return self._reports.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise TimeoutError("No page reported anything.") from None
