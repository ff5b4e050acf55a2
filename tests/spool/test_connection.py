"""How a spool on JetStream reaches its servers: encrypted, let in, and without telling secrets."""

from __future__ import annotations

import logging
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from harness import deliveries
from harness.nats import HOST, Server
from harness.nats_accounts import Account
from harness.process import DidNotStart
from harness.receiver import Receiver
from harness.spool import event, received
from spool.conftest import on
from tap_segment_webhook.errors import SpoolUnusable
from tap_segment_webhook.spool.jetstream import link
from tap_segment_webhook.spool.model import Counts, Location
from tap_segment_webhook.spool.opening import open_reader, open_writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "not-a-real-secret"  # noqa: S105
WRONG = "not-the-real-one"
USER = f"authorization {{ user: somebody, password: {SECRET} }}"
TOKEN = f"authorization {{ token: {SECRET} }}"


@pytest.fixture(autouse=True)
def _no_secret_is_told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """See that no log, however detailed, and no output held a secret."""
    caplog.set_level(logging.DEBUG)
    yield
    told = caplog.text + "".join(capfd.readouterr())
    assert SECRET not in told
    assert WRONG not in told


@pytest.fixture(autouse=True)
def _is_soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses us does so at once, too."""
    monkeypatch.setattr(link, "START_SECONDS", 2.0)


class Authority:
    """Who signs certificates; those who trust it have its own in *path*."""

    def __init__(self, path: Path) -> None:
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(path))

    def configuration(self, folder: Path, *names: str) -> str:
        """Return that of a server whose certificate is for *names*."""
        made = self._authority.issue_cert(*names)
        made.private_key_pem.write_to_path(str(folder / "key.pem"))
        made.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        return f"tls {{ cert_file: '{folder}/cert.pem', key_file: '{folder}/key.pem' }}"


def test_connection_is_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the certificates that `SSL_CERT_FILE` names."""
    authority = Authority(tmp_path / "trusted.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))

    with Server(tmp_path / "server", more=authority.configuration(tmp_path, HOST)) as server:
        assert stored(encrypted(server)) == [Counts(1, 1)]
        assert stored(on(server.address, replicas=1)) == [Counts(1, 1)]  # the server insists


@pytest.mark.parametrize(
    ("names", "is_trusted", "reason"),
    [
        ((HOST,), False, "certificate verify failed: unable to get local issuer"),
        (("elsewhere.example",), True, "certificate verify failed: IP address mismatch"),
    ],
    ids=["unknown authority", "other host"],
)
def test_wrong_certificate_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
    reason: str,
    *,
    is_trusted: bool,
) -> None:
    """And the message says what is wrong with it."""
    authority = Authority(tmp_path / "own.pem")
    Authority(tmp_path / "other.pem")
    trusted = tmp_path / ("own.pem" if is_trusted else "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    more = f"{authority.configuration(tmp_path, *names)}\n{USER}"

    with Server(tmp_path / "server", more=more) as server:
        refused(encrypted(server)._replace(user="somebody", password=SECRET), reason)


def test_server_that_does_not_encrypt_is_shown_nothing(tmp_path: Path) -> None:
    """Where `tls://` was asked for, somebody between cannot talk us out of it."""
    with Server(tmp_path, more=f"{USER}\ndebug: true\ntrace: true") as server:
        location = encrypted(server)._replace(user="somebody", password=SECRET)

        refused(location, "does not encrypt the connection, which tls:// asks for")

        trace = (tmp_path / "nats.log").read_text("utf-8")
    assert "Client connection created" in trace
    assert "[CONNECT" not in trace


def test_user_and_password_let_in(tmp_path: Path) -> None:
    """A wrong one does not."""
    with Server(tmp_path, more=USER) as server:
        location = on(server.address, replicas=1)._replace(user="somebody")

        assert stored(location._replace(password=SECRET)) == [Counts(1, 1)]
        refused(location._replace(password=WRONG), "Authorization Violation")


def test_token_lets_in(tmp_path: Path) -> None:
    """It is a password without a user."""
    with Server(tmp_path, more=TOKEN) as server:
        location = on(server.address, replicas=1)

        assert stored(location._replace(password=SECRET)) == [Counts(1, 1)]
        refused(location._replace(password=WRONG), "Authorization Violation")


def test_credentials_let_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that an account's owner made; one of another account does not."""
    account = Account()
    with Server(tmp_path / "server", more=account.configuration) as server:
        location = on(server.address, replicas=1)
        secrets = [
            who.write_credentials(tmp_path / name)
            for who, name in ((account, "own.creds"), (Account(), "other.creds"))
        ]

        assert stored(location._replace(credentials=str(tmp_path / "own.creds"))) == [Counts(1, 1)]
        refused(
            location._replace(credentials=str(tmp_path / "other.creds")), "Authorization Violation"
        )
    assert not [secret for secret in secrets if secret in caplog.text]


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (None, "No such file"),
        (0, "is no .creds file of a NATS user"),
        (-60, "is no .creds file of a NATS user"),
    ],
    ids=["absent", "empty", "cut"],
)
def test_credentials_that_are_none_are_told_of(
    tmp_path: Path, kept: int | None, reason: str
) -> None:
    """With the path, and nothing of what is in it; no server is asked."""
    path = tmp_path / "user.creds"
    secret = Account().write_credentials(path)
    path.write_text(path.read_text("utf-8")[:kept], "utf-8")
    if kept is None:
        path.unlink()

    with pytest.raises(SpoolUnusable, match=reason) as error:
        open_reader(Location("nats://nowhere.invalid:4222/segment", credentials=str(path)))

    assert str(path) in str(error.value)
    assert secret not in str(error.value)


