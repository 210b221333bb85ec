"""The way in: a group of messages becomes one transaction, and each message one answer.

What this module promises: a message is in the ledger exactly when its readings are stored, a duplicate, in conflict or
in quarantine, and counted so; the same message again changes nothing. What it hides: COPY and its retreat to staging,
newcomers, refused rows, locks (always in the order ledger, readings by tag, watermark, latest, counters) and the search
for the one reading the database will not take. It is used by one thread; several workers may use one database.

Where messages come faster than they can be stored nobody waits for the disk: `stream` sends the COMMIT of a group and
begins the next one on another connection, and answers when the COMMIT is done.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from psycopg import Cursor
from psycopg.types.json import Jsonb

from hefa_contract.envelope import Events, Gap
from hefa_contract.event import MeterSwap
from hefa_contract.receipt import Rejection
from hefa_contract.rejection import Code, Rejected
from hefa_platform.failpoint import reach
from hefa_platform.store.arrival import Arrival, Group, Outcome, as_sent
from hefa_platform.store.crash_guard import CRASHES, CrashGuard
from hefa_platform.store.database import Connection, Database, Refused, Unavailable
from hefa_platform.store.readings import FUTURE_S, Draft, ReadingWriter, StoredBefore, Without, Written
from hefa_platform.store.registry import Registry

logger = logging.getLogger(__name__)

KEPT_BYTES = 65_536  # of a refused message

# Called at the end of each transaction, in it: with what became of the group, and of its readings.
Closing = Callable[[Connection, Group, Written], None]
# Says which messages come next, while the database works on others; none where nobody knows.
Following = Callable[[], Sequence[Arrival]]
# Takes the answers to a group, in its order, once they are on disk.
Answer = Callable[[list[Outcome]], None]


class _Probe(Exception):
    """Ends a trial transaction that went well."""


class _AnotherModel(Exception):
    """The plant model was loaded anew, or the database is another one. What we knew is forgotten: begin again."""


@dataclass(slots=True)
class _Committing:
    """A group whose COMMIT was sent, and is over when `transaction` is left; `answer` is told then."""

    group: Group
    transaction: ExitStack
    answer: Answer


class Intake:
    """Stores groups of messages for one worker."""

    def __init__(
        self,
        database: Database,
        worker: str,
        *,
        raw_retention_days: int = 90,
        tag_quota_per_hour: int = 500,
        edge_limit: int = 1000,
        clock: Callable[[], float] = time.time,
        closing: Closing | None = None,
        rehearsal: bool = False,
    ) -> None:
        """`rehearsal`: everything is done, told to `closing`, and rolled back. To `stream`, two connections are needed."""
        self._closing, self._rehearsal = closing, rehearsal
        self._database = database
        self._worker = worker
        self._clock = clock
        self._registry = Registry(tag_quota_per_hour, edge_limit, rehearsal=rehearsal)
        self._writer = ReadingWriter(self._registry, worker, raw_retention_days, clock)
        self._guard = CrashGuard(worker)
        self._draft: Draft | None = None
        self._next: list[bytes] = []  # hashes of the messages that follow those in work
        self._committing: _Committing | None = None
        self._unknown: _Committing | None = None  # of whose COMMIT nobody knows what became
        self.incarnation = ""

    def stream(self, arrivals: Sequence[Arrival], following: Following, answer: Answer) -> None:
        """Store a group like `store`; its answers go to `answer`, in the order of the groups.

        `following` is asked while the database works: what it names is prepared then, and noted as in flight. Where it
        names something the answers may come as late as during the next call, which must be for just that.

        Raises `Unavailable`: call again with the same group. Where the COMMIT of the one before has failed, that one is
        stored again first.
        """
        self._again()
        outcomes = self._sift(arrivals, following)
        if self._committing is None:
            answer(outcomes)
        else:
            self._committing.answer = answer

    def store(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Store a group and return the answers, in its order, once they are on disk.

        Raises `Unavailable`: nothing is known to be stored, call again with the same group. A message, or a reading,
        that the database refuses for good goes to quarantine without holding up the others, and so does one that was
        being stored in two crashes.
        """
        self.settle()
        self._again()
        return self._sift(arrivals)

    def settle(self) -> None:
        """Wait until what was streamed is on disk, and have it answered.

        Raises `Unavailable`: what became of it is not known. The next call of `stream` or `store` stores it again.
        """
        committing, self._committing = self._committing, None
        if committing is None:
            return
        try:
            committing.transaction.close()
        except Exception as error:
            self._unknown = committing
            raise Unavailable(f"what became of a COMMIT is not known: {error}") from error
        self._writer.committed(committing.group)
        committing.answer(committing.group.outcomes)

    def _again(self) -> None:
        """Store what may or may not have been committed once more: the ledger knows."""
        if self._unknown is not None:
            outcomes = self._sift(self._unknown.group.arrivals)
            answer, self._unknown = self._unknown.answer, None
            answer(outcomes)

    def _sift(self, arrivals: Sequence[Arrival], following: Following = tuple) -> list[Outcome]:
        """Store a group, messages that were in flight in a crash each by itself."""
        suspects = [n for n, arrival in enumerate(arrivals) if arrival.hash in self._guard.suspects]
        if not suspects:
            return self._store(arrivals, following)
        self.settle()  # alone means alone
        outcomes: dict[int, Outcome] = {}
        others = [n for n in range(len(arrivals)) if n not in suspects]
        if others:
            outcomes.update(zip(others, self._store([arrivals[n] for n in others]), strict=True))
        for n in suspects:
            outcomes[n] = self._suspect(arrivals[n])
        return [outcomes[n] for n in range(len(arrivals))]

    def enter(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Like `store`, for messages that nobody sends again by himself: without the guard against crashes."""
        return self._halve(arrivals)

    def _store(self, arrivals: Sequence[Arrival], following: Following = tuple) -> list[Outcome]:
        if not self._guard.has_noted([arrival.hash for arrival in arrivals]):
            self._note(arrivals)
        return self._halve(arrivals, following)

    def _note(self, arrivals: Sequence[Arrival]) -> None:
        hashes = [arrival.hash for arrival in arrivals]
        with self._transaction() as connection, connection.pipeline():
            self._guard.note(connection, hashes)
            connection.commit()
        self._guard.holds(hashes)

    def _meanwhile(self, following: Following) -> None:
        """Make use of the time in which the database works: answer the group before, prepare the one to come."""
        self.settle()
        arrivals = following()
        self._draft, self._next = None, [arrival.hash for arrival in arrivals]
        # What trouble there may be shows itself again in their transaction, when they are those in flight.
        with suppress(Exception):
            self._draft = self._writer.draft(arrivals)

    def _suspect(self, arrival: Arrival) -> Outcome:
        """Store a message alone that was in flight when a worker died, or give it up."""
        crashes = self._guard.suspects.get(arrival.hash, 0)
        if crashes < CRASHES:
            return self._store([arrival])[0]
        logger.error("given up after %d crashes topic=%s key=%s", crashes, arrival.topic, arrival.key)
        why = f"workers died {crashes} times while they were storing it"
        if arrival.decoded is not None and crashes < 2 * CRASHES:
            self._note([arrival])
            return self._attempt([arrival], {0: (frozenset(range(arrival.readings)), why)})[0]
        # Its readings cannot even be put aside one by one: the message as a whole.
        return self._refuse(arrival, why)

    def _halve(self, arrivals: Sequence[Arrival], following: Following = tuple) -> list[Outcome]:
        """Store a group; where the database refuses it for good, its halves."""
        try:
            return self._attempt(arrivals, following=following)
        except Refused as error:
            if len(arrivals) > 1:
                middle = len(arrivals) // 2
                return self._halve(arrivals[:middle]) + self._halve(arrivals[middle:])
            return [self._isolate(arrivals[0], error)]

    def status(self, online: dict[str, bool]) -> None:
        """Note which gateways say that they are there, or have been said to be gone."""
        with self._transaction() as connection:
            edges = self._registry.edges(connection, online)
            known = {edges[name]: state for name, state in online.items() if name in edges}
            connection.execute(
                """
                UPDATE edge SET online = told.online, status_at = now()
                  FROM unnest(%s::integer[], %s::boolean[]) AS told(edge_id, online)
                 WHERE edge.edge_id = told.edge_id AND edge.online IS DISTINCT FROM told.online
                """,
                [list(known), list(known.values())],
            )

    def alive(self, ready: bool, detail: str = "") -> bool:
        """Leave a sign of life, and read the database's incarnation again; returns whether any gateway is online."""
        with self._transaction() as connection:
            self._recognise(self._registry.ask(connection))
            self._guard.inherit(connection)
            connection.execute(
                """
                INSERT INTO worker (task, name, ready, detail) VALUES ('ingest', %s, %s, %s)
                ON CONFLICT (task, name) DO UPDATE
                  SET ready = excluded.ready, detail = excluded.detail, seen_at = clock_timestamp()
                """,
                [self._worker, ready, detail],
            )
            online = connection.execute("SELECT EXISTS (SELECT FROM edge WHERE online)").fetchone()
        self._guard.committed()
        return online == (True,)

    def _isolate(self, arrival: Arrival, error: Refused) -> Outcome:
        """Store one message without the readings that the database refuses."""
        indices = range(arrival.readings)
        culprits = self._culprits(arrival, list(indices), frozenset(indices)) if arrival.decoded else []
        if culprits:
            logger.error(
                "the database refuses readings topic=%s key=%s i=%s: %s", arrival.topic, arrival.key, culprits, error
            )
            try:
                return self._attempt([arrival], {0: (frozenset(culprits), str(error))})[0]
            except Refused as again:
                error = again
        logger.error("the database refuses a message topic=%s key=%s: %s", arrival.topic, arrival.key, error)
        return self._refuse(arrival, f"the database refuses it: {error}")

    def _refuse(self, arrival: Arrival, why: str) -> Outcome:
        """Put a whole message into quarantine."""
        epoch, seq = arrival.key or (None, None)
        refused = Rejected(Code.SCHEMA, why, epoch, seq)
        return self._attempt([Arrival(arrival.topic, arrival.edge, arrival.payload, arrival.hash, rejected=refused)])[0]

    def _culprits(self, arrival: Arrival, suspects: list[int], everything: frozenset[int]) -> list[int]:
        """Which of `suspects` the database refuses, found by halves in transactions that are rolled back."""
        try:
            self._attempt([arrival], {0: (everything - frozenset(suspects), "trial")}, trial=True)
        except _Probe:
            return []
        except Refused:
            if len(suspects) <= 1:
                return suspects
        middle = len(suspects) // 2
        return self._culprits(arrival, suspects[:middle], everything) + self._culprits(
            arrival, suspects[middle:], everything
        )

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction after whose failure nothing is remembered that was learnt in it."""
        try:
            with self._database.connection() as connection:
                yield connection
        except BaseException:
            self._registry.forget()
            self._writer.forget()
            raise

    def _recognise(self, asked: Cursor[Any]) -> bool:
        """Learn which database this is; of a restored one nothing is known, not even what `latest` has reached.

        False where it, or its plant model, is another than before.
        """
        incarnation, as_before = self._registry.refresh(asked)
        if incarnation != self.incarnation:
            self._writer.begin_anew()
            self.incarnation = incarnation
        return as_before

    def _attempt(
        self,
        arrivals: Sequence[Arrival],
        without: Without | None = None,
        *,
        trial: bool = False,
        following: Following = tuple,
    ) -> list[Outcome]:
        """One transaction. `without`: readings of a message (by index as sent) to quarantine, and why."""
        while True:
            # Each time nothing came of it, and the next is better informed: of a gateway to be careful with, of a model.
            with suppress(StoredBefore, _AnotherModel):
                return self._transact(arrivals, without or {}, trial, following)

    def _transact(
        self, arrivals: Sequence[Arrival], without: Without, trial: bool, following: Following
    ) -> list[Outcome]:
        draft, self._next = self._draft, []
        try:
            with ExitStack() as transaction:
                connection = transaction.enter_context(self._transaction())
                group = Group(arrivals, self._registry.edges(connection, {a.edge for a in arrivals if a.addressed}))
                self._ledger(connection, group)
                written = self._writer.write(connection, group, without, draft, partial(self._meanwhile, following))
                self.settle()
                self._happenings(connection, group)
                self._quarantine(connection, group)
                # None of these waits for the answer of another: one round trip, which under load is a change of task.
                with connection.pipeline():
                    watermark = self._writer.summarise(connection, group, written)
                    self._counters(connection, group)
                    self._guard.stored(connection, [arrival.hash for arrival in arrivals], self._next)
                self._writer.note_late(connection, written, watermark)
                if self._closing is not None and not trial:
                    self._closing(connection, group, written)
                if trial or self._rehearsal:
                    raise _Probe
                reach("intake.committing")
                if self._next and written.as_drafted:
                    # It leaves nothing that the next group leans on, which begins before this is there for others.
                    transaction.enter_context(connection.pipeline())
                    _commit(connection)
                    self._committing = _Committing(group, transaction.pop_all(), _unheard)
        except _Probe:
            if trial:
                raise
        else:
            if self._committing is None:
                self._writer.committed(group)
            self._guard.holds(self._next)
        return group.outcomes

    def _ledger(self, connection: Connection, group: Group) -> None:
        """Decide which messages are new. Afterwards `group.fresh` has them, and the others have their answers."""
        first: dict[tuple[int, str, int], int] = {}
        again: list[int] = []
        for n, arrival in enumerate(group.arrivals):
            edge_id = group.edge_ids[n]
            if arrival.key is None or edge_id is None:
                group.unaccountable(n)
            elif first.setdefault((edge_id, *arrival.key), n) != n:
                again.append(n)
        keys = sorted(first)
        with connection.pipeline():
            # Asked after the attempt: where nothing was entered because the model is another one, the answer says so.
            inserted = self._insert(connection, keys, [group.arrivals[first[key]] for key in keys])
            asked = self._registry.ask(connection)
        if not self._recognise(asked):
            raise _AnotherModel
        fresh: set[tuple[int, str, int]] = set(inserted.fetchall())
        hashes = {key: group.arrivals[first[key]].hash for key in fresh}
        stale = [key for key in keys if key not in fresh]
        if stale:
            rows = connection.execute(
                """
                SELECT edge_id, epoch, seq, hash FROM ledger
                  JOIN unnest(%s::integer[], %s::text[], %s::bigint[]) AS asked(edge_id, epoch, seq)
                 USING (edge_id, epoch, seq)
                """,
                [[key[0] for key in stale], [key[1] for key in stale], [key[2] for key in stale]],
            ).fetchall()
            hashes.update({(row[0], row[1], row[2]): bytes(row[3]) for row in rows})
        for key, n in sorted(first.items(), key=lambda item: item[1]):
            if key in fresh:
                group.accept(n)
            else:
                group.known(n, hashes.get(key, group.arrivals[n].hash))
        told = {key: first[key] for key in stale}
        for n in again:
            key = (group.edge_ids[n] or 0, *(group.arrivals[n].key or ("", 0)))
            group.known(n, hashes.get(key, group.arrivals[n].hash))
            if key in told and not group.outcomes[told[key]].finished:
                told[key] = n  # before it came another message under its key
        # The ack that told it may be lost.
        self._refused_of(connection, group, list(told.values()))

    def _refused_of(self, connection: Connection, group: Group, messages: Sequence[int]) -> None:
        """Name, in the answers to finished messages, what is in quarantine of them, or that they are as a whole."""
        finished = [n for n in messages if group.outcomes[n].finished]
        if not finished:
            return
        keys = [group.arrivals[n].key or ("", 0) for n in finished]
        rows = connection.execute(
            """
            SELECT n, i, code
              FROM unnest(%s, %b::text[], %b::text[], %s, %b::bytea[]) AS finished(n, edge, epoch, seq, hash)
              JOIN quarantine USING (edge, epoch, seq)
             WHERE i IS NOT NULL
                OR sha256 = hash AND code <> 'TOPIC_INVALID'  -- sent before its gateway was known, and stored since
             ORDER BY n, i
            """,
            [
                np.array(finished, np.int64),
                [group.arrivals[n].edge for n in finished],
                [epoch for epoch, _ in keys],
                np.array([seq for _, seq in keys], np.int64),
                [group.arrivals[n].hash for n in finished],
            ],
        )
        for n, i, code in rows:
            group.outcomes[n].rejected.append(Rejection((group.arrivals[n].key or ("", 0))[1], Code(code), i))

    def _insert(
        self, connection: Connection, keys: Sequence[tuple[int, str, int]], arrivals: Sequence[Arrival]
    ) -> Cursor[Any]:
        """Enter messages by key, if this is the database that we know; those that were not there come back."""
        incarnation, loaded_at = self._registry.loaded
        return connection.execute(
            """
            INSERT INTO ledger (edge_id, epoch, seq, hash, readings)
            SELECT sent.* FROM unnest(%s, %b::text[], %s, %b::bytea[], %s) AS sent(edge_id, epoch, seq, hash, readings)
              LEFT JOIN edge_floor USING (edge_id, epoch)
             WHERE (seq > coalesce(floor, 0) OR seq = 0)  -- at the floor or below, it came long ago
               AND EXISTS (SELECT FROM instance
                            WHERE incarnation = %s::uuid AND loaded_at IS NOT DISTINCT FROM %s::timestamptz)
            ON CONFLICT DO NOTHING RETURNING edge_id, epoch, seq
            """,
            [
                np.array([key[0] for key in keys], np.int64),
                [key[1] for key in keys],
                np.array([key[2] for key in keys], np.int64),
                [arrival.hash for arrival in arrivals],
                np.array([arrival.readings for arrival in arrivals], np.int64),
                incarnation,
                loaded_at,
            ],
        )

    def _happenings(self, connection: Connection, group: Group) -> None:
        """Keep events, and gaps; name the meter swaps that the database refused."""
        events: list[list[Any]] = []
        swaps: list[int] = []
        for n in group.fresh:
            decoded, edge_id = group.arrivals[n].decoded, group.edge_ids[n] or 0
            if decoded is None:
                continue
            message = decoded.message
            if isinstance(message, Gap):
                connection.execute(
                    """
                    INSERT INTO gap (edge_id, epoch, seq, from_seq, to_seq, readings, reason)
                    VALUES (%s, %s, %s, %s, %s, %s, %s)
                    """,
                    [edge_id, message.epoch, message.seq, message.from_, message.to, message.readings, message.reason],
                )
            elif isinstance(message, Events):
                latest_us = (self._clock() + FUTURE_S) * 1_000_000
                for k, event in enumerate(message.events):
                    if event.ts > latest_us:
                        why = f"the time is more than {FUTURE_S} s ahead of the platform's clock"
                        group.refuse_event(n, k, Code.TS_FUTURE, why)
                        continue
                    group.counts[edge_id].events += 1
                    i = as_sent(decoded, k)
                    kind = str(event.__struct_config__.tag)
                    if isinstance(event, MeterSwap) and swaps[-1:] != [n]:
                        swaps.append(n)
                    at = [edge_id, message.epoch, message.seq, i, kind, event.ts, event.subject, Jsonb(event.body())]
                    events.append(at)
        if events:
            with connection.cursor() as cursor:
                cursor.executemany(
                    """
                    INSERT INTO event (edge_id, epoch, seq, i, type, ts, subject, body)
                    VALUES (%s, %s, %s, %s, %s, timestamptz 'epoch' + %s * interval '1 microsecond', %s, %s)
                    """,
                    events,
                )
        told = [len(group.outcomes[n].rejected) for n in swaps]
        self._refused_of(connection, group, swaps)  # by the database, which knows the register
        for n, before in zip(swaps, told, strict=True):
            group.counts[group.edge_ids[n] or 0].events -= len(group.outcomes[n].rejected) - before

    def _quarantine(self, connection: Connection, group: Group) -> None:
        """Keep what was refused: whole messages once, however often they come, and single readings."""
        for n in group.refused_messages:
            arrival, outcome = group.arrivals[n], group.outcomes[n]
            epoch, seq = arrival.key or (None, None)
            code = outcome.rejected[0].code
            kept = connection.execute(
                """
                INSERT INTO quarantine (edge, epoch, seq, code, detail, topic, payload, sha256, size)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
                """,
                [
                    arrival.edge[:200], epoch, seq, code.value, outcome.detail[:1000], arrival.topic[:500],
                    arrival.payload[:KEPT_BYTES], arrival.hash, len(arrival.payload),
                ],
            ).rowcount  # fmt: skip
            group.count_refused(n, new=kept == 1)
        if group.refusals:
            connection.execute(
                """
                INSERT INTO quarantine (edge, epoch, seq, i, code, detail, topic, reading)
                SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::integer[], %s::text[], %s::text[],
                                     %s::text[], %s::jsonb[])
                """,
                [
                    [r.arrival.edge for r in group.refusals],
                    [r.arrival.key[0] if r.arrival.key else None for r in group.refusals],
                    [r.arrival.key[1] if r.arrival.key else None for r in group.refusals],
                    [r.i for r in group.refusals],
                    [r.code.value for r in group.refusals],
                    [r.detail[:1000] for r in group.refusals],
                    [r.arrival.topic for r in group.refusals],
                    [Jsonb(r.reading) for r in group.refusals],
                ],
            )

    def _counters(self, connection: Connection, group: Group) -> None:
        """Write the accounting identity of the group, edges in one order; `seen_at` never waits for another worker."""
        counts = sorted(group.counts.items())
        if counts:
            names = ("received", "stored", "duplicate", "conflict", "quarantined", "undecodable", "events")
            connection.execute(
                """
                INSERT INTO intake_counter AS c
                  (edge_id, worker, received, stored, duplicate, conflict, quarantined, undecodable, events)
                SELECT edge_id, %s, received, stored, duplicate, conflict, quarantined, undecodable, events
                  FROM unnest(%s::integer[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
                              %s::bigint[], %s::bigint[])
                    AS n(edge_id, received, stored, duplicate, conflict, quarantined, undecodable, events)
                ON CONFLICT (edge_id, worker) DO UPDATE SET
                  received = c.received + excluded.received, stored = c.stored + excluded.stored,
                  duplicate = c.duplicate + excluded.duplicate, conflict = c.conflict + excluded.conflict,
                  quarantined = c.quarantined + excluded.quarantined,
                  undecodable = c.undecodable + excluded.undecodable, events = c.events + excluded.events
                """,
                [
                    self._worker,
                    [edge_id for edge_id, _ in counts],
                    *([getattr(count, name) for _, count in counts] for name in names),
                ],
            )
            connection.execute(
                """
                UPDATE edge SET seen_at = now() WHERE edge_id IN (
                  SELECT edge_id FROM edge WHERE edge_id = ANY(%s)
                     AND (seen_at IS NULL OR seen_at < now() - interval '1 second') FOR UPDATE SKIP LOCKED)
                """,
                [[edge_id for edge_id, _ in counts]],
            )
        if group.homeless:
            connection.execute(
                """
                INSERT INTO undecodable_counter AS c (worker, messages) VALUES (%s, %s)
                ON CONFLICT (worker) DO UPDATE SET messages = c.messages + excluded.messages
                """,
                [self._worker, group.homeless],
            )


def _commit(connection: Connection) -> None:
    """Send a COMMIT for whose end nobody waits now, in a pipeline: it lets go of its locks, then waits for the disk.

    Another worker waits for the rows of `latest` that this one has locked, and the disk takes as long as all the rest.
    So the COMMIT itself does not wait for it; a second one does, of a transaction that says nothing. What is on disk
    then is the log up to there.
    """
    connection.execute("SET LOCAL synchronous_commit = off")
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    connection.execute("SELECT pg_logical_emit_message(true, 'hefa', '')")
    connection.execute("COMMIT")


def _unheard(outcomes: list[Outcome]) -> None:
    """Until `stream` says who is to hear."""
