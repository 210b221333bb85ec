"""How much room readings take, by tag and day, and when the disk will be full.

Raw readings grow until they span their retention, rollups for ever. What the disk has left cannot be asked of the
server: callers name it.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from psycopg.rows import class_row

from hefa_platform.store.database import Connection, Database

_TABLES = {"raw": "reading", "minutes": "reading_1m", "hours": "reading_1h"}


@dataclass(frozen=True)
class Storage:
    """Sizes in bytes, indexes included. `raw_span_days` and `rollup_days` are how much time the tables hold.

    Figures per day and per reading are None until a day's worth of hours is rolled up. `tables` by falling size;
    raw readings before `raw_since` are gone; `policy_days` is what the server's own retention was last set to by us.
    """

    database: int
    raw: int
    minutes: int
    hours: int
    raw_span_days: float
    rollup_days: float
    readings_per_day: int
    readings: int
    tags: int
    raw_since: datetime | None = None
    policy_days: int | None = None
    tables: tuple[tuple[str, int], ...] = ()

    @property
    def bytes_per_reading(self) -> float | None:
        return self.raw / self.readings if self.readings else None

    @property
    def raw_per_day(self) -> float:
        return self.readings_per_day * (self.bytes_per_reading or 0.0)

    @property
    def rollups_per_day(self) -> float:
        return (self.minutes + self.hours) / max(self.rollup_days, 1.0)

    @property
    def bytes_per_tag_and_day(self) -> float | None:
        """Raw and rollups together."""
        return (self.raw_per_day + self.rollups_per_day) / self.tags if self.tags else None


def measure(database: Database) -> Storage:
    """Ask the server; takes as long as adding up the hours of all tags since raw readings are kept."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Storage)) as cursor:
        connection.execute("SET LOCAL jit = off")
        sizes = {name: _size(connection, table) for name, table in _TABLES.items()}
        # By tag, because hours are found by tag; OFFSET 0 keeps it so.
        found = cursor.execute(
            """
            WITH kept AS (
              SELECT min(own.raw) AS raw, min(own.rollup) AS rollup, coalesce(sum(own.readings), 0)::bigint AS readings,
                     coalesce(sum(own.day), 0)::bigint AS day, count(*) FILTER (WHERE own.recent) AS tags
                FROM tag CROSS JOIN rollup_state
               CROSS JOIN LATERAL (
                 SELECT min(bucket) FILTER (WHERE n > 0) AS raw, sum(n) AS readings,
                        sum(n) FILTER (WHERE bucket >= now() - interval '25 hours'
                                         AND bucket < now() - interval '1 hour') AS day,
                        coalesce(bool_or(bucket >= now() - interval '25 hours'), false) AS recent,
                        (SELECT bucket FROM reading_1h WHERE tag_id = tag.tag_id ORDER BY bucket LIMIT 1) AS rollup
                   FROM (SELECT bucket, n FROM reading_1h
                          WHERE tag_id = tag.tag_id AND bucket >= raw_since OFFSET 0) AS hours) AS own
            )
            SELECT pg_database_size(current_database()) AS database, %(raw)s::bigint AS raw,
                   %(minutes)s::bigint AS minutes, %(hours)s::bigint AS hours,
                   coalesce(extract(epoch FROM now() - raw) / 86400, 0)::float8 AS raw_span_days,
                   coalesce(extract(epoch FROM now() - rollup) / 86400, 0)::float8 AS rollup_days,
                   day AS readings_per_day, readings, tags, nullif(raw_since, '-infinity') AS raw_since, policy_days
              FROM kept CROSS JOIN rollup_state
            """,
            sizes,
        ).fetchone()
        assert found is not None
        named = _ordinary(connection) | {table: sizes[name] for name, table in _TABLES.items()}
    return replace(found, tables=tuple(sorted(named.items(), key=lambda item: (-item[1], item[0]))))


def days_until_full(storage: Storage, free: float, raw_retention_days: int) -> float | None:
    """Days until `free` bytes are used at the pace of the last day; None when nothing grows.

    Raw grows until it spans its retention and then gives back as much as it takes.
    """
    both, filling = storage.raw_per_day + storage.rollups_per_day, max(0.0, raw_retention_days - storage.raw_span_days)
    if both <= 0:
        return None
    if free <= filling * both:
        return max(0.0, free) / both
    if storage.rollups_per_day <= 0:
        return None
    return filling + (free - filling * both) / storage.rollups_per_day


def _size(connection: Connection, table: str) -> int:
    """Bytes of a table with its partitions, chunks or columnstore; of a continuous aggregate where there is one."""
    known = connection.execute(
        "SELECT coalesce(to_regclass(%s), to_regclass(%s))::text, to_regproc('hypertable_size') IS NOT NULL",
        [table + "_cagg", table],
    ).fetchone()
    assert known is not None
    name, timescaledb = known
    if timescaledb:
        row = connection.execute(
            "SELECT coalesce(hypertable_size(%s::regclass), pg_total_relation_size(%s::regclass))", [name, name]
        ).fetchone()
    else:
        row = connection.execute(
            """
            SELECT sum(pg_total_relation_size(relid)) FROM (
              SELECT relid FROM pg_partition_tree(%s::regclass) UNION SELECT %s::regclass) AS part
            """,
            [name, name],
        ).fetchone()
    assert row is not None
    return int(row[0])


def _ordinary(connection: Connection) -> dict[str, int]:
    """Bytes of each table of ours, its partitions included; chunks are the extension's and not among them."""
    rows = connection.execute(
        """
        SELECT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text, sum(pg_total_relation_size(c.oid))::bigint
          FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') GROUP BY 1
        """
    ).fetchall()
    return dict(rows)
