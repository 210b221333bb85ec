"""What is out of service for planned maintenance: a tag, all below a place, or a gateway; with a reason and an end.

Their alarms are found and kept as ever, but announced to nobody: `alarm_state` says so. An outage stays as a record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg.rows import class_row

from hefa_platform.store import keys
from hefa_platform.store.database import Database


@dataclass(frozen=True)
class Outage:
    """An outage of one of tag, equipment, edge, by a key and what it is called. `level` None: all alarms of it;
    `ended_at`: back before `until`.
    """

    outage_id: int
    tag: str | None
    equipment: str | None
    edge: str | None
    level: str | None
    since: datetime
    until: datetime
    by: str
    by_name: str | None
    reason: str
    ended_at: datetime | None
    ended_by: str | None


_COLUMNS: LiteralString = """
    SELECT outage_id, tag.name AS tag, o.equipment, edge.name AS edge, o.level, since, until, by, api_key.name AS by_name,
           reason, ended_at, ended_by
      FROM alarm_outage o LEFT JOIN tag USING (tag_id) LEFT JOIN edge ON edge.edge_id = o.edge_id
      LEFT JOIN api_key ON api_key.key_id = o.by
      LEFT JOIN v_place place ON place.path = o.equipment
     WHERE (%(site)s = '*' OR %(site)s IN (tag.site, edge.site) OR %(site)s = ANY (place.within))
"""


def outages(database: Database, site: str, *, active: bool | None, before: int | None, limit: int) -> list[Outage]:
    """Outages, the latest first; `active`: those in force now, or the others. `before` continues behind that id."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Outage)) as cursor:
        return cursor.execute(
            _COLUMNS
            + """
               AND (%(active)s::boolean IS NULL OR (ended_at IS NULL AND until > clock_timestamp()) = %(active)s)
               AND (%(before)s::bigint IS NULL OR outage_id < %(before)s)
             ORDER BY outage_id DESC LIMIT %(limit)s
            """,
            {"site": site, "active": active, "before": before, "limit": limit},
        ).fetchall()


def begin(
    database: Database, site: str, *, tag: str | None, equipment: str | None, edge: str | None,
    levels: Sequence[str], until: datetime, by: str, reason: str,
) -> list[Outage]:  # fmt: skip
    """Take something out of service, from now on, audited: an outage for each level, or one for all.

    Empty when there is no such tag, place or gateway for the site.
    """
    each: list[str | None] = [*levels] or [None]
    with database.connection() as connection, connection.cursor(row_factory=class_row(Outage)) as cursor:
        ids = [
            row[0]
            for row in connection.execute(
                """
                INSERT INTO alarm_outage (tag_id, equipment, edge_id, level, until, by, reason)
                SELECT of.tag_id, of.path, of.edge_id, level, %(until)s, %(by)s, %(reason)s
                  FROM (SELECT tag_id, NULL AS path, NULL::integer AS edge_id FROM tag
                         WHERE name = %(tag)s AND NOT retired AND (%(site)s = '*' OR site = %(site)s)
                        UNION ALL
                        SELECT NULL, path, NULL FROM v_place
                         WHERE path = %(equipment)s AND (%(site)s = '*' OR %(site)s = ANY (within))
                        UNION ALL
                        SELECT NULL, NULL, edge_id FROM edge
                         WHERE name = %(edge)s AND (%(site)s = '*' OR site = %(site)s)) AS of
                 CROSS JOIN unnest(%(levels)s::text[]) AS level
                RETURNING outage_id
                """,
                {
                    "tag": tag, "equipment": equipment, "edge": edge, "site": site, "until": until, "by": by,
                    "reason": reason, "levels": each,
                },
            )
        ]  # fmt: skip
        if ids:
            body = {"levels": list(levels), "until": until.isoformat(), "reason": reason}
            keys.audit(connection, by, "alarm.out-of-service", tag or equipment or edge or "", body)
        return cursor.execute(
            _COLUMNS + " AND outage_id = ANY (%(ids)s) ORDER BY outage_id", {"site": site, "ids": ids}
        ).fetchall()


def end(database: Database, site: str, outage_id: int, *, by: str, comment: str) -> Outage | None:
    """Put back into service now, audited; None where there is no such outage for the site. Again changes nothing."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Outage)) as cursor:
        which = {"site": site, "id": outage_id}
        found = cursor.execute(_COLUMNS + " AND outage_id = %(id)s", which).fetchone()
        if found is None:
            return None
        done = connection.execute(
            """
            UPDATE alarm_outage SET ended_at = clock_timestamp(), ended_by = %s
             WHERE outage_id = %s AND ended_at IS NULL AND until > clock_timestamp()
            """,
            [by, outage_id],
        ).rowcount
        if done:
            subject = found.tag or found.equipment or found.edge or ""
            keys.audit(connection, by, "alarm.in-service", subject, {"outage": outage_id, "comment": comment})
        return cursor.execute(_COLUMNS + " AND outage_id = %(id)s", which).fetchone()
