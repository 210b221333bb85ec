"""What the pipeline has done: the accounting identity, freshness, and how the gateways are.

Served from counters that ingest keeps in the transactions they speak of; nothing here is estimated from the readings.
"""

from dataclasses import dataclass
from datetime import datetime
from math import exp2

from psycopg.rows import class_row

from hefa_platform.store.database import Database, SchemaMissing
from hefa_platform.store.migrations import require_current


@dataclass(frozen=True)
class Edge:
    """A gateway, when it was last heard of, and its accounts in readings (`undecodable` and `events` in messages)."""

    edge: str
    description: str
    online: bool | None
    status_at: datetime | None
    seen_at: datetime | None
    tags: int
    received: int
    stored: int
    duplicate: int
    conflict: int
    quarantined: int
    undecodable: int
    events: int
    gaps: int

    @property
    def balanced(self) -> bool:
        """The accounting identity."""
        return self.received == self.stored + self.duplicate + self.conflict + self.quarantined


@dataclass(frozen=True)
class Freshness:
    """Age of live readings at their commit, in ms: quantiles over `readings` of the last `minutes`."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    readings: int
    minutes: int


@dataclass(frozen=True)
class Worker:
    """A process that takes in or maintains, and what it last said of itself."""

    task: str
    name: str
    ready: bool
    detail: str
    seen_at: datetime


@dataclass(frozen=True)
class Check:
    """One thing that must be so before questions can be answered."""

    name: str
    ok: bool
    detail: str


def edges(database: Database, site: str) -> list[Edge]:
    """Every gateway of a site, with its counters, all of one moment."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Edge)) as cursor:
        return cursor.execute(
            """
            SELECT edge.name AS edge, edge.description, edge.online, edge.status_at, edge.seen_at,
                   (SELECT count(*) FROM tag WHERE tag.edge_id = edge.edge_id AND NOT tag.retired) AS tags,
                   coalesce(c.received, 0)::bigint AS received, coalesce(c.stored, 0)::bigint AS stored,
                   coalesce(c.duplicate, 0)::bigint AS duplicate, coalesce(c.conflict, 0)::bigint AS conflict,
                   coalesce(c.quarantined, 0)::bigint AS quarantined,
                   coalesce(c.undecodable, 0)::bigint AS undecodable, coalesce(c.events, 0)::bigint AS events,
                   (SELECT coalesce(sum(gap.readings), 0)::bigint FROM gap WHERE gap.edge_id = edge.edge_id) AS gaps
              FROM edge
              LEFT JOIN (SELECT edge_id, sum(received) AS received, sum(stored) AS stored, sum(duplicate) AS duplicate,
                                sum(conflict) AS conflict, sum(quarantined) AS quarantined,
                                sum(undecodable) AS undecodable, sum(events) AS events
                           FROM intake_counter GROUP BY edge_id) c USING (edge_id)
             WHERE %(site)s = '*' OR edge.site = %(site)s
             ORDER BY edge.name
            """,
            {"site": site},
        ).fetchall()


def undecodable(database: Database) -> int:
    """Messages of which not even the gateway could be told."""
    with database.connection() as connection:
        row = connection.execute("SELECT coalesce(sum(messages), 0)::bigint FROM undecodable_counter").fetchone()
        assert row is not None
        return int(row[0])


def workers(database: Database) -> list[Worker]:
    """Every process that ever took in or maintained; one that has gone is told by its age only."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Worker)) as cursor:
        return cursor.execute("SELECT task, name, ready, detail, seen_at FROM worker ORDER BY task, name").fetchall()


def freshness(database: Database, minutes: int) -> Freshness:
    """Quantiles of freshness over the last `minutes`; None where no live reading came. Within 9 %, one bucket."""
    with database.connection() as connection:
        rows: list[tuple[int, int]] = connection.execute(
            """
            SELECT bucket, sum(readings)::bigint FROM freshness
             WHERE slot >= now() - make_interval(mins => %(minutes)s) GROUP BY bucket ORDER BY bucket
            """,
            {"minutes": minutes},
        ).fetchall()
    p50, p95, p99 = (quantile(rows, share) for share in (0.50, 0.95, 0.99))
    return Freshness(p50, p95, p99, sum(count for _, count in rows), minutes)


def quantile(histogram: list[tuple[int, int]], share: float) -> float | None:
    """The upper end, in ms, of the bucket in which `share` of the readings is reached; bucket b ends at 2^((b+1)/8)."""
    total = sum(count for _, count in histogram)
    reached = 0
    for bucket, count in histogram:
        reached += count
        if reached >= share * total:
            return round(exp2((bucket + 1) / 8), 1)
    return None


def checks(database: Database) -> list[Check]:
    """Whether questions can be answered: the schema is this program's and a plant model is loaded.

    Raises `Unavailable` when the database itself is away.
    """
    with database.connection() as connection:
        try:
            require_current(connection)
        except SchemaMissing as error:
            return [Check("schema", False, str(error))]
        row = connection.execute("SELECT site, model_hash, loaded_at FROM instance").fetchone()
    assert row is not None
    site, model, loaded_at = row
    if model is None:
        return [Check("schema", True, "current"), Check("plant", False, "no plant model: run `hefa-platform load`")]
    loaded = f"{site}, model {model[:12]}, loaded {loaded_at:%Y-%m-%dT%H:%M:%SZ}"
    return [Check("schema", True, "current"), Check("plant", True, loaded)]
