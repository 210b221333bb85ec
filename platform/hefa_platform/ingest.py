"""One ingest worker: MQTT in, one transaction at a time, acks out after COMMIT.

The network thread decodes and queues; one writer thread takes what waits while the last commit runs, stores it, answers
each gateway, and only then lets the broker forget. A database that is away is waited for, for ever and unacknowledged:
the worker says `accepting: false`, and gateways hold on to what they have. Nothing is lost that was not answered.
"""

import hashlib
import logging
import random
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from hefa_contract import receipt, topics
from hefa_contract.envelope import Envelope, decode, parse_correlation
from hefa_contract.rejection import Code, Rejected
from hefa_platform.failpoint import reach
from hefa_platform.mqtt import Inbound, Session, share_group
from hefa_platform.retry import retry
from hefa_platform.store.arrival import Arrival, Outcome, columns
from hefa_platform.store.database import Database, SchemaMissing, Unavailable
from hefa_platform.store.intake import Intake
from hefa_platform.store.migrations import require_current

logger = logging.getLogger(__name__)

PATIENCE_S = 3.0  # how long storing may fail before gateways are told to wait
RETRY_S = (0.1, 3.0)  # delay before trying again: first, longest
ALIVE_S = 5.0  # between two signs of life
REJECTIONS = 1000  # in one ack
LARGE = 32  # readings from which on an envelope becomes arrays by itself; smaller ones do together


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker holds at most. `receive_maximum` bounds what waits in memory, unacknowledged, and of QoS 0 twice as
    much; `silence_s` is how long it may hear nothing while gateways are online."""

    receive_maximum: int = 200
    group_messages: int = 100
    group_readings: int = 20_000
    session_expiry_s: int = 0
    silence_s: float = 60.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A queued message: what came, and either its arrival for the store or a gateway's status."""

    inbound: Inbound
    arrival: Arrival | None
    status: tuple[str, bool] | None = None


@dataclass(frozen=True, slots=True)
class _Group:
    """Messages that are stored together, and those of them that are for the store."""

    waiting: list[_Waiting]
    arrivals: list[Arrival]


