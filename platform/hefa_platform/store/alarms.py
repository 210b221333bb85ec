"""Alarms as people see and handle them: lists, acknowledging, resetting, shelving.

What raises and ends them is `alarm_watch` (limits) and `signal_watch` (signals and gateways).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, LiteralString

from psycopg.rows import class_row

from hefa_platform.store import keys
from hefa_platform.store.alarm_state import State
from hefa_platform.store.database import Connection, Database

MOMENT = timedelta(seconds=10)  # a change is committed within this time after it was noted


@dataclass(frozen=True)
class Alarm:
    """An alarm with the tag, or the gateway, it is of. Active while `returned_at` is None and it is not withdrawn.

    Alarms of limits have `limit_value`, `value` and `extreme`.
    """

    alarm_id: int
    tag: str | None
    edge: str | None
    area: str | None
    equipment: str | None
    description: str
    unit: str | None
    level: Literal["ll", "l", "h", "hh", "bad", "stale", "silent"]
    limit_value: float | None
    priority: Literal["high", "medium", "low"]
    state: State
    crossed_at: datetime
    raised_at: datetime
    returned_at: datetime | None
    value: float | None
    extreme: float | None
    latching: bool
    late: bool
    withdrawn: bool
    acked_at: datetime | None
    acked_by: str | None
    shelved_until: datetime | None


@dataclass(frozen=True)
class Change:
    """A state that an alarm went into: when it was known, by whom."""

    at: datetime
    from_state: State | None
    to_state: State
    by: str
    comment: str


@dataclass(frozen=True)
class Reading:
    """A reading that decided about an alarm."""

    ts: datetime
    value: float | None
    quality: int


@dataclass(frozen=True)
class Newly:
    """A change of an alarm, with the alarm as it is now."""

    change_id: int
    change: Change
    site: str
    alarm: Alarm


class NotNow(Exception):
    """The alarm is in a state in which this cannot be done; the text says in which."""


_COLUMNS: LiteralString = """
    SELECT alarm.alarm_id, tag.name AS tag, coalesce(own.name, of_tag.name) AS edge, area, tag.equipment,
           coalesce(tag.description, own.description) AS description, unit, alarm.level, limit_value, priority, state,
           crossed_at, raised_at, returned_at, alarm.value, extreme, latching, late, withdrawn, acked_at, acked_by,
           CASE WHEN state = 'SHELVED' THEN until END AS shelved_until
      FROM alarm LEFT JOIN tag USING (tag_id)
      LEFT JOIN edge AS own ON own.edge_id = alarm.edge_id
      LEFT JOIN edge AS of_tag ON of_tag.edge_id = tag.edge_id
      LEFT JOIN v_place ON path = tag.equipment
      LEFT JOIN alarm_shelf AS shelf ON shelf.level = alarm.level
            AND (shelf.tag_id = alarm.tag_id OR shelf.edge_id = alarm.edge_id)
     WHERE (%(site)s = '*' OR coalesce(tag.site, own.site) = %(site)s)
