"""A message that kills the workers it meets is found by its crashes; and the ledger is trimmed without forgetting."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from hefa_contract.envelope import Decoded, Envelope, Gap, encode
from hefa_platform.store import upkeep
from hefa_platform.store.arrival import Arrival
from hefa_platform.store.database import Database
from hefa_platform.store.intake import Intake

NOW = time.time_ns() // 1000


class Crash(BaseException):
    """Ends a worker between what it notes and what it stores."""


@pytest.fixture
def store(database: Any) -> Iterator[Database]:
    with Database(database.ingest, max_size=1) as store:
        yield store


@pytest.fixture
def admin(database: Any) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.admin, autocommit=True) as admin:
        admin.execute("INSERT INTO edge (name) VALUES ('gw-1')")
        yield admin


def message(seq: int, readings: int = 2, epoch: str = "e") -> Arrival:
    envelope = Envelope(
        epoch=epoch, seq=seq, lane="live", made=NOW, base=NOW + seq * 1000, tags=["t"], tag=[0] * readings,
        dt=list(range(readings)), value=[1.0] * readings,
    )  # fmt: skip
    return arrival(envelope)


def arrival(sent: Envelope | Gap) -> Arrival:
    payload = encode(sent)
    return Arrival("hefa/v1/gw-1/data", "gw-1", payload, hashlib.sha256(payload).digest(), decoded=Decoded(sent))


def worker(store: Database, name: str = "w1") -> Intake:
    """A worker that has just started."""
    started = Intake(store, name)
    started.alive(True)
    return started


def die(store: Database, group: list[Arrival], monkeypatch: pytest.MonkeyPatch, name: str = "w1") -> list[int]:
    """Start a worker that dies as soon as it stores a group with message 13; returns the seqs of the groups it met."""
    met: list[int] = []
    intake = worker(store, name)
    attempt = intake._attempt

    def deadly(arrivals: Any, *arguments: Any, **more: Any) -> Any:
        met.extend(a.key[1] for a in arrivals)
        if not arguments and any(a.key[1] == 13 for a in arrivals):
            raise Crash
        return attempt(arrivals, *arguments, **more)

    monkeypatch.setattr(intake, "_attempt", deadly)
    with pytest.raises(Crash):
        intake.store(group)
    return met


def test_in_two_crashes_alone_is_put_aside_and_nothing_else_is(store, admin, monkeypatch) -> None:
    group = [message(seq) for seq in (12, 13, 14)]
    assert die(store, group, monkeypatch) == [12, 13, 14]
    assert die(store, group, monkeypatch) == [12, 13], "suspects are stored alone, so that they take nobody with them"
    assert die(store, group, monkeypatch) == [12, 13]
    intake = worker(store)
    outcomes = intake.store(group)
    assert [outcome.finished for outcome in outcomes] == [True, True, True]
    assert [len(outcome.rejected) for outcome in outcomes] == [0, 2, 0]
    assert admin.execute("SELECT count(*) FROM reading").fetchone() == (4,)
    (detail,) = admin.execute("SELECT DISTINCT detail FROM quarantine WHERE seq = 13").fetchone()
    assert "workers died 2 times" in detail
    assert admin.execute("SELECT count(*) FROM suspect").fetchone() == (0,)


def test_a_worker_that_ends_in_order_leaves_no_suspects(store, admin) -> None:
    worker(store).store([message(1)])
    fresh = worker(store)
    assert fresh._guard.suspects == {}


def test_what_a_dead_worker_of_another_name_left_is_inherited(store, admin, monkeypatch) -> None:
    die(store, [message(13)], monkeypatch, "w2")
    assert worker(store, "w1")._guard.suspects == {}, "it may be alive"
    admin.execute("UPDATE worker SET seen_at = now() - interval '2 minutes' WHERE name = 'w2'")
    assert list(worker(store, "w1")._guard.suspects.values()) == [1]


def test_a_retry_in_the_same_life_is_no_crash(store, admin) -> None:
    intake = worker(store)
    with store.connection() as connection:
        intake._guard.note(connection, [message(1).hash])
    intake.alive(True)
    assert intake._guard.suspects == {}


@pytest.mark.parametrize(
    ("accepted", "gaps", "floor"),
    [
        ([1, 2, 3], [], 3),
        ([1, 2, 4, 5], [], 2),
        ([2, 3], [], None),
        ([0, 1, 2], [], 2),
        ([1, 5, 6], [(2, 3)], 3),
        ([1, 6], [(2, 4), (5, 5)], 6),
        ([6], [(1, 5)], 6),
    ],
)
def test_a_floor_is_contiguous(store, admin, database, accepted, gaps, floor) -> None:
    intake = worker(store)
    intake.store([message(seq) for seq in accepted])
    admin.execute(
        "INSERT INTO gap SELECT edge_id, 'e', 1000 + f, f, t, 0, '', now() FROM edge,"
        " unnest(%s::int[], %s::int[]) AS g(f, t)",
        [[first for first, _ in gaps], [last for _, last in gaps]],
    )
    with Database(database.jobs, max_size=1) as jobs, jobs.session() as connection:
        assert upkeep.trim_ledger(connection, 30) == 0
        admin.execute("UPDATE ledger SET received_at = now() - interval '31 days'")
        admin.execute("UPDATE gap SET received_at = now() - interval '31 days'")
        gone = upkeep.trim_ledger(connection, 30)
    found = admin.execute("SELECT floor FROM edge_floor").fetchone()
    assert found == (None if floor is None else (floor,))
    assert gone == (0 if floor is None else sum(1 for seq in accepted if 1 <= seq <= floor))


def test_the_last_of_all_numbers_ends_a_range_too(store, admin, database) -> None:
    last = 2**63 - 1
    gap = Gap(epoch="e", seq=last, made=NOW, from_=2, to=last, readings=0, reason="")
    worker(store).store([message(1), arrival(gap)])
    admin.execute("UPDATE ledger SET received_at = now() - interval '31 days'")
    admin.execute("UPDATE gap SET received_at = now() - interval '31 days'")
    with Database(database.jobs, max_size=1) as jobs, jobs.session() as connection:
        assert upkeep.trim_ledger(connection, 30) == 2
        assert upkeep.trim_ledger(connection, 30) == 0
    assert admin.execute("SELECT floor FROM edge_floor").fetchone() == (last,)


def test_what_was_given_up_and_comes_after_all_is_stored(store, admin, database) -> None:
    intake = worker(store)
    gap = Gap(epoch="e", seq=4, made=NOW, from_=2, to=3, readings=4, reason="outbox full")
    intake.store([message(1), arrival(gap)])
    admin.execute("UPDATE ledger SET received_at = now() - interval '31 days' WHERE seq = 1")
    with Database(database.jobs, max_size=1) as jobs, jobs.session() as connection:
        assert upkeep.trim_ledger(connection, 30) == 1
    assert intake.store([message(2)])[0].finished
    assert admin.execute("SELECT received, stored, duplicate FROM intake_counter").fetchone() == (4, 4, 0)


def test_below_the_floor_is_a_duplicate_and_above_it_is_not(store, admin, database) -> None:
    intake = worker(store)
    intake.store([message(seq) for seq in (1, 2, 3)])
    admin.execute("UPDATE ledger SET received_at = now() - interval '31 days'")
    with Database(database.jobs, max_size=1) as jobs, jobs.session() as connection:
        upkeep.trim_ledger(connection, 30)
    assert admin.execute("SELECT count(*) FROM ledger").fetchone() == (0,)
    outcomes = intake.store([message(2), message(4), message(2)])
    assert all(outcome.finished for outcome in outcomes)
    assert admin.execute("SELECT seq FROM ledger").fetchall() == [(4,)]
    assert admin.execute("SELECT received, stored, duplicate FROM intake_counter").fetchone() == (12, 8, 4)
    assert intake.store([message(1, epoch="other")])[0].finished
    assert admin.execute("SELECT count(*) FROM ledger WHERE epoch = 'other'").fetchone() == (1,)
