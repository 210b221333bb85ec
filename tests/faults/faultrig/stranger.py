"""A hand-made gateway: says whatever it is told to, and notes what it is answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hefa_contract.envelope import Envelope, correlation, encode


class Stranger:
    """Connected as `edge` while the context lasts."""

    def __init__(self, url: str, edge: str) -> None:
        self.edge = edge
        self.done: set[tuple[str, int]] = set()
        """(epoch, seq) acknowledged as finished."""
        self.errors: list[dict[str, Any]] = []
        self.refusals: list[tuple[str, dict[str, Any]]] = []
        """Epoch, and what an ack says was refused, each said once."""
        self._refused: set[tuple[str, int]] = set()
        self._ready = threading.Event()
        parts = urlsplit(url)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, f"stranger-{edge}", protocol=mqtt.MQTTv5)
        self._client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
        self._client.max_inflight_messages_set(100)
        self._client.on_connect = lambda *_: self._client.subscribe(
            [(f"hefa/v1/{edge}/{c}", 1) for c in ("ack", "err")]
        )
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._hear
        self._client.connect(parts.hostname or "", parts.port or 1883)

    def __enter__(self) -> Stranger:
        self._client.loop_start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def rejected(self) -> list[dict[str, Any]]:
        return [one for _, one in self.refusals]

    def publish(
        self, payload: bytes, epoch: str, seq: int, channel: str = "data", qos: int = 1, *, retain: bool = False
    ) -> None:
        """Send any bytes, under a correlation that says epoch and seq."""
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = correlation(epoch, seq)
        self._client.publish(f"hefa/v1/{self.edge}/{channel}", payload, qos, retain, properties)

    def send(self, epoch: str, seq: int, tag: str, readings: Sequence[tuple[int, float]], lane: str = "live") -> bytes:
        """Send readings (µs, value) of one tag as an envelope; returns its bytes."""
        envelope = Envelope(
            epoch=epoch, seq=seq, lane=lane, made=readings[0][0], base=readings[0][0], tags=[tag],
            tag=[0] * len(readings), dt=[ts - readings[0][0] for ts, _ in readings], value=[v for _, v in readings],
        )  # fmt: skip
        payload = encode(envelope)
        self.publish(payload, epoch, seq)
        return payload

    def answered(self, messages: int, timeout: float = 60.0) -> None:
        """Wait until so many different messages have an answer: an ack, a refusal or an err."""
        deadline = time.monotonic() + timeout
        while (heard := len(self.done | self._refused) + len(self.errors)) < messages:
            assert time.monotonic() < deadline, f"{heard} of {messages} messages were answered"
            time.sleep(0.05)

    def _hear(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        told = json.loads(message.payload)
        if message.topic.endswith("/err"):
            self.errors.append(told)
            return
        self.done |= {(told["epoch"], seq) for seq in told["ok"]}
        for one in told.get("rejected", []):
            self.refusals += [(told["epoch"], one)] if (told["epoch"], one) not in self.refusals else []
        self._refused |= {(told["epoch"], one["seq"]) for one in told.get("rejected", [])}
