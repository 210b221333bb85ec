"""The embedded server: durable commits, a start after every kind of end, no process left behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from hefa_demo.postgres import Postgres, PostgresError
from hefa_demo.process import wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path / "postgres", "s3cret")
    server.start()
    yield server
    server.stop()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def count(server: Postgres) -> int:
    with psycopg.connect(server.dsn()) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row is not None
        return int(row[0])


def test_what_was_committed_survives_a_kill(server: Postgres) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 500)")
        server.kill()
    for _ in range(3):
        server.start()
        assert count(server) == 500
        server.kill()


def test_a_lock_file_of_a_process_that_is_not_postgres_is_stale(server: Postgres) -> None:
    """As after a restart of the machine, when another process has got the old server's number."""
    server.kill()
    with subprocess.Popen(["sleep", "60"]) as other:
        lock = server.data / "postmaster.pid"
        lock.write_text("\n".join([str(other.pid), *lock.read_text().splitlines()[1:]]) + "\n")
        server.start()
        assert server.ready
        assert other.poll() is None
        other.terminate()


def test_a_second_server_on_the_folder_ends_the_first(server: Postgres) -> None:
    """Only a lost supervisor leaves one behind; the caller's own lock keeps two apart."""
    assert server.child is not None
    first = server.child.pid
    other = Postgres(server.folder, "s3cret")
    other.start()
    assert not alive(first)
    other.stop()


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = f"""
import os, pathlib
from hefa_demo.postgres import Postgres
server = Postgres(pathlib.Path({str(tmp_path)!r}), "s3cret")
server.start()
print(server.child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == -9
    assert wait_until(lambda: not alive(int(done.stdout)), 60)


def test_the_password_is_asked_for(server: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.dsn().replace("s3cret", "guess"))


def test_settings_acks_depend_on(server: Postgres) -> None:
    with psycopg.connect(server.dsn()) as connection:
        for name, value in (("synchronous_commit", "on"), ("fsync", "on"), ("full_page_writes", "on")):
            assert connection.execute("SELECT current_setting(%s)", [name]).fetchone() == (value,)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)


def test_create_database_is_idempotent(server: Postgres) -> None:
    server.create_database("hefa")
    server.create_database("hefa")
    with psycopg.connect(server.dsn("hefa")) as connection:
        assert connection.info.dbname == "hefa"


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(PostgresError, match=r"made by PostgreSQL 15, this is \d+\. Choose another --data-dir"):
        Postgres(tmp_path, "s3cret").start()


def test_an_interrupted_first_start_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "data.partial" / "base").mkdir(parents=True)
    (tmp_path / "data.partial" / "PG_VERSION").write_text("18\n")
    server = Postgres(tmp_path, "s3cret")
    server.start()
    server.stop()
    assert not (tmp_path / "data.partial").exists()
    assert not (tmp_path / "password.partial").exists()


def test_a_port_in_use_is_told_with_the_log(server: Postgres, tmp_path: Path) -> None:
    with pytest.raises(PostgresError, match="could not bind"):
        Postgres(tmp_path / "other", "s3cret", port=server.port).start()


@pytest.mark.parametrize(("mode", "owner_if_root"), [(0o755, 65534), (0o700, 0)])
def test_root_hands_it_to_an_unprivileged_account(mode: int, owner_if_root: int) -> None:
    """As `nobody` where that account may enter, else as root renamed in a user namespace; one folder can change over."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        for permission in (0o755, mode):
            folder.chmod(permission)
            server = Postgres(folder / "postgres", "s3cret")
            server.start()
            with psycopg.connect(server.dsn()) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
            server.stop()
        assert server.data.stat().st_uid == (os.geteuid() or owner_if_root)
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
