"""Both brokers: only known users, several readers behind one name, sessions that survive a lost connection."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hefa_demo.broker import Broker


class Client:
    """A paho client that remembers what it receives."""

    def __init__(self, broker: Broker, user: str, client_id: str) -> None:
        parts = urlsplit(broker.url(user))
        self.received: list[bytes] = []
        self.reasons: list[str] = []
        self.connected = threading.Event()
        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        self.mqtt.username_pw_set(user, parts.password)
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_message = lambda _c, _u, message: self.received.append(message.payload)
        self.host, self.port = parts.hostname or "", parts.port or 0

    def _on_connect(self, client, userdata, flags, reason, properties) -> None:
        self.reasons.append(str(reason))
        if not reason.is_failure:
            self.connected.set()

    def __enter__(self) -> Client:
        expiry = Properties(PacketTypes.CONNECT)
        expiry.SessionExpiryInterval = 600
        self.mqtt.connect(self.host, self.port, clean_start=False, properties=expiry)
        self.mqtt.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def subscribe(self, topic: str) -> None:
        granted = threading.Event()
        self.mqtt.on_subscribe = lambda *_: granted.set()
        self.mqtt.subscribe(topic, qos=1)
        assert granted.wait(30)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    wait = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        wait.wait(0.02)
    return False


def test_shared_subscription_splits_the_stream(broker: Broker) -> None:
    with (
        Client(broker, "ingest", "w1") as one,
        Client(broker, "ingest", "w2") as two,
        Client(broker, "gw-a1", "e") as e,
    ):
        assert all(c.connected.wait(30) for c in (one, two, e))
        for worker in (one, two):
            worker.subscribe("$share/ingest/hefa/v1/+/data")
        for n in range(40):
            e.mqtt.publish("hefa/v1/gw-a1/data", str(n), qos=1)
        assert until(lambda: len(one.received) + len(two.received) == 40)
        assert one.received
        assert two.received
        assert sorted(map(int, one.received + two.received)) == list(range(40))


@pytest.mark.parametrize("size", [15_000, 245_760])
def test_an_envelope_of_the_largest_size_passes(broker: Broker, size: int) -> None:
    with Client(broker, "ingest", "w") as worker, Client(broker, "gw-a1", "e") as edge:
        assert worker.connected.wait(30)
        assert edge.connected.wait(30)
        worker.subscribe("hefa/v1/+/data")
        edge.mqtt.publish("hefa/v1/gw-a1/data", b"x" * size, qos=1)
        assert until(lambda: [len(p) for p in worker.received] == [size])


@pytest.mark.parametrize(("user", "password"), [("gw-a1", "guess"), ("stranger", "guess"), (None, None)])
def test_only_known_users_with_their_password_get_in(broker: Broker, user: str | None, password: str | None) -> None:
    client = Client(broker, "gw-a1", "e")
    client.mqtt.username_pw_set(user, password)
    with client as edge:
        assert not edge.connected.wait(0.7)


# iotcore has no access rules: there ingest's own check of foreign tags is the wall.
@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
def test_a_gateway_cannot_write_for_another(broker: Broker) -> None:
    with Client(broker, "ingest", "w") as worker, Client(broker, "gw-guest", "e") as edge:
        assert worker.connected.wait(30)
        assert edge.connected.wait(30)
        worker.subscribe("hefa/v1/+/data")
        edge.mqtt.publish("hefa/v1/gw-a1/data", b"foreign", qos=1)
        edge.mqtt.publish("hefa/v1/gw-guest/data", b"own", qos=1)
        assert until(lambda: b"own" in worker.received)
        assert b"foreign" not in worker.received


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_comes_back_on_its_port(broker: Broker, how: str) -> None:
    port = broker.port
    getattr(broker, how)()
    assert not broker.ready
    broker.start()
    assert broker.port == port
    with Client(broker, "gw-a1", "e") as edge:
        assert edge.connected.wait(30)
