"""Readings of tags over a range: as they came, or as rollups by bucket.

Whole settled hours are answered from `reading_1h`, the rest from `reading_1m`, and what the refresh has not reached
from the readings themselves by the same SQL (`minutes_now`), so the three agree wherever they meet.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, LiteralString

import numpy as np
import numpy.typing as npt
from psycopg.rows import class_row

from hefa_platform.store.buckets import MINUTE, Range, fixed_width, floor, sources
from hefa_platform.store.columns import as_columns
from hefa_platform.store.database import Connection, Database

Column = npt.NDArray[np.float64]
Agg = Literal["mean", "min", "max", "first", "last", "count", "increment"]


@dataclass(frozen=True, slots=True)
class Rollup:
    """One tag's readings by bucket, in columns of equal length and any order; `k` is the bucket's index.

    `value` as aggregated, NaN where nothing is known. `covered_s` are the seconds in which a usable value was in
    force; `worst` is the worst OPC quality, -1 without readings.
    """

    tag_id: int
    k: npt.NDArray[np.int32]
    value: Column
    min: Column
    max: Column
    covered_s: Column
    worst: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Used:
    """What one register counted in every bucket, in register units, by how well it is known.

    `unknown` is what a jump that cannot be believed would say, or rounds that nobody saw. NaN is not zero: no reading
    speaks of the class, or, where `covered_s` is NaN, of the bucket.
    """

    measured: Column
    estimated: Column
    unknown: Column
    covered_s: Column


@dataclass(frozen=True, slots=True)
class Reading:
    """One stored reading."""

    tag_id: int
    ts: datetime
    value: float | None
    quality: int


# The rows that answer for tags over a range, and whether they are hours, minutes or made from readings just now.
# %(starts)s are the buckets' first instants; width_bucket sorts a row between them by binary search.
# OFFSET 0 keeps the planner from joining the tags last: each tag and range is one scan of the primary key.
PARTS: LiteralString = """
    WITH part AS (
      SELECT r.*, 'hours' AS origin FROM unnest(%(tags)s::integer[]) t(tag_id)
        CROSS JOIN unnest(%(hour_from)s::timestamptz[], %(hour_to)s::timestamptz[]) w("from", "to")
        JOIN LATERAL (SELECT * FROM reading_1h
                       WHERE tag_id = t.tag_id AND bucket >= w."from" AND bucket < w."to" OFFSET 0) r ON true
      UNION ALL
      SELECT r.*, 'minutes' FROM unnest(%(tags)s::integer[]) t(tag_id)
        CROSS JOIN unnest(%(minute_from)s::timestamptz[], %(minute_to)s::timestamptz[]) w("from", "to")
        JOIN LATERAL (SELECT * FROM reading_1m
                       WHERE tag_id = t.tag_id AND bucket >= w."from" AND bucket < w."to" OFFSET 0) r ON true
      UNION ALL
      SELECT *, 'readings' FROM minutes_now(%(live_tag)s::integer[], %(live_from)s::timestamptz[], %(live_to)s::timestamptz[])
    )
"""

# Each row's bucket: told by arithmetic where buckets are even, else by binary search between their starts.
_ASKED: LiteralString = """
    , asked AS (SELECT * FROM unnest(%(tags)s::integer[], %(aggs)s::text[]) asked(tag_id, agg))
    , told AS (SELECT part.*, asked.agg,
"""
_BUCKETS: LiteralString = """
      FROM part JOIN asked ON asked.tag_id = part.tag_id)
    , bucket AS (
      SELECT tag_id, k,
             CASE agg
               WHEN 'mean' THEN sum(tw_sum) / nullif(sum(covered_s), 0)
               WHEN 'min' THEN min(min)
               WHEN 'max' THEN max(max)
               WHEN 'count' THEN sum(n)::double precision
               WHEN 'increment' THEN CASE WHEN count(inc_measured) + count(inc_estimated) > 0
                                     THEN coalesce(sum(inc_measured), 0) + coalesce(sum(inc_estimated), 0) END
               -- An array compares by its first element, here the time. The first reading's value, null if it
               -- was bad; where there is none the value that held. The last is the one in force at the end.
               WHEN 'first' THEN (coalesce(
                 min(ARRAY[extract(epoch FROM first_ts)::double precision, first])
                   FILTER (WHERE agg = 'first' AND n > 0),
                 min(ARRAY[extract(epoch FROM first_ts)::double precision, first])
                   FILTER (WHERE agg = 'first' AND first_ts IS NOT NULL)))[2]
               WHEN 'last' THEN (max(ARRAY[extract(epoch FROM last_ts)::double precision, last])
                                 FILTER (WHERE agg = 'last' AND last_ts IS NOT NULL))[2]
             END AS value,
             min(min) AS min, max(max) AS max, coalesce(sum(covered_s), 0) AS covered_s, min(worst) AS worst
        FROM told
       GROUP BY tag_id, k, agg
    )
