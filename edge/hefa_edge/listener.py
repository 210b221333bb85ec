"""One MQTT connection that takes in foreign messages, and confirms to the broker only what is safe.

Manual acknowledgement: a PUBACK goes out when the caller says so, in the order in which messages came. The session is
kept by the broker for a day, so that what is published while we are away comes when we are back. All methods belong to
one thread; a connection is never used again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from hefa_edge.session import SILENCE_S, Broker

RECEIVE_MAXIMUM = 500  # messages that the broker may have on the way to us
EXPIRY_S = 86_400
_NO_RETAINED = 2  # not every broker heeds it


class Arrived(NamedTuple):
    """A foreign message, with the id and quality of service to confirm it by.

    `retained`: it is the topic's last value from before we subscribed, and no new measurement.
    """

    mid: int
    qos: int
    topic: str
    payload: bytes
    retained: bool


class Listener:
    """A connection as `client_id`, subscribed to `filters`."""

    def __init__(self, broker: Broker, client_id: str, filters: Sequence[str]) -> None:
        self._broker, self._filters = broker, filters
        self._began = time.monotonic()
        self.connected = False
        """The broker has taken us and our subscriptions."""
        self.ended: str | None = None
        """Why the connection is over; None while it is not."""
        self.arrived: list[Arrived] = []
        """What has come and nobody has taken yet, in order."""
        client = broker.client(client_id, manual_ack=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        self._client = client

    def connect(self) -> None:
        """Connect, at most for CONNECT_TIMEOUT_S; `ended` tells a failure."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        failed = self._broker.connect(self._client, clean_start=False, properties=properties)
        if failed is not None:
            self.ended = failed

    def serve(self, timeout_s: float) -> None:
        """Wait for the broker, at most `timeout_s`, and note what came."""
        if self.ended is None and self._client.loop(timeout_s) != mqtt.MQTT_ERR_SUCCESS:
            self.ended = self.ended or "connection lost"
        if not self.connected and self.ended is None and time.monotonic() - self._began > SILENCE_S:
            self.ended = "the broker took the connection and says nothing"

    def confirm(self, messages: Sequence[Arrived]) -> None:
        """These are safe: the broker may forget them."""
        for message in messages:
            if self.ended is None:
                self._client.ack(message.mid, message.qos)

    def close(self) -> None:
        """End the connection; the broker keeps the session."""
        self._client.on_disconnect = None
        self.ended = self.ended or "disconnected"
        self._client.disconnect()
        self._client.loop(0.1)

    # --- paho's callbacks --------------------------------------------------------------------------------------------

    def _on_connect(
        self,
        client: mqtt.Client,
        _data: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _told: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.ended = f"the broker refuses us as {self._broker.identity}: {reason}"
            return
        options = SubscribeOptions(qos=1, retainHandling=_NO_RETAINED)
        client.subscribe([(one, options) for one in self._filters])

    def _on_subscribe(
        self, _client: mqtt.Client, _data: object, _mid: int, reasons: list[ReasonCode], _told: Properties | None
    ) -> None:
        refused = [one for one, reason in zip(self._filters, reasons, strict=False) if reason.is_failure]
        if refused:
            self.ended = (
                f"the broker does not let {self._broker.identity} read {', '.join(refused)}: see its access list"
            )
        self.connected = not refused

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: object,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _told: Properties | None,
    ) -> None:
        self.ended = self.ended or f"connection lost: {reason}"

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.arrived.append(
            Arrived(message.mid, message.qos, message.topic, bytes(message.payload), bool(message.retain))
        )
