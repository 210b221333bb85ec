"""What is in the outbox goes out; what the platform has comes back as acks.

A broker's PUBACK is no receipt: a message stays pending until the platform acknowledges it, which it
does after its commit, and is sent again until then, the same bytes, with a jittered delay that grows each time and
knows how long acks take (`resend`).
Nothing is sent while no ingest worker accepts data. Everything happens in one thread of its own; a
broker that is away, refuses or stalls holds up nobody else.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hefa_contract.envelope import parse_correlation
from hefa_contract.receipt import Ack
from hefa_contract.rejection import Code
from hefa_edge.failpoint import reach
from hefa_edge.outbox import Item, Outbox, OutboxFull
from hefa_edge.resend import ResendDelay
from hefa_edge.session import SILENCE_S, Session, parse_url

logger = logging.getLogger(__name__)

RTO_S, RTO_MAX_S = 10.0, 300.0  # time to wait for an ack before sending again: shortest; longest after doubling
BACKOFF_S, BACKOFF_MAX_S = 0.5, 30.0  # time to wait before connecting again; doubles each time
STABLE_S = 10.0  # a connection that lasted so long resets that delay
IDLE_S, BUSY_S = 0.5, 0.02  # longest and shortest sleep of the thread
# A connection on which nothing is acknowledged for six times the shortest resend delay is left for another, unless acks
# are known to be slow: then after twice the delay that they make.
DEAF_FLOORS, DEAF_DELAYS = 6, 2
PURGE_S = 0.1  # pause between two small deletions of what is out of grace
BITE = 32  # messages read from the outbox at once


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
    rto: float
    due: float = 0.0
    mid: int = 0
    sent: float = 0.0
    at_broker: bool = False
    timed: bool = True  # its ack tells how long acks take


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
        unacknowledged messages on their way; `rto_s` is the shortest time after which one is sent again. Raises
        ConfigError for a URL that cannot be used.
        """
        self._edge, self._broker, self._outbox = edge, parse_url(url), outbox
        self._client_id, self._announce, self._window = client_id or edge, announce, window
        self._delay = ResendDelay(rto_s)
        self._chance, self._clock = chance or random.Random(), clock  # noqa: S311 - jitter needs no secrecy
        self._flights: dict[int, _Flight] = {}
        self._by_mid: dict[int, _Flight] = {}  # of this connection: what the broker has not confirmed
        self._oversize: dict[int, int] = {}
        self._new = self._boundary = self._backlog = 0
        self._accepting = self._connected = False
        self._round_trip_ms: float | None = None
        self._said: dict[str, str] = {}
        self._next_purge = self._heard = 0.0
        self._stop = threading.Event()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"publisher-{self._client_id}", daemon=True)
        self.failure: BaseException | None = None
        """The bug that has ended the thread, if one has."""

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
                session = Session(self._edge, self._broker, self._client_id, announce=self._announce, clock=self._clock)
                session.connect(self._wake_out)
                while session.ended is None and not self._stop.is_set():
                    session.serve(self._patience())
                    self._drain_wakes()
                    if session.connected:
                        try:
                            self._pump(session)
                        except OutboxFull as full:
                            # An answer that could not be noted comes again: what it speaks of is sent again.
                            self._say("outbox", f"cannot note what was acknowledged: {full}", logging.ERROR)
                            self._outbox.purge()
                            self._stop.wait(BUSY_S)
                        else:
                            self._say("outbox", "", logging.DEBUG)
                session.close()
                self._land(session)
                lasted = session.connected and session.age_s > STABLE_S
                delay = BACKOFF_S if lasted else min(delay * 2, BACKOFF_MAX_S)
                self._stop.wait(delay * self._chance.uniform(0.5, 1.0))
        except BaseException as error:  # a bug: the site sees it and ends the process
            logger.exception("publisher failed edge=%s", self._edge)
            self.failure = error
        self._connected = self._accepting = False

    def _land(self, session: Session) -> None:
        """A connection is over: what the broker never confirmed is lost with it and goes again."""
        self._say("link", session.ended or "not connected", logging.INFO if self._stop.is_set() else logging.WARNING)
        self._connected = self._accepting = False
        self._by_mid.clear()
        self._stop_timing()
        lost = [flight for flight in self._flights.values() if not flight.at_broker]
        for flight in lost:
            flight.due = 0.0
        if session.oversize and lost:
            # The broker does not say which packet it was: the largest, and after the second time we believe it.
            culprit = max(lost, key=lambda flight: flight.size)
            self._oversize[culprit.seq] = self._oversize.get(culprit.seq, 0) + 1
            if self._oversize[culprit.seq] >= 2:
                self._split(culprit.seq, culprit.size)

    def _patience(self) -> float:
        """Seconds to sleep when nothing happens."""
        if not self._accepting or not self._flights:
            return IDLE_S
        first = min(flight.due for flight in self._flights.values())
        return min(IDLE_S, max(BUSY_S, first - time.monotonic()))

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_out.recv(4096):
                pass

    def _pump(self, session: Session) -> None:
        """Take in what was answered, and send what may be sent."""
        if not self._connected:
            self._connected = True
            self._round_trip_ms = session.round_trip_s * 1000
            self._say("link", f"connected to {self._broker.host}:{self._broker.port}", logging.INFO)
        self._take_confirmations(session)
        self._take_acks(session)
        self._take_errors(session)
        self._judge_states(session)
        now = time.monotonic()
        if not self._accepting or not self._flights:
            self._heard = now
        elif now - self._heard > max(DEAF_FLOORS * self._delay.floor_s, DEAF_DELAYS * self._delay.measured_s):
            session.ended = f"nothing was acknowledged for {now - self._heard:.0f} s"
            self._heard = now
            return
        if self._accepting:
            self._send_again(session, now)
            self._send_first(session, now)
        if now >= self._next_purge:
            self._next_purge = now + (PURGE_S if self._outbox.purge() else 1.0)

    # --- what comes back ---------------------------------------------------------------------------------------------

    def _take_confirmations(self, session: Session) -> None:
        confirmations, session.confirmations = session.confirmations, []
        for confirmation in confirmations:
            flight = self._by_mid.pop(confirmation.mid, None)
            if flight is None:
                continue
            if confirmation.refused is not None:  # it stays in flight: tried again when its time is up
                self._say("publish", f"the broker refuses what we publish: {confirmation.refused}", logging.ERROR)
                continue
            if not confirmation.heard:
                self._say("publish", "nobody listens to what we publish", logging.WARNING)
            else:
                self._say("publish", "what we publish is heard", logging.DEBUG)
            if flight.mid == confirmation.mid:
                flight.at_broker = True
                took = (confirmation.at - flight.sent) * 1000
                self._round_trip_ms = took if self._round_trip_ms is None else 0.8 * self._round_trip_ms + 0.2 * took

    def _take_acks(self, session: Session) -> None:
        acks, session.acks = session.acks, []
        now, before = time.monotonic(), self._delay.first_s
        if acks:
            self._heard = now
        mine = [ack for ack in acks if ack.epoch == self._outbox.epoch]
        done = [seq for ack in mine for seq in ack.ok]
        if done:
            reach("publisher.acknowledged")
            self._outbox.retire(done)
            reach("publisher.retired")
            for seq in done:
                flight = self._flights.pop(seq, None)
                self._oversize.pop(seq, None)
                if flight is not None and flight.timed:
                    self._delay.acknowledged(now - flight.sent)
            if self._delay.first_s < before:
                self._hasten([flight for flight in self._flights.values() if flight.timed], self._delay.first_s)
        if any(self._reused(ack) for ack in mine):
            epoch = self._outbox.rebatch()
            self._flights.clear()
            self._by_mid.clear()
            self._begin_backlog()
            logger.error("epoch reused: this outbox is a copy, new epoch=%s edge=%s", epoch, self._edge)

    def _reused(self, ack: Ack) -> bool:
        """Tell whether the platform knows other bytes under a number of ours; other refusals are only told."""
        reused = False
        for rejection in ack.rejected:
            if rejection.code is Code.EPOCH_REUSE and rejection.seq not in ack.ok:
                reused = True
            else:
                self._say("rejected", f"the platform refuses some data: {rejection.code}", logging.ERROR)
        return reused

    def _take_errors(self, session: Session) -> None:
        errors, session.errors = session.errors, []
        for error in errors:
            named = parse_correlation((error.correlation or "").encode())
            if named is not None and named[0] == self._outbox.epoch:
                self._outbox.retire([named[1]])
                self._flights.pop(named[1], None)
                self._say("err", f"the platform cannot read us: {error.code} {error.detail}", logging.ERROR)
        if session.unread is not None:
            self._say("answer", session.unread, logging.ERROR)

    def _judge_states(self, session: Session) -> None:
        """Send only while a worker accepts; a new incarnation of the database wants the grace again."""
        accepting = [state for state in session.states.values() if state.accepting]
        if accepting:
            again = self._outbox.meet(max(accepting, key=lambda state: state.ts).incarnation)
            if again:
                logger.warning("database restored: %d messages in grace go again edge=%s", again, self._edge)
                self._begin_backlog()
        elif session.states or session.age_s > SILENCE_S:
            self._say("ingest", "paused: no ingest worker accepts data", logging.WARNING)
        if bool(accepting) == self._accepting:
            return
        self._accepting = bool(accepting)
        if not accepting:
            self._stop_timing()
            return
        self._say("ingest", "an ingest worker accepts data", logging.INFO)
        self._begin_backlog()
        self._hasten(self._flights.values(), self._delay.measured_s)

    def _hasten(self, flights: Iterable[_Flight], rto: float) -> None:
        """Have messages wait no longer than `rto` from now: what made them wait longer is over."""
        now = time.monotonic()
        for flight in flights:
            flight.rto, flight.due = rto, min(flight.due, now + self._jittered(rto))

    def _stop_timing(self) -> None:
        """What comes after a pause or over another connection says nothing of how long acks take."""
        for flight in self._flights.values():
            flight.timed = False

    def _jittered(self, seconds: float) -> float:
        return seconds * self._chance.uniform(0.9, 1.3)

    # --- what goes out -----------------------------------------------------------------------------------------------

    def _begin_backlog(self) -> None:
        """All that is in the outbox now is backlog; what comes from here on goes first."""
        self._boundary = self._new = self._outbox.last_seq
        self._backlog = 0

    def _send_again(self, session: Session, now: float) -> None:
        for flight in [flight for flight in self._flights.values() if flight.due <= now]:
            if not self._may_send(session):
                return
            items = self._outbox.pending(flight.seq - 1, flight.seq, 1)
            if items:
                flight.timed = False
                if flight.due:  # its time is up, and it was not lost with a connection
                    flight.rto = min(flight.rto * 2, RTO_MAX_S)
                    self._delay.expired(flight.rto)
                self._send(session, items[0], flight, now)
            else:  # given up meanwhile
                del self._flights[flight.seq]

    def _send_first(self, session: Session, now: float) -> None:
        """Fill the window: first what came since the backlog began, then the backlog, each oldest first."""
        last = self._outbox.last_seq
        if last - self._new > 4 * self._window:  # we cannot keep up: all of it is backlog
            self._boundary = self._new = last
        while (room := self._window - len(self._flights)) > 0 and self._may_send(session):
            items = self._outbox.pending(self._new, last, min(room, BITE))
            fresh = bool(items)
            items = items or self._outbox.pending(self._backlog, self._boundary, min(room, BITE))
            if not items:
                return
            for item in items:
                if not self._may_send(session):
                    return
                if fresh:
                    self._new = item.seq
                else:
                    self._backlog = item.seq
                if item.seq not in self._flights:
                    flight = _Flight(item.seq, len(item.payload), self._delay.first_s)
                    self._flights[item.seq] = flight
                    self._send(session, item, flight, now)

    def _may_send(self, session: Session) -> bool:
        return session.ended is None and len(self._by_mid) < min(self._window, session.receive_maximum)

    def _send(self, session: Session, item: Item, flight: _Flight, now: float) -> None:
        if not session.fits(item.payload):
            self._split(item.seq, len(item.payload))
            return
        wait = self._jittered(flight.rto)
        channel = "event" if item.kind == "event" else "data"
        # A copy that waits at the broker for longer than we do only stands behind its successor: it expires.
        flight.mid = session.publish(channel, item.payload, self._outbox.epoch, item.seq, wait)
        flight.sent, flight.due, flight.at_broker = now, now + wait, False
        self._by_mid[flight.mid] = flight
        reach("publisher.sent")

    def _split(self, seq: int, size: int) -> None:
        self._flights.pop(seq, None)
        self._oversize.pop(seq, None)
        if self._outbox.split(seq):
            logger.warning("split: the broker takes no message of %d bytes edge=%s seq=%d", size, self._edge, seq)

    def _say(self, subject: str, words: str, level: int) -> None:
        """Log a change of state once, not each message of it."""
        if self._said.get(subject) != words:
            self._said[subject] = words
            logger.log(level, "%s edge=%s", words, self._edge)
