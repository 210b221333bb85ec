"""Envelopes made for measuring, gateways that send them as fast as a window lets them, and paho with nothing around it."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hefa_contract import receipt, topics
from hefa_contract.envelope import Envelope, correlation, encode
from hefa_contract.plant import Plant

EPOCH = "bench"
PATIENCE_S = 120.0

Message = tuple[int, bytes]  # seq, and what is sent


def names(plant: Plant, edge: str) -> list[str]:
    """Up to 200 of a gateway's tags."""
    return [tag.name for tag in plant.tags_of_edge(edge) if tag.kind == "gauge"][:200]


def envelopes(tags: Sequence[str], count: int, seq: int, readings: int = 500) -> list[Envelope]:
    """Envelopes of now, numbered from `seq`, each with readings of all tags in turn; no reading is there twice.

    Their times lie so close together that those made next begin behind them.
    """
    start = time.time_ns() // 1000
    chance = np.random.default_rng(seq)
    index = np.arange(readings)
    values = chance.random((count, readings)).round(4)
    tag, dt = (index % len(tags)).tolist(), (index // len(tags)).tolist()
    apart = dt[-1] + 1
    return [
        Envelope(
            epoch=EPOCH, seq=seq + n, lane="live", made=start, base=start + n * apart, tags=list(tags), tag=tag, dt=dt,
            value=values[n].tolist(),
        )
        for n in range(count)
    ]  # fmt: skip


def messages(envelopes: Sequence[Envelope]) -> list[Message]:
    return [(envelope.seq, encode(envelope)) for envelope in envelopes]


class Gateway:
    """A gateway without an outbox: publishes, and counts a message as arrived when the platform's ack has come."""

    def __init__(self, url: str, edge: str, window: int = 128) -> None:
        self._edge, self._window = edge, window
        self._changed = threading.Condition()
        self._open: set[int] = set()
        self._accepting: dict[str, bool] = {}
        self.acknowledged: dict[int, float] = {}
        """When the ack of a seq came, seconds of the epoch."""
        self._client = client(url, f"bench-{edge}", window)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(topics.topic(edge, "ack"), 1), (topics.INGEST_STATE_FILTER, 1)]
        )
        self._client.on_message = self._receive

    def __enter__(self) -> Gateway:
        self._client.loop_start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for_workers(self, count: int = 1) -> None:
        with self._changed:
            found = self._changed.wait_for(lambda: sum(self._accepting.values()) >= count, 30)
        assert found, f"no {count} workers within 30 s"

    def send(self, messages: Sequence[Message]) -> float:
        """Seconds from the first publish to the last ack."""
        began = time.perf_counter()
        for seq, payload in messages:
            with self._changed:
                assert self._changed.wait_for(lambda: len(self._open) < self._window, PATIENCE_S), "no acks"
            self.publish(seq, payload)
        self.wait()
        return time.perf_counter() - began

    def publish(self, seq: int, payload: bytes) -> None:
        with self._changed:
            self._open.add(seq)
        self._client.publish(topics.topic(self._edge, "data"), payload, qos=1, properties=properties(seq))

    def wait(self) -> None:
        """Until all that was published is acknowledged."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._open, PATIENCE_S), f"{len(self._open)} are not acknowledged"

    def _receive(self, client: Any, userdata: Any, message: mqtt.MQTTMessage) -> None:
        now = time.time()
        with self._changed:
            if message.topic.endswith("/ack"):
                ack = receipt.decode_ack(message.payload)
                assert not ack.rejected, ack.rejected[:3]
                self._open.difference_update(ack.ok)
                self.acknowledged.update(dict.fromkeys(ack.ok, now))
            else:
                self._accepting[message.topic] = receipt.decode_ingest_state(message.payload).accepting
            self._changed.notify_all()


def bare_loop(sender: str, receiver: str, edge: str, messages: Sequence[Message], window: int) -> float:
    """Seconds that paho takes to publish, receive in another process, and acknowledge there; nothing else is done.

    Goes by a topic that no worker listens to, with the properties that an envelope has.
    """
    topic = topics.topic(edge, "ack")
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_receive, args=(receiver, topic, len(messages), ready, done), daemon=True)
    process.start()
    publisher = client(sender, "bench-bare-sender", window)
    publisher.loop_start()
    try:
        assert ready.wait(30), "the receiver did not subscribe"
        began = time.perf_counter()
        for seq, payload in messages:
            publisher.publish(topic, payload, qos=1, properties=properties(seq))
        assert done.wait(PATIENCE_S), "the receiver did not get all"
        return time.perf_counter() - began
    finally:
        publisher.disconnect()
        publisher.loop_stop()
        process.join(10)


def _receive(url: str, topic: str, count: int, ready: Event, done: Event) -> None:
    """Acknowledge by hand, as a worker does, `count` messages."""
    left = [count]

    def receive(client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        client.ack(message.mid, message.qos)
        left[0] -= 1
        if left[0] <= 0:
            client.disconnect()

    receiver = client(url, "bench-bare-receiver", manual_ack=True)
    receiver.on_message = receive
    receiver.on_subscribe = lambda *_: ready.set()
    receiver.subscribe(topic, 1)
    receiver.loop_forever()
    done.set()


def client(url: str, client_id: str, inflight: int = 20, *, manual_ack: bool = False) -> mqtt.Client:
    """A paho client that has begun to connect."""
    parts = urlsplit(url)
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, manual_ack=manual_ack)
    made.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
    made.max_inflight_messages_set(inflight)
    made.connect(parts.hostname or "", parts.port or 1883)
    return made


def properties(seq: int) -> Properties:
    """What the contract wants beside the payload."""
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    made.CorrelationData = correlation(EPOCH, seq)
    made.UserProperty = [("sent", str(time.time_ns() // 1000))]
    return made
