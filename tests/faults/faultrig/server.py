"""The database server of the rig: one cluster of our own that may be killed, and a fresh loaded database for each fault.

HEFA_FAULTS_PGBIN names the folder of another PostgreSQL's programs, with TimescaleDB where it has that; without it the
embedded one is used.
"""

from __future__ import annotations

import hashlib
import os
import secrets as token
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hefa_contract.plant import load
from hefa_demo.account import unprivileged
from hefa_demo.ports import free_port
from hefa_demo.postgres import Postgres
from hefa_demo.process import Child, Server, wait_until
from hefa_edge.config import read_seeds
from hefa_platform.store import plant_model
from hefa_platform.store.database import Database
from hefa_platform.store.migrations import migrate

ROLES = ("owner", "ingest", "jobs", "api", "read")
PASSWORD = token.token_hex(16)


class Installed(Server):
    """A cluster made and run by the programs of an installed PostgreSQL, on a port that stays."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._programs, self.port = folder, programs, free_port()
        self.log = folder / "postgres.log"
        self._account = unprivileged(programs / "postgres", folder)

    def start(self, timeout: float = 60.0) -> None:
        data = self.folder / "data"
        if not data.exists():
            data.mkdir(mode=0o700)
            secret = self.folder / "password"
            secret.write_text(PASSWORD)
            self._account.own(self.folder)
            argv = [str(self._programs / "initdb"), "-D", str(data), "-U", "postgres", f"--pwfile={secret}"]
            argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
            subprocess.run(self._account.command(argv), user=self._account.uid, check=True, capture_output=True)
            with (data / "postgresql.conf").open("a") as conf:
                conf.write("listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 60\n")
                conf.write("shared_buffers = '256MB'\nlog_min_messages = warning\ntimescaledb.telemetry_level = off\n")
                if any((self._programs.parent / "lib").glob("timescaledb*.so")):
                    conf.write("shared_preload_libraries = 'timescaledb'\n")
        argv = [str(self._programs / "postgres"), "-D", str(data), "-p", str(self.port)]
        deadline = time.monotonic() + timeout
        while True:
            self.child = Child("postgres", argv, self.log, account=self._account, stop_signal=signal.SIGINT)
            self.child.start()
            if wait_until(lambda: self.ready or not self.running, deadline - time.monotonic()) and self.running:
                return
            # After a SIGKILL the old server's sessions hold its shared memory for a moment.
            if time.monotonic() > deadline or "shared memory" not in self.child.tail():
                raise RuntimeError(f"PostgreSQL did not start:\n{self.child.tail()}")
            time.sleep(0.1)

    @property
    def ready(self) -> bool:
        if not self.running:
            return False
        try:
            psycopg.connect(self.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/{database}"


def make_server(folder: Path) -> Postgres | Installed:
    """The server, not started."""
    programs = os.environ.get("HEFA_FAULTS_PGBIN")
    return Installed(folder, Path(programs)) if programs else Postgres(folder, PASSWORD, free_port())


@contextmanager
def template(dsn: str, seeds: Path) -> Iterator[Callable[[str], dict[str, str]]]:
    """Yields a function that makes a loaded database of a name and returns its DSNs by role."""
    plant = load(read_seeds(seeds))
    # Roles are of the whole server: the same in each process of a session on it, and in other tests.
    passwords = {f"hefa_{role}": hashlib.sha256(f"{dsn}/{role}".encode()).hexdigest()[:32] for role in ROLES}
    name = f"hefa_faults_{token.token_hex(4)}"

    def dsns(database: str) -> dict[str, str]:
        at = dsn.rpartition("@")[2].partition("/")[0]
        made = {role: f"postgresql://hefa_{role}:{passwords[f'hefa_{role}']}@{at}/{database}" for role in ROLES}
        return {**made, "admin": f"{dsn.rpartition('/')[0]}/{database}"}

    def fill(database: str) -> None:
        migrate(make_conninfo(dsn, dbname=database), passwords)
        with Database(dsns(database)["owner"], max_size=1) as owner:
            plant_model.load(owner, plant)

    def create(database: str, source: str | None = None, tablespace: str | None = None) -> None:
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database))
        if source:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(source))
        if tablespace:
            statement += sql.SQL(" TABLESPACE {}").format(sql.Identifier(tablespace))
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(statement)

    with psycopg.connect(dsn, autocommit=True) as admin:
        # TimescaleDB's workers hold sessions on every database: no template is ever free there.
        found = admin.execute("SELECT FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone()
        timescale = found is not None
    if not timescale:
        create(name)
        fill(name)

    def make(database: str, tablespace: str | None = None) -> dict[str, str]:
        create(database, None if timescale else name, tablespace)
        if timescale:
            fill(database)
        return dsns(database)

    yield make


def drop(dsn: str, database: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))
