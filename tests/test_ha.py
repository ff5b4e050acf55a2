"""What examples/ha/ deploys is consistent, and its topology holds when parts of it die."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import requests
import yaml
from harness import deliveries, singer
from harness.docs import REPOSITORY
from harness.nats import HOST, Cluster, Server, free_port
from harness.process import end, wait_until_ready
from harness.receiver import PREFIX, PROGRAMS, SECRET, Receiver
from harness.waiting import wait_until
from tap_segment_webhook.config import SCHEMA
from tap_segment_webhook.spool.jetstream.link import read_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = REPOSITORY / "examples" / "ha"
NGINX = shutil.which("nginx", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin")))
PASSWORD = "not-a-real-password"  # noqa: S105
SERVERS = ["nats-0.nats", "nats-1.nats", "nats-2.nats"]
SECRETS = {"shared_secret", "nats_password"}

Json = dict[str, Any]


def compose() -> Json:
    """Return compose.yml."""
    found: Json = yaml.safe_load((FOLDER / "compose.yml").read_text("utf-8"))
    return found


def manifests() -> dict[tuple[str, str], Json]:
    """Return what kubernetes.yml holds, by kind and name."""
    documents = yaml.safe_load_all((FOLDER / "kubernetes.yml").read_text("utf-8"))
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


def container(kind: str, name: str) -> Json:
    """Return the one container of a workload."""
    (found,) = manifests()[kind, name]["spec"]["template"]["spec"]["containers"]
    return dict(found)


def settings(platform: str) -> Json:
    """Return the settings that the receivers get there, None for what is secret."""
    if platform == "compose":
        given = compose()["services"]["receiver-1"]["environment"]
    else:
        env = container("Deployment", "segment-receiver")["env"]
        given = {entry["name"]: entry.get("value") for entry in env}
    found = {name.removeprefix(PREFIX).lower(): value for name, value in given.items()}
    return {name: None if name in SECRETS else value for name, value in found.items()}


@pytest.mark.parametrize("platform", ["compose", "kubernetes"])
def test_receivers_get_settings_that_there_are(platform: str) -> None:
    """And the same ones on both platforms."""
    found = settings(platform)

    assert found.keys() <= SCHEMA["properties"].keys()
    assert found == settings("compose")
    assert found["nats_replicas"] == "3"
    stream, servers = read_url(found["spool_url"])
    assert stream == "segment"
    assert servers == [f"nats://{name}:4222" for name in SERVERS]


def test_both_platforms_have_the_same_servers() -> None:
    """Three, with one configuration, each with a disk of its own."""
    config = (FOLDER / "nats.conf").read_text("utf-8")
    services = compose()["services"]
    stateful = manifests()["StatefulSet", "nats"]["spec"]

    assert manifests()["ConfigMap", "nats"]["data"]["nats.conf"] == config
    assert re.findall(r"nats-route://(\S+):6222", config) == SERVERS
    aliases = [services[f"nats-{n}"]["networks"]["default"]["aliases"] for n in range(3)]
    assert aliases == [[name] for name in SERVERS]
    disks = [services[f"nats-{n}"]["volumes"][1] for n in range(3)]
    assert disks == [f"nats-{n}:/data" for n in range(3)]
    assert stateful["replicas"] == 3
    assert stateful["serviceName"] == "nats"
    assert stateful["volumeClaimTemplates"]


def test_probes_ask_what_is_answered() -> None:
    """Ready means that an event can be stored; alive does not, or all would restart at once."""
    receiver = container("Deployment", "segment-receiver")
    server = container("StatefulSet", "nats")
    ports = {port["name"] for port in (*receiver["ports"], *server["ports"])}

    assert receiver["readinessProbe"]["httpGet"]["path"] == "/health"
    assert "httpGet" not in receiver["livenessProbe"]
    assert "/health" in compose()["services"]["receiver-1"]["healthcheck"]["test"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["port"] in ports


def test_selectors_name_what_there_is() -> None:
    """Services and budgets are for the pods of the two workloads."""
    found = manifests()
    labels = [
        one["spec"]["template"]["metadata"]["labels"]
        for (kind, _), one in found.items()
        if kind in ("StatefulSet", "Deployment")
    ]
    for (kind, _), one in found.items():
        if kind in ("Service", "PodDisruptionBudget"):
            selector = one["spec"]["selector"]
            assert selector.get("matchLabels", selector) in labels


def test_servers_take_the_configuration(tmp_path: Path) -> None:
    """As it is, word for word."""
    done = subprocess.run(
        [str(PROGRAMS / "nats-server"), "-t", "-c", str(FOLDER / "nats.conf")],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "NATS_PASSWORD": PASSWORD},
    )

    assert done.returncode == 0, done.stderr


def test_topology_survives_the_loss_of_any_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One server and one receiver are killed: the rest takes deliveries, and all is emitted."""
    monkeypatch.setenv("NATS_PASSWORD", PASSWORD)
    cluster = Cluster(tmp_path / "nats", login=("segment", PASSWORD))
    monitors = [free_port() for _ in cluster.servers]
    for server, route, monitor in zip(cluster.servers, cluster.routes, monitors, strict=True):
        server.configure(on_this_machine(server, route, cluster.routes, monitor))
    events = list(deliveries.events(40))
    with cluster, ExitStack() as stack:
        one, other = (
            stack.enter_context(receiver(tmp_path / name, cluster))
            for name in ("receiver-1", "receiver-2")
        )
        assert one.deliver(deliveries.array(events[:10])).status_code == 200
        assert other.deliver(deliveries.array(events[5:20])).json()["duplicate"] == 5
        for monitor in monitors:
            known = requests.get(f"http://{HOST}:{monitor}/jsz?config=true", timeout=10).json()
            assert known["config"]["sync_always"], "acknowledged before it is on disk"
        cluster.leader_of("segment").kill()
        wait_until(lambda: one.deliver(deliveries.array(events[20:30])).status_code == 200)
        one.kill()
        wait_until(lambda: other.deliver(deliveries.array(events[30:])).status_code == 200)
        run = singer.sync(other.settings)

    emitted = sorted(record["message_id"] for record in run.records)
    assert emitted == sorted(event["messageId"] for event in events)


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (apt-get install nginx)")
def test_proxy_sends_to_a_receiver_that_can_store(tmp_path: Path) -> None:
    """One answers 503, one is killed: a sender gets a 200 as long as there is another."""
    (tmp_path / "proxy").mkdir()
    events = list(deliveries.events(40))
    with ExitStack() as stack:
        server = stack.enter_context(Server(tmp_path / "nats"))
        other = stack.enter_context(on_one_server(tmp_path / "other", server))
        assert other.deliver(deliveries.array(events[:1])).status_code == 200
        one = stack.enter_context(on_one_server(tmp_path / "full", server, max_spool_bytes=1))
        url = stack.enter_context(proxy(tmp_path / "proxy", one, other))

        def sent(first: int, count: int) -> int:
            delivery = deliveries.array(events[first : first + count])
            answer = requests.post(url, delivery.body, headers=delivery.headers(SECRET), timeout=30)
            return answer.status_code

        assert [sent(0, 10) for _ in range(4)] == [200] * 4
        assert one.deliver(deliveries.array(events[:1])).status_code == 503
        assert [sent(10 + place, 1) for place in range(20)] == [200] * 20
        other.kill()
        assert sent(30, 10) in (502, 503)
        other.start()
        wait_until(lambda: sent(30, 10) == 200)
        assert requests.post(url, bytes(3 << 20), timeout=30).status_code == 413
        run = singer.sync(other.settings)

    emitted = sorted(record["message_id"] for record in run.records)
    assert emitted == sorted(event["messageId"] for event in events)


