"""Readings that people enter: numbered rows become envelopes of the gateway `api` and go the way of every message.

The same ledger, validation, quarantine, conflicts and counters as for what gateways send; nothing is judged here but
what cannot be said in an envelope. What is different: they may be of any tag, because an engineer who fills in what a
gateway missed does so on purpose and is audited; and the rows of one `put` are one transaction.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from psycopg.types.json import Jsonb

from hefa_contract import envelope
from hefa_contract.envelope import MAX_READINGS, MAX_TAGS, Decoded, Envelope, Flaw, is_tag_name
from hefa_contract.rejection import Code
from hefa_platform.store import keys
from hefa_platform.store.arrival import Arrival, Group
from hefa_platform.store.database import Connection, Database, SchemaMissing, Unavailable
from hefa_platform.store.intake import Intake
from hefa_platform.store.readings import Written
from hefa_platform.store.records import KeyReused
from hefa_platform.store.registry import ENTRY
from hefa_platform.store.rows import Rows

ROWS = 20_000  # of one transaction
SHOWN = 200  # refused rows, tags and unknown tags that a tally names; it counts all of them
_HOUR_US = 3_600_000_000


class Fault(NamedTuple):
    """What is wrong with a row that no envelope could even say."""

    code: Code
    detail: str


class Row(NamedTuple):
    """A reading as somebody wrote it. `number` is what he knows it by (a line, an index), `ts` µs since the epoch."""

    number: int
    tag: Any
    ts: Any
    value: Any
    quality: Any
    fault: Fault | None = None


class Refused(NamedTuple):
    """A row that went to quarantine."""

    number: int
    tag: str
    code: str
    detail: str


@dataclass
class TagTally:
    """The rows of one tag; `first` and `last` are their times in µs, None where none could be read."""

    rows: int = 0
    new: int = 0
    conflict: int = 0
    refused: int = 0
    first: int | None = None
    last: int | None = None

    @property
    def duplicate(self) -> int:
        return self.rows - self.new - self.conflict - self.refused

    def add(self, other: "TagTally") -> None:
        self.rows += other.rows
        self.new += other.new
        self.conflict += other.conflict
        self.refused += other.refused
        for ts in (other.first, other.last):
            self._reach(ts)

    def met(self, ts: object) -> None:
        self.rows += 1
        self._reach(ts)

    def _reach(self, ts: object) -> None:
        if isinstance(ts, int) and 0 <= ts <= envelope.MAX_TS:
            self.first = ts if self.first is None else min(self.first, ts)
            self.last = ts if self.last is None else max(self.last, ts)


@dataclass
class Tally:
    """What became of the rows: received = stored + duplicate + conflict + quarantined, as for every gateway."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    conflict: int = 0
    quarantined: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    refused: list[Refused] = field(default_factory=list)
    tags: dict[str, TagTally] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    """Names that nobody knew before; they are registered, unassigned, as for a gateway."""
    late: dict[str, int] = field(default_factory=dict)
    """By tag the clock hours of new readings that the rollups have passed already, which are computed anew: bit n is the
    hour n after `since`. So a year takes a kilobyte, however many readings it holds."""
    since: int = 0

    def late_at(self, tag: str, hour: int) -> None:
        """Count a clock hour of a tag, by its number since the epoch; once, however often."""
        self.late[tag] = self.late.get(tag, 0) | 1 << (hour - self.since)

    def recomputed(self) -> tuple[int, int, int] | None:
        """How many hours of tags are late, the first and the last hour of them; None without any."""
        if not self.late:
            return None
        count = sum(bits.bit_count() for bits in self.late.values())
        first = min((bits & -bits).bit_length() for bits in self.late.values()) - 1
        return count, self.since + first, self.since + max(bits.bit_length() for bits in self.late.values()) - 1

    def add(self, other: "Tally") -> None:
        """Count what became of further rows."""
        self.received += other.received
        self.stored += other.stored
        self.duplicate += other.duplicate
        self.conflict += other.conflict
        self.quarantined += other.quarantined
        self.codes += other.codes
        self.refused += other.refused[: SHOWN - len(self.refused)]
        for name, tag in other.tags.items():
            self.tags.setdefault(name, TagTally()).add(tag)
        self.unknown |= other.unknown
        for name, bits in other.late.items():
            self.late[name] = self.late.get(name, 0) | bits


