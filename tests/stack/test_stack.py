"""The Compose stack, brought up for real: the images build, the zones connect, a reading gets through.

Runs wherever a Docker engine does (`make test-stack`). Where no image can be pulled, local ones labelled `stand-in`
under the official names do; their TimescaleDB is the Apache edition. HEFA_TIMESCALEDB_IMAGE chooses an image.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from testcontainers.compose import DockerCompose

ROOT = Path(__file__).parents[2]
PROJECT = f"hefa-test-{os.getpid()}"
GUEST = "gw-guest"

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def run(*argv: str) -> str:
    return subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def eventually(what: str, check: Callable[[], Any], within: float = 120, every: float = 1) -> Any:
    """Return the first true answer of `check`; fail with `what` and the last answer when time is up."""
    end = time.monotonic() + within
    while not (answer := check()):
        if time.monotonic() > end:
            pytest.fail(f"not within {within:.0f} s: {what}; last answer: {answer!r}")
        time.sleep(every)
    return answer


def database_image() -> str:
    """The one that is asked for, else a stand-in, else the official one."""
    asked = os.environ.get("HEFA_TIMESCALEDB_IMAGE", "")
    listed = ("docker", "images", "--filter", "label=stand-in", "--format", "{{.Repository}}:{{.Tag}}")
    return asked or run(*listed, "timescale/timescaledb").strip() or "timescale/timescaledb:2.23.1-pg17"


def startable() -> list[str]:
    """Services by name: all of them, without Grafana where its image cannot be had; that is said."""
    services = json.loads(run("docker", "compose", "config", "--format", "json"))["services"]
    image = services["grafana"]["image"]
    try:
        run("docker", "image", "inspect", image)
    except subprocess.CalledProcessError:
        try:
            subprocess.run(["docker", "pull", "--quiet", image], check=True, capture_output=True, timeout=120)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            print(f"{image} cannot be had here: the stack is tested without the service grafana")
            del services["grafana"]
    return sorted(services)


@dataclass
class Stack:
    """The running stack, with the document that says where it is and how to get in."""

    compose: DockerCompose
    api: httpx2.Client
    portal: str
    mqtt: str

    def get(self, path: str, **query: Any) -> Any:
        answer = self.api.get(f"/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Every item of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {}
        while True:
            page = self.get(path, **query, **cursor)
            items += page["items"]
            if page["next"] is None:
                return items
            cursor = {"cursor": page["next"]}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    try:
        run("docker", "info")
        run("docker", "compose", "version")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no Docker engine with Compose v2 here ({error}): start one, then make test-stack")
    portal, api, broker, by_certificate, by_password, dashboards = free_ports(6)
    with pytest.MonkeyPatch.context() as environ:
        settings = {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "HEFA_VERSION": "test",
            "HEFA_TIMESCALEDB_IMAGE": database_image(),
            "HEFA_HISTORY": "2h",
            "HEFA_PORTAL_PORT": str(portal),
            "HEFA_API_PORT": str(api),
            "HEFA_MQTT_PORT": str(broker),
            "HEFA_GRAFANA_PORT": str(dashboards),
            "HEFA_MQTTS_PORT": str(by_certificate),
            "HEFA_MQTTS_PASSWORD_PORT": str(by_password),
        }
        for name, value in settings.items():
            environ.setenv(name, value)
        compose = DockerCompose(ROOT, build=True, wait=True, services=startable())
        try:
            compose.start()
            document = json.loads(compose.exec_in_container(["cat", "/run/hefa/stack.json"], "api")[0])
            client = httpx2.Client(
                base_url=document["api"], headers={"Authorization": f"Bearer {document['key']}"}, timeout=30
            )
            with client:
                yield Stack(compose, client, document["portal"], document["mqtt"])
        except subprocess.CalledProcessError as error:
            logs = run("docker", "compose", "ps", "--all") + run("docker", "compose", "logs", "--tail=40")
            pytest.fail(f"{' '.join(error.cmd)}: {error.stderr.decode()[-2000:]}\n{logs}")
        finally:
            compose.stop()


def test_every_service_is_healthy_and_every_one_shot_done(stack: Stack) -> None:
    states = {c.Service: (c.State, c.Health, c.ExitCode) for c in stack.compose.get_containers(include_all=True)}
    once = {"secrets", "guard", "migrate", "load", "history"}
    assert {name for name, state in states.items() if state == ("exited", "", 0)} == once, states
    assert {name for name, state in states.items() if state[:2] == ("running", "healthy")} == states.keys() - once, (
        states
    )


def test_the_platform_says_which_engine_it_found(stack: Stack) -> None:
    label = run("docker", "inspect", "--format", '{{index .Config.Labels "stand-in"}}', database_image()).strip()
    ready = stack.get("ready")
    assert ready["ready"] is True
    assert ready["engine"]["kind"] == ("timescaledb-apache" if label else "timescaledb-community")


def test_nothing_is_open_to_the_network(stack: Stack) -> None:
    """Three ports, all on loopback; the database has none. No process of ours is root or holds a capability."""
    published = {}
    for container in stack.compose.get_containers():
        [detail] = json.loads(run("docker", "inspect", str(container.ID)))
        published[container.Service] = {
            b["HostIp"] for bs in (detail["HostConfig"]["PortBindings"] or {}).values() for b in bs
        }
        assert detail["HostConfig"]["ReadonlyRootfs"], container.Service
        assert detail["HostConfig"]["CapDrop"] == ["ALL"], container.Service
        if container.Service != "database":  # starts as root to own its volume; the server itself is postgres
            assert detail["Config"]["User"] == "10001:10001", container.Service
    assert {name for name, hosts in published.items() if hosts} - {"grafana"} == {"apps", "api", "broker"}
    assert set().union(*published.values()) == {"127.0.0.1"}


def test_every_core_tag_arrives_and_stays_fresh(stack: Stack) -> None:
    tags = {item["tag"] for item in stack.all("tags", core="true")}
    assert len(tags) == 752

    def fresh() -> bool:
        items = stack.all("latest", core="true")
        return {item["tag"] for item in items if not item["stale"]} == tags

    eventually("all core tags have a fresh reading", fresh)


def test_consumption_is_served_for_the_backfilled_time(stack: Stack) -> None:
    end = int(time.time()) // 60 * 60_000_000
    window = {"from": stamp(end - 3_600_000_000), "to": stamp(end)}
    for carrier in ("electricity", "water", "gas"):

        def whole(carrier: str = carrier) -> Any:
            """The site's row once `maintain` has added the hour up."""
            [row] = stack.get("consumption", carrier=carrier, by="total", **window)["rows"]
            return row if row["coverage"] > 0.95 else None

        row = eventually(f"an hour of {carrier} is covered", whole)
        assert row["value"] > 0, row
        assert row["value"] == pytest.approx(row["measured"] + row["estimated"]), row


