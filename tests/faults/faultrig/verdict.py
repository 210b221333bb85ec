"""The judge: what the gateways say they recorded, against what the database holds.

`judge` looks at one database when everything is quiet. Each of its checks is a promise; what breaks one is a sentence
in `problems`, and an empty list is the proof.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from faultrig import oracle

from hefa_platform.store import rollups
from hefa_platform.store.database import Database

_TS_BITS = 51  # µs since 1970 fit into 51 bits until 2041; the tag's id goes above
Keys = npt.NDArray[np.int64]


@dataclass
class Verdict:
    """Figures in readings. `lost` were kept by a gateway and are nowhere; `strange` are stored and nobody recorded."""

    recorded: int = 0
    stored: int = 0
    quarantined: int = 0
    conflicts: int = 0
    given_up: int = 0
    lost: int = 0
    duplicated: int = 0
    strange: int = 0
    problems: list[str] = field(default_factory=list)

    def check(self, kept: bool, otherwise: str) -> None:
        if not kept:
            self.problems.append(otherwise)


def judge(
    admin: str,
    jobs: str,
    recorded: Mapping[str, oracle.Recorded],
    outboxes: Mapping[str, Sequence[Path]],
    ignored: Sequence[str] = (),
) -> Verdict:
    """Compare. `recorded` by edge; `outboxes` are their files, of processes that have ended.

    Whatever is stored of the edges `ignored` is not asked for.
    """
    finish_rollups(jobs)
    with psycopg.connect(admin) as connection:
        return look(connection, recorded, outboxes, ignored)


def look(
    connection: psycopg.Connection,
    recorded: Mapping[str, oracle.Recorded],
    outboxes: Mapping[str, Sequence[Path]],
    ignored: Sequence[str] = (),
) -> Verdict:
    """What `judge` does once the rollups are finished."""
    verdict = Verdict()
    ids = dict(connection.execute("SELECT name, tag_id FROM tag").fetchall())
    stored, stored_value = _stored(connection)
    verdict.stored = len(stored)
    twice = len(stored) - len(np.unique(stored))
    verdict.check(twice == 0, f"{twice} readings are there twice")
    elsewhere = _elsewhere(connection, ids)
    verdict.quarantined, verdict.conflicts = (len(keys) for keys in elsewhere)
    allowed: list[Keys] = [_of_edges(connection, ignored)]
    for edge, record in recorded.items():
        names = np.array([ids[name] for name in record.names], np.int64)
        keys, perhaps = _keys(names, record.kept), _keys(names, record.perhaps)
        verdict.recorded += len(keys)
        allowed += [keys, perhaps]
        missing = keys[~np.isin(keys, np.concatenate([stored, *elsewhere]))]
        told = _given_up(connection, edge)
        verdict.given_up += told
        # What an outbox gave up and told is no silent loss; what it skipped was never kept.
        given_up_of_kept = told - record.skipped
        verdict.lost += max(0, len(missing) - given_up_of_kept)
        verdict.check(
            len(missing) == given_up_of_kept or (given_up_of_kept > len(missing) and len(record.perhaps) > 0),
            f"{edge}: {len(missing)} recorded readings are nowhere, gaps tell of {given_up_of_kept}",
        )
        _same_values(verdict, edge, keys, record.kept["value"], stored, stored_value, elsewhere)
    strangers = stored[~np.isin(stored, np.concatenate([np.empty(0, np.int64), *allowed]))]
    verdict.strange = len(strangers)
    verdict.check(not len(strangers), f"{len(strangers)} stored readings that nobody recorded")
    _accounts(verdict, connection)
    _latest(verdict, connection)
    _rollups(verdict, connection)
    for edge, files in outboxes.items():
        for file in files:
            _outbox(verdict, connection, edge, file)
    verdict.duplicated = max(verdict.duplicated, twice)
    return verdict


def finish_rollups(jobs: str) -> None:
    """Roll everything up, this minute included, by the real thing: what a register counts reaches back from there."""
    with Database(jobs, max_size=1, application="hefa-rig") as database, database.session() as connection:
        deadline = time.monotonic() + 60
        while not rollups.claim(connection):
            assert time.monotonic() < deadline, "somebody else works on the rollups"
            time.sleep(0.2)
        connection.execute("SELECT 1")
        behind_all = "SELECT date_trunc('minute', clock_timestamp()) + interval '1 minute'"
        (end,) = connection.execute(behind_all).fetchone() or (None,)
        rollups.advance(connection, end)
        while rollups.work(connection, "longest", settled=False) is not None:
            pass


def pending(file: Path) -> int:
    """Messages of an outbox that are not acknowledged; its process may be running."""
    if not file.exists():
        return 0
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10) as connection:
        return int(connection.execute("SELECT count(*) FROM pending").fetchone()[0])


def _keys(ids: Keys, rows: oracle.Rows) -> Keys:
    return np.asarray((ids[rows["tag"]] << _TS_BITS) + rows["ts"], np.int64) if len(rows) else np.empty(0, np.int64)


def _stored(connection: psycopg.Connection) -> tuple[Keys, npt.NDArray[np.float64]]:
    rows = connection.execute("""
        SELECT (tag_id::bigint << 51) + (extract(epoch FROM ts) * 1000000)::bigint, coalesce(value, 'nan') FROM reading
    """).fetchall()
    table = np.array(rows, dtype=[("key", "i8"), ("value", "f8")])
    order = np.argsort(table["key"])
    return table["key"][order], table["value"][order]


def _of_edges(connection: psycopg.Connection, edges: Sequence[str]) -> Keys:
    rows = connection.execute(
        """
        SELECT (tag_id::bigint << 51) + (extract(epoch FROM ts) * 1000000)::bigint
          FROM reading JOIN tag USING (tag_id) JOIN edge USING (edge_id) WHERE edge.name = ANY (%s)
        """,
        [list(edges)],
    ).fetchall()
    return np.array([key for (key,) in rows], np.int64)


def _elsewhere(connection: psycopg.Connection, ids: Mapping[str, int]) -> tuple[Keys, Keys]:
    refused = connection.execute(
        """
        SELECT reading->>'tag', (reading->>'ts')::bigint FROM quarantine WHERE reading->>'ts' ~ '^-?[0-9]{1,18}$'
        """
    ).fetchall()
    conflicts = connection.execute("""
        SELECT (tag_id::bigint << 51) + (extract(epoch FROM ts) * 1000000)::bigint FROM reading_conflict
    """).fetchall()
    quarantined = [(ids[tag] << _TS_BITS) + ts for tag, ts in refused if tag in ids]
    return np.array(quarantined, np.int64), np.array([key for (key,) in conflicts], np.int64)


def _given_up(connection: psycopg.Connection, edge: str) -> int:
    """What the gaps of an edge tell, without what was on its way already and came all the same."""
    row = connection.execute(
        """
        SELECT coalesce(sum(gap.readings - (SELECT coalesce(sum(ledger.readings), 0) FROM ledger
                 WHERE ledger.edge_id = gap.edge_id AND ledger.epoch = gap.epoch AND reason <> 'split'
                   AND ledger.seq BETWEEN from_seq AND to_seq)), 0)::bigint
          FROM gap JOIN edge USING (edge_id) WHERE edge.name = %s
        """,
        [edge],
    ).fetchone()
    return int(row[0]) if row else 0


def _same_values(
    verdict: Verdict,
    edge: str,
    keys: Keys,
    values: npt.NDArray[np.float64],
    stored: Keys,
    stored_values: npt.NDArray[np.float64],
    elsewhere: Sequence[Keys],
) -> None:
    if not len(stored):
        return
    at = np.minimum(np.searchsorted(stored, keys), len(stored) - 1)
    there = stored[at] == keys
    other = there & ~np.isclose(stored_values[at], values, rtol=1e-12, equal_nan=True) & ~np.isin(keys, elsewhere[1])
    verdict.check(not other.any(), f"{edge}: {int(other.sum())} readings are stored with another value")


def _accounts(verdict: Verdict, connection: psycopg.Connection) -> None:
    """The identity holds, and each of its sums is what the tables hold."""
    rows = connection.execute("""
        SELECT name, received, c.stored, duplicate, conflict, quarantined,
               (SELECT count(*) FROM reading JOIN tag USING (tag_id) WHERE tag.edge_id = edge.edge_id),
               (SELECT count(*) FROM reading_conflict WHERE edge_id = edge.edge_id),
               (SELECT count(*) FROM quarantine WHERE quarantine.edge = edge.name AND reading ? 'ts')  -- events are not
          FROM (SELECT edge_id, sum(received)::bigint AS received, sum(stored)::bigint AS stored,
                       sum(duplicate)::bigint AS duplicate, sum(conflict)::bigint AS conflict,
                       sum(quarantined)::bigint AS quarantined FROM intake_counter GROUP BY edge_id) c
          JOIN edge USING (edge_id)
    """).fetchall()
    for edge, received, stored, duplicate, conflict, quarantined, in_reading, in_conflict, in_quarantine in rows:
        balanced = received == stored + duplicate + conflict + quarantined
        verdict.check(balanced, f"{edge}: the accounts do not add up: {received} received")
        verdict.check(stored == in_reading, f"{edge}: {stored} counted as stored, {in_reading} are")
        verdict.duplicated += max(0, in_reading - stored)
        verdict.check(conflict == in_conflict, f"{edge}: {conflict} counted as conflicts, {in_conflict} are")
        verdict.check(quarantined >= in_quarantine, f"{edge}: {quarantined} counted in quarantine, {in_quarantine} are")


def _latest(verdict: Verdict, connection: psycopg.Connection) -> None:
    row = connection.execute("""
        SELECT count(*) FROM (SELECT DISTINCT ON (tag_id) tag_id, ts, value, quality FROM reading ORDER BY tag_id, ts DESC) r
          FULL JOIN latest l USING (tag_id)
         WHERE (r.ts, r.value, r.quality) IS DISTINCT FROM (l.ts, l.value, l.quality)
    """).fetchone()
    verdict.check(row == (0,), f"latest is wrong for {row and row[0]} tags")


def _rollups(verdict: Verdict, connection: psycopg.Connection) -> None:
    """Minutes are what raw says, hours are what minutes say."""
    connection.execute("SET jit = off")
    row = connection.execute("""
        WITH span AS (
          SELECT tag_id, date_trunc('minute', min(ts)) AS lo, (SELECT watermark FROM rollup_state) AS hi
            FROM reading GROUP BY tag_id
        ), want AS (
          SELECT r.* FROM minute_rollup((SELECT array_agg(tag_id ORDER BY tag_id) FROM span WHERE lo < hi),
                                        (SELECT array_agg(lo ORDER BY tag_id) FROM span WHERE lo < hi),
                                        (SELECT array_agg(hi ORDER BY tag_id) FROM span WHERE lo < hi)) AS r
        )
        SELECT count(*) FILTER (WHERE w.tag_id IS NULL), count(*) FILTER (WHERE m.tag_id IS NULL),
               count(*) FILTER (WHERE w.n <> m.n OR w.n_good <> m.n_good OR w.min <> m.min OR w.max <> m.max
                 OR w.last <> m.last OR w.first <> m.first
                 OR abs(w.tw_sum - m.tw_sum) > 1e-6 * (1 + abs(w.tw_sum))
                 OR abs(w.covered_s - m.covered_s) > 1e-3
                 OR abs(coalesce(w.inc_measured + w.inc_estimated + w.inc_unknown, 0)
                        - coalesce(m.inc_measured + m.inc_estimated + m.inc_unknown, 0))
                    > 1e-6 * (1 + abs(coalesce(w.inc_measured + w.inc_estimated + w.inc_unknown, 0)))),
               count(*)
          FROM want w FULL JOIN (SELECT reading_1m.* FROM reading_1m JOIN rollup_state ON bucket < watermark) m
         USING (tag_id, bucket)
    """).fetchone()
    assert row is not None
    extra, missing, wrong, _ = row
    verdict.check(extra + missing + wrong == 0, f"minutes: {missing} missing, {extra} too many, {wrong} wrong")
    row = connection.execute("""
        SELECT count(*) FROM reading_1h h FULL JOIN (
                 SELECT tag_id, date_trunc('hour', bucket) AS bucket, sum(n) AS n, sum(tw_sum) AS tw_sum
                   FROM reading_1m GROUP BY 1, 2) m USING (tag_id, bucket)
         WHERE (h.n = m.n AND abs(h.tw_sum - m.tw_sum) <= 1e-6 * (1 + abs(m.tw_sum))) IS NOT TRUE
    """).fetchone()
    verdict.check(row == (0,), f"{row and row[0]} hours are not the sum of their minutes")


def _outbox(verdict: Verdict, connection: psycopg.Connection, edge: str, file: Path) -> None:
    """Sound, empty of what waits, and everything it holds as acknowledged is in the ledger."""
    with sqlite3.connect(file) as box:
        verdict.check(box.execute("PRAGMA integrity_check").fetchone() == ("ok",), f"{file.name}: damaged")
        waiting = box.execute("SELECT count(*) FROM pending").fetchone()[0]
        verdict.check(waiting == 0, f"{file.name}: {waiting} messages are not acknowledged")
        epoch = box.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]
        retired: list[Any] = [seq for (seq,) in box.execute("SELECT seq FROM retired")]
    row = connection.execute(
        """
        SELECT count(*) FROM unnest(%s::bigint[]) AS acknowledged(seq)
         WHERE NOT EXISTS (SELECT FROM ledger JOIN edge USING (edge_id)
                            WHERE edge.name = %s AND epoch = %s AND ledger.seq = acknowledged.seq)
        """,
        [retired, edge, epoch],
    ).fetchone()
    verdict.check(row == (0,), f"{file.name}: {row and row[0]} acknowledged messages are not in the ledger")
