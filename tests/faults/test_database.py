"""The database is killed, slow, locked, full, or answers a COMMIT with silence."""

from __future__ import annotations

import hashlib
import os
import secrets as token
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from faultrig import server as servers

from hefa_contract.envelope import Decoded, Envelope, encode
from hefa_demo.process import wait_until
from hefa_platform.store.arrival import Arrival
from hefa_platform.store.database import Database
from hefa_platform.store.intake import Intake


@pytest.mark.fault("9", "database killed")
@pytest.mark.parametrize("how", ["kill -9", pytest.param("immediate stop", marks=pytest.mark.hours)])
def test_a_database_that_dies_under_load(stage, killable, how: str, long: bool) -> None:
    scene = stage(how)
    scene.start_worker("w1")
    scene.start_worker("w2")
    scene.start_edge()
    scene.flows()
    for _ in range(10 if long else 2):
        scene.run(scene.chance.uniform(0.2, 1.5))
        if how == "kill -9":
            scene.kill(killable)
        else:
            scene.row.kills += 1
            os.kill(killable.pid, signal.SIGQUIT)
            assert wait_until(lambda: not killable.running, 60)
        scene.run(scene.chance.uniform(0.0, 1.0))
        killable.start()
        scene.flows()
    scene.drain()
    scene.judge()