def test_credentials_in_the_url_are_refused() -> None:
    """They would be in every log line that names the spool; this one does not repeat them."""
    with pytest.raises(SpoolUnusable, match="nats_user") as error:
        open_reader(Location(f"nats://somebody:{SECRET}@host:4222/segment"))

    assert SECRET not in str(error.value)


def test_receiver_tells_no_secret(tmp_path: Path) -> None:
    """Neither running, nor where it is not let in, nor in what it shows of itself."""
    with Server(tmp_path / "server", more=USER) as server:
        settings: dict[str, Any] = {
            "spool_url": f"nats://{server.address}/segment",
            "max_body_bytes": 1_000_000,
            "nats_replicas": 1,
            "nats_user": "somebody",
        }
        with Receiver(tmp_path, **settings, nats_password=SECRET) as receiver:
            delivery = deliveries.single(next(deliveries.events(1)))
            assert receiver.deliver(delivery).status_code == 200
            server.stop()
            answers = [receiver.get(page).text for page in ("/", "/health", "/metrics")]
            answers.append(receiver.deliver(delivery).text)
            server.start()
        with (
            pytest.raises(DidNotStart) as error,
            Receiver(tmp_path, **settings, nats_password=WRONG),
        ):
            pass

    told = "\n".join([receiver.log, *answers, str(error.value)])
    assert "Authorization Violation" in told
    assert not re.search(f"{SECRET}|{WRONG}", told)


def stored(location: Location) -> list[Counts]:
    """Return what becomes of an event there."""
    with closing(open_writer(location)) as writer:
        return writer.commit([received(event(1))])


def refused(location: Location, reason: str) -> None:
    """See that nobody is let in there, for this *reason*, and that it tells no secret."""
    with pytest.raises(SpoolUnusable, match=reason) as error:
        open_writer(location)
    assert not re.search(f"{SECRET}|{WRONG}", str(error.value))


def encrypted(server: Server) -> Location:
    """Return a new spool on *server*, to be reached through TLS."""
    location = on(server.address, replicas=1)
    return location._replace(url=location.url.replace("nats://", "tls://"))
