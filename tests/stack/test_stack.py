"""The Compose stack, brought up for real: the images build, the zones connect, a reading gets through.

Runs wherever a Docker engine does (`make test-stack`). Where no image can be pulled, local ones labelled `stand-in`
under the official names do; their TimescaleDB is the Apache edition. HEFA_TIMESCALEDB_IMAGE chooses an image.
"""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
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

from hefa_platform.secrets import PARTS

ROOT = Path(__file__).parents[2]
PROJECT = f"hefa-test-{os.getpid()}"
GUEST = "gw-guest"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")

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


def startable(say: Callable[[str], None] = lambda _: None) -> list[str]:
    """Services by name: all of them, without Grafana where its image cannot be had; that is said."""
    services = json.loads(run("docker", "compose", "config", "--format", "json"))["services"]
    image = services["grafana"]["image"]
    try:
        run("docker", "image", "inspect", image)
    except subprocess.CalledProcessError:
        try:
            subprocess.run(["docker", "pull", "--quiet", image], check=True, capture_output=True, timeout=120)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            del services["grafana"]
            say(
                f"\n{image} cannot be had here, so the stack is tested without grafana: {', '.join(sorted(services))}\n"
            )
    return sorted(services)


@dataclass
class Stack:
    """The running stack, with the document that says where it is and how to get in."""

    compose: DockerCompose
    api: httpx2.Client
    portal: str
    mqtt: str
    tls_ports: tuple[int, int]  # by certificate, by password

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
def stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    def say(text: str) -> None:
        """Where everybody sees it, also when all is green."""
        capture: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print(text)

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
        compose = DockerCompose(ROOT, build=True, wait=True, services=startable(say))
        try:
            compose.start()
            document = json.loads(compose.exec_in_container(["cat", "/run/hefa/stack.json"], "api")[0])
            client = httpx2.Client(
                base_url=document["api"], headers={"Authorization": f"Bearer {document['key']}"}, timeout=60
            )
            with client:
                yield Stack(compose, client, document["portal"], document["mqtt"], (by_certificate, by_password))
        except subprocess.CalledProcessError as error:
            logs = run("docker", "compose", "ps", "--all") + run("docker", "compose", "logs", "--tail=40")
            pytest.fail(f"{' '.join(error.cmd)}: {error.stderr.decode()[-2000:]}\n{logs}")
        finally:
            compose.stop()


def test_every_service_is_healthy_and_every_one_shot_done(stack: Stack) -> None:
    states = {c.Service: (c.State, c.Health, c.ExitCode) for c in stack.compose.get_containers(include_all=True)}
    once = {"secrets", "guard", "migrate", "load"}
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
    page = httpx2.get(stack.portal, follow_redirects=True, timeout=60)
    assert page.status_code == 200
    assert "<form" in page.text


def test_a_strangers_gateway_gets_its_reading_through(stack: Stack) -> None:
    with Gateway(stack.mqtt) as gateway:
        gateway.deliver(1, int(time.time() * 1e6), 42.5)
    [item] = stack.get("latest", tag=Gateway.TAG)["items"]
    assert item["value"] == 42.5


def from_secrets(*command: str) -> str:
    """What a command says that sees the whole volume of secrets, as its owner."""
    volume = f"{PROJECT}_secrets:/run/hefa:ro"
    return run(
        "docker", "run", "--rm", "--volume", volume, "--entrypoint", command[0], "hefa-platform:test", *command[1:]
    )


def test_each_service_sees_its_own_secrets_and_no_others(stack: Stack) -> None:
    for container in stack.compose.get_containers():
        name = str(container.Service)
        there = run("docker", "compose", "exec", "-T", name, "find", "/run/hefa", "-type", "f").split()
        patterns = [Path(pattern).name.replace("{edge}", "gw-a?") for pattern in PARTS[name]]
        assert there, name
        assert [path for path in there if not any(Path(path).match(pattern) for pattern in patterns)] == [], name


def test_no_secret_is_seen_from_outside(stack: Stack) -> None:
    """Not in the settings of a container, not in its processes' command lines, not in a log, not in an image."""
    files = "postgres_password password_* mqtt_password_* *_key grafana_password tls/*.key"
    text = from_secrets("sh", "-c", f"cd /run/hefa; for file in {files}; do cat $file; echo; done")
    secrets = {word for word in text.split() if len(word) >= 24}
    assert len(secrets) > 20
    seen = {"logs": run("docker", "compose", "logs", "--no-color")}
    for container in stack.compose.get_containers(include_all=True):
        seen[f"inspect {container.Service}"] = run("docker", "inspect", str(container.ID))
    for container in stack.compose.get_containers():
        seen[f"processes of {container.Service}"] = run("docker", "top", str(container.ID), "-eo", "pid,args")
    for image in set(run("docker", "compose", "images", "--quiet").split()):
        seen[f"image {image}"] = run("docker", "history", "--no-trunc", image)
    assert [where for where, text in seen.items() if any(secret in text for secret in secrets)] == []


