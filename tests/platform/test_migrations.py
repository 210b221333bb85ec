"""From an empty server to the schema, again, at once from two sides, and who may do what in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from hefa_platform.store import migrations
from hefa_platform.store.database import Database, SchemaMissing, Unavailable
from hefa_platform.store.migrations import MigrationError, available, migrate, require_current


@pytest.fixture
def empty(database: Any) -> Iterator[str]:
    """DSN of a database as its server makes it."""
    name = f"{database.name}_empty"
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield database.admin.replace(database.name, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_files_are_numbered_without_a_gap() -> None:
    names = [migration.name for migration in available()]
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_everything_is_applied_once(empty: str, role_passwords: dict[str, str]) -> None:
    names = [migration.name for migration in available()]
    assert migrate(empty, role_passwords) == names
    assert migrate(empty, role_passwords) == []


def test_two_at_once_apply_everything_once(empty: str) -> None:
    done: list[list[str]] = []
    threads = [threading.Thread(target=lambda: done.append(migrate(empty))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(done) == [[], [migration.name for migration in available()]]


def test_two_databases_of_a_server_are_prepared_at_once(
    database: Any, empty: str, role_passwords: dict[str, str]
) -> None:
    """They share the roles, and the lock is of one database."""
    failed: list[Exception] = []

    def prepare(dsn: str) -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as admin:
                for _ in range(8):
                    migrations.prepare(admin, role_passwords)
        except Exception as error:  # told by the test, not by a thread
            failed.append(error)

    threads = [threading.Thread(target=prepare, args=(dsn,)) for dsn in (database.admin, empty)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failed == []


def test_a_file_changed_afterwards_is_refused(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(empty)
    changed = [migrations.Migration(m.name, m.text + "\n-- changed") for m in available()]
    monkeypatch.setattr(migrations, "available", lambda: changed)
    with pytest.raises(MigrationError, match=r"0001_plant\.sql was changed"):
        migrate(empty)


def test_a_file_that_fails_leaves_nothing_behind(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = [*available(), migrations.Migration("9999_bad", "CREATE TABLE half (n int); SELECT 1/0")]
    monkeypatch.setattr(migrations, "available", lambda: bad)
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty)
    with psycopg.connect(empty) as admin:
        assert admin.execute("SELECT to_regclass('half'), to_regclass('reading')").fetchone() == (None, "reading")


def test_the_schema_is_known_to_be_missing_or_old(database: Any, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        Database(empty, max_size=1) as store,
        pytest.raises(SchemaMissing, match="migrate"),
        store.connection() as connection,
    ):
        require_current(connection)
    with Database(database.api, max_size=1) as store:
        with store.connection() as connection:
            require_current(connection)
        newer = [*available(), migrations.Migration("9999_next", "")]
        monkeypatch.setattr(migrations, "available", lambda: newer)
        with pytest.raises(SchemaMissing, match="9999_next"), store.connection() as connection:
            require_current(connection)


def test_an_absent_server_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        migrate("postgresql://nobody@127.0.0.1:1/none")


def test_the_administrators_key_is_stored_hashed_and_stays_revoked(empty: str) -> None:
    key = "hefa_0123456789ab_" + "s" * 43
    migrate(empty, api_keys={"admin": key})
    with psycopg.connect(empty, autocommit=True) as admin:
        (row,) = admin.execute("SELECT key_id, role, hash FROM api_key").fetchall()
        assert row[:2] == ("0123456789ab", "admin")
        assert b"sss" not in bytes(row[2])
        admin.execute("UPDATE api_key SET revoked_at = now()")
        migrate(empty, api_keys={"admin": key})
        assert admin.execute("SELECT count(*) FROM api_key WHERE revoked_at IS NULL").fetchone() == (0,)
    with pytest.raises(MigrationError, match="hefa_<id>_<secret>"):
        migrate(empty, api_keys={"admin": "admin"})


FORBIDDEN = [
    ("ingest", "DELETE FROM reading"),
    ("ingest", "UPDATE tag SET high = 1"),
    ("ingest", "DELETE FROM quarantine"),
    ("ingest", "UPDATE rollup_state SET watermark = now()"),
    ("ingest", "SELECT * FROM api_key"),
    ("ingest", "CREATE TABLE t (n int)"),
    ("ingest", "DROP TABLE reading"),
    ("jobs", "INSERT INTO reading VALUES (1, now(), 1, 192)"),
    ("jobs", "DELETE FROM reading"),
    ("jobs", "DROP TABLE reading"),
    ("api", "DELETE FROM reading"),
    ("api", "DELETE FROM audit"),
    ("api", "UPDATE audit SET action = ''"),
    ("api", "UPDATE reading SET value = 1"),
    ("api", "UPDATE tag SET high = 1"),
    ("api", "SELECT drop_readings(now())"),
    ("read", "SELECT * FROM api_key"),
    ("read", "SELECT * FROM audit"),
    ("read", "INSERT INTO latest VALUES (1, now(), 1, 192)"),
]


@pytest.mark.parametrize(("role", "statement"), FORBIDDEN)
def test_what_a_role_may_not_do(database: Any, role: str, statement: str) -> None:
    with psycopg.connect(getattr(database, role)) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement)


def test_an_acknowledgement_means_on_disk(database: Any) -> None:
    with psycopg.connect(database.ingest) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
