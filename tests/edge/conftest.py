"""A scripted platform on the far side of a real broker: it hears what gateways send and answers as told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from hefa_contract import receipt, topics
from hefa_contract.envelope import Message, decode


@dataclass(frozen=True)
class Heard:
    """One message as it arrived."""

    topic: str
    payload: bytes
    correlation: bytes
    sent: int
    expiry: int

    @property
    def message(self) -> Message:
        return decode(self.payload).message


class Platform:
    """The ingest side of the contract, by hand. `answer` decides what is acknowledged; None is silence."""

    def __init__(self, url: str) -> None:
        self.heard: list[Heard] = []
        self.status: list[receipt.Status] = []
        self.answer: Callable[[Heard], receipt.Ack | receipt.Err | None] = acknowledge
        self._ready = threading.Event()
        parts = urlsplit(url)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "scripted-ingest", protocol=mqtt.MQTTv5)
        self._client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = lambda *_: self._client.subscribe(
            [("hefa/v1/+/data", 1), ("hefa/v1/+/event", 1), (topics.STATUS_FILTER, 1)]
        )
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()
        assert self._ready.wait(30)

    def accept(self, accepting: bool = True, incarnation: str = "i1") -> None:
        state = receipt.IngestState(accepting=accepting, incarnation=incarnation, ts=time.time_ns() // 1000)
        self._client.publish(topics.ingest_state("w1"), receipt.encode(state), qos=1, retain=True)

    def send(self, edge: str, answer: receipt.Ack | receipt.Err) -> None:
        channel: topics.Channel = "ack" if isinstance(answer, receipt.Ack) else "err"
        self._client.publish(topics.topic(edge, channel), receipt.encode(answer), qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        topic = topics.parse(message.topic)
        if topic.channel == "status":
            self.status.append(receipt.decode_status(bytes(message.payload)))
            return
        told = message.properties
        heard = Heard(
            message.topic,
            bytes(message.payload),
            told.CorrelationData,
            int(dict(told.UserProperty)["sent"]),
            getattr(told, "MessageExpiryInterval", 0),
        )
        self.heard.append(heard)
        answer = self.answer(heard)
        if answer is not None:
            self.send(topic.edge, answer)


def acknowledge(heard: Heard) -> receipt.Ack:
    return receipt.Ack(epoch=heard.message.epoch, ok=[heard.message.seq])


def until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait for something that other threads do; fails when it does not happen in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def platform_at() -> Iterator[Callable[[str], Platform]]:
    """Connect a scripted platform to the broker at a URL."""
    with ExitStack() as stack:

        def connect(url: str) -> Platform:
            peer = Platform(url)
            stack.callback(peer.close)
            return peer

        yield connect


@pytest.fixture
def platform(broker, platform_at: Callable[[str], Platform]) -> Platform:
    return platform_at(broker.url("ingest"))


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., None]:
    return until
