"""Readings of fresh envelopes on their way into the database: judged, stored, and noted for those who read them.

Straight binary COPY where nothing stands in the way; only the edge that sent a reading we had goes through staging, and
stays there for a minute. Locks are taken in the order readings by tag, watermark, `latest`.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import errors

from hefa_contract.rejection import Code
from hefa_platform.failpoint import reach
from hefa_platform.store import binary_copy
from hefa_platform.store.arrival import Arrival, Group, as_sent
from hefa_platform.store.binary_copy import Ints
from hefa_platform.store.columns import as_columns
from hefa_platform.store.database import Connection
from hefa_platform.store.registry import Registry
from hefa_platform.store.rows import NO_ROWS, Opened, Rows, flatten, opened

FUTURE_S = 300  # how far a gateway's clock may be ahead
STAGING_S = 60  # how long an edge that sent a known reading keeps to the slow, careful way
_KEPT_S = 60  # how long an answer about the oldest raw readings is good: they are dropped by the day
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US

_KEY = re.compile(r"=\((\d+),")  # Key (tag_id, ts)=(5, 2026-11-22 …) already exists.

# Readings of a message, by index as sent, that the database will not take, and why.
Without = Mapping[int, tuple[Set[int], str]]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the readings of a group that were `fit` to be stored; those neither new nor in conflict were there.

    `as_drafted`: nobody had to be asked, and nothing was entered that later groups could lean on.
    """

    fit: Rows
    new: Rows
    conflicts: Rows
    as_drafted: bool = False


class StoredBefore(Exception):
    """A reading was there already. The transaction is lost, and the next attempt takes the careful way."""


class Draft(NamedTuple):
    """What becomes of messages if nothing stands in the way: their readings, sorted, and as a stream for COPY.

    Void for other messages than `arrivals`, and as soon as the registry has forgotten what it knew.
    """

    arrivals: Sequence[Arrival]
    generation: int
    chosen: list[int]
    rows: Rows
    stream: memoryview


