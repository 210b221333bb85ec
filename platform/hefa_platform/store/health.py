"""Is it working? The questions of container health checks; the answers come from the database alone."""

from hefa_platform.store.database import Database
from hefa_platform.store.migrations import require_current

SILENT_S = 30  # a worker that has not given a sign of life for so long is not working


class Unhealthy(Exception):
    """Something is there but does not work; the message says what."""


def check_schema(database: Database) -> None:
    """Raise `Unavailable` unless the database answers and has this program's schema."""
    with database.connection() as connection:
        require_current(connection)


def check_worker(database: Database, task: str, name: str) -> None:
    """Raise `Unhealthy` unless the process `name` of a task said within SILENT_S seconds that it is ready."""
    with database.connection() as connection:
        row = connection.execute(
            """
            SELECT ready, detail, extract(epoch FROM clock_timestamp() - seen_at)::float8
              FROM worker WHERE task = %s AND name = %s
            """,
            [task, name],
        ).fetchone()
    if row is None:
        raise Unhealthy(f"{task} {name} has never been seen")
    ready, detail, age_s = row
    if age_s > SILENT_S:
        raise Unhealthy(f"{task} {name} was last seen {age_s:.0f} s ago")
    if not ready:
        raise Unhealthy(f"{task} {name} is not ready: {detail}")