def test_the_portal_asks_to_sign_in(stack: Stack) -> None:
    page = httpx2.get(stack.portal, follow_redirects=True, timeout=30)
    assert page.status_code == 200
    assert "<form" in page.text


def test_a_strangers_gateway_gets_its_reading_through(stack: Stack) -> None:
    with Gateway(stack.mqtt) as gateway:
        now = int(time.time() * 1e6)
        gateway.send(1, now, 42.5)
        eventually("the platform's ack", lambda: 1 in gateway.acknowledged, within=30, every=0.1)
    [item] = stack.get("latest", tag=Gateway.TAG)["items"]
    assert item["value"] == 42.5


def test_a_restart_of_ingest_loses_nothing_and_counts_nothing_twice(stack: Stack) -> None:
    """A gateway that keeps sending what is not acknowledged, as the outbox does, while ingest is replaced."""
    count = 60
    start = int(time.time() * 1e6)
    with Gateway(stack.mqtt) as gateway:
        restart = subprocess.Popen(["docker", "compose", "restart", "ingest"], cwd=ROOT, stderr=subprocess.DEVNULL)
        for seq in range(1, count + 1):
            gateway.send(seq, start + seq, float(seq))
            time.sleep(0.1)
        assert restart.wait(60) == 0

        def resend() -> bool:
            missing = sorted(set(range(1, count + 1)) - gateway.acknowledged)
            for seq in missing:
                gateway.send(seq, start + seq, float(seq))
            return not missing

        eventually("every envelope is acknowledged", resend, within=120, every=5)
    window = {"from": stamp(start), "to": stamp(start + count + 1)}
    [series] = stack.get("series", tag=Gateway.TAG, step="raw", **window)["series"]
    assert series["value"] == [float(seq) for seq in range(1, count + 1)]
    for edge in eventually("the accounts balance", lambda: balanced(stack), within=30):
        assert edge["quarantined"] == 0, edge