"""


def alarms(
    database: Database,
    site: str,
    *,
    states: Sequence[str] | None = None,
    area: str | None = None,
    tags: Sequence[str] | None = None,
    edge: str | None = None,
    levels: Sequence[str] | None = None,
    priorities: Sequence[str] | None = None,
    active: bool | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    withdrawn: bool = False,
    before: tuple[datetime, int] | None = None,
    limit: int,
) -> list[Alarm]:
    """Alarms that were active in [start, end), the latest raised first; withdrawn ones only when asked for."""
    before_at, before_id = before or (None, None)
    with database.connection() as connection, connection.cursor(row_factory=class_row(Alarm)) as cursor:
        return cursor.execute(
            _COLUMNS
            + """
               AND (%(states)s::text[] IS NULL OR state = ANY (%(states)s))
               AND (%(area)s::text IS NULL OR area = %(area)s)
               AND (%(tags)s::text[] IS NULL OR tag.name = ANY (%(tags)s))
               AND (%(edge)s::text IS NULL OR %(edge)s IN (own.name, of_tag.name))
               AND (%(levels)s::text[] IS NULL OR alarm.level = ANY (%(levels)s))
               AND (%(priorities)s::text[] IS NULL OR priority = ANY (%(priorities)s))
               AND (%(active)s::boolean IS NULL OR (returned_at IS NULL) = %(active)s)
               AND (%(start)s::timestamptz IS NULL OR returned_at IS NULL OR returned_at >= %(start)s)
               AND (%(end)s::timestamptz IS NULL OR raised_at < %(end)s)
               AND (%(withdrawn)s OR NOT withdrawn)
               AND (%(before_at)s::timestamptz IS NULL OR (raised_at, alarm_id) < (%(before_at)s, %(before_id)s::bigint))
             ORDER BY raised_at DESC, alarm_id DESC LIMIT %(limit)s
            """,
            {
                "site": site, "states": None if states is None else list(states), "area": area,
                "tags": None if tags is None else list(tags), "active": active, "start": start, "end": end,
                "priorities": None if priorities is None else list(priorities), "withdrawn": withdrawn,
                "edge": edge, "levels": None if levels is None else list(levels), "before_at": before_at, "before_id": before_id, "limit": limit,
            },
        ).fetchall()  # fmt: skip


def alarm(database: Database, site: str, alarm_id: int) -> Alarm | None:
    """One alarm, None where there is none for the site."""
    with database.connection() as connection:
        return _alarm(connection, site, alarm_id)


def changes(database: Database, alarm_id: int) -> list[Change]:
    """Every state of an alarm, in order."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Change)) as cursor:
        return cursor.execute(
            "SELECT at, from_state, to_state, by, comment FROM alarm_change WHERE alarm_id = %s ORDER BY change_id",
            [alarm_id],
        ).fetchall()


def newly(
    database: Database, since: datetime | None, *, after: int = 0, limit: int | None = None
) -> tuple[datetime, list[Newly]]:
    """Changes of alarms noted since a time (None: a moment ago), in order of their ids, those above `after`.

    With the database's time of asking. Neither ids nor times are the order of committing: ask again with an overlap and
    drop what was seen.
    """
    with database.connection() as connection, connection.cursor(row_factory=class_row(Alarm)) as cursor:
        moment = connection.execute("SELECT clock_timestamp()").fetchone()
        assert moment is not None
        rows = connection.execute(
            """
            SELECT change_id, alarm_id, at, from_state, to_state, by, comment, coalesce(tag.site, edge.site)
              FROM alarm_change JOIN alarm USING (alarm_id)
              LEFT JOIN tag USING (tag_id) LEFT JOIN edge ON edge.edge_id = alarm.edge_id
             WHERE at >= %s AND change_id > %s ORDER BY change_id LIMIT %s
            """,
            [since or moment[0] - MOMENT, after, limit],
        ).fetchall()
        wanted = {"site": "*", "ids": [row[1] for row in rows]}
        now = {
            alarm.alarm_id: alarm
            for alarm in (cursor.execute(_COLUMNS + " AND alarm.alarm_id = ANY (%(ids)s)", wanted) if rows else ())
        }
        return moment[0], [Newly(row[0], Change(*row[2:7]), row[7], now[row[1]]) for row in rows]


def readings(database: Database, found: Alarm, around: timedelta, most: int) -> tuple[int, int, list[Reading]]:
    """How many readings an alarm lasted for, how many of them usable, and those around its begin and end.

    At most `most` of each end, as far as raw readings are kept.
    """
    with database.connection() as connection, connection.cursor(row_factory=class_row(Reading)) as cursor:
        end = found.returned_at or datetime.now(UTC)
        row = connection.execute(
            """
            SELECT count(*), count(*) FILTER (WHERE quality >= 64) FROM reading
             WHERE tag_id = (SELECT tag_id FROM alarm WHERE alarm_id = %s) AND ts >= %s AND ts <= %s
            """,
            [found.alarm_id, found.crossed_at, end],
        ).fetchone()
        assert row is not None
        near = {}
        for start, stop in ((found.crossed_at - around, found.raised_at), (end - around, end)):
            for reading in cursor.execute(
                """
                SELECT ts, value, quality FROM reading
                 WHERE tag_id = (SELECT tag_id FROM alarm WHERE alarm_id = %s) AND ts >= %s AND ts <= %s
                 ORDER BY ts DESC LIMIT %s
                """,
                [found.alarm_id, start, stop, most],
            ):
                near[reading.ts] = reading
        return row[0], row[1], [near[ts] for ts in sorted(near)]


