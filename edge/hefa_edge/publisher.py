"""One MQTT session of a gateway: what is in the outbox goes out, what the platform has comes back as acks.

The only module that speaks MQTT. A broker's PUBACK is no receipt; a message stays pending in the outbox
until the platform acknowledges it after its commit, and is sent again, the same bytes, with growing and
jittered delay until then. Nothing is sent while no ingest worker accepts data. Everything happens in one
thread; a broker that is away, refuses or stalls holds up nobody.
"""

from __future__ import annotations

import contextlib
import logging
import random
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from hefa_contract import receipt, topics
from hefa_contract.envelope import correlation, parse_correlation
from hefa_contract.rejection import Code, Rejected
from hefa_edge.config import ConfigError
from hefa_edge.outbox import Item, Outbox

logger = logging.getLogger(__name__)

KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 3.0
RTO_S, RTO_MAX_S = 10.0, 300.0  # time to wait for an ack before sending again; doubles each time
BACKOFF_S, BACKOFF_MAX_S = 0.5, 30.0  # time to wait before connecting again; doubles each time
STABLE_S = 10.0  # a connection that lasted so long resets that delay
IDLE_S = 0.5  # longest sleep of the thread: timers are looked at this often
PURGE_S = 0.1  # pause between two small deletions of what is out of grace
HEADROOM = 512  # bytes of a PUBLISH packet besides its payload, at most
NO_SUBSCRIBER = 0x10
TOO_LARGE = 0x95


@dataclass(frozen=True, slots=True)
class Link:
    """The state of a session: the broker has us, a worker takes data, and how fast the broker answers."""

    connected: bool
    accepting: bool
    round_trip_ms: float | None


@dataclass(slots=True)
class _Flight:
    """A message that was sent and is not acknowledged. Times are of the monotonic clock."""

    seq: int
    size: int
    due: float
    rto: float
    mid: int = 0
    sent: float = 0.0
    at_broker: bool = False


@dataclass(slots=True)
class _Session:
    """What one connection has told; gone with it."""

    client: mqtt.Client
    connected: bool = False
    ended: bool = False
    receive_maximum: int = 65_535
    packet_maximum: int = 268_435_455
    states: dict[str, receipt.IngestState] = field(default_factory=dict)
    acks: list[receipt.Ack] = field(default_factory=list)
    errors: list[receipt.Err] = field(default_factory=list)
    by_mid: dict[int, _Flight] = field(default_factory=dict)
    oversize: bool = False
    began: float = field(default_factory=time.monotonic)


