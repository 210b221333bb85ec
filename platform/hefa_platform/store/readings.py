"""Readings of fresh envelopes on their way into the database: judged, stored, and noted for those who read them.

Straight binary COPY where nothing stands in the way; only the edge that sent a reading we had goes through staging, and
stays there for a minute. Locks are taken in the order readings by tag, watermark, `latest`.
"""

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import errors

from hefa_contract.envelope import UNCERTAIN, Decoded, Envelope
from hefa_contract.rejection import Code
from hefa_platform.failpoint import reach
from hefa_platform.store import binary_copy
from hefa_platform.store.arrival import Group, as_sent, columns
from hefa_platform.store.binary_copy import Floats, Ints
from hefa_platform.store.database import Connection
from hefa_platform.store.registry import Registry

FUTURE_S = 300  # how far a gateway's clock may be ahead
STAGING_S = 60  # how long an edge that sent a known reading keeps to the slow, careful way
_KEPT_S = 60  # how long an answer about the oldest raw readings is good: they are dropped by the day
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US

_KEY = re.compile(r"=\((\d+),")  # Key (tag_id, ts)=(5, 2026-11-22 …) already exists.

# Readings of a message, by index as sent, that the database will not take, and why.
Without = Mapping[int, tuple[Set[int], str]]
_Opened = tuple[int, Decoded, Envelope]  # a fresh message: its index in the group, and what it is