class Worker:
    """Runs until stopped. `name` must be its own among all workers: counters and the retained state carry it."""

    def __init__(self, database: Database, intake: Intake, url: str, name: str, limits: Limits) -> None:
        self._database, self._intake, self._url, self._name, self._limits = database, intake, url, name, limits
        self._state_topic = topics.ingest_state(name)
        self._queue: deque[_Waiting] = deque()
        self._next: _Group | None = None  # taken while the group before it is being stored
        self._queued = threading.Condition()
        self._stop = threading.Event()
        self._accepting = False
        self._told: tuple[bool, str] | None = None
        self._said = ""
        self._session: Session | None = None
        self._heard = time.monotonic()
        self._tried = 0.0
        self._expecting = False  # gateways are online: there should be data
        self._overrun = False  # something with QoS 0 found no room

    def run(self) -> None:
        """Wait for the database, then for the broker, and work until `stop`. Raises what is a bug."""
        if not self._wait_for_schema():
            return
        # A clean session gets a name of its own each time: two processes by mistake of one name do not fight over it.
        own = self._name if self._limits.session_expiry_s else f"{self._name}-{secrets.token_hex(4)}"
        self._session = Session(
            self._url,
            own,
            (*topics.shared(share_group(self._url)), topics.STATUS_FILTER),
            self._receive,
            will=(self._state_topic, self._state(False)),
            receive_maximum=self._limits.receive_maximum,
            session_expiry_s=self._limits.session_expiry_s,
            connected=self._connected,
        )
        self._accepting = True
        self._session.start()
        try:
            self._work(self._session)
        finally:
            self._accepting = False
            self._session.stop((self._state_topic, self._state(False)))
            # Where the database is away, the health check finds out by the age of the last sign.
            with suppress(Unavailable):
                self._intake.alive(False, "stopped")
            logger.info("stopped worker=%s", self._name)

    def stop(self) -> None:
        """Ask the worker to end: what is being stored is finished and answered, the rest comes again."""
        self._stop.set()
        with self._queued:
            self._queued.notify_all()

    # --- network thread ---

    def _receive(self, inbound: Inbound) -> None:
        # Of QoS 0 the broker holds nothing back. What is left out gets no ack, and so is sent again by whoever keeps it.
        if inbound.qos == 0 and len(self._queue) >= 2 * self._limits.receive_maximum:
            if not self._overrun:
                self._overrun = True
                logger.warning("too much comes with QoS 0: left out until there is room topic=%s", inbound.topic)
            return
        # Said once, not at each place that becomes free.
        self._overrun = self._overrun and len(self._queue) >= self._limits.receive_maximum
        waiting = _read(inbound)
        if waiting.arrival is not None:
            self._heard = time.monotonic()
        with self._queued:
            self._queue.append(waiting)
            self._queued.notify()

    def _connected(self) -> None:
        """A broker with a session sends again what was not acknowledged: it need not wait here too.

        Without one, what waits is stored and answered all the same, as long as it is not more than one connection's.
        """
        with self._queued:
            if self._limits.session_expiry_s or len(self._queue) > self._limits.receive_maximum:
                self._queue.clear()
            self._told = None
            self._queued.notify()

    # --- writer thread ---

    def _wait_for_schema(self) -> bool:
        def attempt() -> None:
            with self._database.connection() as connection:
                require_current(connection)
            self._intake.alive(True)
            logger.info("ready worker=%s engine=%r", self._name, self._database.engine.version)

        return self._insist(attempt, lambda: None)

    def _work(self, session: Session) -> None:
        next_sign = 0.0
        while self._next or not self._stop.is_set():
            if session.up and self._told != (self._accepting, self._intake.incarnation):
                self._tell()
            if time.monotonic() >= next_sign:
                next_sign = time.monotonic() + ALIVE_S
                if not self._insist(self._sign, self._refuse):
                    return
            group, self._next = self._next or self._take(timeout_s=0.5), None
            if group:
                self._store(session, group)

    def _sign(self) -> None:
        """Say that we live, and whether data flows; a connection on which none does is left for another one."""
        up = self._session is not None and self._session.up
        silence = time.monotonic() - self._heard
        deaf = self._expecting and silence > self._limits.silence_s
        detail = f"no data for {silence:.0f} s, though gateways are online" if deaf else ""
        self._expecting = self._intake.alive(up and not deaf, detail if up else "waiting for the broker")
        if up and deaf and self._session is not None and silence // self._limits.silence_s > self._tried:
            self._tried = silence // self._limits.silence_s
            logger.warning("%s: connecting anew worker=%s", detail, self._name)
            self._session.reconnect()
        elif not deaf:
            self._tried = 0.0

        tried = retry(self._database, self._intake)
        if tried:
            logger.info("tried again from quarantine pieces=%d worker=%s", tried, self._name)

    def _take(self, timeout_s: float = 0.0) -> _Group | None:
        """What waits now, up to the limits of a group; no lingering for more."""
        with self._queued:
            if not self._queue and timeout_s:
                self._queued.wait(timeout_s)
            taken: list[_Waiting] = []
            readings = 0
            while self._queue and len(taken) < self._limits.group_messages:
                arrival = self._queue[0].arrival
                readings += arrival.readings if arrival else 0
                if taken and readings > self._limits.group_readings:
                    break
                taken.append(self._queue.popleft())
        return _Group(taken, [w.arrival for w in taken if w.arrival is not None]) if taken else None

    def _following(self) -> Sequence[Arrival]:
        """Take what comes after the group that is being stored, as far as it is here."""
        if self._next is None:
            self._next = self._take()
        return self._next.arrivals if self._next else ()

    def _store(self, session: Session, group: _Group) -> None:
        """Store a group. Its answers go out when it is on disk, which may be while the next one is being stored."""
        arrivals = group.arrivals
        online = dict(w.status for w in group.waiting if w.status is not None)
        inbound = [w.inbound for w in group.waiting if w.arrival is not None]
        reach("ingest.received")

        def answer(outcomes: Sequence[Outcome]) -> None:
            reach("ingest.committed")
            _answer(session, arrivals, inbound, outcomes)
            reach("ingest.answered")
            session.finish(w.inbound for w in group.waiting)

        def attempt() -> None:
            if online:
                self._intake.status(online)
            if arrivals:
                self._intake.stream(arrivals, self._following, answer)
            else:
                self._intake.settle()
                answer(())

        self._insist(attempt, self._refuse)  # What is left unanswered is sent again, to whoever is there then.

    def _insist(self, attempt: Callable[[], None], tired: Callable[[], None]) -> bool:
        """Attempt until it succeeds; False when stopped before. `tired` is called once patience is at its end."""
        delay, since = RETRY_S[0], time.monotonic()
        while True:
            try:
                attempt()
            except Unavailable as error:
                self._complain(error)
                if time.monotonic() - since > PATIENCE_S or isinstance(error, SchemaMissing):
                    tired()
            else:
                if self._said:
                    self._said = ""
                    logger.info("the database is back worker=%s", self._name)
                if self._session is not None:
                    self._accepting = True
                return True
            if self._stop.wait(delay * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter, not a secret
                return False
            delay = min(delay * 2, RETRY_S[1])

    def _complain(self, error: Unavailable) -> None:
        """Say once per kind of trouble; a schema that does not fit needs a person."""
        kind = type(error).__name__
        if kind != self._said:
            self._said = kind
            level = logging.ERROR if isinstance(error, SchemaMissing) else logging.WARNING
            logger.log(level, "nothing can be stored, waiting: %s", error)

    def _refuse(self) -> None:
        if self._accepting:
            self._accepting = False
            self._tell()

    def _tell(self) -> None:
        """Publish the retained state, when it is another than was told last on this connection."""
        session, state = self._session, (self._accepting, self._intake.incarnation)
        if session is not None and session.up and state != self._told:
            self._told = state
            session.publish(self._state_topic, self._state(self._accepting), retain=True)

    def _state(self, accepting: bool) -> bytes:
        now_us = time.time_ns() // 1000
        return receipt.encode(receipt.IngestState(accepting=accepting, incarnation=self._intake.incarnation, ts=now_us))


def _read(inbound: Inbound) -> _Waiting:
    """Decode a message as far as it can be; never raises."""
    edge = inbound.topic.split("/")[2] if inbound.topic.count("/") >= 2 else ""
    digest = hashlib.sha256(inbound.payload).digest()
    try:
        reach("ingest.reading", inbound.topic)
        topic = topics.parse(inbound.topic)
        if topic.channel == "status":
            # An emptied retained message says that nobody knows.
            online = bool(inbound.payload) and receipt.decode_status(inbound.payload).online
            return _Waiting(inbound, None, (topic.edge, online))
        decoded = decode(inbound.payload)
        message, arrays = decoded.message, None
        if isinstance(message, Envelope) and len(message.value) >= LARGE:
            arrays = columns([message])  # here, because the other thread is what limits the rate
        arrival = Arrival(inbound.topic, edge, inbound.payload, digest, decoded=decoded, columns=arrays)
    except Rejected as rejected:
        arrival = Arrival(inbound.topic, edge, inbound.payload, digest, rejected=rejected)
    except Exception as defect:  # ours; but without this thread nothing would be read any more, and nobody would know
        logger.exception("a message cannot be read topic=%s", inbound.topic)
        refused = Rejected(Code.SCHEMA, f"this program could not read it, and should have said why: {defect!r}")
        arrival = Arrival(inbound.topic, edge, inbound.payload, digest, rejected=refused)
    return _Waiting(inbound, arrival)


def _answer(
    session: Session, arrivals: Sequence[Arrival], inbound: Sequence[Inbound], outcomes: Sequence[Outcome]
) -> None:
    """One ack per gateway and epoch; an err for each message of which epoch and seq could not be read."""
    acks: defaultdict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for arrival, message, outcome in zip(arrivals, inbound, outcomes, strict=True):
        if outcome.key is not None:
            acks[arrival.edge, outcome.key[0]].append(outcome)
            continue
        known = parse_correlation(message.correlation)
        correlation = f"{known[0]}:{known[1]}" if known else None
        err = receipt.Err(correlation=correlation, code=outcome.rejected[0].code, detail=outcome.detail[:500])
        session.publish(
            f"{topics.PREFIX}/{arrival.edge}/err",
            receipt.encode(err),
            correlation=message.correlation if known else None,
        )
    for (edge, epoch), answered in acks.items():
        ok = sorted({outcome.key[1] for outcome in answered if outcome.finished and outcome.key is not None})
        rejected = [rejection for outcome in answered for rejection in outcome.rejected]
        # A broker takes packets of limited size; what was rejected may be long, and then comes in several acks.
        for start in range(0, max(1, len(rejected)), REJECTIONS):
            part = rejected[start : start + REJECTIONS]
            ack = receipt.Ack(epoch=epoch, ok=ok if start == 0 else [], rejected=part)
            session.publish(f"{topics.PREFIX}/{edge}/ack", receipt.encode(ack))
