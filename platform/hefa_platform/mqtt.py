"""The platform's one MQTT session: paho behind a door.

It hides threads, reconnection and paho's acknowledgements. What it promises: a PUBACK goes out only for a message the
caller has finished, in the order in which the messages came, and never for a message of an older connection, whose
number may meanwhile belong to another one. What is not acknowledged comes again after the next reconnect.
"""

import hashlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from hefa_platform.config import tls_context

logger = logging.getLogger(__name__)

KEEPALIVE_S = 30
_RETRY_S = (1, 5)  # delay before connecting again: first, longest


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message as it came. `connection` counts the connections of this process."""

    topic: str
    payload: bytes
    correlation: bytes | None
    mid: int
    qos: int
    connection: int


def share_group(url: str) -> str:
    """Name of the group in which all workers with the credentials of `url` divide messages: as secret as the password.

    A broker such as mosquitto lets any user into any share, and drops what falls to a member who may not read it. A
    gateway that knew the name could so keep part of the others' messages from us until they are sent again.
    """
    password = urlsplit(url).password
    if not password:
        return "ingest"
    digest = hashlib.sha256(b"hefa share\0" + unquote(password).encode())
    return f"ingest-{digest.hexdigest()[:16]}"


class Session:
    """Connects, stays connected, subscribes anew each time, and tells by last will when it is gone.

    `url` is mqtt://user:password@host:port or mqtts://…?ca=FILE&cert=FILE&key=FILE; `receive` is called in paho's thread and must not block. A
    broker that is away is waited for. Raises ConfigError where the URL's files cannot be used.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        subscriptions: Sequence[str],
        receive: Callable[[Inbound], None],
        *,
        will: tuple[str, bytes],
        receive_maximum: int,
        session_expiry_s: int = 0,
        connected: Callable[[], None] = lambda: None,
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._subscriptions, self._receive, self._on_connected = subscriptions, receive, connected
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, manual_ack=True
        )
        if parts.username is not None:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        secured = tls_context(url)
        if secured is not None:
            self._client.tls_set_context(secured)
        self._client.will_set(*will, qos=1, retain=True)
        self._client.max_inflight_messages_set(1000)
        self._client.reconnect_delay_set(*_RETRY_S)
        self._client.connect_timeout = 2.0  # also the longest that a stop waits for a broker that is away
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._message
        self._client.on_connect_fail = lambda *_: self._say(f"broker not reached at {self._host}:{self._port}")
        self._properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        self._properties.ReceiveMaximum = receive_maximum
        if session_expiry_s:
            self._properties.SessionExpiryInterval = session_expiry_s
        self._clean = session_expiry_s == 0
        self._connection = 0
        self._up = threading.Event()
        self._said = ""

    @property
    def up(self) -> bool:
        """Whether the broker has us now."""
        return self._up.is_set()

    def start(self) -> None:
        """Begin to connect, in paho's thread."""
        self._client.connect_async(
            self._host, self._port, keepalive=KEEPALIVE_S, clean_start=self._clean, properties=self._properties
        )
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, correlation: bytes | None = None) -> None:
        """Send with QoS 1; kept until the broker is back where it is away."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.UserProperty = ("sent", str(time.time_ns() // 1000))
        if correlation is not None:
            properties.CorrelationData = correlation
        self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)

    def finish(self, messages: Iterable[Inbound]) -> None:
        """Acknowledge messages to the broker. They must be given in the order in which they came."""
        for message in messages:
            if self.up and message.connection == self._connection:
                self._client.ack(message.mid, message.qos)

    def reconnect(self) -> None:
        """Leave this connection as if it had broken, and begin another one."""
        opened = self._client.socket()
        if isinstance(opened, socket.socket):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def stop(self, farewell: tuple[str, bytes]) -> None:
        """Publish a last retained message, wait for it a moment, and leave in good order."""
        was_up = self.up
        self._up.clear()
        if was_up:
            told = self._client.publish(farewell[0], farewell[1], qos=1, retain=True)
            # Where the connection goes away meanwhile the last will says the same.
            with suppress(RuntimeError, ValueError):
                told.wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Any, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            self._say(f"the broker refuses us: {reason}")
            return
        self._connection += 1
        # Always: a broker that restarted may have forgotten what it says it remembers.
        client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._subscriptions])
        self._up.set()
        self._said = ""
        logger.info("connected broker=%s:%d", self._host, self._port)
        self._on_connected()

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if self._up.is_set():
            self._up.clear()
            self._say(f"connection to the broker ended: {reason}")

    def _message(self, client: Any, userdata: Any, message: paho.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        self._receive(
            Inbound(message.topic, bytes(message.payload), correlation, message.mid, message.qos, self._connection)
        )

    def _say(self, what: str) -> None:
        if what != self._said:
            self._said = what
            logger.warning("%s; trying again", what)
