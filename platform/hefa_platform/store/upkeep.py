"""What the database needs done now and then, besides rollups: partitions ahead, retention, signs of life."""

from hefa_platform.store.database import Connection, Unavailable

_AHEAD_DAYS = 3
_FRESHNESS_DAYS = 7
# Raw outlives what intake still takes, so that the first minute of a late reading finds what held before it.
_MARGIN_DAYS = 1
# Beyond the grace of every gateway: what is resent later than this is known by its floor, no longer by its hash.
LEDGER_DAYS = 30


class UnsafePolicies(Unavailable):
    """A policy that people set would destroy rollups: nothing is refreshed until they change it, as the message says."""


def prepare_partitions(connection: Connection) -> int:
    """Make the partitions of today and the next days; return how many were made."""
    row = connection.execute(
        "SELECT ensure_partitions(ARRAY(SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(0, %s) AS n))",
        [_AHEAD_DAYS],
    ).fetchone()
    assert row is not None
    return int(row[0])


def keep_policies(connection: Connection, raw_retention_days: int) -> list[str]:
    """Set the server's own retention behind ours, where it has one; return what is unsafe about policies of people."""
    return [row[0] for row in connection.execute("SELECT keep_policies(%s)", [raw_retention_days])]


def forget_old(connection: Connection, raw_retention_days: int) -> list[str]:
    """Drop raw days beyond retention, and old figures of freshness and workers; return the partitions dropped."""
    dropped = connection.execute(
        "SELECT drop_readings(now() - make_interval(days => %s))", [raw_retention_days + _MARGIN_DAYS]
    ).fetchall()
    connection.execute("DELETE FROM freshness WHERE slot < now() - make_interval(days => %s)", [_FRESHNESS_DAYS])
    connection.execute("DELETE FROM suspect WHERE last_at < now() - make_interval(days => %s)", [_FRESHNESS_DAYS])
    connection.execute("DELETE FROM worker WHERE seen_at < now() - make_interval(days => %s)", [_FRESHNESS_DAYS])
    return [row[0] for row in dropped]


def trim_ledger(connection: Connection, keep_days: int) -> int:
    """Move the floors of the ledger up and delete older rows below them; return how many rows went.

    A floor is moved over what was accepted and over what a gap said as long ago will never come, as far as nothing is
    missing, and at most 100,000 numbers of an epoch at a time. A message at or below its floor that comes again is a
    duplicate; what was given up may still be on its way when the gap is told, and is stored if it comes.
    """
    connection.execute(
        """
        WITH old AS (
          SELECT DISTINCT edge_id, epoch FROM ledger WHERE received_at < now() - make_interval(days => %(keep)s)
        ), known AS (
          SELECT edge_id, epoch, coalesce(floor, 0) AS floor FROM old LEFT JOIN edge_floor USING (edge_id, epoch)
        ), covered AS (
          -- Ranges of what lies before a number: the last of all numbers has none after it that could end its range.
          SELECT edge_id, epoch, floor, range_agg(seqs) AS seqs FROM known CROSS JOIN LATERAL (
            (SELECT int8range(seq - 1, seq) AS seqs FROM ledger
              WHERE ledger.edge_id = known.edge_id AND ledger.epoch = known.epoch AND seq > floor
              ORDER BY seq LIMIT 100000)
            UNION ALL
            SELECT int8range(from_seq - 1, to_seq) FROM gap
             WHERE gap.edge_id = known.edge_id AND gap.epoch = known.epoch AND to_seq > floor
               AND received_at < now() - make_interval(days => %(keep)s)) AS one
           GROUP BY edge_id, epoch, floor
        )
        INSERT INTO edge_floor (edge_id, epoch, floor)
        SELECT edge_id, epoch, upper(whole) FROM covered CROSS JOIN unnest(seqs) AS whole WHERE whole @> floor
        ON CONFLICT (edge_id, epoch) DO UPDATE SET floor = greatest(edge_floor.floor, excluded.floor)
        """,
        {"keep": keep_days},
    )
    return connection.execute(
        """
        DELETE FROM ledger USING edge_floor AS f
         WHERE ledger.edge_id = f.edge_id AND ledger.epoch = f.epoch AND seq BETWEEN 1 AND floor
           AND received_at < now() - make_interval(days => %s)
        """,
        [keep_days],
    ).rowcount


def renew_incarnation(connection: Connection) -> str:
    """Say that the database is another one than before; gateways then send what they still hold. Returns the new id."""
    row = connection.execute("UPDATE instance SET incarnation = gen_random_uuid() RETURNING incarnation").fetchone()
    assert row is not None
    return str(row[0])


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
