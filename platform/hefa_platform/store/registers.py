"""Registers: meter swaps, where one ends and another begins, and silences, of which is heard later.

A declared swap is an event like any other, and more: the database makes it a point of the register's history
(`meter_swap`, schemas 0010, 0018 and 0021), whoever stores it, and the refresh computes again what it touches; one that
could change nothing is refused there, before it is kept. What is counted between two points is `register_step`'s business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from hefa_platform.store.database import Connection, Database


@dataclass(frozen=True)
class Swap:
    """At `ts` the old register showed `final`, and the new one that took its place `initial`."""

    tag_id: int
    ts: datetime
    final: float
    initial: float


def declared(database: Database, tag_id: int, ts: datetime) -> tuple[Swap, bool] | None:
    """The swap declared for this very instant, and whether the readings around it are kept, so that it can be withdrawn."""
    with database.connection() as connection:
        row = connection.execute(
            "SELECT final, initial, can_recompute(tag_id, ts) FROM meter_swap WHERE tag_id = %s AND ts = %s",
            [tag_id, ts],
        ).fetchone()
    return None if row is None else (Swap(tag_id, ts, row[0], row[1]), row[2])


def swaps(database: Database, tag_ids: Sequence[int], start: datetime, end: datetime) -> list[Swap]:
    """The declared swaps of [start, end), in order of tag and time."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Swap)) as cursor:
        return cursor.execute(
            """
            SELECT tag_id, ts, final, initial FROM meter_swap
             WHERE tag_id = ANY (%s) AND ts >= %s AND ts < %s ORDER BY tag_id, ts
            """,
            [list(tag_ids), start, end],
        ).fetchall()


def note_returned(connection: Connection) -> int:
    """Note registers that were silent when the watermark passed and have spoken since; return how many.

    What one counted in its silence was not known when its minutes were written. Without a note they would wait, and
    totals be short of it, until the watermark passes the reading that tells.
    """
    return connection.execute(
        """
        WITH returned AS MATERIALIZED (
          SELECT tag.tag_id, watermark
            FROM rollup_state CROSS JOIN tag JOIN latest USING (tag_id)
           CROSS JOIN LATERAL (SELECT * FROM reading_1m AS m WHERE m.tag_id = tag.tag_id AND bucket < watermark
                                ORDER BY bucket DESC LIMIT 1) AS before
           CROSS JOIN LATERAL (SELECT value FROM reading AS r
                                WHERE r.tag_id = tag.tag_id AND ts >= watermark AND quality >= 64
                                ORDER BY ts LIMIT 1) AS next
           WHERE kind = 'counter' AND latest.ts >= watermark
             -- Where the last minute has counted something, or is there without a value in force, it knew what came after
             -- it; where nothing was counted, that is right as long as the register shows the same.
             AND (before.bucket < watermark - interval '1 minute'
                  OR last IS NOT NULL AND inc_measured + inc_estimated + inc_unknown = 0)
             AND next.value IS DISTINCT FROM before.last)
        INSERT INTO rollup_dirty (tag_id, from_ts, to_ts)
        SELECT tag_id, at, at FROM (SELECT tag_id, register_before(tag_id, watermark) AS at FROM returned) AS silent
         WHERE at IS NOT NULL
        """
    ).rowcount
