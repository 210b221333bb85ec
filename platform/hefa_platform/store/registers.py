"""Meter swaps: where a register ends and another begins.

A declared swap is an event like any other, and more: the database makes it a point of the register's history
(`meter_swap`, schemas 0010, 0018 and 0021), whoever stores it, and the refresh computes again what it touches; one that
could change nothing is refused there, before it is kept. What is counted between two points is `register_step`'s business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from hefa_platform.store.database import Database


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
