"""Tags and the equipment they belong to, with the newest reading of each.

Only reads. What a key may not see does not exist here: every function takes the site it may ask for (`*` for all).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, time
from typing import Literal, LiteralString
from zoneinfo import ZoneInfo

from psycopg.rows import class_row

from hefa_platform.store.buckets import Calendar
from hefa_platform.store.database import Database

Kind = Literal["gauge", "counter", "state", "setpoint"]


@dataclass(frozen=True)
class Equipment:
    """A node of the ISA-95 tree; `tags` counts those that belong to exactly this node."""

    path: str
    parent: str | None
    level: str
    name: str
    description: str
    tags: int


@dataclass(frozen=True)
class Tag:
    """A tag as loaded from the plant model or as first seen, and its newest reading where that was asked for."""

    tag_id: int
    name: str
    site: str
    edge: str | None
    equipment: str | None
    area: str | None
    line: str | None
    template: str | None
    description: str
    kind: Kind
    unit: str | None
    normal: float | None
    low: float | None
    high: float | None
    ll: float | None
    l: float | None  # noqa: E741 - the plant's word for the low alarm limit
    h: float | None
    hh: float | None
    users: list[str]
    core: bool
    assigned: bool
    retired: bool
    period_s: float | None
    heartbeat_s: float
    states: dict[str, str] | None
    source: str | None
    carrier: str | None
    material: str | None
    stream: str | None
    serves: str | None
    meter_parent: str | None
    role: str | None
    meter_unit: str | None
    ts: datetime | None
    value: float | None
    quality: int | None


@dataclass(slots=True)
class Newest:
    """The newest reading of a tag, and what a wall shows of the tag."""

    name: str
    kind: Kind
    unit: str | None
    equipment: str | None
    area: str | None
    line: str | None
    description: str
    states: dict[str, str] | None
    heartbeat_s: float
    ts: datetime | None
    value: float | None
    quality: int | None


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which tags are asked for; None means any. `asset` is equipment with all below it, `q` part of name or text."""

    site: str = "*"
    names: Sequence[str] | None = None
    asset: str | None = None
    area: str | None = None
    line: str | None = None
    equipment: str | None = None
    template: str | None = None
    kind: str | None = None
    core: bool | None = None
    edge: str | None = None
    assigned: bool | None = None
    q: str | None = None


# Tags the plant model has dropped are found by their name only.
_MATCHING: LiteralString = """
      FROM tag
      LEFT JOIN v_place place ON place.path = tag.equipment
      LEFT JOIN edge ON edge.edge_id = tag.edge_id
      LEFT JOIN meter ON meter.tag_id = tag.tag_id
      LEFT JOIN tag above ON above.tag_id = meter.parent
      LEFT JOIN latest ON latest.tag_id = tag.tag_id AND %(newest)s
     WHERE (%(site)s = '*' OR tag.site = %(site)s)
       AND CASE WHEN %(names)s::text[] IS NULL THEN NOT tag.retired ELSE tag.name = ANY (%(names)s) END
       AND (%(asset)s::text IS NULL OR %(asset)s = ANY (place.within))
       AND (%(area)s::text IS NULL OR place.area = %(area)s)
       AND (%(line)s::text IS NULL OR place.line = %(line)s)
       AND (%(equipment)s::text IS NULL OR tag.equipment = %(equipment)s)
       AND (%(template)s::text IS NULL OR tag.template = %(template)s)
       AND (%(kind)s::text IS NULL OR tag.kind = %(kind)s)
       AND (%(core)s::boolean IS NULL OR tag.core = %(core)s)
       AND (%(edge)s::text IS NULL OR edge.name = %(edge)s)
       AND (%(assigned)s::boolean IS NULL OR tag.assigned = %(assigned)s)
       AND (%(q)s::text IS NULL OR position(lower(%(q)s) IN lower(tag.name || ' ' || tag.description)) > 0)
"""
_COLUMNS: LiteralString = """
    SELECT tag.tag_id, tag.name, tag.site, edge.name AS edge, tag.equipment, place.area, place.line,
           tag.template, tag.description, tag.kind, tag.unit, tag.normal, tag.low, tag.high, tag.ll, tag.l, tag.h, tag.hh,
           tag.users, tag.core, tag.assigned, tag.retired, tag.period_s, tag.heartbeat_s, tag.states, tag.source,
           meter.carrier, meter.material, meter.stream, meter.serves, above.name AS meter_parent, meter.role,
           meter.unit AS meter_unit, latest.ts, latest.value, latest.quality
"""