@dataclass(frozen=True)
class Rules:
    """What holds for gateways too: how old a reading may be, and how many unknown tags an hour may bring."""

    raw_retention_days: int = 90
    tag_quota_per_hour: int = 500


class Entry:
    """One request or file of somebody's, `by` whom, from `source` (kept with what is refused) under `epoch`.

    With `rehearsal` everything is done and rolled back, so that the tally is that of the real thing. It keeps 40 bytes
    of each new reading then, to know those that come twice; else nothing grows but the tally.
    """

    def __init__(
        self,
        database: Database,
        rules: Rules,
        *,
        source: str,
        epoch: str,
        rehearsal: bool = False,
        closing: Callable[[Connection, Tally], None] | None = None,
    ) -> None:
        self._database, self._source, self._epoch, self._closing = database, source[:200], epoch, closing
        self._rehearsal = rehearsal
        self._seq = 0
        self._unsure = False  # nobody knows what became of the rows of the last `put`
        # Intake takes nothing older; time goes on, so that this only gets truer.
        self._since = int(time.time()) // 3600 - rules.raw_retention_days * 24 - 1
        self._part, self._anew = Tally(since=self._since), True
        self._numbers: dict[int, Sequence[Row]] = {}
        self._kept: list[tuple[Any, ...]] = []
        self._intake = Intake(
            database, "rest", raw_retention_days=rules.raw_retention_days, tag_quota_per_hour=rules.tag_quota_per_hour,
            closing=self._close, rehearsal=rehearsal,
        )  # fmt: skip
        self.tally = Tally(since=self._since)

    def put(self, rows: Sequence[Row]) -> None:
        """Store rows in one transaction, and tally them.

        Raises `Unavailable`: nobody knows whether these rows are stored; put the same rows again, and they are stored
        and tallied once. Raises `AlreadyEntered` where all of them are in the ledger, and `KeyReused` where others are
        under their epoch: nothing was done then.
        """
        arrivals: list[Arrival] = []
        self._numbers = {}
        for seq, part in enumerate(_parts(rows), self._seq + 1):
            self._numbers[seq] = part
            arrivals.append(self._arrival(seq, part))
        kept, self._anew = len(self._kept), True
        try:
            self._intake.enter(arrivals)
        except AlreadyEntered:
            if not self._unsure:
                raise
            # The COMMIT whose answer was lost had come to be: its tally holds.
        except Unavailable:
            self._unsure = True
            del self._kept[kept:]
            raise
        self._unsure = False
        self._seq += len(arrivals)
        self.tally.add(self._part)

    def finish(self) -> Tally:
        """The tally. In a rehearsal, what came twice in different transactions is found only now."""
        if self._kept:
            self._found_twice()
        return self.tally

    def _arrival(self, seq: int, rows: Sequence[Row]) -> Arrival:
        made = time.time_ns() // 1000
        decoded = _read(rows, self._epoch, seq, made)
        assert isinstance(decoded.message, Envelope)
        # The time of the attempt is no part of what is hashed: the same rows again are the same message.
        digest = hashlib.sha256(repr([row[1:] for row in rows]).encode("utf-8", "backslashreplace")).digest()
        payload = envelope.encode(decoded.message)
        return Arrival(self._source, ENTRY, payload, digest, decoded=decoded)

    def _close(self, connection: Connection, group: Group, written: Written) -> None:
        if any(group.outcomes[n].rejected[0].code == Code.EPOCH_REUSE for n in group.refused_messages):
            raise KeyReused
        if not group.fresh and not group.refused_messages:
            raise AlreadyEntered
        if self._anew:  # else it is another part of the same rows, which were stored by halves
            self._part, self._anew = Tally(since=self._since), False
        tally = self._part
        for count in group.counts.values():
            tally.received += count.received
            tally.stored += count.stored
            tally.duplicate += count.duplicate
            tally.conflict += count.conflict
            tally.quarantined += count.quarantined
        self._tally_rows(connection, group)
        refused = []
        for refusal in group.refusals:
            seq = refusal.arrival.key[1] if refusal.arrival.key else 0
            row = self._numbers[seq][refusal.i]
            tally.codes[refusal.code.value] += 1
            tally.tags[_name(row)].refused += 1
            refused.append(Refused(row.number, _name(row), refusal.code.value, refusal.detail))
        tally.refused += sorted(refused)[:SHOWN]
        self._tally_written(connection, written)
        if self._closing is not None:
            self._closing(connection, tally)

    def _tally_rows(self, connection: Connection, group: Group) -> None:
        tags = self._part.tags
        fresh = {arrival.key[1] for n in group.fresh if (arrival := group.arrivals[n]).key}
        met: set[str] = set()
        for seq in fresh:
            for row in self._numbers[seq]:
                name = _name(row)
                if name not in tags:
                    tags[name] = TagTally()
                    if name not in self.tally.tags:
                        met.add(name)
                tags[name].met(row.ts)
        if met:
            # Registered in this very transaction: nobody knew it before.
            asked = [name for name in met if is_tag_name(name)]
            found = connection.execute(
                "SELECT name FROM tag WHERE name = ANY (%s) AND (assigned OR registered_at < now())", [asked]
            )
            for name in sorted({*asked} - {name for (name,) in found}):
                self._part.unknown[name] = None

    def _tally_written(self, connection: Connection, written: Written) -> None:
        if not len(written.new) and not len(written.conflicts):
            return
        ids = sorted({*np.unique(written.new.tag).tolist(), *np.unique(written.conflicts.tag).tolist()})
        rows = connection.execute("SELECT tag_id, name FROM tag WHERE tag_id = ANY (%s)", [ids]).fetchall()
        names: dict[int, str] = dict(rows)
        for tag_id, count in zip(*np.unique(written.new.tag, return_counts=True), strict=True):
            self._part.tags[names[int(tag_id)]].new += int(count)
        for tag_id, count in zip(*np.unique(written.conflicts.tag, return_counts=True), strict=True):
            self._part.tags[names[int(tag_id)]].conflict += int(count)
        row = connection.execute(
            "SELECT (extract(epoch FROM watermark) * 1000000)::bigint FROM rollup_state"
        ).fetchone()
        assert row is not None
        late = written.new.where(written.new.ts < row[0])
        pairs = np.unique(np.stack([late.tag, late.ts // _HOUR_US]), axis=1)
        for tag_id, hour in pairs.T:
            self._part.late_at(names[int(tag_id)], int(hour))
        if self._rehearsal and len(written.new):
            self._keep(written.new, names)

    def _keep(self, new: Rows, names: dict[int, str]) -> None:
        # Ids of tags that were registered in a transaction that is rolled back mean nothing in the next one.
        places = {name: place for place, name in enumerate(self.tally.tags | self._part.tags)}
        tag = np.array([places[names[int(tag_id)]] for tag_id in new.tag], np.int64)
        self._kept.append((tag, new.ts, new.value, new.quality))

    def _found_twice(self) -> None:
        tag, ts, value, quality = (np.concatenate(column) for column in zip(*self._kept, strict=True))
        self._kept = []
        order = np.lexsort((ts, tag))  # stable: what came first stays first
        tag, ts, value, quality = tag[order], ts[order], value[order], quality[order]
        starts = np.r_[True, (np.diff(tag) != 0) | (np.diff(ts) != 0)]
        first = np.flatnonzero(starts)[np.cumsum(starts) - 1]
        same = ((value == value[first]) | (np.isnan(value) & np.isnan(value[first]))) & (quality == quality[first])
        names = list(self.tally.tags)
        for place, equal in zip(tag[~starts].tolist(), same[~starts].tolist(), strict=True):
            tally = self.tally.tags[names[place]]
            tally.new -= 1
            self.tally.stored -= 1
            if equal:
                self.tally.duplicate += 1
            else:
                tally.conflict += 1
                self.tally.conflict += 1


class AlreadyEntered(Exception):
    """The ledger has all of it."""


def post(
    database: Database, rules: Rules, rows: Sequence[Row], *, epoch: str, hash: bytes, by: str,
    answer: Callable[[Tally], dict[str, Any]],
) -> tuple[dict[str, Any], bool]:  # fmt: skip
    """Enter the rows of one request, audited; return `answer` of their tally, and whether they are new.

    The same request again gets the answer of the first time; another `hash` under its epoch raises `KeyReused`.
    """
    known = _answered(database, epoch, hash, len(rows))
    if known is not None:
        return known, False
    given: dict[str, Any] = {}

    def close(connection: Connection, tally: Tally) -> None:
        given.clear()
        given.update(answer(tally))
        connection.execute(
            """
            INSERT INTO entry (epoch, hash, answer, key_id) VALUES (%s, %s, %s, %s)
            ON CONFLICT (epoch) DO UPDATE SET answer = excluded.answer
            """,
            [epoch, hash, Jsonb(given), by],
        )
        counts = {name: given[name] for name in ("received", "stored", "duplicate", "conflict", "quarantined")}
        keys.audit(connection, by, "readings.post", epoch, counts)

    entry = Entry(database, rules, source="POST /v1/readings", epoch=epoch, closing=close)
    try:
        entry.put(rows)
    except AlreadyEntered:  # by a request that came at the same time
        known = _answered(database, epoch, hash, 0)
        assert known is not None
        return known, False
    return given, True


def site(database: Database) -> str:
    """The site of what is entered. Raises SchemaMissing where no plant model is loaded."""
    with database.connection() as connection:
        row = connection.execute("SELECT site FROM edge WHERE name = %s", [ENTRY]).fetchone()
    if row is None:
        raise SchemaMissing(f"the gateway {ENTRY!r} is not there: run `hefa-platform load`")
    return str(row[0])


def audit(database: Database, by: str, action: str, subject: str, body: dict[str, Any]) -> None:
    """Note in the audit what is about to be done, or was."""
    with database.connection() as connection:
        keys.audit(connection, by, action, subject, body)


def _answered(database: Database, epoch: str, hash: bytes, rows: int) -> dict[str, Any] | None:
    """The answer given before; None where there is none, or where it was given for a part only."""
    with database.connection() as connection:
        row = connection.execute("SELECT hash, answer FROM entry WHERE epoch = %s", [epoch]).fetchone()
    if row is None:
        return None
    if bytes(row[0]) != hash:
        raise KeyReused
    found: dict[str, Any] = row[1]
    return found if found["received"] >= rows else None


def _parts(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Cut rows, in their order, into what one envelope may hold."""
    start, names = 0, set[str]()
    for at, row in enumerate(rows):
        name = _name(row)
        if at - start == MAX_READINGS or (len(names) == MAX_TAGS and name not in names):
            yield rows[start:at]
            start, names = at, set()
        names.add(name)
    if start < len(rows):
        yield rows[start:]


def _read(rows: Sequence[Row], epoch: str, seq: int, made: int) -> Decoded:
    """What the contract says of the rows."""
    sound = [i for i, row in enumerate(rows) if row.fault is None]
    flaws = [Flaw(i, row.fault.code, row.fault.detail, _as_sent(row)) for i, row in enumerate(rows) if row.fault]
    empty = Envelope(
        epoch=epoch, seq=seq, lane="backfill", made=made, base=0, tags=[], tag=[], dt=[], value=[], quality=[]
    )
    if not sound:
        return Decoded(empty, flaws, [])
    tags: dict[Any, int] = {}
    for i in sound:
        tags.setdefault(rows[i].tag, len(tags))
    decoded = envelope.judge(
        {
            "v": envelope.VERSION, "epoch": epoch, "seq": seq, "lane": "backfill", "made": made, "base": 0,
            "tags": list(tags), "tag": [tags[rows[i].tag] for i in sound], "dt": [rows[i].ts for i in sound],
            "value": [rows[i].value for i in sound], "quality": [rows[i].quality for i in sound],
        }
    )  # fmt: skip
    flaws += [Flaw(sound[flaw.i], flaw.code, flaw.detail, flaw.reading) for flaw in decoded.flaws]
    kept = sound if decoded.rows is None else [sound[k] for k in decoded.rows]
    return Decoded(decoded.message, sorted(flaws, key=lambda flaw: flaw.i), kept)


def _name(row: Row) -> str:
    """What a row is told by."""
    return str(_plain(row.tag))[:200] if isinstance(row.tag, str) else ""


def _as_sent(row: Row) -> dict[str, Any]:
    return {name: _plain(getattr(row, name)) for name in ("tag", "ts", "value", "quality")}


def _plain(value: Any) -> Any:
    """A value as a JSON column can hold it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= envelope.MAX_SEQ:
        return value
    if isinstance(value, float) and np.isfinite(value):
        return value
    text = value if isinstance(value, str) else ascii(value)
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()[:500]