def ack(database: Database, site: str, alarm_id: int, *, by: str, comment: str) -> Alarm | None:
    """Acknowledge an alarm and the older ones of the same limit, audited; None where there is none for the site.

    An acknowledged one stays as it is. Raises NotNow when there is nothing to acknowledge.
    """
    with database.connection() as connection:
        found = _alarm(connection, site, alarm_id, lock=True)
        if found is None or found.state == "ACKED":
            return found
        if found.state not in ("UNACK", "RTN_UNACK"):
            raise NotNow(found.state)
        rows = connection.execute(
            """
            UPDATE alarm SET state = CASE WHEN state = 'UNACK' THEN 'ACKED' WHEN latching THEN 'LATCHED' ELSE 'NORM' END,
                             acked_at = clock_timestamp(), acked_by = %(by)s
              FROM (SELECT other.alarm_id, other.state AS was FROM alarm one JOIN alarm other USING (level)
                     WHERE one.alarm_id = %(id)s AND other.raised_at <= one.raised_at
                       AND (other.tag_id = one.tag_id OR other.edge_id = one.edge_id)
                       AND other.state IN ('UNACK', 'RTN_UNACK') ORDER BY other.alarm_id FOR UPDATE OF other) AS due
             WHERE alarm.alarm_id = due.alarm_id RETURNING alarm.alarm_id, was, state
            """,
            {"id": alarm_id, "by": by},
        ).fetchall()
        _changed(connection, rows, by, comment)
        keys.audit(
            connection, by, "alarm.ack", _subject(found), {"alarms": [row[0] for row in rows], "comment": comment}
        )
        return _alarm(connection, site, alarm_id)


def reset(database: Database, site: str, alarm_id: int, *, by: str, comment: str) -> Alarm | None:
    """Let go of a latched alarm and the older ones of the same limit, audited; None where there is none for the site.

    Raises NotNow when it is not latched.
    """
    with database.connection() as connection:
        found = _alarm(connection, site, alarm_id, lock=True)
        if found is None:
            return None
        if found.state != "LATCHED":
            raise NotNow(found.state)
        rows = connection.execute(
            """
            UPDATE alarm SET state = 'NORM' FROM alarm one
             WHERE one.alarm_id = %s AND alarm.level = one.level AND alarm.raised_at <= one.raised_at
               AND (alarm.tag_id = one.tag_id OR alarm.edge_id = one.edge_id) AND alarm.state = 'LATCHED'
            RETURNING alarm.alarm_id, 'LATCHED', alarm.state
            """,
            [alarm_id],
        ).fetchall()
        _changed(connection, rows, by, comment)
        keys.audit(connection, by, "alarm.reset", _subject(found), {"alarms": [row[0] for row in rows], "comment": comment})  # fmt: skip
        return _alarm(connection, site, alarm_id)


