"""Who stands still in a transaction is ended where others wait for it, and only there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from hefa_platform import vigil
from hefa_platform.store.database import Database
from hefa_platform.store.standstill import Standstill

INSERT = "INSERT INTO edge (name) VALUES (%s)"
Connect = Callable[[], psycopg.Connection]


@pytest.fixture
def connect(database: Any) -> Iterator[Connect]:
    """Connections as ingest has them."""
    with ExitStack() as stack:

        def make() -> psycopg.Connection:
            connection = psycopg.connect(database.ingest, autocommit=True)
            stack.callback(connection.close)
            return connection

        yield make


def waiting(connect: Connect, name: str) -> threading.Thread:
    """Somebody who waits for the one who inserted `name` and has not committed."""
    connection = connect()
    thread = threading.Thread(target=connection.execute, args=[INSERT + " ON CONFLICT DO NOTHING", [name]], daemon=True)
    thread.start()
    watch, deadline = connect(), time.monotonic() + 60
    while watch.execute(
        "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [connection.info.backend_pid]
    ).fetchone() != ("Lock",):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return thread


def test_a_session_that_stands_still_is_ended(connect: Connect) -> None:
    frozen, looking, standstill = connect(), connect(), Standstill(5.0)
    frozen.execute("BEGIN")
    frozen.execute(INSERT, ["still"])
    assert [standstill.look(looking, now) for now in (0.0, 50.0, 100.0)] == [0, 0, 0]  # nobody waits
    thread = waiting(connect, "still")
    assert [standstill.look(looking, now) for now in (200.0, 204.9)] == [0, 0]
    frozen.execute("SELECT 1")  # it is slow, and moves
    assert [standstill.look(looking, now) for now in (205.1, 210.0, 210.2)] == [0, 0, 1]
    thread.join(60)
    assert not thread.is_alive()
    with pytest.raises(psycopg.OperationalError):
        frozen.execute("COMMIT")


def test_a_copy_that_is_slow_is_left_alone_and_one_that_stands_is_ended(connect: Connect) -> None:
    frozen, looking, standstill = connect(), connect(), Standstill(5.0)
    frozen.execute("BEGIN")
    frozen.execute(INSERT, ["copying"])
    thread = waiting(connect, "copying")
    told: list[int] = []

    def read() -> int:
        progress = "SELECT bytes_processed FROM pg_stat_progress_copy WHERE pid = %s"
        return sum(looking.execute(progress, [frozen.info.backend_pid]).fetchone() or (0,))

    def stand() -> None:
        with frozen.cursor().copy("COPY freshness (slot, worker, bucket, readings) FROM STDIN") as copy:
            for n in range(4):
                before, deadline = read(), time.monotonic() + 60
                copy.write(b"".join(b"2026-01-01\tw%d-%d\t1\t1\n" % (n, k) for k in range(20_000)))
                while read() == before:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                told.append(standstill.look(looking, 10.0 * n))
            deadline = time.monotonic() + 60
            while not told[-1]:  # it may have had more to read
                assert time.monotonic() < deadline
                time.sleep(0.1)
                told.append(standstill.look(looking, 1000.0 * len(told)))
        frozen.execute("COMMIT")  # it may have been ended only behind the COPY

    with pytest.raises(psycopg.OperationalError):
        stand()
    assert told[:4] == [0, 0, 0, 0]
    thread.join(60)
    assert not thread.is_alive()


def test_workers_look_by_themselves(connect: Connect, database: Any) -> None:
    frozen, stop = connect(), threading.Event()
    frozen.execute("BEGIN")
    frozen.execute(INSERT, ["alone"])
    thread = waiting(connect, "alone")
    with Database(database.ingest, max_size=1) as store:
        vigil.keep(store, stop, look_s=0.05, patience_s=0.3)
        thread.join(60)
        stop.set()
    assert not thread.is_alive()
