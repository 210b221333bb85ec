"""The broker as it is deployed: `deploy/mosquitto.conf`, the access list and the certificates, on a real mosquitto."""

from __future__ import annotations

import queue
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import paho.mqtt.client as mqtt
import pytest

from hefa_contract import topics
from hefa_platform import certificates
from hefa_platform.mqtt import share_group

DENIED = "Not authorized"


class Peer:
    """A plain MQTT 5 client: what it hears, and the broker's answer to each publish."""

    def __init__(self, url: str, client_id: str) -> None:
        parts = urlsplit(url)
        self.heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.answers: dict[int, str] = {}
        self.refused: str | None = None
        self.up = False
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=mqtt.MQTTv5)
        if parts.username:
            self.client.username_pw_set(parts.username, parts.password)
        if parts.scheme == "mqtts":
            files = {name: values[0] for name, values in parse_qs(parts.query).items()}
            context = ssl.create_default_context(cafile=files["ca"])
            if "cert" in files:
                context.load_cert_chain(files["cert"], files["key"])
            self.client.tls_set_context(context)
        self.client.on_connect = self._connected
        self.ended: list[str] = []
        self.client.on_disconnect = lambda _c, _d, _f, reason, _p: self.ended.append(str(reason))
        self.client.on_message = lambda _c, _d, message: self.heard.put((message.topic, message.payload))
        self.client.on_publish = lambda _c, _d, mid, reason, _p: self.answers.__setitem__(mid, str(reason))
        self.granted: list[str] = []
        self.client.on_subscribe = lambda _c, _d, _m, reasons, _p: self.granted.extend(str(r) for r in reasons)
        assert parts.hostname is not None
        self.client.connect(parts.hostname, parts.port or 0)
        self.client.loop_start()

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _told: Any) -> None:
        self.up, self.refused = not reason.is_failure, str(reason) if reason.is_failure else None

    def answer(self, topic: str, payload: bytes = b"x", retain: bool = False) -> str:
        """Publish with QoS 1 and return the broker's reason."""
        mid = self.client.publish(topic, payload, qos=1, retain=retain).mid
        eventually(lambda: mid in self.answers)
        return self.answers[mid]


def eventually(check: Callable[[], Any], within: float = 60.0) -> None:
    end = time.monotonic() + within
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def peer(url: str, client_id: str) -> Iterator[Peer]:
    made = Peer(url, client_id)
    try:
        eventually(lambda: made.up or made.refused)
        yield made
    finally:
        made.client.disconnect()
        made.client.loop_stop()


ALLOWED = ["hefa/v1/gw-a1/data", "hefa/v1/gw-a1/event", "hefa/v1/gw-a1/status", "hefa/v1/gw-a1/cmd_ack"]
FORBIDDEN = [
    "hefa/v1/gw-a2/data", "hefa/v1/gw-a2/event", "hefa/v1/gw-a2/status", "hefa/v1/gw-a2/ack", "hefa/v1/gw-a1/ack",
    "hefa/v1/gw-a1/err", "hefa/v1/gw-a1/cmd", "hefa/v1/gw-a1", "hefa/v1/gw-a1/data/x", "hefa/v1/api/data",
    "hefa/v1/state/ingest/w1", "hefa/v1/state/gw-a1", "hefa/v2/gw-a1/data", "$SYS/broker/uptime", "other", "hefa",
]  # fmt: skip


@pytest.mark.parametrize("door", ["plain", "by_certificate", "by_password"])
def test_a_gateway_publishes_its_own_topics_and_no_others(secured: Any, door: str) -> None:
    """Each refusal has its MQTT 5 reason, so that a gateway can tell; the connection stays."""
    with peer(getattr(secured, door)("gw-a1"), f"rights-{door}") as gateway:
        said = {topic: gateway.answer(topic, retain=topic.endswith("status")) for topic in ALLOWED + FORBIDDEN}
        gateway.answer("hefa/v1/gw-a1/status", b"", retain=True)
    assert {topic for topic, reason in said.items() if reason == DENIED} == set(FORBIDDEN)
    assert {said[topic] for topic in ALLOWED} <= {"Success", "No matching subscribers"}


# Every role beside the gateways, and all that it may publish. Nobody may send commands: they are off.
SERVICES = {
    "ingest": {"hefa/v1/gw-a1/ack", "hefa/v1/gw-a2/ack", "hefa/v1/gw-a1/err", "hefa/v1/state/ingest/w1"},
    "health": set(),
    "gw-hall3": set(),  # an adapter: granted to read hall3/#; its own topics are a gateway's
    "plc": {"hall3/t"},  # a device: granted to write them
}


@pytest.mark.parametrize("user", SERVICES)
def test_other_roles_publish_only_what_they_are_for(secured: Any, user: str) -> None:
    with peer(secured.plain(user), f"rights-{user}") as service:
        said = {topic: service.answer(topic) for topic in {*ALLOWED, *FORBIDDEN, *OTHERS}}
    assert {topic for topic, reason in said.items() if reason != DENIED} == SERVICES[user]
    assert {said[topic] for topic in SERVICES[user]} <= {"Success", "No matching subscribers"}