class Publisher:
    """Sends one outbox through one broker. `start` it, `notify` it of new messages, `stop` it."""

    def __init__(
        self,
        edge: str,
        url: str,
        outbox: Outbox,
        *,
        client_id: str | None = None,
        announce: bool = True,
        window: int = 128,
        rto_s: float = RTO_S,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare a session of `edge`; connects only once started.

        `url` is mqtt:// or mqtts://, with user and password where the broker wants them. `announce` tells the world
        by the retained status that the gateway is online, and by last will that it is not. `window` bounds the
        unacknowledged messages on their way. Raises ConfigError for a URL that cannot be used.
        """
        self._edge, self._url, self._outbox = edge, _parse(url), outbox
        self._client_id, self._announce, self._window, self._rto = client_id or edge, announce, window, rto_s
        self._chance, self._clock = chance or random.Random(), clock  # noqa: S311 - jitter needs no secrecy
        self._flights: dict[int, _Flight] = {}
        self._refused_size: dict[int, int] = {}
        self._new = self._boundary = self._backlog = 0
        self._accepting = False
        self._round_trip_ms: float | None = None
        self._connected = False
        self._said: dict[str, str] = {}
        self._next_purge = 0.0
        self._stop = threading.Event()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"publisher-{self._client_id}", daemon=True)
        self.failure: BaseException | None = None

    @property
    def link(self) -> Link:
        """The session as it is now."""
        return Link(self._connected, self._accepting, self._round_trip_ms)

    def start(self) -> None:
        """Begin to connect, in a thread of its own."""
        self._thread.start()

    def notify(self) -> None:
        """Say that the outbox has something new. Never blocks."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: it has stopped
            self._wake_in.send(b"\0")

    def request_stop(self) -> None:
        """Ask the thread to end; `stop` waits for it."""
        self._stop.set()
        self.notify()

    def stop(self, timeout_s: float = 4.0) -> None:
        """End the session in good order: the status says offline. What is pending stays in the outbox."""
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._wake_in.close()
        self._wake_out.close()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        delay = BACKOFF_S
        try:
            while not self._stop.is_set():
                session = self._open()
                if self._connect(session):
                    self._converse(session)
                self._close(session)
                lasted = session.connected and time.monotonic() - session.began > STABLE_S
                delay = BACKOFF_S if lasted else min(delay * 2, BACKOFF_MAX_S)
                self._stop.wait(delay * self._chance.uniform(0.5, 1.0))
        except BaseException as error:  # a bug: the site sees it and ends the process
            logger.exception("publisher failed edge=%s", self._edge)
            self.failure = error

    def _connect(self, session: _Session) -> bool:
        try:
            session.client.connect(
                self._url.hostname or "", self._url.port or _port(self._url), KEEPALIVE_S, clean_start=True
            )
        except (OSError, ssl.SSLError) as error:
            self._say("link", f"no connection to {self._url.hostname}:{self._url.port}: {error}", logging.WARNING)
            return False
        return True

    def _converse(self, session: _Session) -> None:
        """Serve one connection until it ends or we stop."""
        client = session.client
        opened = client.socket()
        if opened is None:
            return
        with selectors.DefaultSelector() as selector:
            selector.register(opened, selectors.EVENT_READ)
            selector.register(self._wake_out, selectors.EVENT_READ)
            while not self._stop.is_set() and not session.ended and client.socket() is opened:
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
                selector.modify(opened, wanted)
                for key, events in selector.select(self._patience()):
                    if key.fileobj is self._wake_out:
                        self._drain_wakes()
                        continue
                    if events & selectors.EVENT_READ:
                        client.loop_read()
                    if events & selectors.EVENT_WRITE and client.socket() is opened:
                        client.loop_write()
                if client.socket() is opened:
                    client.loop_misc()
                if not session.connected and time.monotonic() - session.began > 2 * CONNECT_TIMEOUT_S:
                    self._say("link", "the broker took the connection and says nothing", logging.WARNING)
                    return
                if session.connected:
                    self._pump(session)

    def _close(self, session: _Session) -> None:
        client = session.client
        if self._stop.is_set() and session.connected and client.socket() is not None:
            if self._announce:
                client.publish(topics.topic(self._edge, "status"), self._status(online=False), qos=1, retain=True)
            client.disconnect()
            deadline = time.monotonic() + 1.0
            while client.want_write() and client.socket() is not None and time.monotonic() < deadline:
                client.loop_write()
                time.sleep(0.01)
        client.on_disconnect = None
        opened = client.socket()
        if opened is not None:
            client.disconnect()
            opened.close()
        if self._connected:
            self._say("link", "connection closed" if self._stop.is_set() else "connection lost", logging.INFO)
        self._connected = self._accepting = False
        # What the broker never confirmed is lost with the connection; the rest has a chance until its time is up.
        now = time.monotonic()
        unconfirmed = [flight for flight in self._flights.values() if not flight.at_broker]
        for flight in unconfirmed:
            flight.due = now
        if session.oversize and unconfirmed:
            self._give_up_size(max(unconfirmed, key=lambda flight: flight.size))

    def _patience(self) -> float:
        """Seconds to sleep when nothing happens."""
        if not self._flights:
            return IDLE_S
        first = min(flight.due for flight in self._flights.values())
        return min(IDLE_S, max(0.02, first - time.monotonic())) if self._accepting else IDLE_S

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_out.recv(4096):
                pass

    # --- the conversation --------------------------------------------------------------------------------------------

    def _pump(self, session: _Session) -> None:
        """Take in what was answered, and send what may be sent."""
        self._take_acks(session)
        self._take_errors(session)
        self._judge_states(session)
        now = time.monotonic()
        if self._accepting:
            self._resend(session, now)
            self._send_new(session, now)
        if now >= self._next_purge:
            self._next_purge = now + (PURGE_S if self._outbox.purge() else 1.0)

    def _take_acks(self, session: _Session) -> None:
        acks, session.acks = session.acks, []
        done: list[int] = []
        reused = False
        for ack in acks:
            if ack.epoch != self._outbox.epoch:
                continue
            done += ack.ok
            for rejection in ack.rejected:
                if rejection.code is Code.EPOCH_REUSE and rejection.seq not in ack.ok:
                    reused = True
                else:
                    self._say("rejected", f"{rejection.code} (seq {rejection.seq})", logging.ERROR)
        if done:
            self._outbox.retire(done)
            for seq in done:
                self._flights.pop(seq, None)
                self._refused_size.pop(seq, None)
        if reused:
            epoch = self._outbox.rebatch()
            self._flights.clear()
            self._begin_backlog()
            logger.error("epoch reused: the outbox was copied or restored edge=%s new_epoch=%s", self._edge, epoch)

    def _take_errors(self, session: _Session) -> None:
        errors, session.errors = session.errors, []
        for error in errors:
            named = parse_correlation((error.correlation or "").encode())
            if named is None or named[0] != self._outbox.epoch:
                continue
            self._outbox.retire([named[1]])
            self._flights.pop(named[1], None)
            self._say("err", f"{error.code}: {error.detail} (seq {named[1]})", logging.ERROR)

    def _judge_states(self, session: _Session) -> None:
        """Send only while a worker accepts; a new incarnation of the database wants the grace again."""
        accepting = [state for state in session.states.values() if state.accepting]
        if accepting:
            incarnation = max(accepting, key=lambda state: state.ts).incarnation
            again = self._outbox.meet(incarnation)
            if again:
                logger.warning("database restored: %d messages in grace are sent again edge=%s", again, self._edge)
                self._begin_backlog()
        if not accepting and (session.states or time.monotonic() - session.began > 2 * CONNECT_TIMEOUT_S):
            self._say("ingest", "paused: no ingest worker accepts data", logging.WARNING)
        if bool(accepting) == self._accepting:
            return
        self._accepting = bool(accepting)
        if not accepting:
            return
        self._say("ingest", "an ingest worker accepts data", logging.INFO)
        self._begin_backlog()
        latest = time.monotonic() + self._rto
        for flight in self._flights.values():
            flight.rto = self._rto
            flight.due = min(flight.due, latest)

    def _begin_backlog(self) -> None:
        """All that is in the outbox now is backlog; what comes from here on goes first."""
        self._boundary = self._new = self._outbox.last_seq
        self._backlog = 0

    def _resend(self, session: _Session, now: float) -> None:
        for flight in [flight for flight in self._flights.values() if flight.due <= now]:
            if not self._may_send(session):
                return
            items = self._outbox.pending(flight.seq - 1, flight.seq, 1)
            if not items:  # given up meanwhile
                del self._flights[flight.seq]
                continue
            if flight.sent:
                flight.rto = min(flight.rto * 2, RTO_MAX_S)
            self._send(session, items[0], flight, now)

    def _send_new(self, session: _Session, now: float) -> None:
        """Fill the window: first what came since the backlog began, then the backlog, each oldest first."""
        last = self._outbox.last_seq
        if last - self._new > 4 * self._window:  # we cannot keep up: all of it is backlog
            self._boundary = self._new = last
        while (room := self._window - len(self._flights)) > 0 and self._may_send(session):
            items = self._outbox.pending(self._new, last, min(room, 32))
            fresh = bool(items)
            if not items:
                items = self._outbox.pending(self._backlog, self._boundary, min(room, 32))
            if not items:
                return
            for item in items:
                if not self._may_send(session):
                    return
                if fresh:
                    self._new = item.seq
                else:
                    self._backlog = item.seq
                if item.seq in self._flights:
                    continue
                flight = _Flight(item.seq, len(item.payload), now, self._rto)
                self._flights[item.seq] = flight
                self._send(session, item, flight, now)

    def _may_send(self, session: _Session) -> bool:
        return (
            not session.ended
            and session.client.socket() is not None
            and len(session.by_mid) < min(self._window, session.receive_maximum)
        )

    def _send(self, session: _Session, item: Item, flight: _Flight, now: float) -> None:
        if len(item.payload) + HEADROOM > session.packet_maximum:
            self._split(item.seq, len(item.payload))
            return
        wait = flight.rto * self._chance.uniform(0.9, 1.3)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.CorrelationData = correlation(self._outbox.epoch, item.seq)
        properties.UserProperty = [("sent", str(round(self._clock() * 1e6)))]
        properties.MessageExpiryInterval = ceil(wait)  # a copy that waits longer only stands behind its successor
        channel: topics.Channel = "event" if item.kind == "event" else "data"
        info = session.client.publish(topics.topic(self._edge, channel), item.payload, qos=1, properties=properties)
        flight.mid, flight.sent, flight.at_broker, flight.due = info.mid, now, False, now + wait
        session.by_mid[info.mid] = flight

    def _give_up_size(self, flight: _Flight) -> None:
        """The broker closed the connection over a packet's size: twice the same culprit, and it is split."""
        self._refused_size[flight.seq] = self._refused_size.get(flight.seq, 0) + 1
        if self._refused_size[flight.seq] >= 2:
            self._split(flight.seq, flight.size)

    def _split(self, seq: int, size: int) -> None:
        self._flights.pop(seq, None)
        self._refused_size.pop(seq, None)
        if self._outbox.split(seq):
            logger.warning("split: the broker takes no packet of %d bytes edge=%s seq=%d", size, self._edge, seq)

    # --- paho's callbacks: they note, they never block, they never raise ---------------------------------------------

    def _open(self) -> _Session:
        """A new client for each connection: nothing of an old one is sent again behind our back."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        session = _Session(client)
        client.user_data_set(session)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(65_535)  # the window is ours
        if self._url.username is not None:
            client.username_pw_set(unquote(self._url.username), unquote(self._url.password or ""))
        if self._url.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        if self._announce:
            client.will_set(topics.topic(self._edge, "status"), self._status(online=False), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return session

    def _on_connect(
        self,
        client: mqtt.Client,
        session: _Session,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        told: Properties | None,
    ) -> None:
        if reason.is_failure:
            session.ended = True
            self._say("link", f"the broker refuses us as {self._url.username or 'nobody'}: {reason}", logging.WARNING)
            return
        session.receive_maximum = getattr(told, "ReceiveMaximum", session.receive_maximum)
        session.packet_maximum = getattr(told, "MaximumPacketSize", session.packet_maximum)
        mine = [(topics.topic(self._edge, "ack"), 1), (topics.topic(self._edge, "err"), 1)]
        client.subscribe([*mine, (topics.INGEST_STATE_FILTER, 1)])
        if self._announce:
            client.publish(topics.topic(self._edge, "status"), self._status(online=True), qos=1, retain=True)
        session.connected = self._connected = True
        self._say("link", f"connected to {self._url.hostname}:{self._url.port or _port(self._url)}", logging.INFO)

    def _on_disconnect(
        self, _client: mqtt.Client, session: _Session, _flags: mqtt.DisconnectFlags, reason: ReasonCode, _told: Any
    ) -> None:
        session.ended = True
        session.oversize = reason.value == TOO_LARGE
        if not session.connected:
            # Some brokers close the socket instead of saying that they refuse.
            user = self._url.username or "nobody"
            self._say("link", f"the broker closed the connection before it took us as {user}", logging.WARNING)

    def _on_message(self, _client: mqtt.Client, session: _Session, message: mqtt.MQTTMessage) -> None:
        try:
            channel, payload = message.topic.rsplit("/", 1)[-1], bytes(message.payload)
            if message.topic == topics.topic(self._edge, "ack"):
                session.acks.append(receipt.decode_ack(payload))
            elif message.topic == topics.topic(self._edge, "err"):
                session.errors.append(receipt.decode_err(payload))
            elif not payload:
                session.states.pop(channel, None)
            else:
                session.states[channel] = receipt.decode_ingest_state(payload)
        except Rejected as error:
            self._say("answer", f"cannot read an answer on {message.topic}: {error}", logging.ERROR)

    def _on_publish(
        self, _client: mqtt.Client, session: _Session, mid: int, reason: ReasonCode, _told: Properties | None
    ) -> None:
        flight = session.by_mid.pop(mid, None)
        if flight is None:
            return
        if reason.is_failure:
            self._say("publish", f"the broker refuses what we publish: {reason}", logging.ERROR)
            return
        if reason.value == NO_SUBSCRIBER:
            self._say("publish", "nobody listens to what we publish", logging.WARNING)
        else:
            self._say("publish", "the broker takes what we publish", logging.DEBUG)
        flight.at_broker = True
        if flight.mid == mid:
            measured = (time.monotonic() - flight.sent) * 1000
            self._round_trip_ms = (
                measured if self._round_trip_ms is None else 0.8 * self._round_trip_ms + 0.2 * measured
            )

    def _status(self, *, online: bool) -> bytes:
        return receipt.encode(receipt.Status(online=online, ts=round(self._clock() * 1e6)))

    def _say(self, subject: str, words: str, level: int) -> None:
        """Log a change of state once, not each message of it."""
        if self._said.get(subject) != words:
            self._said[subject] = words
            logger.log(level, "%s edge=%s", words, self._edge)


def _parse(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("mqtt", "mqtts") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError("a broker's URL must be mqtt://[user:password@]host[:port] or mqtts://…")
    return parts


def _port(url: SplitResult) -> int:
    return 8883 if url.scheme == "mqtts" else 1883