def tags(
    database: Database, which: Filter, *, newest: bool = False, after: str | None = None, limit: int | None = None
) -> list[Tag]:
    """Tags in order of their names, those behind `after`; with `newest` also the newest reading of each."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Tag)) as cursor:
        return cursor.execute(
            _COLUMNS
            + _MATCHING
            + """
               AND (%(after)s::text IS NULL OR tag.name > %(after)s)
             ORDER BY tag.name LIMIT %(limit)s
            """,
            _parameters(which) | {"newest": newest, "after": after, "limit": limit},
        ).fetchall()


def newest(database: Database, which: Filter, *, after: str | None = None, limit: int | None = None) -> list[Newest]:
    """The newest readings of tags, in order of their names, those behind `after`."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Newest), binary=True) as cursor:
        return cursor.execute(
            """
            SELECT tag.name, tag.kind, tag.unit, tag.equipment, place.area, place.line, tag.description, tag.states,
                   tag.heartbeat_s, latest.ts, latest.value, latest.quality
            """
            + _MATCHING
            + """
               AND (%(after)s::text IS NULL OR tag.name > %(after)s)
             ORDER BY tag.name LIMIT %(limit)s
            """,
            _parameters(which) | {"newest": True, "after": after, "limit": limit},
        ).fetchall()


def changed(database: Database, since: datetime | None) -> tuple[datetime, list[Tag]]:
    """Tags whose newest reading was written since `since` (None: none), with the database's time of asking.

    Times of writing are not the order of committing: ask again with an overlap and drop what was seen.
    """
    with database.connection() as connection, connection.cursor(row_factory=class_row(Tag)) as cursor:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        now: datetime = row[0]
        if since is None:
            return now, []
        rows = cursor.execute(
            _COLUMNS + _MATCHING + " AND latest.changed_at >= %(since)s",
            _parameters(Filter()) | {"newest": True, "since": since},
        ).fetchall()
        return now, rows


def names(database: Database, site: str) -> list[str]:
    """Every tag name of a site, for finding the one that was meant."""
    with database.connection() as connection:
        rows = connection.execute("SELECT name FROM tag WHERE %(site)s = '*' OR site = %(site)s", {"site": site})
        return [name for (name,) in rows]


def equipment(database: Database, site: str) -> tuple[list[Equipment], int]:
    """The equipment in the plant model's order, parents first, and how many tags belong to none of it."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Equipment)) as cursor:
        rows = cursor.execute(
            """
            SELECT e.path, e.parent, e.level, e.name, e.description,
                   (SELECT count(*) FROM tag t
                     WHERE t.equipment = e.path AND NOT t.retired AND (%(site)s = '*' OR t.site = %(site)s)) AS tags
              FROM equipment e JOIN v_place place USING (path)
             WHERE %(site)s = '*' OR %(site)s = ANY (place.within) OR e.level = 'enterprise'
             ORDER BY cardinality(place.within), e.position, e.path
            """,
            {"site": site},
        ).fetchall()
        unassigned = connection.execute(
            """
            SELECT count(*) FROM tag WHERE equipment IS NULL AND NOT retired AND (%(site)s = '*' OR site = %(site)s)
            """,
            {"site": site},
        ).fetchone()
        assert unassigned is not None
        return rows, unassigned[0]


def calendar(database: Database, zone: ZoneInfo | None) -> Calendar:
    """The site's calendar, in `zone` or the site's own."""
    with database.connection() as connection:
        row = connection.execute("SELECT timezone, plantday, shifts FROM instance").fetchone()
        assert row is not None
        timezone: str
        plantday: time
        shifts: list[time]
        timezone, plantday, shifts = row
        return Calendar(zone or ZoneInfo(timezone), plantday, tuple(shifts))


def _parameters(which: Filter) -> dict[str, object]:
    return asdict(which) | {"names": list(which.names) if which.names is not None else None}