class ReadingWriter:
    """Writes the readings of groups of messages, for one worker."""

    def __init__(
        self, registry: Registry, worker: str, raw_retention_days: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._registry = registry
        self._worker = worker
        self._retention_us = raw_retention_days * _DAY_US
        self._clock = clock
        self._careful: dict[int, float] = {}  # edge id: until when it goes through staging
        self._partitions: set[int] = set()  # days since 1970 whose partition is known to be there
        self._kept_us, self._ask_kept = 0, 0.0
        self._newest: dict[int, int] = {}  # tag id: a time that `latest` has reached at least

    def committed(self, group: Group) -> None:
        """Remember what the committed transaction of `group` has reached."""
        self._newest.update(group.newest)

    def forget(self) -> None:
        """Forget what a transaction that was rolled back had made."""
        self._partitions.clear()

    def begin_anew(self) -> None:
        """Forget everything: the database is another one than before."""
        self._partitions.clear()
        self._newest.clear()
        self._ask_kept = 0.0

    def draft(self, arrivals: Sequence[Arrival]) -> Draft | None:
        """Prepare messages that are stored later, asking the database nothing; None where there is anything to ask."""
        ids = self._registry.known_edges
        edge_ids = [ids.get(arrival.edge) for arrival in arrivals]
        envelopes = opened(arrivals, edge_ids, range(len(arrivals)))
        now = self._clock()
        if not envelopes or None in edge_ids or now >= self._ask_kept:
            return None
        rows, _ = flatten(envelopes, self._registry)
        future, old = self._untimely(rows, now)
        if (rows.tag < 0).any() or future.any() or old.any():
            return None
        rows = rows.sorted()
        return Draft(arrivals, self._registry.generation, [one.n for one in envelopes], rows, _pack(rows))

    def write(
        self,
        connection: Connection,
        group: Group,
        without: Without,
        draft: Draft | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Written:
        """Store the readings of the group's fresh envelopes; `without` names those to quarantine untried.

        `meanwhile` is called while the database works. Raises `StoredBefore`.
        """
        envelopes = opened(group.arrivals, group.edge_ids, group.fresh)
        if (
            draft is None
            or without
            or draft.arrivals is not group.arrivals
            or draft.generation != self._registry.generation
            or draft.chosen != [one.n for one in envelopes]
        ):
            draft = None
        rows = draft.rows if draft else self._judge(connection, group, envelopes, without).sorted()
        if not len(rows):
            return Written(rows, rows, rows)
        reach("readings.storing", " ".join(f"{a.edge}/{a.key and a.key[1]}" for a in group.arrivals))
        ensured = self._ensure_partitions(connection, rows)
        now = self._clock()
        for edge_id in np.unique(rows.edge[rows.repeats]):
            self._careful[int(edge_id)] = now + STAGING_S
        self._careful = {edge_id: until for edge_id, until in self._careful.items() if until > now}
        careful = np.isin(rows.edge, list(self._careful)) if self._careful else np.zeros(len(rows), bool)
        if not careful.any():
            self._copy(connection, rows, draft.stream if draft else _pack(rows), group, meanwhile)
            return Written(rows, rows, rows.where(careful), as_drafted=draft is not None and not ensured)
        straight = rows.where(~careful)
        if len(straight):
            self._copy(connection, straight, _pack(straight), group, lambda: None)
        new, conflicts = self._stage(connection, rows.where(careful), group, meanwhile)
        stored = Rows(*(np.concatenate([getattr(straight, f), getattr(new, f)]) for f in Rows.__slots__))
        return Written(rows, stored, conflicts)

    def summarise(self, connection: Connection, group: Group, written: Written) -> "psycopg.Cursor[Any] | None":
        """Move `latest` forward and count ages by what was written. Waits for no answer: `note_late` takes the one there is.

        The share lock keeps the watermark of the rollups where it is until COMMIT.
        """
        watermark = None
        if len(written.new):
            watermark = connection.execute(
                "SELECT (extract(epoch FROM watermark) * 1000000)::bigint FROM rollup_state FOR SHARE"
            )
        if len(written.fit):
            self._latest(connection, written.fit, group)
            self._freshness(connection, written.new, group)
        return watermark

    def _judge(self, connection: Connection, group: Group, envelopes: Sequence[Opened], without: Without) -> Rows:
        """Flatten the fresh envelopes; what may not be stored becomes refusals of the group."""
        if not envelopes:
            return NO_ROWS
        refused: dict[str, Code] = {}
        rows, unknown = flatten(envelopes, self._registry)
        if unknown:
            refused = self._learn(connection, envelopes)
            rows, _ = flatten(envelopes, self._registry)
        self._learn_kept(connection)
        future, old = self._untimely(rows, self._clock())
        bad = (rows.tag < 0) | future | old
        starts = np.cumsum([0, *(len(one.envelope.value) for one in envelopes)])
        for row in np.flatnonzero(bad):
            at = int(np.searchsorted(starts, row, side="right")) - 1
            k, envelope = int(row - starts[at]), envelopes[at].envelope
            if rows.tag[row] < 0:
                code = refused.get(envelope.tags[envelope.tag[k]], Code.TAG_FOREIGN)
                detail = _WHY[code]
            elif future[row]:
                code, detail = Code.TS_FUTURE, f"the time is more than {FUTURE_S} s ahead of the platform's clock"
            else:
                since = np.datetime64(self._oldest_us(self._clock()), "us").astype("datetime64[s]")
                code, detail = Code.TS_TOO_OLD, f"readings are taken since {since}Z: what is older is dropped"
            group.refuse(envelopes[at].n, k, code, detail)
        for start, (n, _, arrival, envelope) in zip(starts, envelopes, strict=False):
            indices, why = without.get(n, (frozenset(), ""))
            for k in range(len(envelope.value)) if indices else ():
                if arrival.decoded and as_sent(arrival.decoded, k) in indices and not bad[start + k]:
                    bad[start + k] = True
                    group.refuse(n, k, Code.VALUE_RANGE, f"the database refuses it: {why}")
        return rows.where(~bad) if bad.any() else rows

    def _untimely(self, rows: Rows, now: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which readings are of the future, and which are too old."""
        return rows.ts > int(now * 1e6) + FUTURE_S * 1_000_000, rows.ts < self._oldest_us(now)

    def _oldest_us(self, now: float) -> int:
        return max(int(now * 1e6) - self._retention_us, self._kept_us)

    def _learn_kept(self, connection: Connection) -> None:
        """Learn from when on readings can join those that are kept: rollups of earlier time are final.

        A day after the oldest raw reading, so that what held before is there too.
        """
        now = self._clock()
        if now >= self._ask_kept:
            row = connection.execute(
                "SELECT (extract(epoch FROM nullif(raw_since, '-infinity')) * 1000000)::bigint FROM rollup_state"
            ).fetchone()
            assert row is not None
            self._kept_us = 0 if row[0] is None else row[0] + _DAY_US
            self._ask_kept = now + _KEPT_S

    def _learn(self, connection: Connection, envelopes: Sequence[Opened]) -> dict[str, Code]:
        """Look up every tag of which there are readings, registering new ones; the names refused, and why."""
        names: defaultdict[int, set[str]] = defaultdict(set)
        for one in envelopes:
            names[one.edge_id].update([one.envelope.tags[k] for k in set(one.envelope.tag)])
        return self._registry.tags(connection, names)

    def _ensure_partitions(self, connection: Connection, rows: Rows) -> bool:
        """Make the partitions of days that were not met yet; whether there were any."""
        first, last = int(rows.ts.min() // _DAY_US), int(rows.ts.max() // _DAY_US)
        days = {first} if first == last else {int(day) for day in np.unique(rows.ts // _DAY_US)}
        days -= self._partitions
        if days:
            dates = [np.datetime64(day, "D").astype(object) for day in sorted(days)]
            connection.execute("SELECT ensure_partitions(%s::date[])", [dates])
            # Retention drops old partitions, so only recent days are remembered.
            today = int(self._clock() * 1e6) // _DAY_US
            self._partitions |= {day for day in days if day >= today - 1}
        return bool(days)

    def _copy(
        self, connection: Connection, rows: Rows, stream: memoryview, group: Group, meanwhile: Callable[[], None]
    ) -> None:
        """Store readings straight; raises `StoredBefore` where one is there already."""
        try:
            with connection.cursor().copy(
                "COPY reading (tag_id, ts, value, quality) FROM STDIN (FORMAT binary)"
            ) as copy:
                copy.write(stream)
                reach("intake.copying")
                meanwhile()
        except errors.UniqueViolation as error:
            until = self._clock() + STAGING_S
            self._careful.update((int(edge_id), until) for edge_id in _culprits(error, rows))
            raise StoredBefore from error
        for edge_id, count in enumerate(np.bincount(rows.edge).tolist()):
            if count:
                group.counts[edge_id].stored += count

    def _stage(
        self, connection: Connection, rows: Rows, group: Group, meanwhile: Callable[[], None]
    ) -> tuple[Rows, Rows]:
        """Store what is not there yet; the same value again is a duplicate, another one a conflict: the first wins."""
        connection.execute("""
            CREATE TEMP TABLE IF NOT EXISTS staging (
              tag_id integer, ts timestamptz, value double precision, quality smallint, position integer
            ) ON COMMIT DELETE ROWS;
            TRUNCATE staging
        """)
        positions = np.arange(len(rows))
        with connection.cursor() as cursor:
            as_columns(cursor)
            with cursor.copy("COPY staging (tag_id, ts, value, quality, position) FROM STDIN (FORMAT binary)") as copy:
                copy.write(binary_copy.pack(rows.tag, rows.ts, rows.value, rows.quality, positions))
                meanwhile()
            # Most of a refill is there already: found by key, it need not be tried.
            there, differing = _there(cursor)
            new = np.zeros(len(rows), bool)
            if len(there) < len(rows):
                if len(there):
                    # Joined: integers are not looked up in an array of bigint, but compared with each of them.
                    cursor.execute("DELETE FROM staging USING unnest(%s) AS found(at) WHERE position = at", [there])
                # Arrived first, stored first: positions are in the order of arrival within a tag and time.
                inserted = cursor.execute("""
                    WITH chosen AS (
                      SELECT DISTINCT ON (tag_id, ts) * FROM staging ORDER BY tag_id, ts, position
                    ), stored AS (
                      INSERT INTO reading (tag_id, ts, value, quality) SELECT tag_id, ts, value, quality FROM chosen
                      ON CONFLICT DO NOTHING RETURNING tag_id, ts
                    )
                    SELECT position FROM stored JOIN chosen USING (tag_id, ts)
                """).fetchall()
                new[[position for (position,) in inserted]] = True
                if len(inserted) < len(rows) - len(there):  # twice in this group, or another worker was quicker
                    differing = np.concatenate([differing, _there(cursor)[1]])
        conflict = np.zeros(len(rows), bool)
        conflict[differing] = True
        conflicts = rows.where(conflict)
        self._conflicts(connection, conflicts, group)
        for edge_id in np.unique(rows.edge):
            own = rows.edge == edge_id
            count = group.counts[int(edge_id)]
            stored, conflicting = int((own & new).sum()), int((own & conflict).sum())
            count.stored += stored
            count.conflict += conflicting
            count.duplicate += int(own.sum()) - stored - conflicting
        return rows.where(new), conflicts

    def _conflicts(self, connection: Connection, rows: Rows, group: Group) -> None:
        if not len(rows):
            return
        messages = [group.arrivals[n].key or ("", 0) for n in rows.origin]
        connection.execute(
            """
            INSERT INTO reading_conflict (tag_id, ts, value, quality, edge_id, epoch, seq)
            SELECT tag_id, timestamptz 'epoch' + us * interval '1 microsecond', nullif(value, 'NaN'), quality,
                   edge_id, epoch, seq
              FROM unnest(%s, %s, %s, %s, %s, %s::text[], %s::bigint[])
                     AS c(tag_id, us, value, quality, edge_id, epoch, seq)
            """,
            [
                rows.tag, rows.ts, rows.value, rows.quality, rows.edge,
                [epoch for epoch, _ in messages], [seq for _, seq in messages],
            ],
        )  # fmt: skip

    def note_late(self, connection: Connection, written: Written, watermark: "psycopg.Cursor[Any] | None") -> None:
        """Note what the rollups have passed already, by the answer that `summarise` asked for."""
        row = watermark.fetchone() if watermark else None
        if row is None:
            return
        late = written.new.where(written.new.ts < row[0])
        if not len(late):
            return
        late = late.sorted()
        # One note per tag and clock hour: maintain works by the hour, and a wider one would have it redo what is right.
        tag, ts = late.tag, late.ts
        hour = ts // _HOUR_US
        starts = np.flatnonzero(np.r_[True, (np.diff(tag) != 0) | (np.diff(hour) != 0)])
        ends = np.r_[starts[1:], len(tag)] - 1
        connection.execute(
            """
            INSERT INTO rollup_dirty (tag_id, from_ts, to_ts)
            SELECT tag_id, timestamptz 'epoch' + first * interval '1 microsecond',
                   timestamptz 'epoch' + last * interval '1 microsecond'
              FROM unnest(%s, %s, %s) AS late(tag_id, first, last)
            """,
            [tag[starts], ts[starts], ts[ends]],
        )

    def _latest(self, connection: Connection, rows: Rows, group: Group) -> None:
        """Move `latest` forward. Rows are sorted, so that workers lock in one order and the last of a tag is its newest."""
        last = np.flatnonzero(np.r_[np.diff(rows.tag) != 0, True])
        # Of two readings at one time the first to come was stored.
        same = (rows.tag[last] == rows.tag[last - 1]) & (rows.ts[last] == rows.ts[last - 1]) & (last > 0)
        while same.any():
            last = np.where(same, last - 1, last)
            same = same & (last > 0) & (rows.tag[last] == rows.tag[last - 1]) & (rows.ts[last] == rows.ts[last - 1])
        newest = self._newest
        tags, times = rows.tag[last].tolist(), rows.ts[last].tolist()
        ahead = [k for k, (tag, ts) in enumerate(zip(tags, times, strict=True)) if ts > newest.get(tag, -1)]
        if not ahead:
            return
        chosen = last[ahead]
        connection.execute(
            """
            INSERT INTO latest (tag_id, ts, value, quality)
            SELECT tag_id, timestamptz 'epoch' + us * interval '1 microsecond', nullif(value, 'NaN'), quality
              FROM unnest(%s, %s, %s, %s) AS n(tag_id, us, value, quality)
            ON CONFLICT (tag_id) DO UPDATE
              SET ts = excluded.ts, value = excluded.value, quality = excluded.quality, changed_at = clock_timestamp()
              WHERE excluded.ts > latest.ts
            """,
            [rows.tag[chosen], rows.ts[chosen], rows.value[chosen], rows.quality[chosen]],
        )
        group.newest.update({tags[k]: times[k] for k in ahead})

    def _freshness(self, connection: Connection, rows: Rows, group: Group) -> None:
        """Count the ages of new live readings, in steps of an eighth of a factor of two."""
        live = np.array([group.is_live(n) for n in range(len(group.arrivals))])
        ts = rows.ts if live.all() else rows.ts[live[rows.origin]]
        now = self._clock()
        steps = np.floor(8 * np.log2(np.maximum((now * 1e6 - ts) / 1000, 1))).astype(np.int64)
        readings = np.bincount(steps)
        bucket = np.flatnonzero(readings)
        if not len(bucket):
            return
        connection.execute(
            """
            INSERT INTO freshness (slot, worker, bucket, readings)
            SELECT to_timestamp(%s), %s, bucket, readings
              FROM unnest(%s, %s) AS f(bucket, readings)
            ON CONFLICT (slot, worker, bucket) DO UPDATE SET readings = freshness.readings + excluded.readings
            """,
            [now // 10 * 10, self._worker, bucket, readings[bucket]],
        )


_WHY = {
    Code.TAG_UNKNOWN: "the plant model does not know the tag, and unknown ones are not taken",
    Code.TAG_FOREIGN: "the tag belongs to another gateway",
    Code.TAG_QUOTA: "the gateway has shown too many unknown tags in the last hour",
}


def _there(cursor: psycopg.Cursor[Any]) -> tuple[Ints, Ints]:
    """Positions in `staging` whose key is stored, and those of them whose value or quality is another.

    One look-up by key a row, whatever the planner would guess of a fresh temporary table.
    """
    row = cursor.execute(
        """
        SELECT coalesce(array_agg(position), '{}'),
               coalesce(array_agg(position) FILTER (WHERE (s.value, s.quality) IS DISTINCT FROM (r.value, r.quality)), '{}')
          FROM staging s CROSS JOIN LATERAL (
            SELECT value, quality FROM reading WHERE tag_id = s.tag_id AND ts = s.ts LIMIT 1) r
        """,
        binary=True,
    ).fetchone()
    assert row is not None
    return row[0].astype(np.int64), row[1].astype(np.int64)


def _pack(rows: Rows) -> memoryview:
    return binary_copy.pack(rows.tag, rows.ts, rows.value, rows.quality)


def _culprits(error: errors.UniqueViolation, rows: Rows) -> npt.NDArray[np.int64]:
    """The edge of the reading that was there already; all of them where the server does not say."""
    told = _KEY.search(error.diag.message_detail or "")
    return np.unique(rows.edge[rows.tag == int(told[1])] if told else rows.edge)
