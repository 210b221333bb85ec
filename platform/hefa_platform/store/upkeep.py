"""What the database needs done now and then, besides rollups: partitions ahead, retention, signs of life."""

from hefa_platform.store.database import Connection

_AHEAD_DAYS = 3
_FRESHNESS_DAYS = 7
# Raw outlives what intake still takes, so that the first minute of a late reading finds what held before it.
_MARGIN_DAYS = 1


def prepare_partitions(connection: Connection) -> int:
    """Make the partitions of today and the next days; return how many were made."""
    row = connection.execute(
        "SELECT ensure_partitions(ARRAY(SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(0, %s) AS n))",
        [_AHEAD_DAYS],
    ).fetchone()
    assert row is not None
    return int(row[0])


def forget_old(connection: Connection, raw_retention_days: int) -> list[str]:
    """Drop raw days beyond retention, and old figures of freshness and workers; return the partitions dropped."""
    dropped = connection.execute(
        "SELECT drop_readings(now() - make_interval(days => %s))", [raw_retention_days + _MARGIN_DAYS]
    ).fetchall()
    connection.execute("DELETE FROM freshness WHERE slot < now() - make_interval(days => %s)", [_FRESHNESS_DAYS])
    connection.execute("DELETE FROM worker WHERE seen_at < now() - make_interval(days => %s)", [_FRESHNESS_DAYS])
    return [row[0] for row in dropped]


def alive(connection: Connection, worker: str, ready: bool, detail: str = "") -> None:
    """Leave maintain's sign of life."""
    connection.execute(
        """
        INSERT INTO worker (task, name, ready, detail) VALUES ('maintain', %s, %s, %s)
        ON CONFLICT (task, name) DO UPDATE
          SET ready = excluded.ready, detail = excluded.detail, seen_at = clock_timestamp()
        """,
        [worker, ready, detail],
    )