def test_what_is_answered_is_on_disk_though_its_commit_did_not_wait(make_database, killable) -> None:
    """The server flushes nothing by itself here, and is killed right after the answer."""
    name = f"hefa_fault_{token.token_hex(4)}"
    dsns = make_database(name, None)
    groups = [[_message(seq)] for seq in range(3)]
    answered: list[int] = []
    try:
        with psycopg.connect(killable.dsn(), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
            admin.execute("ALTER SYSTEM SET wal_writer_flush_after = '1GB'")
            admin.execute("SELECT pg_reload_conf()")
        with Database(dsns["ingest"], max_size=2) as database:
            intake = Intake(database, "w1")
            for seq in (0, 1):
                intake.stream(groups[seq], lambda seq=seq: groups[seq + 1], lambda _, seq=seq: answered.append(seq))
            assert answered == [0], "the COMMIT of the second is on its way"
            intake.settle()
            assert answered == [0, 1]
            killable.kill()
        killable.start()
        with psycopg.connect(dsns["admin"]) as admin:
            assert admin.execute("SELECT array_agg(seq ORDER BY seq) FROM ledger").fetchone() == ([0, 1],)
            assert admin.execute("SELECT count(*) FROM reading").fetchone() == (2,)
    finally:
        with psycopg.connect(killable.dsn(), autocommit=True) as admin:
            admin.execute("ALTER SYSTEM RESET ALL")
            admin.execute("SELECT pg_reload_conf()")
        servers.drop(killable.dsn(), name)


def _message(seq: int) -> Arrival:
    now = time.time_ns() // 1000
    message = Envelope(
        epoch="e", seq=seq, lane="live", made=now, base=now, tags=["gw-guest.t"], tag=[0], dt=[0], value=[1.0]
    )
    payload = encode(message)
    digest = hashlib.sha256(payload).digest()
    return Arrival("hefa/v1/gw-guest/data", "gw-guest", payload, digest, decoded=Decoded(message))


@pytest.mark.fault("10", "connection cut at COMMIT")
@pytest.mark.parametrize("where", ["reply", "request"])
def test_a_commit_of_unknown_outcome(stage, where: str, long: bool) -> None:
    scene = stage(f"the {where} is lost")
    link = scene.proxy(scene.port, postgres=True)
    scene.start_worker(db=link)
    scene.start_edge()
    scene.flows()
    for _ in range(40 if long else 6):
        link.cut_at_commit(where)
        scene.until(lambda: link.commits_left == 0, "a COMMIT passes")
        scene.row.kills += 1
        scene.run(scene.chance.uniform(0.05, 0.4))
    scene.drain()
    scene.judge()
    assert link.cuts >= 6


@pytest.mark.fault("11", "database away")
def test_an_outage_with_its_backlog(stage, killable, long: bool) -> None:
    scene = stage("10 minutes" if long else "8 seconds")
    scene.start_worker()
    edge = scene.start_edge()
    scene.flows()
    killable.stop()
    scene.run(600 if long else 8)
    said = "no ingest worker accepts data"
    scene.until(lambda: said in edge.log.read_text(), "the gateways are told to wait")
    backlog = scene.pending()
    killable.start()
    fresh = "SELECT max(ts) > now() - interval '4 seconds' FROM reading"
    scene.until(lambda: scene.query(fresh) == [(True,)], "what is live comes first")
    assert backlog > 20
    scene.drain()
    scene.judge()


@pytest.mark.fault("11", "database slow")
def test_a_second_for_each_answer(stage, long: bool) -> None:
    scene = stage("1 s a packet, then a lock")
    link = scene.proxy(scene.port, postgres=True)
    scene.start_worker(db=link)
    scene.start_edge()
    scene.flows()
    link.delay(1.0)
    scene.run(120 if long else 5)
    link.heal()
    with psycopg.connect(scene.dsns["admin"]) as admin:
        admin.execute("LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
        scene.run(60 if long else 4)
    scene.drain()
    scene.judge()


@pytest.fixture
def small_disk(tmp_path: Path, killable) -> Iterator[Path]:
    """A file system of 96 MB that belongs to the database's account."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system: run as root")
    folder = tmp_path / "tablespace"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)], check=False)
    if done.returncode != 0:
        pytest.skip("this machine allows no mount: run where CAP_SYS_ADMIN is given")
    inside = folder / "space"
    inside.mkdir(mode=0o700)
    killable._account.own(inside)
    for parent in folder.parents:
        if parent.stat().st_mode & 0o077 == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o711)
    try:
        yield inside
    finally:
        for _ in range(50):
            if subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:  # whoever still has a file of it open shall not leave it mounted for good
            subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


@pytest.mark.fault("12", "database disk full")
def test_a_full_disk_that_is_freed(killable, small_disk: Path, stage) -> None:
    with psycopg.connect(killable.dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    scene = stage(tablespace="small")
    worker = scene.start_worker()
    scene.start_edge(rate=8000)
    scene.flows()
    filler = small_disk.parent / "filler"
    with suppress(OSError), filler.open("wb") as file:  # the database may be quicker than we
        file.write(bytes(max(0, scene.free(small_disk) - 1_500_000)))
    scene.until(lambda: "nothing can be stored" in worker.log.read_text(), "the disk is full")
    assert "53100" in worker.log.read_text(), worker.tail()
    scene.run(3)
    filler.unlink()
    scene.flows()
    scene.drain()
    found = scene.judge()
    assert found.quarantined == 0
    scene.forget_database()
    with psycopg.connect(killable.dsn(), autocommit=True) as admin:
        admin.execute("DROP TABLESPACE small")


@pytest.mark.hours
@pytest.mark.fault("9", "sessions ended by an administrator")
def test_terminated_sessions(stage) -> None:
    scene = stage()
    scene.start_worker()
    scene.start_edge()
    scene.flows()
    stop = threading.Event()

    def terminate() -> None:
        while not stop.wait(0.15):
            scene.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'hefa_ingest'")
            scene.row.kills += 1

    thread = threading.Thread(target=terminate)
    thread.start()
    try:
        scene.run(4)
    finally:
        stop.set()
        thread.join()
    scene.drain()
    scene.judge()


@pytest.mark.fault("restore", "database restored to a state before the last acks")
def test_a_restored_database_gets_back_what_it_had_acknowledged(stage, killable) -> None:
    scene = stage()
    scene.start_worker()
    scene.start_maintain()
    scene.start_edge()
    scene.flows()
    scene.pause_platform()
    scene.save_database()
    scene.resume_platform()
    scene.flows()
    scene.run(3)
    scene.drain()
    before = scene.count()
    scene.pause_platform()
    scene.restore_database()
    assert scene.count() < before
    scene.resume_platform()
    scene.until(lambda: scene.count() == before, "what was acknowledged since is there again")
    scene.drain()
    scene.judge()