OTHERS = ["hall3/t", "hall4/t", "hefa/v1/state", "hefa/v1/gw-a1/ack/x"]
FILTERS = [
    "#", "+/+", "hefa/#", "hefa/v1/#", "hefa/v1/+/data", "hefa/v1/+/event", "hefa/v1/+/status", "hefa/v1/+/cmd_ack",
    "hefa/v1/+/ack", "hefa/v1/+/err", "hefa/v1/+/cmd", "hefa/v1/gw-a1/data", "hefa/v1/gw-a1/ack", "hefa/v1/gw-a1/err",
    "hefa/v1/gw-a1/status", "hefa/v1/gw-a1/cmd", "hall3/#", "hefa/v1/state/#", "$SYS/#", "$SYS/broker/version",
    "$share/ingest/hefa/v1/+/data", "$share/ingest-event/hefa/v1/+/event", "$share/x/hefa/v1/+/ack", "$share/x/#",
]  # fmt: skip
STATE = "hefa/v1/state/ingest/w1"
# What each role may hear of all that is said; a gateway hears what is said to itself.
HEARS = {
    "gw-a2": {"hefa/v1/gw-a2/ack", STATE},
    "gw-a1": {"hefa/v1/gw-a1/ack", "hefa/v1/gw-a1/err", STATE},
    "ingest": {"hefa/v1/gw-a1/data", "hefa/v1/gw-a1/event", "hefa/v1/gw-a1/status", STATE},
    "health": {STATE},
    "gw-hall3": {"hall3/t", STATE},
    "plc": {STATE},
}


def test_a_forbidden_subscription_delivers_nothing(secured: Any) -> None:
    """The broker may grant it, as mosquitto does; what counts is that nothing comes through it. Every role, by every
    filter at once, while everything is said that can be."""
    with ExitStack() as stack:

        def enter(url: str, name: str) -> Peer:
            return stack.enter_context(peer(url, name))

        gateway, ingest = enter(secured.plain("gw-a1"), "speaks"), enter(secured.plain("ingest"), "answers")
        device = enter(secured.plain("plc"), "device")
        spies = {user: enter(secured.plain(user), f"spy-{user}") for user in HEARS if user != "gw-a2"}
        spies["gw-a2"] = enter(secured.by_certificate("gw-a2"), "spy")
        for spy in spies.values():
            for one in FILTERS:
                spy.client.subscribe(one, qos=1)
        eventually(lambda: all(len(spy.granted) == len(FILTERS) for spy in spies.values()))
        for topic in ALLOWED:
            gateway.answer(topic)
        device.answer("hall3/t")
        for topic in ("hefa/v1/gw-a1/ack", "hefa/v1/gw-a1/err", "hefa/v1/gw-a2/ack"):
            ingest.answer(topic)
        assert ingest.answer(STATE, b"last") == "Success"  # what came before has come when this has
        for user, spy in spies.items():
            heard: set[str] = set()
            while STATE not in heard:
                heard.add(spy.heard.get(timeout=60)[0])
            heard |= {spy.heard.get_nowait()[0] for _ in range(spy.heard.qsize())}
            assert {topic for topic in heard if topic != "$SYS/broker/uptime" or user != "health"} == HEARS[user], user


@pytest.mark.parametrize("door", ["by_certificate", "by_password"])
def test_nobody_ends_anothers_session_from_the_network(secured: Any, door: str) -> None:
    """Where the plant's network comes in, a client is called as its user is: a foreign client id takes nobody over."""
    with (
        peer(secured.plain("ingest"), "w1") as worker,
        peer(secured.plain("gw-a1"), "gw-a1") as near,
        peer(secured.by_certificate("gw-moved"), "gw-moved") as far,
    ):
        for victim in ("w1", "gw-a1", "gw-moved", "health"):
            with peer(getattr(secured, door)("gw-a2"), victim) as attacker:
                assert attacker.answer("hefa/v1/gw-a2/status") != DENIED
        assert worker.answer("hefa/v1/gw-a1/ack") in {"Success", "No matching subscribers"}
        near.answer("hefa/v1/gw-a1/data")
        far.answer("hefa/v1/gw-moved/data")
        assert [victim.ended for victim in (worker, near, far)] == [[], [], []]
        with peer(getattr(secured, door)("gw-moved"), "other"):  # oneself: the newer session stays
            eventually(lambda: far.ended)


