"""A database with two hours of every tag, rolled up, and with something wrong in it: silent tags, refused data."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hefa_contract.plant import Plant
from hefa_platform.store import plant_model, rollups
from hefa_platform.store.database import Database

MINUTE = timedelta(minutes=1)
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
FIRST = NOW.replace(minute=0) - timedelta(hours=2)


@pytest.fixture(scope="session")
def read_dsn(filled: str, role_passwords: dict[str, str]) -> str:
    """DSN of hefa_read, as Grafana signs in."""
    return make_conninfo(filled, user="hefa_read", password=role_passwords["hefa_read"])


@pytest.fixture
def alive(filled: str) -> None:
    """Gateways and workers were heard of just now, however long ago the database was made."""
    with psycopg.connect(filled) as connection:
        connection.execute("UPDATE worker SET seen_at = now()")
        connection.execute("UPDATE edge SET seen_at = now() WHERE seen_at IS NOT NULL")
        connection.execute("UPDATE quarantine SET received_at = now()")


@pytest.fixture(scope="session")
def filled(postgres: str, migrated: str, role_passwords: dict[str, str], plant: Plant) -> Iterator[str]:
    """DSN of the database's administrator."""
    name = f"hefa_grafana_{secrets.token_hex(4)}"
    admin = make_conninfo(postgres, dbname=name)
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(migrated)))
    try:
        owner = Database(make_conninfo(admin, user="hefa_owner", password=role_passwords["hefa_owner"]))
        plant_model.load(owner, plant)
        owner.close()
        with psycopg.connect(admin) as connection:
            _fill(connection)
        with psycopg.connect(admin, autocommit=True) as connection:
            assert rollups.claim(connection)
            rollups.advance(connection, NOW - 2 * MINUTE)
            while rollups.work(connection, "newest", settled=False) is not None:
                pass
            connection.execute("ANALYZE")
        yield admin
    finally:
        with psycopg.connect(postgres, autocommit=True) as server:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            try:
                server.execute(drop)
            except psycopg.errors.InternalError:  # a background worker of TimescaleDB tidied up in the same moment
                server.execute(drop)


def _fill(connection: psycopg.Connection) -> None:
    """A reading every two minutes of every tag: near its normal value, registers growing; then what is wrong."""
    connection.execute("SELECT ensure_partitions(%s)", [[FIRST.date(), NOW.date()]])
    connection.execute("UPDATE rollup_state SET watermark = %s", [FIRST])
    connection.execute(
        """
        INSERT INTO reading (tag_id, ts, value, quality)
        SELECT tag_id, ts,
               CASE kind WHEN 'counter' THEN coalesce(normal, 0) + step * 0.5
                         WHEN 'state' THEN coalesce(normal, 0)
                         ELSE coalesce(normal, 0) + coalesce(noise_sd, 0) * sin(step + tag_id) END, 192
          FROM tag
         CROSS JOIN LATERAL (SELECT ts, row_number() OVER (ORDER BY ts) AS step
                               FROM generate_series(%(from)s::timestamptz, %(to)s, '2 minutes') AS ts) s
         WHERE edge_id IS NOT NULL
        """,
        {"from": FIRST, "to": NOW},
    )
    connection.execute(
        """
        INSERT INTO latest (tag_id, ts, value, quality)
        SELECT DISTINCT ON (tag_id) tag_id, ts, value, quality FROM reading ORDER BY tag_id, ts DESC
        """
    )
    connection.execute(
        "UPDATE latest SET ts = ts - interval '1 hour' WHERE tag_id IN (SELECT tag_id FROM tag ORDER BY 1 LIMIT 3)"
    )
    # Newest values as they would be with live gateways; three of them uncertain.
    connection.execute("UPDATE latest SET ts = now() WHERE ts > now() - interval '10 minutes'")
    connection.execute(
        "UPDATE latest SET quality = 64 WHERE tag_id IN (SELECT tag_id FROM tag ORDER BY 1 OFFSET 10 LIMIT 3)"
    )
    connection.execute("UPDATE edge SET online = true, seen_at = now() WHERE name LIKE 'gw-a%'")
    connection.execute(
        """
        INSERT INTO intake_counter (edge_id, worker, received, stored, duplicate, conflict, quarantined)
        SELECT edge_id, 'w1', 1000, 990, 4, 1, 5 FROM edge WHERE name LIKE 'gw-a%'
        """
    )
    connection.execute(
        """
        INSERT INTO quarantine (edge, epoch, seq, i, code, detail, topic, reading)
        VALUES ('gw-a1', 'e', 1, 0, 'TS_FUTURE', 'an hour ahead', 'hefa/v1/gw-a1/data', '{"tag": "x"}'),
               ('gw-a2', 'e', 2, NULL, 'JSON_SYNTAX', 'no JSON', 'hefa/v1/gw-a2/data', NULL)
        """
    )
    connection.execute(
        """
        INSERT INTO reading_conflict (tag_id, ts, value, quality, edge_id, epoch, seq)
        SELECT tag_id, %s, -1, 192, edge_id, 'e', 3 FROM tag WHERE edge_id IS NOT NULL ORDER BY 1 LIMIT 1
        """,
        [FIRST],
    )
    connection.execute(
        """
        INSERT INTO freshness (slot, worker, bucket, readings)
        SELECT slot, 'w1', bucket, 200 - bucket
          FROM generate_series(now() - interval '1 hour', now(), '10 seconds') AS slot, generate_series(60, 80) AS bucket
        """
    )
    connection.execute("INSERT INTO worker (task, name, ready) VALUES ('ingest', 'w1', true), ('maintain', 'm1', true)")
    connection.execute(
        """
        INSERT INTO alarm (tag_id, level, raised_at, crossed_at, value, extreme, limit_value, priority, state, late)
        SELECT tag_id, 'h', now(), now(), h + 1, h + 1, h, 'high', 'UNACK', false
          FROM (SELECT DISTINCT ON (left(equipment, 3)) tag_id, h FROM tag WHERE h IS NOT NULL
                 ORDER BY left(equipment, 3), tag_id) t
        """
    )