def balanced(stack: Stack) -> list[dict[str, Any]]:
    """The accounts of all edges when received = stored + duplicate + conflict + quarantined holds, else nothing."""
    edges: list[dict[str, Any]] = stack.get("pipeline")["edges"]
    parts = ("stored", "duplicate", "conflict", "quarantined")
    return edges if all(edge["received"] == sum(edge[part] for part in parts) for edge in edges) else []


def test_a_lost_database_is_not_replaced_by_an_empty_one(stack: Stack) -> None:
    """With its volume gone, the stack says so and stays down: an empty database would look like a working one."""
    run("docker", "compose", "rm", "--stop", "--force")
    run("docker", "volume", "rm", f"{PROJECT}_database")
    with pytest.raises(subprocess.CalledProcessError):
        run("docker", "compose", "up", "--detach", "--wait", "--wait-timeout", "30", "database")
    assert "is the right volume mounted there?" in run("docker", "compose", "logs", "guard")


def test_down_leaves_nothing(stack: Stack) -> None:
    stack.compose.stop()
    ours = f"label=com.docker.compose.project={PROJECT}"
    for kind in (("ps", "--all"), ("volume", "ls"), ("network", "ls")):
        assert run("docker", *kind, "--quiet", "--filter", ours) == "", kind


def stamp(ts: int) -> str:
    """A time in µs as REST wants it."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(ts // 1_000_000))}.{ts % 1_000_000:06d}Z"


class Gateway:
    """A gateway written from the documentation alone: MQTT 5, an envelope of one reading, the app ack."""

    TAG = "GUEST.T-1.pv"

    def __init__(self, url: str) -> None:
        self.url = urlsplit(url)
        self.epoch = os.urandom(8).hex()
        self.acknowledged: set[int] = set()

    def __enter__(self) -> "Gateway":
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=GUEST, protocol=mqtt.MQTTv5)
        self.client.username_pw_set(self.url.username, self.url.password)
        self.client.on_message = lambda _client, _data, message: self.hear(message.payload)
        assert self.url.hostname is not None
        self.client.connect(self.url.hostname, self.url.port or 1883)
        self.client.subscribe(f"hefa/v1/{GUEST}/ack", qos=1)
        self.client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def hear(self, payload: bytes) -> None:
        answer = json.loads(payload)
        if answer["epoch"] == self.epoch:
            self.acknowledged |= set(answer["ok"])

    def send(self, seq: int, ts: int, value: float) -> None:
        envelope = {
            "v": 1, "epoch": self.epoch, "seq": seq, "lane": "live", "made": ts, "base": ts,
            "tags": [self.TAG], "tag": [0], "dt": [0], "value": [value],
        }  # fmt: skip
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = f"{self.epoch}:{seq}".encode()
        properties.UserProperty = ("sent", str(int(time.time() * 1e6)))
        self.client.publish(f"hefa/v1/{GUEST}/data", json.dumps(envelope), qos=1, properties=properties)
