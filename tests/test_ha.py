"""What examples/ha/ deploys is consistent, and its topology holds when parts of it die."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from harness import deliveries, singer
from harness.docs import REPOSITORY
from harness.nats import HOST, Cluster
from harness.receiver import PREFIX, PROGRAMS, SECRET, Receiver
from harness.waiting import wait_until
from tap_segment_webhook.config import SCHEMA
from tap_segment_webhook.spool.jetstream.link import read_url

if TYPE_CHECKING:
    from pathlib import Path

    from harness.nats import Server

FOLDER = REPOSITORY / "examples" / "ha"
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
    for server, route in zip(cluster.servers, cluster.routes, strict=True):
        server.configure(on_this_machine(server, route, cluster.routes))
    events = list(deliveries.events(40))
    with cluster, ExitStack() as stack:
        one, other = (
            stack.enter_context(receiver(tmp_path / name, cluster))
            for name in ("receiver-1", "receiver-2")
        )
        assert one.deliver(deliveries.array(events[:10])).status_code == 200
        assert other.deliver(deliveries.array(events[5:20])).json()["duplicate"] == 5
        cluster.leader_of("segment").kill()
        wait_until(lambda: one.deliver(deliveries.array(events[20:30])).status_code == 200)
        one.kill()
        wait_until(lambda: other.deliver(deliveries.array(events[30:])).status_code == 200)
        run = singer.sync(other.settings)

    emitted = sorted(record["message_id"] for record in run.records)
    assert emitted == sorted(event["messageId"] for event in events)


def on_this_machine(server: Server, route: int, routes: list[int]) -> str:
    """Return nats.conf with other ports, addresses and folders, and no more changed."""
    text = (FOLDER / "nats.conf").read_text("utf-8")
    for old, new in (
        ("port: 4222", f"listen: '{server.address}'"),
        ("http_port: 8222", "http: '127.0.0.1:-1'"),
        ("store_dir: /data", f"store_dir: '{server.folder / 'data'}'"),
        ("port: 6222", f"listen: '{HOST}:{route}'"),
        *((f"{name}:6222", f"{HOST}:{port}") for name, port in zip(SERVERS, routes, strict=True)),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


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
