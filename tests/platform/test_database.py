"""What a caller sees of the server's troubles, and that the pool heals by itself."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest
from psycopg import errors

from hefa_platform.store.database import Database, Engine, Refused, SchemaMissing, TimedOut, Unavailable, translate


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        ("08006", Unavailable),  # connection failure
        ("25006", Unavailable),  # read-only transaction: a standby
        ("40001", Unavailable),  # serialisation failure
        ("40P01", Unavailable),  # deadlock
        ("53100", Unavailable),  # disk full
        ("53300", Unavailable),  # too many connections
        ("55P03", Unavailable),  # lock not available
        ("57P01", Unavailable),  # administrator shut it down
        ("58030", Unavailable),  # I/O error
        ("57014", TimedOut),
        ("42P01", SchemaMissing),  # undefined table
        ("42501", SchemaMissing),  # no right
        ("3D000", SchemaMissing),  # no such database
        ("28P01", SchemaMissing),  # wrong password
        ("22003", Refused),  # numeric value out of range
        ("23505", Refused),  # unique violation
        ("23514", Refused),  # check violation
        ("42601", type(None)),  # a syntax error is a bug
        ("0A000", type(None)),
        ("XX000", type(None)),
    ],
)
def test_errors_by_sqlstate(state: str, seen: type) -> None:
    assert (
        type(translate(errors.lookup(state)("boom") if state != "08006" else errors.ConnectionFailure("boom"))) is seen
    )


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (psycopg.OperationalError("gone"), Unavailable),
        (psycopg.DataError("a text with NUL"), Refused),
        (psycopg.ProgrammingError("?"), type(None)),
    ],
)
def test_errors_without_an_answer_from_the_server(error: psycopg.Error, seen: type) -> None:
    assert type(translate(error)) is seen


def test_a_block_is_a_transaction(database: Any) -> None:
    with Database(database.owner, max_size=1) as store:
        with store.connection() as connection:
            connection.execute("CREATE TABLE t (n int PRIMARY KEY)")
            connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(Refused) as refused, store.connection() as connection:
            connection.execute("INSERT INTO t VALUES (2), (1)")
        assert refused.value.sqlstate == "23505"
        with store.connection() as connection:
            assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]
            assert connection.execute("SHOW timezone").fetchone() == ("UTC",)


def test_a_statement_that_takes_too_long_is_given_up(database: Any) -> None:
    with (
        Database(database.api, max_size=1, statement_timeout_ms=50) as store,
        pytest.raises(TimedOut),
        store.connection() as c,
    ):
        c.execute("SELECT pg_sleep(5)")


def test_lost_connections_are_replaced(database: Any) -> None:
    with (
        Database(database.api, min_size=2, max_size=2) as store,
        psycopg.connect(database.admin, autocommit=True) as admin,
    ):
        with store.connection() as connection:
            connection.execute("SELECT 1")
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'hefa_api'"
        with pytest.raises(Unavailable), store.connection() as connection:  # noqa: PT012 - it is lost while in use
            admin.execute(kill)
            connection.execute("SELECT 1")
        with store.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_absent_server_is_unavailable_within_patience() -> None:
    began = time.monotonic()
    with Database("postgresql://nobody@127.0.0.1:1/none", patience_s=0.3) as store:
        with pytest.raises(Unavailable, match="no connection within"), store.connection():
            pass
        with pytest.raises(Unavailable), store.session():
            pass
    assert time.monotonic() - began < 20


def test_all_connections_in_use_is_told_as_such(database: Any) -> None:
    with (
        Database(database.api, max_size=1, patience_s=2.0) as store,
        store.connection(),
        pytest.raises(Unavailable, match="in use"),
        store.connection(),
    ):
        pass


def test_the_engine_is_told(database: Any) -> None:
    with Database(database.api, max_size=1) as store:
        engine = store.engine
    assert isinstance(engine, Engine)
    assert engine.kind in ("postgresql", "timescaledb-apache", "timescaledb-community")
    assert engine.hypertables is (engine.kind != "postgresql")
    assert "PostgreSQL" in engine.version


def test_a_closed_store_is_unavailable(database: Any) -> None:
    store = Database(database.api, max_size=1)
    store.close()
    with pytest.raises(Unavailable), store.connection():
        pass