@pytest.mark.parametrize("document", manifests().values(), ids=lambda one: one["kind"])
def test_manifests_follow_the_schemas_of_kubernetes(document: Json) -> None:
    """Those of the newest version that is published here, with nothing unknown."""
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(document, newest, strict=True)


def on_this_machine(server: Server, route: int, routes: list[int], monitor: int) -> str:
    """Return nats.conf with other ports, addresses and folders, and no more changed."""
    own = {f"{name}:6222": f"{HOST}:{port}" for name, port in zip(SERVERS, routes, strict=True)}
    return changed(
        FOLDER / "nats.conf",
        {
            **own,
            "port: 4222": f"listen: '{server.address}'",
            "http_port: 8222": f"http: '{HOST}:{monitor}'",
            "store_dir: /data": f"store_dir: '{server.folder / 'data'}'",
            "port: 6222": f"listen: '{HOST}:{route}'",
        },
    )


@contextmanager
def proxy(folder: Path, *receivers: Receiver) -> Iterator[str]:
    """Run nginx.conf before *receivers*, on free ports; give where to send to."""
    port = free_port()
    own = {f"receiver-{n}:8765": f"{HOST}:{each.port}" for n, each in enumerate(receivers, 1)}
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = {
        **own,
        "listen 8080": f"listen {HOST}:{port}",
        "http {": f"http {{ access_log off; {temporary}",
    }
    (folder / "nginx.conf").write_text(changed(FOLDER / "nginx.conf", config), "utf-8")
    words = [
        *(str(NGINX), "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")),
        *("-g", f"daemon off; master_process off; pid {folder}/nginx.pid;"),
    ]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        wait_until_ready(process, lambda: is_open(port), folder / "nginx.log")
        yield f"http://{HOST}:{port}/webhook"
    finally:
        end(process, signal.SIGTERM)


def is_open(port: int) -> bool:
    """Tell whether somebody listens there."""
    with closing(socket.socket()) as client:
        return client.connect_ex((HOST, port)) == 0


def changed(path: Path, words: dict[str, str]) -> str:
    """Return the file at *path* with other *words*, each of which is there once."""
    text = path.read_text("utf-8")
    for old, new in words.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def on_one_server(folder: Path, server: Server, **settings: Any) -> Receiver:
    """Return a receiver on a spool with one replica, which keeps its port over restarts."""
    folder.mkdir()
    url = f"nats://{server.address}/segment"
    given = {"nats_replicas": 1, "max_body_bytes": 1_000_000, "port": free_port(), **settings}
    return Receiver(folder, spool_url=url, **given)


def receiver(folder: Path, cluster: Cluster) -> Receiver:
    """Return a receiver with the settings of the example, on *cluster*."""
    folder.mkdir()
    given = settings("compose")
    types = {name: SCHEMA["properties"][name]["type"] for name in given}
    read = {
        name: json.loads(value) if "integer" in types[name] else value
        for name, value in given.items()
    }
    there = {
        "spool_url": f"nats://{cluster.address}/segment",
        "nats_password": PASSWORD,
        "shared_secret": SECRET,
        "host": HOST,
    }
    return Receiver(folder, **{**read, **there})
