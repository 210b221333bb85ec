"""One MQTT connection of a gateway to the platform, from CONNECT to its end; and how any of ours reaches a broker.

It notes what the broker and the platform say and decides nothing: who reads the notes is the publisher.
A connection is never reused, so that nothing of an old one is sent again behind the publisher's back.
Callbacks only note; they never block and never raise. All methods belong to one thread.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from math import ceil
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from hefa_contract import receipt, topics
from hefa_contract.envelope import correlation
from hefa_contract.rejection import Rejected
from hefa_edge.config import ConfigError

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 3.0
SILENCE_S = 6.0  # a broker that accepts the socket and says nothing for so long is left
GOODBYE_S = 1.0
HEADROOM = 512  # bytes of a PUBLISH packet besides its payload, at most
NO_SUBSCRIBER = 0x10
TOO_LARGE = 0x95


class Tls(NamedTuple):
    """Files in PEM: who vouches for the broker (None: whom the system trusts), and who we are."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files anew, so that a certificate may be renewed under a running gateway. Raises ConfigError."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, password="")  # an encrypted key is an error, not a prompt
        except OSError as error:  # ssl's own errors are such too
            named = " ".join(f"{name}={path}" for name, path in self._asdict().items() if path is not None)
            raise ConfigError(f"cannot use the certificates {named}: {error}") from None
        return context


class Broker(NamedTuple):
    """Where a gateway connects, and as whom. `parse_url` makes it."""

    host: str
    port: int
    tls: Tls | None
    user: str | None
    password: str

    @property
    def identity(self) -> str:
        """As whom we ask to be taken, in words."""
        if self.user is None and self.tls is not None and self.tls.cert is not None:
            return f"the owner of {self.tls.cert}"
        return self.user or "nobody"

    def client(self, client_id: str, *, manual_ack: bool = False) -> mqtt.Client:
        """Make a client for one connection, as whom we are; it never connects again by itself."""
        made = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=mqtt.MQTTv5,
            manual_ack=manual_ack,
            reconnect_on_failure=False,
        )
        made.connect_timeout = CONNECT_TIMEOUT_S
        if self.user is not None:
            made.username_pw_set(self.user, self.password)
        return made

    def connect(
        self, client: mqtt.Client, *, clean_start: bool = True, properties: Properties | None = None
    ) -> str | None:
        """Connect, at most for CONNECT_TIMEOUT_S. Returns in words why that failed, None where it did not."""
        try:
            if self.tls is not None:
                client.tls_set_context(self.tls.context())
            client.connect(self.host, self.port, KEEPALIVE_S, clean_start=clean_start, properties=properties)
        except (OSError, ConfigError) as error:
            return f"no connection to {self.host}:{self.port}: {error}"
        return None


class Confirmation(NamedTuple):
    """A broker's PUBACK: `refused` says why where it is none, `heard` whether anybody subscribes."""

    mid: int
    at: float
    refused: str | None
    heard: bool


def parse_url(url: str) -> Broker:
    """Read mqtt://[user:password@]host[:port] or mqtts://…[?ca=FILE&cert=FILE&key=FILE]; raises ConfigError.

    The files are tried once, so that a wrong path is told at the start.
    """
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else {}
    except ValueError:
        parts, port, query = urlsplit(""), None, {}
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ConfigError(
            "a broker's URL must be mqtt://[user:password@]host[:port] or mqtts://…[?ca=FILE&cert=FILE&key=FILE]"
        )
    if set(query) - set(Tls._fields) or (query and parts.scheme == "mqtt") or ("key" in query and "cert" not in query):
        raise ConfigError("after the ? of a broker's URL stand ca=, cert= and key= of its cert, for mqtts:// only")
    tls = Tls(**{name: values[-1] for name, values in query.items()}) if parts.scheme == "mqtts" else None
    if tls is not None:
        tls.context()
    user = None if parts.username is None else unquote(parts.username)
    return Broker(parts.hostname, port or (8883 if tls else 1883), tls, user, unquote(parts.password or ""))


