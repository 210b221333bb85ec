"""Notes that people leave with the readings they speak of: events of the type `note`, folded to their newest version.

A note is known by its name (`note` in the event); where a gateway gave none, by the number of its event. Only reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from hefa_platform.store.database import Database


@dataclass(frozen=True)
class Note:
    """A version of a note. `until` None: of the moment `start`. `version` counts from 1."""

    note: str
    version: int
    event_id: int
    site: str
    edge: str
    subject: str
    start: datetime
    until: datetime | None
    text: str
    kind: str
    author: str
    entered: datetime


def notes(
    database: Database,
    site: str,
    *,
    note: str | None = None,
    subjects: Sequence[str] | None = None,
    asset: str | None = None,
    kind: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 1,
    every_version: bool = False,
) -> list[Note]:
    """The newest version of each note that touches [start, end), the latest first; or every version of one `note`.

    `asset`: notes on this equipment, on what is below it, on tags of either.
    """
    before_at, before_note = before or (None, None)
    with database.connection() as connection, connection.cursor(row_factory=class_row(Note)) as cursor:
        return cursor.execute(
            """
            WITH told AS (
              SELECT coalesce(nullif(body->>'note', ''), event_id::text) AS note, event_id, edge.site, edge.name AS edge,
                     subject, ts AS start, body->>'text' AS text, coalesce(body->>'kind', '') AS kind,
                     coalesce(body->>'author', '') AS author,
                     CASE WHEN (body->>'until')::bigint > 0
                          THEN timestamptz 'epoch' + (body->>'until')::bigint * interval '1 microsecond' END AS until,
                     CASE WHEN (body->>'entered')::bigint > 0
                          THEN timestamptz 'epoch' + (body->>'entered')::bigint * interval '1 microsecond'
                          ELSE received_at END AS entered
                FROM event JOIN edge USING (edge_id)
               WHERE type = 'note' AND (%(site)s = '*' OR edge.site = %(site)s)
                 AND (%(note)s::text IS NULL OR body->>'note' = %(note)s
                      OR (coalesce(body->>'note', '') = '' AND event_id::text = %(note)s))
            ), versions AS (
              SELECT *, row_number() OVER later::integer AS version, lead(note) OVER later IS NULL AS newest
                FROM told WINDOW later AS (PARTITION BY site, note ORDER BY entered, event_id)
            )
            SELECT note, version, event_id, site, edge, subject, start, until, text, kind, author, entered
              FROM versions
             WHERE (newest OR %(every)s)
               AND (%(subjects)s::text[] IS NULL OR subject = ANY (%(subjects)s))
               AND (%(asset)s::text IS NULL OR subject = %(asset)s
                    OR subject IN (SELECT path FROM v_place WHERE %(asset)s = ANY (within))
                    OR subject IN (SELECT tag.name FROM tag JOIN v_place ON path = equipment WHERE %(asset)s = ANY (within)))
               AND (%(kind)s::text IS NULL OR kind = %(kind)s)
               AND (%(start)s::timestamptz IS NULL OR coalesce(until, start) >= %(start)s)
               AND (%(end)s::timestamptz IS NULL OR start < %(end)s)
               AND (%(before_at)s::timestamptz IS NULL OR (start, note) < (%(before_at)s, %(before_note)s::text))
             ORDER BY start DESC, note DESC, version DESC LIMIT %(limit)s
            """,
            {
                "site": site, "note": note, "every": every_version, "asset": asset, "kind": kind, "start": start,
                "end": end, "subjects": None if subjects is None else list(subjects), "before_at": before_at,
                "before_note": before_note, "limit": limit,
            },
        ).fetchall()  # fmt: skip