def shelve(database: Database, site: str, alarm_id: int, *, until: datetime, by: str, reason: str) -> Alarm | None:
    """Announce nothing of this limit of the tag until then, audited; None where there is no such alarm for the site."""
    with database.connection() as connection:
        found = _alarm(connection, site, alarm_id, lock=True)
        if found is None:
            return None
        if (
            found.returned_at is not None
            or found.withdrawn
            or found.state in ("OUT_OF_SERVICE", "SUPPRESSED_BY_DESIGN")
        ):
            raise NotNow(found.state)
        connection.execute(
            """
            INSERT INTO alarm_shelf (tag_id, edge_id, level, until, by, reason)
            SELECT tag_id, edge_id, level, %s, %s, %s FROM alarm WHERE alarm_id = %s
            ON CONFLICT (tag_id, edge_id, level) DO UPDATE SET until = excluded.until, by = excluded.by, reason = excluded.reason
            """,
            [until, by, reason, alarm_id],
        )
        # What has returned meanwhile and waits for an acknowledgement keeps waiting for it.
        connection.execute("UPDATE alarm SET state = 'SHELVED' WHERE alarm_id = %s", [alarm_id])
        _changed(connection, [(alarm_id, found.state, "SHELVED")], by, f"until {until.isoformat()}: {reason}")
        keys.audit(connection, by, "alarm.shelve", _subject(found), {"alarm": alarm_id, "level": found.level, "until": until.isoformat(), "reason": reason})  # fmt: skip
        return _alarm(connection, site, alarm_id)


def unshelve(database: Database, site: str, alarm_id: int, *, by: str, comment: str) -> Alarm | None:
    """Take a limit off its shelf before its time, audited: what is active is announced anew. Raises NotNow."""
    with database.connection() as connection:
        found = _alarm(connection, site, alarm_id, lock=True)
        if found is None:
            return None
        if found.state != "SHELVED":
            raise NotNow(found.state)
        connection.execute(
            """
            DELETE FROM alarm_shelf USING alarm a
             WHERE a.alarm_id = %s AND alarm_shelf.level = a.level
               AND (alarm_shelf.tag_id = a.tag_id OR alarm_shelf.edge_id = a.edge_id)
            """,
            [alarm_id],
        )
        state = "UNACK" if found.returned_at is None else "NORM"
        connection.execute(
            "UPDATE alarm SET state = %s, acked_at = NULL, acked_by = NULL WHERE alarm_id = %s", [state, alarm_id]
        )
        _changed(connection, [(alarm_id, "SHELVED", state)], by, comment)
        keys.audit(connection, by, "alarm.unshelve", _subject(found), {"alarm": alarm_id, "comment": comment})
        return _alarm(connection, site, alarm_id)


def _alarm(connection: Connection, site: str, alarm_id: int, *, lock: bool = False) -> Alarm | None:
    if lock:
        connection.execute("SELECT FROM alarm WHERE alarm_id = %s FOR UPDATE", [alarm_id])
    with connection.cursor(row_factory=class_row(Alarm)) as cursor:
        return cursor.execute(_COLUMNS + " AND alarm.alarm_id = %(id)s", {"site": site, "id": alarm_id}).fetchone()


def _subject(found: Alarm) -> str:
    return found.tag or found.edge or ""


def _changed(connection: Connection, rows: Sequence[tuple[int, str, str]], by: str, comment: str) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO alarm_change (alarm_id, from_state, to_state, by, comment) VALUES (%s, %s, %s, %s, %s)",
            [[alarm_id, before, after, by, comment] for alarm_id, before, after in rows],
        )


def raised(
    database: Database, site: str, start: datetime, end: datetime, area: str | None, limit: int
) -> list[tuple[datetime, str, str, str]]:
    """(time, tag or gateway, level, priority) of the alarms raised in [start, end) and not withdrawn, in the order of time."""
    with database.connection() as connection:
        return connection.execute(
            """
            SELECT raised_at, coalesce(tag.name, edge.name), alarm.level, priority
              FROM alarm LEFT JOIN tag USING (tag_id) LEFT JOIN edge ON edge.edge_id = alarm.edge_id
              LEFT JOIN v_place ON path = tag.equipment
             WHERE (%(site)s = '*' OR coalesce(tag.site, edge.site) = %(site)s) AND NOT withdrawn
               AND raised_at >= %(start)s AND raised_at < %(end)s AND (%(area)s::text IS NULL OR area = %(area)s)
             ORDER BY raised_at, alarm_id LIMIT %(limit)s
            """,
            {"site": site, "start": start, "end": end, "area": area, "limit": limit},
        ).fetchall()