@pytest.mark.parametrize("door", ["certificate", "password"])
def test_a_gateway_comes_in_by_tls(stack: Stack, tmp_path: Path, door: str) -> None:
    """With what the volume of secrets has for it: its certificate, or its password under the stack's authority."""
    names = ["ca.crt", f"{GUEST}.crt", f"{GUEST}.key"]
    for name in names:
        (tmp_path / name).write_text(from_secrets("cat", f"/run/hefa/tls/{name}"))
    context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    password = urlsplit(stack.mqtt).password
    port = stack.tls_ports[1]
    if door == "certificate":
        context.load_cert_chain(tmp_path / names[1], tmp_path / names[2])
        password, port = None, stack.tls_ports[0]
    with Gateway(f"mqtts://{GUEST}:{password or ''}@127.0.0.1:{port}", context) as gateway:
        gateway.deliver(1, int(time.time() * 1e6), 7.0)


def test_the_documents_gateway_gets_its_reading_onto_a_page(stack: Stack) -> None:
    """docs/connect-your-plant.md: the example as it stands there, then REST and the portal."""
    example = ROOT / "docs" / "examples" / "gateway.py"
    assert run(sys.executable, str(example), stack.mqtt, "HALL3.T-1.pv", "21.5") == "stored: HALL3.T-1.pv = 21.5\n"
    [item] = stack.get("latest", tag="HALL3.T-1.pv")["items"]
    assert item["value"] == 21.5
    with httpx2.Client(base_url=stack.portal, headers=stack.api.headers, timeout=60) as reader:
        known = eventually(
            "the portal knows the tag", lambda: "HALL3.T-1.pv" in reader.get("/api/live/areas/unassigned").text
        )
        assert known


def test_two_workers_share_and_killing_loses_nothing_and_counts_nothing_twice(stack: Stack) -> None:
    """A gateway that keeps sending what is not acknowledged, as the outbox does, while ingest and broker are killed."""
    compose = ("docker", "compose")
    run(*compose, "up", "--detach", "--no-deps", "--no-build", "--no-recreate", "--scale", "ingest=2", "ingest")
    workers = run(*compose, "ps", "--quiet", "ingest").split()
    assert len(workers) == 2
    eventually(
        "both are healthy",
        lambda: all(
            run("docker", "inspect", "--format", "{{.State.Health.Status}}", w).strip() == "healthy" for w in workers
        ),
    )
    count = 60
    start = int(time.time() * 1e6)
    with Gateway(stack.mqtt) as gateway:
        for seq in range(1, count + 1):
            if seq == 20:
                run("docker", "kill", workers[0])
            if seq == 40:
                run(*compose, "kill", "broker")
                run(*compose, "start", "broker")
            gateway.send(seq, start + seq, float(seq))
            time.sleep(0.05)

        def resend() -> bool:
            missing = sorted(set(range(1, count + 1)) - gateway.acknowledged)
            for seq in missing:
                gateway.send(seq, start + seq, float(seq))
            return not missing

        eventually("every envelope is acknowledged", resend, every=5)
    window = {"from": stamp(start), "to": stamp(start + count + 1)}
    [series] = stack.get("series", tag=Gateway.TAG, step="raw", **window)["series"]
    assert series["value"] == [float(seq) for seq in range(1, count + 1)]
    for edge in eventually("the accounts balance", lambda: balanced(stack)):
        assert edge["quarantined"] == 0, edge


def test_new_images_find_the_data_and_the_secrets(stack: Stack) -> None:
    """What an upgrade does: every container of ours is replaced by one of another image; nobody has to sign in anew."""
    tags = {item["tag"] for item in stack.all("tags", core="true")}
    for tier in ("platform", "edge", "apps"):
        run("docker", "tag", f"hefa-{tier}:test", f"hefa-{tier}:next")
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("HEFA_VERSION", "next")
        run("docker", "compose", "up", "--detach", "--wait", "--no-build", "--scale", "ingest=1", *startable())
        images = run("docker", "compose", "ps", "--format", "{{.Image}}").split()
    assert {image for image in images if image.startswith("hefa-")} == {
        f"hefa-{t}:next" for t in ("platform", "edge", "apps")
    }
    assert {item["tag"] for item in stack.all("tags", core="true")} == tags
    began = stamp(int(time.time() * 1e6))

    def live() -> bool:
        return any(item["ts"] > began for item in stack.all("latest", core="true"))

    eventually("new readings arrive", live)