"""
_K_EVEN: LiteralString = " floor(date_part('epoch', part.bucket - %(first)s::timestamptz) / %(width)s)::integer AS k "
_K_UNEVEN: LiteralString = " width_bucket(part.bucket, %(starts)s::timestamptz[]) - 1 AS k "
_EVEN: LiteralString = _ASKED + _K_EVEN + _BUCKETS
_UNEVEN: LiteralString = _ASKED + _K_UNEVEN + _BUCKETS
# Columns, because a row for each point would cost more than the query.
_COLUMNS: LiteralString = """
    array_agg(k) AS k, array_agg(coalesce(value, 'NaN')) AS value, array_agg(coalesce(min, 'NaN')) AS min,
    array_agg(coalesce(max, 'NaN')) AS max, array_agg(covered_s) AS covered_s, array_agg(coalesce(worst, -1)) AS worst
"""
_ROLLUP: LiteralString = f" SELECT tag_id, {_COLUMNS} FROM bucket GROUP BY tag_id"  # noqa: S608 - literals
# A minute's row is its bucket: nothing is to be added up or put in order, and each tag's are an answer as they are read.
_POINT: LiteralString = """
    (date_part('epoch', part.bucket - %(first)s::timestamptz) / 60)::integer AS k,
    CASE asked.agg WHEN 'mean' THEN tw_sum / nullif(covered_s, 0) WHEN 'min' THEN min WHEN 'max' THEN max
         WHEN 'count' THEN n WHEN 'increment' THEN inc_measured + inc_estimated
         WHEN 'first' THEN first WHEN 'last' THEN last END AS value,
    min, max, covered_s, worst
"""
_MINUTES: LiteralString = f"""
    SELECT asked.tag_id, settled.* FROM unnest(%(tags)s::integer[], %(aggs)s::text[]) asked(tag_id, agg)
     CROSS JOIN LATERAL (
      SELECT {_COLUMNS} FROM (
        SELECT {_POINT} FROM unnest(%(minute_from)s::timestamptz[], %(minute_to)s::timestamptz[]) w("from", "to")
         CROSS JOIN LATERAL (SELECT * FROM reading_1m WHERE tag_id = asked.tag_id
                                AND bucket >= w."from" AND bucket < w."to" OFFSET 0) part) point
     ) settled WHERE settled.k IS NOT NULL
    UNION ALL
    SELECT tag_id, {_COLUMNS} FROM (
      SELECT part.tag_id, {_POINT}
        FROM minutes_now(%(live_tag)s::integer[], %(live_from)s::timestamptz[], %(live_to)s::timestamptz[]) part
        JOIN unnest(%(tags)s::integer[], %(aggs)s::text[]) asked(tag_id, agg) ON asked.tag_id = part.tag_id) point
     GROUP BY tag_id
