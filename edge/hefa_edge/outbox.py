"""What a gateway has recorded and the platform has not confirmed, on disk: one SQLite file a gateway.

A reading exists once `append` has returned. The file is an epoch; in it every message has a sequence
number that is never used again, and bytes that never change. A message leaves by `retire` (the
platform has it), is kept for a grace period in case the platform is restored from a backup, and then
deleted by `purge` in small steps. What must be given up, because the file is full or a message cannot
be sent as it is, is told by a gap message in the same sequence: no loss is silent.

Safe to be used by several threads. Every change is one durable transaction (WAL, synchronous=FULL).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from hefa_contract.envelope import Envelope, Events, Gap, Message, decode, encode
from hefa_edge.config import FullPolicy
from hefa_edge.failpoint import reach

Kind = Literal["data", "event", "gap"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, readings INTEGER NOT NULL, size INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS pending (seq INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS retired (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS retired_at ON retired (at);
"""
_OVERHEAD = 200  # bytes of a row besides its payload: what an outbox of tiny messages weighs
_STEP = 20  # rows deleted in one go: a thousand at once would hold up the next commit by 100 ms
_SHARE = 20  # a full outbox gives up a twentieth at once …
_RUN = 200  # … and not more messages than this, so that the commit stays short
_RELIEF_STEPS = 10
_RELIEF_S = 0.5  # between two looks whether a full disk has room again
_WAL_PAGES = 256  # after which SQLite moves its log into the file; the log is reused, and on a full disk all there is
_RESERVE = 2 << 20  # bytes set aside on the disk: given back when it is full, so that the log fits into the file


class OutboxFull(Exception):
    """There is no room, and the policy is to block or the disk itself is full: nothing was written."""