class Session:
    """A connection of `edge` as `client_id`. `announce`: retained status online, and offline as last will."""

    def __init__(
        self, edge: str, broker: Broker, client_id: str, *, announce: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._edge, self._broker, self._announce, self._clock = edge, broker, announce, clock
        self._topics: dict[str, str] = {
            name: topics.topic(edge, name) for name in ("data", "event", "ack", "err", "status")
        }
        self._began = self._asked = time.monotonic()
        self.connected = False
        """The broker has taken us. Stays true when the connection ends."""
        self.ended: str | None = None
        """Why the connection is over; None while it is not."""
        self.oversize = False
        """It ended because a packet was too large."""
        self.round_trip_s = 0.0
        """How long the broker took to take us."""
        self.receive_maximum = 65_535
        self.packet_maximum = 268_435_455
        self.states: dict[str, receipt.IngestState] = {}
        """The retained state of each ingest worker."""
        self.acks: list[receipt.Ack] = []
        self.errors: list[receipt.Err] = []
        self.confirmations: list[Confirmation] = []
        self.unread: str | None = None
        """The last answer that could not be read, in words."""
        self._client = self._make(client_id)
        self._selector: selectors.BaseSelector | None = None

    @property
    def age_s(self) -> float:
        """Seconds since the session was made."""
        return time.monotonic() - self._began

    def connect(self, wake: socket.socket) -> None:
        """Connect, at most for CONNECT_TIMEOUT_S; `ended` tells a failure. `serve` also returns when `wake` is read."""
        failed = self._broker.connect(self._client)
        if failed is not None:
            self.ended = failed
            return
        self._asked = time.monotonic()
        opened = self._client.socket()
        if opened is None:
            self.ended = self.ended or "the connection was closed at once"
            return
        self._selector = selectors.DefaultSelector()
        self._selector.register(opened, selectors.EVENT_READ, "broker")
        self._selector.register(wake, selectors.EVENT_READ, "wake")

    def serve(self, timeout_s: float) -> None:
        """Wait for the broker or for `wake`, at most `timeout_s`, and handle what came."""
        opened = self._client.socket()
        if self._selector is None or opened is None or self.ended:
            self.ended = self.ended or "connection lost"
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        self._selector.modify(opened, wanted, "broker")
        # What TLS has decrypted already the selector does not see.
        buffered = isinstance(opened, ssl.SSLSocket) and opened.pending() > 0
        if buffered:
            self._client.loop_read()
        for key, events in self._selector.select(0 if buffered else timeout_s):
            if self._client.socket() is not opened:
                break
            if key.data == "broker" and events & selectors.EVENT_READ:
                self._client.loop_read()
            if key.data == "broker" and events & selectors.EVENT_WRITE and self._client.socket() is opened:
                self._client.loop_write()
        if self._client.socket() is opened:
            self._client.loop_misc()
        if self._client.socket() is not opened:
            self.ended = self.ended or "connection lost"
        if not self.connected and self.ended is None and self.age_s > SILENCE_S:
            self.ended = "the broker took the connection and says nothing"

    def publish(self, channel: str, payload: bytes, epoch: str, seq: int, expiry_s: float) -> int:
        """Send a message with QoS 1 and return its packet id. A copy that waits longer than `expiry_s` is void."""
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = correlation(epoch, seq)
        properties.UserProperty = [("sent", str(round(self._clock() * 1e6)))]
        properties.MessageExpiryInterval = ceil(expiry_s)
        return self._client.publish(self._topics[channel], payload, qos=1, properties=properties).mid

    def fits(self, payload: bytes) -> bool:
        """Tell whether the broker takes a payload of this size."""
        return len(payload) + HEADROOM <= self.packet_maximum

    def close(self) -> None:
        """End the connection in good order where it still stands, within GOODBYE_S; the status then says offline."""
        self._client.on_disconnect = None
        opened = self._client.socket()
        if self.connected and self.ended is None and opened is not None:
            self.ended = "disconnected"
            if self._announce:
                self._client.publish(self._topics["status"], self._status(online=False), qos=1, retain=True)
            deadline = time.monotonic() + GOODBYE_S
            # paho closes its socket behind the last byte. An answer nobody has read then would reset the connection,
            # and a broker may take that for a death: it tells of it once more, by the last will of the beginning.
            with socket.socket(fileno=os.dup(opened.fileno())) as line:
                self._client.disconnect()
                while self._client.want_write() and self._client.socket() is not None and time.monotonic() < deadline:
                    self._client.loop_write()
                    time.sleep(0.01)
                _hang_up(line, deadline)
        if self._selector is not None:
            self._selector.close()
        opened = self._client.socket()
        if opened is not None:
            opened.close()

    # --- paho's callbacks --------------------------------------------------------------------------------------------

    def _make(self, client_id: str) -> mqtt.Client:
        client = self._broker.client(client_id)
        client.max_inflight_messages_set(65_535)  # the window is the publisher's
        if self._announce:
            client.will_set(self._topics["status"], self._status(online=False), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _on_connect(
        self,
        client: mqtt.Client,
        _data: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        told: Properties | None,
    ) -> None:
        if reason.is_failure:
            self.ended = f"the broker refuses us as {self._broker.identity}: {reason}"
            return
        self.receive_maximum = getattr(told, "ReceiveMaximum", self.receive_maximum)
        self.packet_maximum = getattr(told, "MaximumPacketSize", self.packet_maximum)
        # Subscribed before the first publish: no ack can pass us by.
        client.subscribe([(self._topics["ack"], 1), (self._topics["err"], 1), (topics.INGEST_STATE_FILTER, 1)])
        if self._announce:
            client.publish(self._topics["status"], self._status(online=True), qos=1, retain=True)
        self.connected = True
        self.round_trip_s = time.monotonic() - self._asked

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: object,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _told: Properties | None,
    ) -> None:
        self.oversize = reason.value == TOO_LARGE
        if self.ended is None:
            # Some brokers close the socket instead of saying that they refuse.
            early = f"the broker closed the connection before it took us as {self._broker.identity}{self._doubt()}"
            self.ended = f"connection lost: {reason}" if self.connected else early

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        try:
            if message.topic == self._topics["ack"]:
                self.acks.append(receipt.decode_ack(payload))
            elif message.topic == self._topics["err"]:
                self.errors.append(receipt.decode_err(payload))
            elif payload:
                self.states[message.topic] = receipt.decode_ingest_state(payload)
            else:
                self.states.pop(message.topic, None)
        except Rejected as error:
            self.unread = f"cannot read an answer on {message.topic}: {error}"

    def _on_publish(
        self, _client: mqtt.Client, _data: object, mid: int, reason: ReasonCode, _told: Properties | None
    ) -> None:
        refused = str(reason) if reason.is_failure else None
        self.confirmations.append(Confirmation(mid, time.monotonic(), refused, reason.value != NO_SUBSCRIBER))

    def _doubt(self) -> str:
        """A broker that refuses a certificate says so after the handshake, or just leaves."""
        if self._broker.tls is None or self._broker.tls.cert is None:
            return ""
        return ": is the certificate expired, revoked, or from another authority than the broker's?"

    def _status(self, *, online: bool) -> bytes:
        return receipt.encode(receipt.Status(online=online, ts=round(self._clock() * 1e6)))


def _hang_up(line: socket.socket, deadline: float) -> None:
    """Say that no more is sent, and read until the other side hangs up too, or `deadline` (monotonic)."""
    try:
        line.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            line.settimeout(left)
            if not line.recv(65_536):
                return
    except OSError:
        return  # it is gone, or too slow: there is nobody to be polite to
