"""What only TimescaleDB Community does: the aggregate, the columnstore, policies, and what is refused about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from hefa_platform.maintain import Keeper
from hefa_platform.store import upkeep
from hefa_platform.store.database import Database, detect
from hefa_platform.store.migrations import MigrationError

pytestmark = pytest.mark.needs_community


@pytest.fixture
def admin(database: Any) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.admin, autocommit=True) as connection:
        if detect(connection).kind != "timescaledb-community":
            pytest.skip("the server is not TimescaleDB Community: name one by HEFA_TEST_DSN")
        yield connection


def jobs_of(admin: psycopg.Connection) -> dict[tuple[str, str], dict[str, Any]]:
    rows = admin.execute(
        "SELECT proc_name, hypertable_name, config FROM timescaledb_information.jobs WHERE job_id >= 1000"
    )
    return {(proc, table): config for proc, table, config in rows}


def test_hypertables_columnstore_aggregate_and_policies(database: Any, admin: psycopg.Connection) -> None:
    assert admin.execute(
        "SELECT hypertable_name, compression_enabled FROM timescaledb_information.hypertables WHERE hypertable_schema = 'public' ORDER BY 1"
    ).fetchall() == [("reading", True), ("reading_1m", True)]
    segments = admin.execute(
        "SELECT hypertable::text, segmentby, orderby FROM timescaledb_information.hypertable_columnstore_settings WHERE segmentby IS NOT NULL ORDER BY 1"
    )
    assert segments.fetchall() == [("reading", "tag_id", "ts"), ("reading_1m", "tag_id", "bucket")]
    assert admin.execute(
        "SELECT view_name, view_owner FROM timescaledb_information.continuous_aggregates"
    ).fetchall() == [("reading_1h_cagg", "hefa_jobs")]
    with psycopg.connect(database.jobs, autocommit=True) as jobs:
        assert upkeep.keep_policies(jobs, 90) == []
        assert jobs_of(admin)["policy_retention", "reading"]["drop_after"] == "98 days"
        assert upkeep.keep_policies(jobs, 30) == []  # it is ours: it follows the setting
        assert jobs_of(admin)["policy_retention", "reading"]["drop_after"] == "38 days"
    assert ("policy_compression", "reading_1m") in jobs_of(admin)


UNSAFE = [
    ("SELECT remove_retention_policy('reading', true); SELECT add_retention_policy('reading', INTERVAL '80 days')",
     "retention policy of \"reading\".*91 days or more"),
    ("SELECT add_retention_policy('reading_1m', INTERVAL '365 days')", "delete rollups from \"reading_1m\""),
    ("SELECT add_retention_policy('reading_1h_cagg', INTERVAL '365 days')", "delete rollups from \"reading_1h_cagg\""),
    ("CREATE MATERIALIZED VIEW own WITH (timescaledb.continuous) AS SELECT tag_id, time_bucket('1 day', ts) AS day,"
     " max(value) FROM reading GROUP BY 1, 2 WITH NO DATA; SELECT add_continuous_aggregate_policy('own', NULL,"
     " INTERVAL '1 hour', INTERVAL '1 hour')", "refresh policy of \"own\".*erase its history"),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "sentence"), UNSAFE)
def test_an_unsafe_policy_stops_maintain_with_a_sentence(
    database: Any, admin: psycopg.Connection, statements: str, sentence: str
) -> None:
    for statement in statements.split("; "):
        admin.execute(statement)
    with Database(database.jobs, max_size=1) as store:
        keeper = Keeper(store, "m1")
        with store.session() as connection, pytest.raises(upkeep.UnsafePolicies, match=sentence):
            keeper._keep(connection)
    row = admin.execute("SELECT ready, detail FROM worker WHERE name = 'm1'").fetchone()
    assert row is not None
    assert (row[0], "policy" in row[1]) == (False, True)


def test_a_policy_of_people_that_is_safe_is_left_alone(database: Any, admin: psycopg.Connection) -> None:
    admin.execute("SELECT add_retention_policy('reading', INTERVAL '2 years')")
    with psycopg.connect(database.jobs, autocommit=True) as jobs:
        assert upkeep.keep_policies(jobs, 90) == []
    assert jobs_of(admin)["policy_retention", "reading"]["drop_after"] == "2 years"


def test_roles_open_as_much_of_the_columnstore_as_late_data_needs(database: Any, admin: psycopg.Connection) -> None:
    for dsn in (database.ingest, database.jobs):
        with psycopg.connect(dsn) as connection:
            limit = connection.execute("SHOW timescaledb.max_tuples_decompressed_per_dml_transaction").fetchone()
            assert limit == ("0",)


def test_only_its_owner_refreshes_the_aggregate(database: Any, admin: psycopg.Connection) -> None:
    with psycopg.connect(database.api, autocommit=True) as api, pytest.raises(errors.InsufficientPrivilege):
        api.execute("CALL refresh_continuous_aggregate('reading_1h_cagg', NULL, NULL)")


def test_an_old_server_is_refused(admin: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    from hefa_platform.store import migrations

    monkeypatch.setattr(migrations, "OLDEST_TIMESCALEDB", (99, 0))
    with pytest.raises(MigrationError, match=r"TimescaleDB .*needs 99\.0 or newer.*ALTER EXTENSION"):
        migrations.require_server(admin)
    monkeypatch.setattr(migrations, "OLDEST_POSTGRES", 99)
    with pytest.raises(MigrationError, match="PostgreSQL 99 or newer"):
        migrations.require_server(admin)