def test_a_gateway_cannot_join_the_workers_and_take_their_messages_away(secured: Any) -> None:
    """mosquitto lets anybody into a share and drops what a member may not read: so the name of ours is a secret."""
    url = secured.plain("ingest")
    mine, _ = topics.shared(share_group(url))
    assert share_group(url) == share_group(secured.by_password("ingest")) != share_group(secured.plain("gw-a2"))
    with (
        peer(url, "worker") as ingest,
        peer(secured.plain("gw-a1"), "honest") as gateway,
        peer(secured.by_password("gw-a2"), "thief") as thief,
    ):
        ingest.client.subscribe(mine, qos=1)
        for group in ("ingest", "ingest-", share_group(secured.plain("gw-a2"))):
            thief.client.subscribe(topics.shared(group)[0], qos=1)
        eventually(lambda: ingest.granted and len(thief.granted) == 3)
        for number in range(20):
            gateway.answer("hefa/v1/gw-a1/data", str(number).encode())
        heard = {ingest.heard.get(timeout=60)[1] for _ in range(20)}
        assert heard == {str(number).encode() for number in range(20)}
        assert thief.heard.empty()


def test_ingest_hears_every_gateway_through_its_share(secured: Any) -> None:
    with peer(secured.plain("ingest"), "hears") as ingest, peer(secured.by_password("gw-a2"), "tells") as gateway:
        ingest.client.subscribe("$share/ingest/hefa/v1/+/data", qos=1)
        eventually(lambda: ingest.granted)
        gateway.answer("hefa/v1/gw-a2/data", b"reading")
        assert ingest.heard.get(timeout=60) == ("hefa/v1/gw-a2/data", b"reading")


@pytest.mark.parametrize(
    ("user", "password"), [("", ""), ("gw-a1", "wrong"), ("gw-a1", ""), ("nobody", "x"), ("ingest", "ingest")]
)
def test_nobody_comes_in_without_a_password(secured: Any, user: str, password: str) -> None:
    with peer(f"mqtt://{user}:{password}@127.0.0.1:{secured.mqtt}", "stranger") as stranger:
        assert stranger.refused in (DENIED, "Bad user name or password")


def test_a_packet_beyond_the_limit_ends_the_connection(secured: Any) -> None:
    with peer(secured.plain("gw-a2"), "large") as gateway:
        ended: queue.Queue[str] = queue.Queue()
        gateway.client.on_disconnect = lambda _c, _d, _f, reason, _p: ended.put(str(reason))
        gateway.client.publish("hefa/v1/gw-a2/data", b"x" * 262_200, qos=0)
        assert ended.get(timeout=60) == "Packet too large"


def handshake(secured: Any, cert: Any = None, key: Any = None, ca: Any = None, port: int | None = None) -> str:
    """Offer a certificate and say what came of it: `ok`, or what TLS says."""
    context = ssl.create_default_context(cafile=ca or secured.tls / "ca.crt")
    if cert is not None:
        context.load_cert_chain(cert, key)
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, "handshake", protocol=mqtt.MQTTv5, reconnect_on_failure=False
    )
    client.tls_set_context(context)
    said: list[str] = []
    client.on_log = lambda _c, _d, level, text: said.append(text) if level == mqtt.MQTT_LOG_ERR else None
    client.on_connect = lambda _c, _d, _f, reason, _p: said.append("ok" if not reason.is_failure else str(reason))
    try:
        client.connect("localhost", port or secured.certificates)
    except ssl.SSLError as error:
        return str(error)
    end = time.monotonic() + 60
    while not said and time.monotonic() < end and client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS:
        pass
    client.disconnect()
    if (opened := client.socket()) is not None:
        opened.close()
    return " ".join(said) or "closed"


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # paho drops the socket of a failed handshake
def test_only_good_certificates_are_taken(secured: Any, tmp_path: Any) -> None:
    own, foreign = secured.tls, tmp_path / "foreign"
    certificates.make(foreign, (), ["gw-a1"])
    past = datetime.now(UTC) - timedelta(days=certificates.DAYS + 1)
    (own / "gw-expired.crt").unlink()
    certificates.make(own, (), ["gw-expired"], now=past)
    for name in ("crt", "key"):
        (tmp_path / f"gw-revoked.{name}").write_bytes((own / f"gw-revoked.{name}").read_bytes())
    assert handshake(secured, own / "gw-a1.crt", own / "gw-a1.key") == "ok"
    assert handshake(secured, own / "gw-revoked.crt", own / "gw-revoked.key") == "ok"
    assert handshake(secured, own / "gw-expired.crt", own / "gw-expired.key") != "ok"
    assert handshake(secured, foreign / "gw-a1.crt", foreign / "gw-a1.key") != "ok"
    assert handshake(secured) != "ok"
    assert "VERIFY_FAILED" in handshake(secured, own / "gw-a1.crt", own / "gw-a1.key", ca=foreign / "ca.crt")
    assert handshake(secured, own / "broker.crt", own / "broker.key") != "ok"  # a server's certificate is no gateway's

    certificates.revoke(own, "gw-revoked")
    secured.publish_secrets()
    revoked = tmp_path / "gw-revoked.crt", tmp_path / "gw-revoked.key"
    eventually(lambda: handshake(secured, *revoked) != "ok")
    assert handshake(secured, own / "gw-a1.crt", own / "gw-a1.key") == "ok"  # the others go on
