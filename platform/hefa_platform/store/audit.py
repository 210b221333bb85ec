"""The audit: every write, who did it and when. Written in the transaction of the write (`keys.audit`); here it is read."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from hefa_platform.store.database import Database


@dataclass(frozen=True)
class Entry:
    """A write. `name` is the key's name, where there is still such a key."""

    audit_id: int
    at: datetime
    by: str
    name: str | None
    action: str
    subject: str
    body: dict[str, Any] | None


def entries(
    database: Database,
    site: str,
    *,
    action: str | None = None,
    subject: str | None = None,
    by: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    before: int | None = None,
    limit: int,
) -> list[Entry]:
    """Writes by keys of a site (`*`: by all), the latest first; `before` continues behind that id. `action` may end in `.`."""
    with database.connection() as connection, connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(
            """
            SELECT audit_id, at, audit.key_id AS by, name, action, subject, body
              FROM audit LEFT JOIN api_key USING (key_id)
             WHERE (%(site)s = '*' OR api_key.site = %(site)s)
               AND (%(action)s::text IS NULL OR action = %(action)s
                    OR (right(%(action)s, 1) = '.' AND starts_with(action, %(action)s)))
               AND (%(subject)s::text IS NULL OR subject = %(subject)s)
               AND (%(by)s::text IS NULL OR audit.key_id = %(by)s)
               AND (%(start)s::timestamptz IS NULL OR at >= %(start)s)
               AND (%(end)s::timestamptz IS NULL OR at < %(end)s)
               AND (%(before)s::bigint IS NULL OR audit_id < %(before)s)
             ORDER BY audit_id DESC LIMIT %(limit)s
            """,
            {
                "site": site, "action": action, "subject": subject, "by": by, "start": start, "end": end,
                "before": before, "limit": limit,
            },
        ).fetchall()  # fmt: skip
