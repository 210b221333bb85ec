"""What stands behind a figure: which rows of which rollup, of how many readings, between which others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from hefa_platform.store import series
from hefa_platform.store.database import Database
from hefa_platform.store.series import Reading


@dataclass(frozen=True)
class Evidence:
    """Of one tag in bucket `k`: the rows that answered, from hours, minutes or readings, and what they are made of.

    `n` readings lie in the bucket, `n_good` of them usable (quality 64 and better); `resets` are detected ones.
    """

    tag_id: int
    k: int
    hours: int
    minutes: int
    readings: int
    n: int
    n_good: int
    resets: int | None
    measured: float | None
    estimated: float | None
    unknown: float | None
    covered_s: float
    worst: int | None


@dataclass(frozen=True)
class Register:
    """How a counter counts, in its own unit: rolls over at `modulus`, grows by `max_rate` an hour at most."""

    tag_id: int
    modulus: float | None
    max_rate: float | None
    resolution: float | None


@dataclass(frozen=True)
class Around:
    """The last reading before an instant, and the first at or after it, as far as raw readings are kept."""

    before: Reading | None
    after: Reading | None


def evidence(
    database: Database, tag_ids: Sequence[int], starts: Sequence[datetime], start: datetime, end: datetime
) -> dict[tuple[int, int], Evidence]:
    """By tag and bucket; arguments as for `series.rollup`. Tags and buckets without a row are left out."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Evidence)) as cursor:
        rows = cursor.execute(
            series.PARTS  # noqa: S608 - two literals; input goes by parameters
            + """
            SELECT tag_id, width_bucket(bucket, %(starts)s::timestamptz[]) - 1 AS k,
                   count(*) FILTER (WHERE origin = 'hours') AS hours,
                   count(*) FILTER (WHERE origin = 'minutes') AS minutes,
                   count(*) FILTER (WHERE origin = 'readings') AS readings,
                   sum(n) AS n, sum(n_good) AS n_good, sum(resets) AS resets, sum(inc_measured) AS measured,
                   sum(inc_estimated) AS estimated, sum(inc_unknown) AS unknown,
                   coalesce(sum(covered_s), 0) AS covered_s, min(worst) AS worst
              FROM part GROUP BY tag_id, k
            """,
            series.parameters(connection, tag_ids, starts, start, end),
        ).fetchall()
    return {(row.tag_id, row.k): row for row in rows}


def around(
    database: Database, tag_ids: Sequence[int], instants: Sequence[datetime]
) -> dict[tuple[int, datetime], Around]:
    """The readings around each instant, of each tag."""
    with database.connection() as connection:
        rows = connection.execute(
            """
            SELECT t.tag_id, i.at, b.ts, b.value, b.quality, a.ts, a.value, a.quality
              FROM unnest(%s::integer[]) AS t(tag_id) CROSS JOIN unnest(%s::timestamptz[]) AS i(at)
              LEFT JOIN LATERAL (SELECT * FROM reading WHERE tag_id = t.tag_id AND ts < i.at
                                  ORDER BY ts DESC LIMIT 1) AS b ON true
              LEFT JOIN LATERAL (SELECT * FROM reading WHERE tag_id = t.tag_id AND ts >= i.at
                                  ORDER BY ts LIMIT 1) AS a ON true
            """,
            [list(tag_ids), list(instants)],
        ).fetchall()
    return {
        (row[0], row[1]): Around(
            before=Reading(row[0], *row[2:5]) if row[2] else None, after=Reading(row[0], *row[5:8]) if row[5] else None
        )
        for row in rows
    }


def registers(database: Database, tag_ids: Sequence[int]) -> dict[int, Register]:
    """How those of the tags count that are counters."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Register)) as cursor:
        rows = cursor.execute(
            "SELECT tag_id, modulus, max_rate, resolution FROM tag WHERE tag_id = ANY (%s) AND kind = 'counter'",
            [list(tag_ids)],
        ).fetchall()
    return {row.tag_id: row for row in rows}
