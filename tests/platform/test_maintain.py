"""The housekeeper at work on a real database: rollups appear, another stands by, old raw goes, rollups stay."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from hefa_platform import maintain
from hefa_platform.maintain import Keeper
from hefa_platform.store import health, rollups, upkeep
from hefa_platform.store.database import Database, Unavailable
from hefa_platform.store.standstill import Standstill

WHEN_ASKED = """
    SELECT extract(epoch FROM max(state_change)) * 1000000 FROM pg_stat_activity JOIN pg_locks USING (pid)
     WHERE locktype = 'advisory' AND datname = current_database()
"""


@contextmanager
def keeping(dsn: str, name: str = "m1", **settings: Any) -> Iterator[Keeper]:
    database = Database(dsn, max_size=1)
    keeper = Keeper(database, name, **settings)
    failure: list[BaseException] = []

    def run() -> None:
        try:
            keeper.run()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield keeper
    finally:
        keeper.stop()
        thread.join(30)
        database.close()
        assert not thread.is_alive()
        assert not failure, failure


def until(found: Callable[[], Any], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def admin(database: Any) -> Iterator[Any]:
    with psycopg.connect(database.admin, autocommit=True) as connection:
        yield connection


def record(admin: Any, ago: str) -> None:
    """One reading of a new tag, noted as ingest would."""
    admin.execute("INSERT INTO tag (name, kind, heartbeat_s) VALUES ('t', 'gauge', 60) ON CONFLICT DO NOTHING")
    admin.execute("SELECT ensure_partitions(ARRAY[(now() - %s::interval)::date])", [ago])
    admin.execute("INSERT INTO reading SELECT tag_id, now() - %s::interval, 1, 192 FROM tag", [ago])
    admin.execute("INSERT INTO rollup_dirty (tag_id, from_ts, to_ts) SELECT tag_id, ts, ts FROM reading")


def count(admin: Any, query: str) -> int:
    return int(admin.execute(query).fetchone()[0])


def moves(admin: Any) -> None:
    """Wait until the one who works has asked the database something more."""
    asked = count(admin, WHEN_ASKED)
    until(lambda: count(admin, WHEN_ASKED) > asked, "it moves")


def test_rollups_appear_and_the_watermark_moves(database: Any, admin: Any) -> None:
    admin.execute("UPDATE rollup_state SET watermark = now() - interval '1 hour'")
    record(admin, "10 minutes")
    with keeping(database.jobs):
        until(lambda: count(admin, "SELECT count(*) FROM reading_1m"), "minutes are written")
        until(lambda: not count(admin, "SELECT count(*) FROM rollup_dirty"), "nothing is left to do")
    assert count(admin, "SELECT count(*) FROM reading_1h") >= 1
    behind = count(admin, "SELECT extract(epoch FROM now() - watermark) FROM rollup_state")
    assert 119 <= behind < 600, "two minutes, and not the hour that it was"


def test_what_a_register_counted_in_a_silence_is_heard_at_once(
    database: Any, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintain, "ADVANCE_S", 1.5)
    admin.execute("UPDATE rollup_state SET watermark = now() - interval '1 hour'")
    admin.execute("SELECT ensure_partitions(ARRAY[(now() - interval '20 minutes')::date, now()::date])")
    admin.execute("INSERT INTO tag (name, kind, heartbeat_s, modulus, max_rate) VALUES ('t', 'counter', 60, 1e6, 3600)")
    admin.execute("INSERT INTO reading SELECT tag_id, now() - interval '20 minutes', 100, 192 FROM tag")
    with keeping(database.jobs):
        until(lambda: count(admin, "SELECT count(*) FROM reading_1m"), "minutes are written")
        until(lambda: not count(admin, "SELECT count(*) FROM rollup_dirty"), "nothing is left to do")
        admin.execute("INSERT INTO reading SELECT tag_id, now(), 130, 192 FROM tag")
        admin.execute("INSERT INTO latest (tag_id, ts, value, quality) SELECT * FROM reading WHERE value = 130")
        # 27 of 30 lie before the watermark. Without a note they would be told when it passes this reading, minutes later.
        total = "SELECT coalesce(sum(coalesce(inc_measured, 0) + coalesce(inc_estimated, 0)), 0) FROM reading_1m"
        until(lambda: count(admin, total) > 20, "it is counted")


def test_alarms_are_raised(database: Any, admin: Any) -> None:
    admin.execute("INSERT INTO tag (name, kind, low, high, h) VALUES ('hot', 'gauge', 0, 100, 80)")
    admin.execute("SELECT ensure_partitions(ARRAY[(now() - interval '30 seconds')::date])")
    admin.execute("INSERT INTO reading SELECT tag_id, now() - interval '30 seconds', 90, 192 FROM tag")
    with keeping(database.jobs):
        until(lambda: count(admin, "SELECT count(*) FROM alarm WHERE state = 'UNACK' AND level = 'h'"), "raised")


def test_partitions_are_made_ahead(database: Any, admin: Any) -> None:
    if count(admin, "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"):
        with psycopg.connect(database.jobs) as jobs:
            assert upkeep.prepare_partitions(jobs) == 0  # a hypertable makes its own when they are needed
        return
    with keeping(database.jobs):
        until(
            lambda: count(admin, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'reading'::regclass") >= 4, "made"
        )


def test_another_stands_by_and_takes_over(database: Any, admin: Any) -> None:
    with keeping(database.jobs, "m2") as first:
        until(lambda: count(admin, "SELECT count(*) FROM worker WHERE name = 'm2'"), "the first works")
        with keeping(database.jobs, "m3"):
            until(
                lambda: count(admin, "SELECT count(*) FROM worker WHERE name = 'm3' AND detail = 'standing by'"),
                "waits",
            )
            first.stop()
            until(
                lambda: count(admin, "SELECT count(*) FROM worker WHERE name = 'm3' AND detail LIKE '%%roll up'"),
                "works",
            )


def test_who_is_frozen_loses_the_place_and_who_works_does_not(database: Any, admin: Any) -> None:
    with psycopg.connect(database.jobs, autocommit=True) as frozen:
        assert rollups.claim(frozen)
        with keeping(database.jobs, "m2", patience_s=0.5):
            until(
                lambda: count(admin, "SELECT count(*) FROM worker WHERE name = 'm2' AND detail LIKE '%%roll up'"),
                "works",
            )
            with pytest.raises(psycopg.OperationalError):
                frozen.execute("SELECT 1")
    with keeping(database.jobs, "m3"):
        until(
            lambda: count(admin, "SELECT count(*) FROM worker WHERE name = 'm3' AND detail LIKE '%%roll up'"), "works"
        )
        with psycopg.connect(database.jobs, autocommit=True) as looking:
            standstill, ended = Standstill(20.0), []
            for now in range(0, 40, 10):
                ended.append(standstill.look(looking, now, lock=rollups.LOCK))
                moves(admin)
            assert sum(ended) == 0


def test_a_lost_connection_is_made_again(database: Any, admin: Any) -> None:
    with keeping(database.jobs):
        until(lambda: count(admin, "SELECT count(*) FROM worker"), "it works")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'hefa_jobs'"
        )
        record(admin, "10 minutes")
        until(lambda: count(admin, "SELECT count(*) FROM reading_1m"), "it works again")


def test_old_raw_goes_and_rollups_stay(database: Any, admin: Any) -> None:
    record(admin, "95 days")
    admin.execute(
        "INSERT INTO reading_1m (tag_id, bucket, n, n_good, tw_sum, covered_s) SELECT tag_id, ts, 1, 1, 1, 60 FROM reading"
    )
    with psycopg.connect(database.jobs, autocommit=True) as jobs:
        assert upkeep.forget_old(jobs, 90) == []  # still needed for a rollup
        admin.execute("DELETE FROM rollup_dirty")
        record(admin, "1 day")
        admin.execute("DELETE FROM rollup_dirty")
        assert len(upkeep.forget_old(jobs, 90)) == 1
    assert count(admin, "SELECT count(*) FROM reading") == 1
    assert count(admin, "SELECT count(*) FROM reading_1m") == 1


def test_health_is_told_by_signs_of_life(database: Any, admin: Any) -> None:
    with Database(database.jobs, max_size=1) as store:
        health.check_schema(store)
        with pytest.raises(health.Unhealthy, match="never"):
            health.check_worker(store, "maintain", "m1")
        with keeping(database.jobs):
            until(lambda: count(admin, "SELECT count(*) FROM worker WHERE ready"), "it works")
            health.check_worker(store, "maintain", "m1")
        with pytest.raises(health.Unhealthy, match="not ready: stopped"):
            health.check_worker(store, "maintain", "m1")
        admin.execute("UPDATE worker SET ready = true, seen_at = now() - interval '31 seconds'")
        with pytest.raises(health.Unhealthy, match=r"last seen 3\d s ago"):
            health.check_worker(store, "maintain", "m1")
    with Database("postgresql://nobody@127.0.0.1:1/none", patience_s=0.2) as store, pytest.raises(Unavailable):
        health.check_schema(store)