class Item(NamedTuple):
    """One message as it is sent. `kind` tells the channel: `event`, or `data` for readings and gaps."""

    seq: int
    kind: Kind
    readings: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits for an acknowledgement: messages, readings in them, and bytes."""

    messages: int
    readings: int
    size: int


class Outbox:
    """An outbox file, opened by one process."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 1 << 30,
        policy: FullPolicy = "drop_oldest",
        grace_s: float = 86_400,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file, or make it with an epoch of its own. Raises sqlite3.Error where it is no outbox."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._max_bytes, self._policy, self._grace_us, self._clock = max_bytes, policy, round(grace_s * 1e6), clock
        self._lock = threading.RLock()
        self._depth = Depth(0, 0, 0)
        self._next_seq = self._lost = self._unwritten = self._retired = self._bytes = 0
        self._reserve, self._disk_full = path.with_name(path.name + ".reserve"), False
        self._next_relief = 0.0
        self._epoch = ""
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            self._db.executescript(_SCHEMA)
            self._db.executemany(
                "INSERT OR IGNORE INTO meta VALUES (?, ?)",
                [("epoch", secrets.token_hex(8)), ("next_seq", "1"), ("lost", "0")],
            )
            self._load()
        except BaseException:
            self._db.close()
            raise
        self._set_aside()

    def close(self) -> None:
        """Close the file; what is in it stays."""
        with self._lock:
            self._db.close()

    @property
    def epoch(self) -> str:
        """The id of this sequence. Another one only after `rebatch`."""
        return self._epoch

    @property
    def last_seq(self) -> int:
        """The newest sequence number in use, 0 for none."""
        return self._next_seq - 1

    @property
    def depth(self) -> Depth:
        """What is pending now. Costs nothing."""
        return self._depth

    def append(self, messages: Sequence[Message], mark: tuple[int, int] | None = None) -> list[int]:
        """Keep messages, all or none, and number them in their order; `epoch` and `seq` of each are set.

        `mark` is stored in the same transaction (see `mark`). Returns the numbers.

        Raises:
            OutboxFull: no room, and the policy is to block or the disk is full. Nothing was written.
        """
        with self._lock:
            if self._disk_full:
                self._relieve()
            if self._disk_full:
                raise OutboxFull("the disk is full")
            if self._policy == "block" and self._bytes >= self._max_bytes:
                with self._transaction():
                    self._yield_grace()
                if self._bytes >= self._max_bytes:
                    raise OutboxFull(f"{self._depth.messages} messages, {self._bytes} bytes are waiting")
            with self._transaction():
                self._tell_lost()
                first = self._next_seq
                seqs = [self._put(message) for message in messages]
                if self._bytes > self._max_bytes:
                    self._yield_grace()
                while self._bytes > self._max_bytes and self._policy == "drop_oldest" and self._drop(first):
                    pass
                if mark is not None:
                    self._set("mark", f"{mark[0]} {mark[1]}")
                reach("outbox.appending")
            self._unwritten = 0
            reach("outbox.appended")
            return seqs

    def skip(self, readings: int) -> None:
        """Note that `readings` could not be kept. The next append or purge tells the gap.

        While the disk is full the note is in memory only.
        """
        with self._lock:
            self._unwritten += readings
            if self._disk_full:
                return
            with suppress(OutboxFull):
                with self._transaction():
                    self._lost += self._unwritten
                    self._set("lost", str(self._lost))
                self._unwritten = 0

    def mark(self) -> tuple[int, int] | None:
        """The span of time (µs, from exclusive, to inclusive) whose readings were appended with it."""
        with self._lock:
            row = self._db.execute("SELECT value FROM meta WHERE key = 'mark'").fetchone()
        if row is None:
            return None
        start, end = row[0].split()
        return int(start), int(end)

    def pending(self, after: int, until: int, limit: int) -> list[Item]:
        """Read up to `limit` unacknowledged messages with after < seq <= until, oldest first."""
        with self._lock:
            rows = self._db.execute(
                """
                SELECT seq, kind, readings, payload FROM pending JOIN message USING (seq)
                WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?
                """,
                (after, until, limit),
            ).fetchall()
        return [Item(*row) for row in rows]

    def retire(self, seqs: Sequence[int]) -> list[int]:
        """The platform has these. Returns those that were pending; others are none of ours, or known already."""
        now = round(self._clock() * 1e6)
        with self._lock, self._transaction():
            known = []
            for seq in seqs:
                if self._db.execute("DELETE FROM pending WHERE seq = ?", (seq,)).rowcount:
                    self._db.execute("INSERT OR REPLACE INTO retired VALUES (?, ?)", (seq, now))
                    found = self._db.execute("SELECT readings, size FROM message WHERE seq = ?", (seq,)).fetchone()
                    self._count(-1, *found)
                    self._retired += 1
                    known.append(seq)
            return known

    def purge(self) -> int:
        """Delete a few messages whose grace is over; returns how many. Call it now and then.

        Also tells, as soon as there is room, what could not be kept.
        """
        before = round(self._clock() * 1e6) - self._grace_us
        with self._lock:
            if self._disk_full:
                return self._relieve()
            if self._lost + self._unwritten and self._bytes < self._max_bytes:
                with self._transaction():
                    self._tell_lost()
                self._unwritten = 0
            if self._retired == 0:
                return 0
            with self._transaction():
                return self._forget(before)

    def meet(self, incarnation: str) -> int:
        """Learn which incarnation of the platform's database is served.

        Another one than before is a restored backup, which may lack what was acknowledged: all that is still in
        grace is pending again. Returns how many messages that are.
        """
        with self._lock:
            row = self._db.execute("SELECT value FROM meta WHERE key = 'incarnation'").fetchone()
            if row is not None and row[0] == incarnation:
                return 0
            with self._transaction():
                self._set("incarnation", incarnation)
                if row is None:
                    return 0
                self._db.execute("INSERT OR IGNORE INTO pending SELECT seq FROM retired")
                again = self._db.execute("DELETE FROM retired").rowcount
            self._load()
            return again

    def rebatch(self) -> str:
        """Begin a new epoch and number all that is pending anew; returns the epoch.

        For when the platform knows other bytes under our numbers: the file is a copy of another, or came from a
        backup. Acknowledged messages are let go.
        """
        with self._lock, self._transaction():
            self._epoch = secrets.token_hex(8)
            self._set("epoch", self._epoch)
            last = self.last_seq
            while old := self._db.execute(
                """
                SELECT seq, payload FROM pending JOIN message USING (seq) WHERE seq <= ? ORDER BY seq LIMIT 100
                """,
                (last,),
            ).fetchall():
                for seq, payload in old:
                    decoded = decode(payload)
                    message = decoded.message
                    if decoded.flaws:
                        # What an adapter could not read, written as it came: a number of it is all that goes on.
                        self._tell(len(decoded.flaws), "unreadable")
                        if decoded.rows:
                            self._put(message)
                    elif isinstance(message, Gap):
                        # Its range was one of the old epoch; in the new one the loss takes a number of its own.
                        self._tell(message.readings, message.reason)
                    else:
                        self._put(message)
                    self._remove(seq)
            while self._forget(None):
                pass
            return self._epoch

    def split(self, seq: int) -> bool:
        """Replace a message that is too large for the broker by its halves, and tell the gap.

        What cannot be halved is given up, and the gap tells that. Returns False where `seq` is not pending.
        """
        with self._lock:
            items = self.pending(seq - 1, seq, 1)
            if not items:
                return False
            halves = _halves(decode(items[0].payload).message)
            with self._transaction():
                for half in halves:
                    self._put(half)
                self._put(self._gap(seq, seq, 0 if halves else items[0].readings, "split" if halves else "too_large"))
                self._remove(seq)
            return True

    # --- below: called with the lock held and a transaction open ---------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all or nothing, of the file and of the counters in memory alike. OutboxFull: the disk is full."""
        self._db.execute("BEGIN IMMEDIATE")
        first = self._next_seq
        try:
            yield
            if self._next_seq != first:
                self._set("next_seq", str(self._next_seq))
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._load()
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                self._disk_full, self._next_relief = True, 0.0
                self._reserve.unlink(missing_ok=True)
                self._checkpoint()  # at once: the room is ours before somebody else has it
                raise OutboxFull("the disk is full") from error
            raise

    def _set_aside(self) -> bool:
        """Have the reserve on the disk; False where there is no room for it."""
        with suppress(OSError):
            if not self._reserve.exists():
                self._reserve.write_bytes(bytes(_RESERVE))
            return True
        self._reserve.unlink(missing_ok=True)
        return False

    def _relieve(self) -> int:
        """On a full disk grace gives way. Ends the state when the disk has room again, or the file within itself.

        Returns how many messages went.
        """
        if time.monotonic() < self._next_relief:
            return 0
        self._next_relief = time.monotonic() + _RELIEF_S
        gone = 0
        with suppress(OutboxFull):
            for _ in range(_RELIEF_STEPS):
                with self._transaction():
                    step = self._forget(None)
                gone += step
                if not step:
                    break
        self._checkpoint()
        within = self._pragma("freelist_count") * self._pragma("page_size")
        room = os.statvfs(self._reserve.parent)
        if room.f_bavail * room.f_frsize >= 3 * _RESERVE:
            self._disk_full = not self._set_aside()
        elif within >= _RESERVE:
            self._disk_full = False
        return gone

    def _checkpoint(self) -> None:
        """Move the log into the file, as far as there is room."""
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _pragma(self, name: Literal["freelist_count", "page_size"]) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def _load(self) -> None:
        """Read the counters that are kept in memory."""
        meta = dict(self._db.execute("SELECT key, value FROM meta").fetchall())
        self._epoch, self._next_seq, self._lost = meta["epoch"], int(meta["next_seq"]), int(meta["lost"])
        self._depth = Depth(
            *self._db.execute(
                """
                SELECT count(*), coalesce(sum(readings), 0), coalesce(sum(size), 0)
                FROM pending JOIN message USING (seq)
                """
            ).fetchone()
        )
        self._retired = self._db.execute("SELECT count(*) FROM retired").fetchone()[0]
        self._bytes = self._db.execute("SELECT coalesce(sum(size), 0) FROM message").fetchone()[0]

    def _set(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _count(self, sign: int, readings: int, size: int) -> None:
        depth = self._depth
        self._depth = Depth(depth.messages + sign, depth.readings + sign * readings, depth.size + sign * size)

    def _put(self, message: Message) -> int:
        """Number, write and store a message."""
        seq = self._next_seq
        self._next_seq += 1
        message.epoch, message.seq = self._epoch, seq
        payload = encode(message)
        readings = len(message.value) if isinstance(message, Envelope) else 0
        kind: Kind = "gap" if isinstance(message, Gap) else "event" if isinstance(message, Events) else "data"
        size = len(payload) + _OVERHEAD
        self._db.execute("INSERT INTO message VALUES (?, ?, ?, ?, ?)", (seq, kind, readings, size, payload))
        self._db.execute("INSERT INTO pending VALUES (?)", (seq,))
        self._count(+1, readings, size)
        self._bytes += size
        return seq

    def _remove(self, seq: int) -> None:
        """Take a pending message out for good."""
        readings, size = self._db.execute("SELECT readings, size FROM message WHERE seq = ?", (seq,)).fetchone()
        self._db.execute("DELETE FROM message WHERE seq = ?", (seq,))
        self._db.execute("DELETE FROM pending WHERE seq = ?", (seq,))
        self._count(-1, readings, size)
        self._bytes -= size

    def _gap(self, first: int, last: int, readings: int, reason: str) -> Gap:
        made = round(self._clock() * 1e6)
        return Gap(epoch=self._epoch, seq=0, made=made, from_=first, to=last, readings=readings, reason=reason)

    def _tell(self, readings: int, reason: str) -> None:
        """Tell a loss that never had a number: it takes one."""
        missing = self._next_seq
        self._next_seq += 1
        self._put(self._gap(missing, missing, readings, reason))

    def _tell_lost(self) -> None:
        """Tell what `skip` has noted, if anything."""
        if self._lost + self._unwritten:
            self._tell(self._lost + self._unwritten, "outbox_full")
            self._lost = 0
            self._set("lost", "0")

    def _forget(self, before: int | None) -> int:
        """Delete the oldest retired messages, a few, only those retired before a time if one is given."""
        rows = self._db.execute(
            "SELECT seq, size FROM retired JOIN message USING (seq) WHERE ? IS NULL OR at <= ? ORDER BY at LIMIT ?",
            (before, before, _STEP),
        ).fetchall()
        self._db.executemany("DELETE FROM message WHERE seq = ?", [(seq,) for seq, _ in rows])
        self._db.executemany("DELETE FROM retired WHERE seq = ?", [(seq,) for seq, _ in rows])
        self._retired -= len(rows)
        self._bytes -= sum(size for _, size in rows)
        return len(rows)

    def _yield_grace(self) -> None:
        """Messages in grace give way to those that nobody has yet."""
        while self._bytes >= self._max_bytes and self._forget(None):
            pass

    def _drop(self, before: int) -> bool:
        """Give up the oldest run of pending messages older than `before`, and tell the gap. False: there is none.

        Some of them may be in flight and yet arrive: the gap says that we shall not send them again.
        """
        rows = self._db.execute(
            """
            SELECT seq, readings, size FROM pending JOIN message USING (seq)
            WHERE kind <> 'gap' AND seq < ? ORDER BY seq LIMIT ?
            """,
            (before, _RUN),
        ).fetchall()
        run = [row for at, row in enumerate(rows) if row[0] == rows[0][0] + at]
        enough, freed = self._max_bytes // _SHARE, 0
        for count, (_, _, size) in enumerate(run, 1):
            freed += size
            if freed >= enough:
                run = run[:count]
                break
        if not run:
            return False
        self._put(self._gap(run[0][0], run[-1][0], sum(readings for _, readings, _ in run), "outbox_full"))
        for seq, _, _ in run:
            self._remove(seq)
        return True


def _halves(message: Message) -> list[Message]:
    """Cut a message in two; nothing where it holds one thing only."""
    if isinstance(message, Events) and len(message.events) > 1:
        middle = len(message.events) // 2
        return [
            Events(epoch="", seq=0, made=message.made, events=part)
            for part in (message.events[:middle], message.events[middle:])
        ]
    if isinstance(message, Envelope) and len(message.value) > 1:
        middle = len(message.value) // 2
        return [_part(message, slice(None, middle)), _part(message, slice(middle, None))]
    return []


def _part(envelope: Envelope, rows: slice) -> Envelope:
    used = sorted(set(envelope.tag[rows]))
    index = {old: new for new, old in enumerate(used)}
    return Envelope(
        epoch="",
        seq=0,
        lane=envelope.lane,
        made=envelope.made,
        base=envelope.base,
        tags=[envelope.tags[old] for old in used],
        tag=[index[old] for old in envelope.tag[rows]],
        dt=envelope.dt[rows],
        value=envelope.value[rows],
        quality=None if envelope.quality is None else envelope.quality[rows],
    )