"""  # noqa: S608 - literals


def rollup(
    database: Database, aggs: dict[int, Agg], starts: Sequence[datetime], start: datetime, end: datetime
) -> list[Rollup]:
    """Aggregate the tags of `aggs`, each its own way, over the minutes of [start, end), by bucket.

    `starts` as of `Calendar.starts`; `start` and `end` are whole minutes. Tags and buckets without a row are left out;
    a tag's buckets may be told in two parts. `mean` is weighted by the time a value held.
    """
    width = fixed_width(starts)
    query = _MINUTES if width == MINUTE else PARTS + (_EVEN if width is not None else _UNEVEN) + _ROLLUP
    with database.connection() as connection, connection.cursor(row_factory=class_row(Rollup), binary=True) as cursor:
        as_columns(cursor)
        return cursor.execute(
            query,
            parameters(connection, list(aggs), starts, start, end)
            | {"aggs": list(aggs.values()), "width": width and width.total_seconds()},
            prepare=True,
        ).fetchall()


# A month of quarter-hours is more than a million minutes for the meters of a site: they are added up tag by tag, as its
# index is read. All tags at once would not fit in a session's memory.
_COUNTED: LiteralString = """
    sum(inc_measured) AS measured, sum(inc_estimated) AS estimated, sum(inc_unknown) AS unknown,
    coalesce(sum(covered_s), 0) AS covered_s
"""
_AMOUNTS: LiteralString = """
    array_agg(k) AS k, array_agg(coalesce(measured, 'NaN')) AS measured,
    array_agg(coalesce(estimated, 'NaN')) AS estimated, array_agg(coalesce(unknown, 'NaN')) AS unknown,
    array_agg(covered_s) AS covered_s
"""


def _used(k: LiteralString) -> LiteralString:
    return f"""
    SELECT t.tag_id, settled.* FROM unnest(%(tags)s::integer[]) t(tag_id) CROSS JOIN LATERAL (
      SELECT {_AMOUNTS} FROM (
        SELECT {k}, {_COUNTED} FROM (
          SELECT r.bucket, r.inc_measured, r.inc_estimated, r.inc_unknown, r.covered_s
            FROM unnest(%(hour_from)s::timestamptz[], %(hour_to)s::timestamptz[]) w("from", "to")
           CROSS JOIN LATERAL (SELECT * FROM reading_1h WHERE tag_id = t.tag_id
                                  AND bucket >= w."from" AND bucket < w."to" OFFSET 0) r
          UNION ALL
          SELECT r.bucket, r.inc_measured, r.inc_estimated, r.inc_unknown, r.covered_s
            FROM unnest(%(minute_from)s::timestamptz[], %(minute_to)s::timestamptz[]) w("from", "to")
           CROSS JOIN LATERAL (SELECT * FROM reading_1m WHERE tag_id = t.tag_id
                                  AND bucket >= w."from" AND bucket < w."to" OFFSET 0) r
        ) part GROUP BY k) bucket
     ) settled WHERE settled.k IS NOT NULL
    UNION ALL
    SELECT tag_id, {_AMOUNTS} FROM (
      SELECT part.tag_id, {k}, {_COUNTED}
        FROM minutes_now(%(live_tag)s::integer[], %(live_from)s::timestamptz[], %(live_to)s::timestamptz[]) part
       GROUP BY tag_id, k) bucket
     GROUP BY tag_id
    """  # noqa: S608 - literals


_USED_EVEN, _USED_UNEVEN = _used(_K_EVEN), _used(_K_UNEVEN)


def used(
    database: Database, tag_ids: Sequence[int], starts: Sequence[datetime], start: datetime, end: datetime
) -> dict[int, Used]:
    """What registers counted over the minutes of [start, end), by tag; arguments as for `rollup`."""
    width = fixed_width(starts)
    with database.connection() as connection, connection.cursor(binary=True) as cursor:
        as_columns(cursor)
        parts = cursor.execute(
            _USED_EVEN if width is not None else _USED_UNEVEN,
            parameters(connection, tag_ids, starts, start, end) | {"width": width and width.total_seconds()},
            prepare=True,
        ).fetchall()
    found = {tag_id: np.full((4, len(starts) - 1), np.nan) for tag_id in tag_ids}
    for tag_id, k, *amounts in parts:  # a bucket that is partly computed live has two
        found[tag_id][:, k] = plus(found[tag_id][:, k], np.array(amounts))
    return {tag_id: Used(*columns) for tag_id, columns in found.items()}


def plus(left: Column, right: Column) -> Column:
    """Sum in which an absent amount, NaN, is not zero."""
    total: Column = np.where(np.isnan(left), right, np.where(np.isnan(right), left, left + right))
    return total


def added_up_to(database: Database, tag_ids: Sequence[int], start: datetime, end: datetime) -> datetime:
    """Until when all that came is in the rollups of [start, end): `end`, or where the oldest note of late data begins.

    Ask before the figures: a refresh that commits in between makes them better than told, never worse.
    """
    with database.connection() as connection:
        row = connection.execute(
            """
            SELECT greatest(min(from_ts), %(start)s) FROM rollup_dirty
             WHERE tag_id = ANY (%(tags)s) AND from_ts < %(end)s AND to_ts >= %(start)s
            HAVING count(*) > 0
            """,
            {"tags": list(tag_ids), "start": start, "end": end},
        ).fetchone()
    return end if row is None else row[0]


def raw(
    database: Database, tag_ids: Sequence[int], start: datetime, end: datetime, limit: int
) -> dict[int, list[Reading]]:
    """Readings of each tag in [start, end) in order of time, at most `limit` + 1 each: one more says there is more."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Reading)) as cursor:
        rows = cursor.execute(
            """
            SELECT r.tag_id, r.ts, r.value, r.quality FROM unnest(%(tags)s::integer[]) t(tag_id)
              JOIN LATERAL (SELECT * FROM reading WHERE tag_id = t.tag_id AND ts >= %(start)s AND ts < %(end)s
                             ORDER BY ts LIMIT %(limit)s) r ON true
             ORDER BY r.tag_id, r.ts
            """,
            {"tags": list(tag_ids), "start": start, "end": end, "limit": limit + 1},
        ).fetchall()
    found: dict[int, list[Reading]] = {tag_id: [] for tag_id in tag_ids}
    for row in rows:
        found[row.tag_id].append(row)
    return found


