"""A database, a broker and ingest workers of one's own, as processes; the embedded server, or one by HEFA_TEST_DSN."""

from __future__ import annotations

import hashlib
import os
import secrets as token
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from hefa_contract import plant as plant_model
from hefa_demo import broker as brokers
from hefa_demo.ports import free_port
from hefa_demo.postgres import Postgres
from hefa_demo.process import Child
from hefa_platform import secrets
from hefa_platform.config import CHECKOUT_SEEDS, read_seeds
from hefa_platform.store import keys, migrations
from hefa_platform.store import plant_model as models
from hefa_platform.store.database import Database

ROLES = ("owner", "ingest", "jobs", "api", "read")


class Platform:
    """Use as a context. `admin` is the database's DSN, `broker` the running broker, `plant` what is loaded."""

    def __init__(self, broker: str) -> None:
        self.plant = plant_model.load(read_seeds(CHECKOUT_SEEDS))
        self._kind = broker
        self._stack = ExitStack()
        self._pids: dict[str, int] = {}

    def __enter__(self) -> Platform:
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.folder.chmod(0o755)
            secrets.write(self.folder / "secrets", secrets.Places(), self.plant.edges)
            self._server = os.environ.get("HEFA_TEST_DSN") or self._embedded(stack)
            # Roles are of the whole server: the passwords that the tests give them too.
            self._passwords = {
                f"hefa_{role}": hashlib.sha256(f"{self._server}/{role}".encode()).hexdigest()[:32] for role in ROLES
            }
            name = f"hefa_bench_{token.token_hex(4)}"
            self._admin_statement("CREATE DATABASE {}", name)
            stack.callback(self._admin_statement, "DROP DATABASE {} WITH (FORCE)", name)
            self.admin = urlsplit(self._server)._replace(path=f"/{name}").geturl()
            migrations.migrate(self.admin, self._passwords)
            with Database(self.admin, max_size=1) as owner:
                models.load(owner, self.plant)
                self.engine = owner.engine
            self.broker = brokers.Broker(self.folder / "broker", self.folder / "secrets", kind=self._kind)
            self.broker.start()
            stack.callback(self.broker.stop)
            self._pids["broker"] = self.broker.pid
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @contextmanager
    def worker(self, name: str, **settings: object) -> Iterator[Child]:
        """An ingest worker; it may not accept data yet."""
        with self._running(f"ingest-{name}", "ingest", ["ingest", "--worker", name], **settings) as child:
            yield child

    @contextmanager
    def rollups(self) -> Iterator[None]:
        with self._running("maintain", "jobs", ["maintain"]):
            yield

    @contextmanager
    def api(self) -> Iterator[tuple[str, str]]:
        """The REST API: its base URL and a key. It may not answer yet."""
        with Database(self.dsn("api"), max_size=1) as database:
            key, _ = keys.create(database, name="bench", role="viewer", site="*", expires_at=None, by="bench")
        port = free_port()
        with self._running("api", "api", ["serve"], HEFA_API_PORT=port):
            yield f"http://127.0.0.1:{port}/v1", key

    def dsn(self, role: str) -> str:
        parts = urlsplit(self.admin)
        at = f"hefa_{role}:{self._passwords[f'hefa_{role}']}@{parts.hostname}:{parts.port or 5432}"
        return parts._replace(netloc=at).geturl()

    def empty(self) -> None:
        """Forget all readings and messages."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute("TRUNCATE reading, ledger, latest, reading_conflict, rollup_dirty")

    def forget_messages(self) -> None:
        """Leave the readings, without the knowledge of who brought them."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute("TRUNCATE ledger")

    def accounts(self) -> dict[str, int]:
        """The sums of the accounting identity."""
        names = ("received", "stored", "duplicate", "conflict", "quarantined")
        with psycopg.connect(self.admin) as connection:
            row = connection.execute(
                f"SELECT {', '.join(f'coalesce(sum({name}), 0)::bigint' for name in names)} FROM intake_counter"
            ).fetchone()
        return dict(zip(names, row or (0,) * len(names), strict=True))

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far: of this process, which is the gateway, the broker, the workers, and our own database."""
        spent = {"gateway": sum(psutil.Process().cpu_times()[:2])}
        for name, pid in self._pids.items():
            process = psutil.Process(pid)
            kind = "worker" if name.startswith("ingest") else name
            for one in (process, *process.children()):
                with suppress(psutil.NoSuchProcess):  # the server's helpers come and go
                    spent[kind] = spent.get(kind, 0.0) + sum(one.cpu_times()[:2])
        return spent

    def _embedded(self, stack: ExitStack) -> str:
        server = Postgres(self.folder / "postgres", "bench")
        server.start()
        stack.callback(server.stop)
        self._pids["database"] = server.pid
        return server.dsn()

    def _admin_statement(self, statement: str, name: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as admin:
            admin.execute(sql.SQL(statement).format(sql.Identifier(name)))

    @contextmanager
    def _running(self, name: str, role: str, command: list[str], **settings: object) -> Iterator[Child]:
        env = os.environ | {
            "HEFA_DSN": self.dsn(role),
            "HEFA_MQTT_URL": self.broker.url("ingest"),
            "HEFA_LOG_LEVEL": "WARNING",
            **{key: str(value) for key, value in settings.items()},
        }
        argv = [sys.executable, "-P", "-m", "hefa_platform.cli", *command]
        child = Child(name, argv, self.folder / f"{name}.log", env=env)
        child.start()
        self._pids[name] = child.pid
        try:
            yield child
        finally:
            del self._pids[name]
            child.stop(10)


def resident_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1e6