@dataclass(frozen=True, slots=True)
class Rows:
    """Readings of a group in columns, sorted by tag and time; `origin` is the index of the message, `edge` its edge's id."""

    tag: Ints
    ts: Ints
    value: Floats
    quality: Ints
    origin: Ints
    edge: Ints

    def __len__(self) -> int:
        return len(self.tag)

    def where(self, mask: npt.NDArray[Any]) -> "Rows":
        return Rows(*(getattr(self, name)[mask] for name in ("tag", "ts", "value", "quality", "origin", "edge")))


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the readings of a group that were `fit` to be stored; those neither new nor in conflict were there."""

    fit: Rows
    new: Rows
    conflicts: Rows


class StoredBefore(Exception):
    """A reading was there already. The transaction is lost, and the next attempt takes the careful way."""


@dataclass(frozen=True, slots=True)
class _Tags:
    """The tags of a group, row by row; id -1 where `verdicts` says why its gateway may not write it."""

    rows: defaultdict[int, dict[str, int]]  # by edge id and name
    ids: list[int]
    low: list[float]
    high: list[float]
    verdicts: dict[int, tuple[Code, str]]


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

    def write(self, connection: Connection, group: Group, without: Without) -> Written:
        """Store the readings of the group's fresh envelopes; `without` names those to quarantine untried.

        Raises `StoredBefore`.
        """
        rows = self._judge(connection, group, without)
        if not len(rows):
            return Written(rows, rows, rows)
        reach("readings.storing", " ".join(f"{a.edge}/{a.key and a.key[1]}" for a in group.arrivals))
        order = np.lexsort((rows.ts, rows.tag))
        rows = rows.where(order)
        self._ensure_partitions(connection, rows)
        now = self._clock()
        twice = (np.diff(rows.tag) == 0) & (np.diff(rows.ts) == 0)
        for edge_id in np.unique(rows.edge[1:][twice]):
            self._careful[int(edge_id)] = now + STAGING_S
        self._careful = {edge_id: until for edge_id, until in self._careful.items() if until > now}
        new, conflicts = self._copy(connection, rows, group)
        self._note_late(connection, new)
        return Written(rows, new, conflicts)

    def summarise(self, connection: Connection, group: Group, written: Written) -> None:
        """Move `latest` forward and count ages by what was written. Asks for no answer."""
        if len(written.fit):
            self._latest(connection, written.fit, group)
            self._freshness(connection, written.new, group)

    def _judge(self, connection: Connection, group: Group, without: Without) -> Rows:
        """Flatten the fresh envelopes; what may not be stored becomes refusals of the group."""
        envelopes = _envelopes(group)
        tags = self._tags(connection, group, envelopes)
        counts = [len(envelope.value) for _, _, envelope in envelopes]
        names: list[int] = []  # of each name of each envelope its row in `tags`; any for a name without readings
        offset: list[int] = []
        for n, _, envelope in envelopes:
            known = tags.rows[group.edge_ids[n] or 0]
            offset.append(len(names))
            names.extend([known.get(name, 0) for name in envelope.tags])
        made = [group.arrivals[n].columns for n, _, _ in envelopes]
        ready = [part for part in made if part is not None]
        together = ready and len(ready) == len(made)
        index, ts, value, quality = (
            map(np.concatenate, zip(*ready, strict=True)) if together else columns([e for _, _, e in envelopes])
        )
        at = np.array(names, np.int64)[np.repeat(np.array(offset, np.int64), counts) + index]
        tag = np.array(tags.ids, np.int64)[at]
        outside = (value < np.array(tags.low)[at]) | (value > np.array(tags.high)[at])  # false for NaN
        rows = Rows(
            tag=tag,
            ts=ts,
            value=value,
            quality=np.where(outside, np.minimum(quality, UNCERTAIN), quality),
            origin=np.repeat(np.array([n for n, _, _ in envelopes], np.int64), counts),
            edge=np.repeat(np.array([group.edge_ids[n] for n, _, _ in envelopes], np.int64), counts),
        )
        now_us = int(self._clock() * 1e6)
        oldest_us = max(now_us - self._retention_us, self._kept_since(connection))
        future, old = ts > now_us + FUTURE_S * 1_000_000, ts < oldest_us
        bad = (tag < 0) | future | old
        starts = np.cumsum([0, *counts])
        for row in np.flatnonzero(bad):
            if tag[row] < 0:
                code, detail = tags.verdicts[int(at[row])]
            elif future[row]:
                code, detail = Code.TS_FUTURE, f"the time is more than {FUTURE_S} s ahead of the platform's clock"
            else:
                since = np.datetime64(oldest_us, "us").astype("datetime64[s]")
                code, detail = Code.TS_TOO_OLD, f"readings are taken since {since}Z: what is older is dropped"
            n = int(rows.origin[row])
            group.refuse(n, int(row - starts[np.searchsorted(starts, row, side="right") - 1]), code, detail)
        for start, (n, decoded, envelope) in zip(starts, envelopes, strict=False):
            indices, why = without.get(n, (frozenset(), ""))
            for k in range(len(envelope.value)) if indices else ():
                if as_sent(decoded, k) in indices and not bad[start + k]:
                    bad[start + k] = True
                    group.refuse(n, k, Code.VALUE_RANGE, f"the database refuses it: {why}")
        return rows.where(~bad) if bad.any() else rows

    def _kept_since(self, connection: Connection) -> int:
        """From when on readings can join those that are kept, in µs: rollups of earlier time are final.

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
        return self._kept_us

    def _tags(self, connection: Connection, group: Group, envelopes: Sequence[_Opened]) -> _Tags:
        """Look up every tag of which there are readings, registering new ones."""
        names: defaultdict[int, set[str]] = defaultdict(set)
        for n, _, envelope in envelopes:
            names[group.edge_ids[n] or 0].update([envelope.tags[k] for k in set(envelope.tag)])
        refused = self._registry.tags(connection, names)
        tags = _Tags(defaultdict(dict), [], [], [], {})
        for edge_id, own in names.items():
            for row, name in enumerate(own, len(tags.ids)):
                tags.rows[edge_id][name] = row
                tag = None if name in refused else self._registry.tag(name)
                if tag is not None and self._registry.may_write(edge_id, tag):
                    tags.ids.append(tag.tag_id)
                else:
                    tags.ids.append(-1)
                    code = refused.get(name, Code.TAG_FOREIGN)
                    tags.verdicts[row] = (code, _WHY[code])
                tags.low.append(nan if tag is None else tag.low)
                tags.high.append(nan if tag is None else tag.high)
        return tags

    def _ensure_partitions(self, connection: Connection, rows: Rows) -> None:
        first, last = int(rows.ts.min() // _DAY_US), int(rows.ts.max() // _DAY_US)
        days = {first} if first == last else {int(day) for day in np.unique(rows.ts // _DAY_US)}
        days -= self._partitions
        if days:
            dates = [np.datetime64(day, "D").astype(object) for day in sorted(days)]
            connection.execute("SELECT ensure_partitions(%s::date[])", [dates])
            # Retention drops old partitions, so only recent days are remembered.
            today = int(self._clock() * 1e6) // _DAY_US
            self._partitions |= {day for day in days if day >= today - 1}

    def _copy(self, connection: Connection, rows: Rows, group: Group) -> tuple[Rows, Rows]:
        """Store readings, straight where possible; return those that were new, and those in conflict."""
        careful = np.isin(rows.edge, list(self._careful)) if self._careful else np.zeros(len(rows), bool)
        straight = rows.where(~careful) if careful.any() else rows
        if len(straight):
            try:
                with connection.cursor().copy(
                    "COPY reading (tag_id, ts, value, quality) FROM STDIN (FORMAT binary)"
                ) as copy:
                    copy.write(binary_copy.pack(straight.tag, straight.ts, straight.value, straight.quality))
                    reach("intake.copying")
            except errors.UniqueViolation as error:
                until = self._clock() + STAGING_S
                self._careful.update((int(edge_id), until) for edge_id in _culprits(error, straight))
                raise StoredBefore from error
        for edge_id, count in enumerate(np.bincount(straight.edge).tolist()):
            if count:
                group.counts[edge_id].stored += count
        if straight is rows:
            return rows, rows.where(careful)
        new, conflicts = self._stage(connection, rows.where(careful), group)
        stored = Rows(*(np.concatenate([getattr(straight, f), getattr(new, f)]) for f in Rows.__slots__))
        return stored, conflicts

    def _stage(self, connection: Connection, rows: Rows, group: Group) -> tuple[Rows, Rows]:
        """Store what is not there yet; the same value again is a duplicate, another one a conflict: the first wins."""
        connection.execute("""
            CREATE TEMP TABLE IF NOT EXISTS staging (
              tag_id integer, ts timestamptz, value double precision, quality smallint, position integer
            ) ON COMMIT DELETE ROWS;
            TRUNCATE staging
        """)
        positions = np.arange(len(rows))
        with connection.cursor() as cursor:
            with cursor.copy("COPY staging (tag_id, ts, value, quality, position) FROM STDIN (FORMAT binary)") as copy:
                copy.write(binary_copy.pack(rows.tag, rows.ts, rows.value, rows.quality, positions))
            # Most of a refill is there already: found by key, it need not be tried.
            there, differing = _there(cursor)
            new = np.zeros(len(rows), bool)
            if len(there) < len(rows):
                if there:
                    cursor.execute("DELETE FROM staging WHERE position = ANY (%s)", [there])
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
                    differing += _there(cursor)[1]
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
            SELECT tag_id, timestamptz 'epoch' + us * interval '1 microsecond', value, quality, edge_id, epoch, seq
              FROM unnest(%s::integer[], %s::bigint[], %s::float8[], %s::smallint[], %s::integer[], %s::text[],
                          %s::bigint[]) AS c(tag_id, us, value, quality, edge_id, epoch, seq)
            """,
            [
                rows.tag.tolist(), rows.ts.tolist(), _nullable(rows.value), rows.quality.tolist(), rows.edge.tolist(),
                [epoch for epoch, _ in messages], [seq for _, seq in messages],
            ],
        )  # fmt: skip

    def _note_late(self, connection: Connection, rows: Rows) -> None:
        """Note what the rollups have passed already. The share lock keeps the watermark where it is until COMMIT."""
        row = connection.execute(
            "SELECT (extract(epoch FROM watermark) * 1000000)::bigint FROM rollup_state FOR SHARE"
        ).fetchone()
        assert row is not None
        late = rows.where(rows.ts < row[0])
        if not len(late):
            return
        # One note per tag and clock hour: maintain works by the hour, and a wider one would have it redo what is right.
        order = np.lexsort((late.ts, late.tag))
        tag, ts = late.tag[order], late.ts[order]
        hour = ts // _HOUR_US
        starts = np.flatnonzero(np.r_[True, (np.diff(tag) != 0) | (np.diff(hour) != 0)])
        ends = np.r_[starts[1:], len(tag)] - 1
        connection.execute(
            """
            INSERT INTO rollup_dirty (tag_id, from_ts, to_ts)
            SELECT tag_id, timestamptz 'epoch' + first * interval '1 microsecond',
                   timestamptz 'epoch' + last * interval '1 microsecond'
              FROM unnest(%s::integer[], %s::bigint[], %s::bigint[]) AS late(tag_id, first, last)
            """,
            [tag[starts].tolist(), ts[starts].tolist(), ts[ends].tolist()],
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
            SELECT tag_id, timestamptz 'epoch' + us * interval '1 microsecond', value, quality
              FROM unnest(%b::integer[], %b::bigint[], %b::float8[], %b::smallint[]) AS n(tag_id, us, value, quality)
            ON CONFLICT (tag_id) DO UPDATE
              SET ts = excluded.ts, value = excluded.value, quality = excluded.quality, changed_at = clock_timestamp()
              WHERE excluded.ts > latest.ts
            """,
            [
                rows.tag[chosen].tolist(), rows.ts[chosen].tolist(), _nullable(rows.value[chosen]),
                rows.quality[chosen].tolist(),
            ],
        )  # fmt: skip
        group.newest.update({tags[k]: times[k] for k in ahead})

    def _freshness(self, connection: Connection, rows: Rows, group: Group) -> None:
        """Count the ages of new live readings, in steps of an eighth of a factor of two."""
        live = np.array([group.is_live(n) for n in range(len(group.arrivals))])
        rows = rows.where(live[rows.origin])
        if not len(rows):
            return
        now = self._clock()
        age_ms = np.maximum((now * 1e6 - rows.ts) / 1000, 1)
        bucket, count = np.unique(np.floor(8 * np.log2(age_ms)).astype(np.int64), return_counts=True)
        connection.execute(
            """
            INSERT INTO freshness (slot, worker, bucket, readings)
            SELECT to_timestamp(%s), %s, bucket, readings
              FROM unnest(%s::smallint[], %s::bigint[]) AS f(bucket, readings)
            ON CONFLICT (slot, worker, bucket) DO UPDATE SET readings = freshness.readings + excluded.readings
            """,
            [now // 10 * 10, self._worker, bucket.tolist(), count.tolist()],
        )


_WHY = {
    Code.TAG_UNKNOWN: "the plant model does not know the tag, and unknown ones are not taken",
    Code.TAG_FOREIGN: "the tag belongs to another gateway",
    Code.TAG_QUOTA: "the gateway has shown too many unknown tags in the last hour",
}


def _there(cursor: psycopg.Cursor[Any]) -> tuple[list[int], list[int]]:
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
    return row[0], row[1]


def _envelopes(group: Group) -> list[_Opened]:
    opened = []
    for n in group.fresh:
        decoded = group.arrivals[n].decoded
        if decoded is not None and isinstance(decoded.message, Envelope):
            opened.append((n, decoded, decoded.message))
    return opened


def _nullable(values: Floats) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _culprits(error: errors.UniqueViolation, rows: Rows) -> npt.NDArray[np.int64]:
    """The edge of the reading that was there already; all of them where the server does not say."""
    told = _KEY.search(error.diag.message_detail or "")
    return np.unique(rows.edge[rows.tag == int(told[1])] if told else rows.edge)