def pages(
    database: Database, tag_id: int, start: datetime, end: datetime, size: int = 10_000
) -> Iterator[list[Reading]]:
    """All readings of a tag in [start, end) in order of time, `size` at a time; no connection is held in between."""
    after = start - timedelta(microseconds=1)
    while True:
        with database.connection() as connection, connection.cursor(row_factory=class_row(Reading)) as cursor:
            rows = cursor.execute(
                """
                SELECT tag_id, ts, value, quality FROM reading
                 WHERE tag_id = %s AND ts > %s AND ts < %s ORDER BY ts LIMIT %s
                """,
                [tag_id, after, end, size],
            ).fetchall()
        if rows:
            yield rows
            after = rows[-1].ts
        if len(rows) < size:
            return


def parameters(
    connection: Connection, tag_ids: Sequence[int], starts: Sequence[datetime], start: datetime, end: datetime
) -> dict[str, object]:
    """The parameters of `PARTS` for an answer over the minutes of [start, end); sets up its transaction."""
    # Read before the rollups: a refresh that commits in between leaves this reader with the older, still true answer.
    # A move of the watermark is noted as a dirty range before its minutes are written: until then they are live too.
    pending: list[Range] = connection.execute(
        """
        SELECT from_ts, to_ts FROM rollup_dirty WHERE tag_id IS NULL
        UNION ALL
        SELECT watermark, greatest(watermark, %(end)s) FROM rollup_state ORDER BY 1
        """,
        {"end": end},
    ).fetchall()
    # Every partition is in the plan of the query, so that to make the plan may take longer than to run it: it is made
    # once for a connection, by the caller's `prepare`.
    connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    split = sources(starts, start, end, pending)
    # A reading holds until the next one, but it says nothing about the time to come.
    now = floor(datetime.now(UTC), MINUTE)
    live = [(tag_id, left, min(right, now)) for tag_id in tag_ids for left, right in split.live if left < now]
    return {
        "tags": list(tag_ids),
        "starts": list(starts),  # sent only where the query names it: there may be thousands
        "first": starts[0],
        "hour_from": [left for left, _ in split.hours],
        "hour_to": [right for _, right in split.hours],
        "minute_from": [left for left, _ in split.minutes],
        "minute_to": [right for _, right in split.minutes],
        "live_tag": [tag_id for tag_id, _, _ in live],
        "live_from": [left for _, left, _ in live],
        "live_to": [right for _, _, right in live],
    }