def balanced(stack: Stack) -> list[dict[str, Any]]:
    """The accounts of all edges when received = stored + duplicate + conflict + quarantined holds, else nothing."""
    edges: list[dict[str, Any]] = stack.get("pipeline")["edges"]
    parts = ("stored", "duplicate", "conflict", "quarantined")
    return edges if all(edge["received"] == sum(edge[part] for part in parts) for edge in edges) else []


def test_lost_secrets_are_told_in_a_sentence_and_can_be_made_anew(stack: Stack) -> None:
    """The database is kept and knows other passwords. docs/operations.md has the way out, tried here as it stands."""
    run("docker", "compose", "kill")
    run("docker", "compose", "rm", "--force")
    run("docker", "volume", "rm", f"{PROJECT}_secrets")
    with pytest.raises(subprocess.CalledProcessError):
        run("docker", "compose", "up", "--detach", "--wait", "--no-build", "api")
    log = run("docker", "compose", "logs", "migrate")
    assert "If the secrets were made anew while the database was kept" in log
    [command] = re.findall(r"^(docker compose exec -T database .*)$", OPERATIONS, re.MULTILINE)
    subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True)
    assert "the schema is current" in run("docker", "compose", "run", "--rm", "--no-deps", "migrate")


def test_a_lost_database_is_not_replaced_by_an_empty_one(stack: Stack) -> None:
    """With its volume gone, the stack says so and stays down: an empty database would look like a working one.

    Nor is a volume of another PostgreSQL started on.
    """
    run("docker", "compose", "kill")
    run("docker", "compose", "rm", "--force")
    image = database_image()
    overwrite = ("--entrypoint", "sh", "--user", "0", image, "-c", "echo 12 > /data/PG_VERSION")
    run("docker", "run", "--rm", "--volume", f"{PROJECT}_database:/data", *overwrite)
    with pytest.raises(subprocess.CalledProcessError):
        run("docker", "compose", "up", "--detach", "--wait", "--wait-timeout", "30", "database")
    assert "The volume holds PostgreSQL 12" in run("docker", "compose", "logs", "guard")
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

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self.url, self.tls = urlsplit(url), tls
        self.epoch = os.urandom(8).hex()
        self.acknowledged: set[int] = set()

    def __enter__(self) -> "Gateway":
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=GUEST, protocol=mqtt.MQTTv5)
        if self.url.password:
            self.client.username_pw_set(self.url.username, self.url.password)
        if self.tls is not None:
            self.client.tls_set_context(self.tls)
        self.client.on_message = lambda _client, _data, message: self.hear(message.payload)
        assert self.url.hostname is not None
        self.client.on_connect = lambda client, *_: client.subscribe(f"hefa/v1/{GUEST}/ack", qos=1)
        self.client.connect(self.url.hostname, self.url.port or 1883)
        self.client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def hear(self, payload: bytes) -> None:
        answer = json.loads(payload)
        if answer["epoch"] == self.epoch:
            self.acknowledged |= set(answer["ok"])

    def deliver(self, seq: int, ts: int, value: float) -> None:
        """Send until the platform says that it has it, as every gateway must: an ack can be lost too."""
        sent = time.monotonic() - 5

        def acknowledged() -> bool:
            nonlocal sent
            if time.monotonic() - sent >= 5 and seq not in self.acknowledged:
                sent = time.monotonic()
                self.send(seq, ts, value)
            return seq in self.acknowledged

        eventually("the platform's ack", acknowledged, every=0.1)

    def send(self, seq: int, ts: int, value: float) -> None:
        envelope = {
            "v": 1, "epoch": self.epoch, "seq": seq, "lane": "live", "made": ts, "base": ts,
            "tags": [self.TAG], "tag": [0], "dt": [0], "value": [value],
        }  # fmt: skip
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = f"{self.epoch}:{seq}".encode()
        properties.UserProperty = ("sent", str(int(time.time() * 1e6)))
        self.client.publish(f"hefa/v1/{GUEST}/data", json.dumps(envelope), qos=1, properties=properties)
