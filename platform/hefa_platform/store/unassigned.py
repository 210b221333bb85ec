"""Tags outside the plant model, and what people or programs say of them: a unit and a description.

Only of those: what the plant model knows is changed there. When the model takes such a tag in, its word counts.
"""

from hefa_platform.store import keys
from hefa_platform.store.database import Database
from hefa_platform.store.registry import ENTRY


class Modelled(Exception):
    """The plant model knows this tag, or another site has it."""


def describe(database: Database, site: str, name: str, *, unit: str, description: str, by: str) -> bool:
    """Say what a tag is measured in, audited; return whether it was not there before. The same again changes nothing.

    A tag that nobody has sent yet is registered as the gateway `api`'s. Raises Modelled.
    """
    with database.connection() as connection:
        before = connection.execute(
            "SELECT unit, description FROM tag WHERE name = %(name)s AND NOT assigned AND %(site)s IN ('*', site)",
            {"name": name, "site": site},
        ).fetchone()
        if before == (unit, description):
            return False
        done = connection.execute(
            """
            INSERT INTO tag (name, edge_id, site, kind, assigned, unit, description)
            SELECT %(name)s, edge_id, site, 'gauge', false, %(unit)s, %(description)s FROM edge WHERE name = %(entry)s
            ON CONFLICT (name) DO UPDATE SET unit = excluded.unit, description = excluded.description
             WHERE NOT tag.assigned AND (%(site)s = '*' OR tag.site = %(site)s)
            """,
            {"name": name, "unit": unit, "description": description, "entry": ENTRY, "site": site},
        ).rowcount
        if not done:
            raise Modelled
        was = None if before is None else {"unit": before[0], "description": before[1]}
        after = {"unit": unit, "description": description}
        keys.audit(connection, by, "tag.describe", name, {"before": was, "after": after})
        return before is None
