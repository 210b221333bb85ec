"""One fault's stage: a database of its own, the broker, workers and gateways as processes, proxies between them.

`Scene` starts what is asked, breaks what is asked, waits until every outbox is empty and hands all to the judge.
Processes are the product's own commands; the gateways are `load_edge`, because only they keep an oracle.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
from faultrig import oracle, verdict
from faultrig.proxy import Proxy
from faultrig.stranger import Stranger

from hefa_demo.broker import Broker
from hefa_demo.ports import answers, free_port
from hefa_demo.process import Child, Server, wait_until
from hefa_platform.secrets import Places
from hefa_platform.secrets import write as write_secrets

HERE = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
EDGES = [f"gw-a{n}" for n in range(1, 7)]


@dataclass
class Row:
    """One line of the table."""

    number: str
    fault: str
    kills: int = 0
    recorded: int = 0
    stored: int = 0
    refused: int = 0
    given_up: int = 0
    lost: int = 0
    duplicated: int = 0
    drain_s: float = 0.0
    peak_mb: int = 0
    problems: list[str] = field(default_factory=list)


class Scene:
    """Use as a context: everything it started ends with it. `row` fills up on the way."""

    def __init__(
        self,
        folder: Path,
        dsns: Mapping[str, str],
        server: Server | None,
        secrets: Path,
        broker_kind: str,
        row: Row,
        *,
        long: bool = False,
    ) -> None:
        self.folder, self.dsns, self.postgres, self.row, self.long = folder, dsns, server, row, long
        self.broker = Broker(folder / "broker", secrets, kind=broker_kind)
        self.chance = random.Random(int(os.environ.get("HEFA_FAULTS_SEED", "1")))
        self.workers: dict[str, Child] = {}
        self.edges: dict[str, Child] = {}
        self._edge_names: dict[str, list[str]] = {}
        self._data: dict[str, Path] = {}
        self._others: list[Child] = []
        self._recorded: dict[str, oracle.Recorded] = {}
        self._ignored: list[str] = []
        self._proxies: list[Proxy] = []
        self._secrets = secrets
        self._watching = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Scene:
        self.broker.start()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.set()
        for child in [*self.edges.values(), *self.workers.values(), *self._others]:
            with suppress(ProcessLookupError, RuntimeError):
                os.kill(child.pid, signal.SIGCONT)
        for child in [*self.edges.values(), *self.workers.values(), *self._others]:
            child.stop(5)
        for proxy in self._proxies:
            proxy.stop()
        self.broker.stop()

    # --- what runs ---------------------------------------------------------------------------------------------------

    def proxy(self, port: int, *, postgres: bool = False) -> Proxy:
        made = Proxy(("127.0.0.1", port), postgres=postgres, chance=self.chance).start()
        self._proxies.append(made)
        return made

    def start_worker(
        self,
        name: str = "w1",
        *,
        count: int = 1,
        fail: str = "",
        db: Proxy | None = None,
        mqtt: Proxy | None = None,
        **env: str,
    ) -> Child:
        """An ingest worker, or a pool of `count`, on proxies where given. Returns at once."""
        dsn = self.dsns["ingest"]
        if db is not None:
            dsn = dsn.replace(f":{urlsplit(dsn).port}/", f":{db.port}/")
        url = self.broker.url("ingest")
        if mqtt is not None:
            url = url.replace(f":{self.broker.port}", f":{mqtt.port}")
        child = Child(
            f"ingest-{name}",
            [str(BIN / "hefa-platform"), "ingest", "--worker", name, "--workers", str(count)],
            self.folder / "logs" / f"{name}.log",
            env=_environ(HEFA_DSN=dsn, HEFA_MQTT_URL=url, HEFA_FAILPOINT=fail, **env),
        )
        child.start()
        self.workers[name] = child
        return child

    def start_maintain(self) -> Child:
        child = Child(
            "maintain",
            [str(BIN / "hefa-platform"), "maintain"],
            self.folder / "logs" / "maintain.log",
            env=_environ(HEFA_DSN=self.dsns["jobs"]),
        )
        child.start()
        self._others.append(child)
        return child

    def start_api(self) -> int:
        """The REST API; returns its port, which answers."""
        port = free_port()
        child = Child(
            "api",
            [str(BIN / "hefa-platform"), "serve"],
            self.folder / "logs" / "api.log",
            env=_environ(HEFA_DSN=self.dsns["api"], HEFA_API_PORT=str(port)),
        )
        child.start()
        self._others.append(child)
        self.until(lambda: answers("127.0.0.1", port), "the API answers")
        return port

    def start_edge(
        self,
        name: str = "e1",
        edges: Sequence[str] = ("gw-a1", "gw-a2"),
        *,
        rate: int = 3000,
        every_s: float = 0.1,
        fail: str = "",
        mqtt: Proxy | None = None,
        data: Path | None = None,
        **settings: object,
    ) -> Child:
        """A process of gateways; the same name again goes on with the same outboxes, in `data` where given. At once."""
        folder = self.edge_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        for sign in ("listening", "quiet"):
            (folder / sign).unlink(missing_ok=True)
        secrets = self.folder / f"secrets-{name}"
        if not secrets.exists():
            secrets.mkdir()
        for edge in edges:
            (secrets / f"mqtt_password_{edge}").write_text(self.broker.users[edge])
        write_secrets(secrets, Places(mqtt_port=mqtt.port if mqtt else self.broker.port), edges)
        config = {
            "folder": str(folder),
            "data": str(data or folder),
            "secrets": str(secrets),
            "edges": list(edges),
            "rate": rate,
            "every_s": every_s,
            "settings": {"resend_s": 1.0, **settings},
        }
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(config))
        child = Child(
            f"edge-{name}",
            [sys.executable, "-m", "faultrig.load_edge", str(path)],
            self.folder / "logs" / f"{name}.log",
            env=_environ(HEFA_FAILPOINT=fail, PYTHONPATH=str(HERE)),
        )
        child.start()
        self.edges[name] = child
        self._edge_names[name] = list(edges)
        if data is not None:
            self._data[name] = data
        return child

    def start_site(self) -> Child:
        """The real thing, `hefa-edge run`, with its six gateways."""
        child = Child(
            "site",
            [str(BIN / "hefa-edge"), "run", "--profile", "core"],
            self.folder / "logs" / "site.log",
            env=_environ(
                HEFA_DATA_DIR=str(self.edge_folder("site")),
                HEFA_MQTT_URL="",
                HEFA_SECRETS_DIR=str(self._site_secrets()),
                HEFA_RESEND_S="1",
            ),
        )
        child.start()
        self.edges["site"] = child
        self._edge_names["site"] = []
        return child

    def finish_site(self) -> None:
        """End the site and publish what is left in its outboxes, which then are the oracle."""
        self.edges["site"].stop()
        self.start_edge("site", EDGES, rate=0)
        self.until(lambda: (self.edge_folder("site") / "quiet").exists(), "the outboxes are published")
        self.drain()
        for edge in EDGES:
            self._recorded[edge] = oracle.of_outbox(self.outbox(edge, "site"))

    def _site_secrets(self) -> Path:
        folder = self.folder / "secrets-site"
        folder.mkdir(exist_ok=True)
        for edge in EDGES:
            (folder / f"mqtt_password_{edge}").write_text(self.broker.users[edge])
        write_secrets(folder, Places(mqtt_port=self.broker.port), EDGES)
        return folder

    def stranger(self, edge: str) -> Stranger:
        """A gateway by hand."""
        return Stranger(self.broker.url(edge), edge)

    def also(self, edge: str, tag: str, ts: Sequence[int], value: Sequence[float]) -> None:
        """Tell the judge of readings that no gateway process of ours recorded."""
        rows = oracle.rows([0] * len(ts), ts, value, [192] * len(ts))
        self._recorded[edge] = oracle.Recorded([tag], rows, rows[:0], 0)

    def forget_edge(self, edge: str) -> None:
        """Let the judge not ask where the readings of a gateway are from."""
        self._ignored.append(edge)

    def edge_folder(self, name: str = "e1") -> Path:
        return self.folder / name

    def outbox(self, edge: str, name: str = "e1") -> Path:
        return self._data.get(name, self.edge_folder(name)) / "edge" / f"outbox-{edge}.sqlite"

    def sent(self, edge: str, name: str = "e1") -> list[tuple[str, int, bytes]]:
        """Every message an outbox holds, acknowledged or not: epoch, seq, bytes."""
        with sqlite3.connect(f"file:{self.outbox(edge, name)}?mode=ro", uri=True, timeout=10) as box:
            epoch = box.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0]
            return [(epoch, seq, payload) for seq, payload in box.execute("SELECT seq, payload FROM message")]

    # --- breaking ----------------------------------------------------------------------------------------------------

    def kill(self, child: Child | Server) -> None:
        """SIGKILL, counted."""
        self.row.kills += 1
        child.kill()

    def died(self, child: Child, timeout: float = 90.0) -> None:
        """Wait for a process to be killed by its own failpoint, counted."""
        assert wait_until(lambda: not child.running, timeout), (
            f"{child.name} did not reach its failpoint\n{child.tail()}"
        )
        assert child.returncode == -signal.SIGKILL, f"{child.name} ended with {child.returncode}\n{child.tail()}"
        self.row.kills += 1

    @contextmanager
    def frozen(self, *children: Child) -> Iterator[None]:
        """Stop processes where they are (SIGSTOP), and let them go on."""
        for child in children:
            os.kill(child.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGCONT)

    def clock(self, offset_s: float, name: str = "e1") -> None:
        """Move the clock of an edge process."""
        path = self.edge_folder(name) / "clock.new"
        path.write_text(str(offset_s))
        path.replace(self.edge_folder(name) / "clock")

    # --- looking -----------------------------------------------------------------------------------------------------

    def query(self, statement: str, *parameters: object) -> list[tuple]:
        with psycopg.connect(self.dsns["admin"]) as connection:
            return connection.execute(statement, parameters or None).fetchall()

    def tag(self, edge: str) -> str:
        """A tag that is the edge's."""
        statement = "SELECT tag.name FROM tag JOIN edge USING (edge_id) WHERE edge.name = %s AND kind = 'gauge' LIMIT 1"
        return str(self.query(statement, edge)[0][0])

    def count(self, table: str = "reading") -> int:
        return int(self.query(f"SELECT count(*) FROM {table}")[0][0])

    def pending(self) -> int:
        """Messages that wait in all outboxes."""
        return sum(verdict.pending(path) for path in self.outboxes())

    def outboxes(self) -> list[Path]:
        folders = [self._data.get(name, self.edge_folder(name)) for name in self._edge_names]
        return [path for folder in folders for path in sorted(folder.rglob("outbox-*.sqlite"))]

    @property
    def port(self) -> int:
        """Where the database listens."""
        return urlsplit(self.dsns["admin"]).port or 5432

    @staticmethod
    def free(path: Path) -> int:
        """Bytes free on a file system."""
        return shutil.disk_usage(path).free

    def flows(self, timeout: float = 90.0) -> None:
        """Wait until readings are being stored."""
        before = self.count()
        self.until(lambda: self.count() > before, "readings are stored", timeout)

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 90.0) -> None:
        if not wait_until(condition, timeout, 0.1):
            tails = "\n".join(f"--- {c.name}\n{c.tail(12)}" for c in [*self.workers.values(), *self.edges.values()])
            raise AssertionError(f"it did not happen within {timeout:g} s that {what}; {self.pending()} wait\n{tails}")

    def run(self, seconds: float) -> None:
        """Let things go on."""
        time.sleep(seconds)

    def pause_platform(self) -> None:
        """Stop everything that uses the database."""
        for child in [*self.workers.values(), *self._others]:
            child.stop()

    def resume_platform(self) -> None:
        for child in [*self.workers.values(), *self._others]:
            child.start()

    def save_database(self) -> None:
        """Copy the database, which nobody uses."""
        self._copy(self._name, f"{self._name}_saved")

    def restore_database(self) -> None:
        """Put the copy in the place of the database, as somebody restores a backup: it says that it is another life."""
        self.forget_database()
        self._copy(f"{self._name}_saved", self._name)
        self._copy(f"{self._name}_saved", None)
        with psycopg.connect(self.dsns["admin"]) as connection:
            connection.execute("UPDATE instance SET incarnation = gen_random_uuid()")

    @property
    def _name(self) -> str:
        return self.dsns["admin"].rpartition("/")[2]

    def _copy(self, source: str, target: str | None) -> None:
        server = self.dsns["admin"].rpartition("/")[0]
        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            if target is None:
                admin.execute(f'DROP DATABASE "{source}" WITH (FORCE)')
                return

            def copied() -> bool:
                # TimescaleDB's own workers hold sessions; they are ended for the copy, and may be back before it.
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [source])
                with suppress(psycopg.errors.ObjectInUse):
                    admin.execute(f'CREATE DATABASE "{target}" TEMPLATE "{source}"')
                    return True
                return False

            self.until(copied, "the database is copied")

    def forget_database(self) -> None:
        """Drop the database now."""
        server, _, name = self.dsns["admin"].rpartition("/")
        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    # --- the end -----------------------------------------------------------------------------------------------------

    def drain(self, timeout: float = 120.0) -> float:
        """End the recording, and wait until everything is acknowledged; seconds since the call."""
        running = [name for name, child in self.edges.items() if child.running]
        for name in running:
            folder = self.edge_folder(name)
            self.until(lambda folder=folder: (folder / "listening").exists(), "the gateways have begun")
            if not (folder / "quiet").exists():
                os.kill(self.edges[name].pid, signal.SIGUSR1)
        began = time.monotonic()
        quiet = [self.edge_folder(name) / "quiet" for name in running]
        self.until(lambda: all(path.exists() for path in quiet), "the gateways end their recording")
        self.until(lambda: self.pending() == 0, "every outbox is empty", timeout)
        self.row.drain_s = max(self.row.drain_s, round(time.monotonic() - began, 1))
        return self.row.drain_s

    def judge(self) -> verdict.Verdict:
        """Stop everything but the database, and compare. Fails with every promise that was broken."""
        alive = [child for child in [*self.workers.values(), *self.edges.values()] if not child.running]
        for child in [*self.edges.values(), *self.workers.values(), *self._others]:
            child.stop(8)
        recorded = dict(self._recorded)
        outboxes: dict[str, list[Path]] = {}
        for name, edges in self._edge_names.items():
            for edge in edges:
                if edge not in recorded:
                    recorded[edge] = oracle.read(sorted(self.edge_folder(name).glob(f"{edge}-*.oracle")))
                outboxes[edge] = [path for path in [self.outbox(edge, name)] if path.exists()]
        found = verdict.judge(self.dsns["admin"], self.dsns["jobs"], recorded, outboxes, self._ignored)
        self._evidence = (recorded, outboxes)
        for child in alive:
            found.check(child.returncode in (-signal.SIGKILL, 0), f"{child.name} ended by itself\n{child.tail()}")
        self._logs(found)
        row = self.row
        row.recorded, row.stored, row.lost, row.duplicated = found.recorded, found.stored, found.lost, found.duplicated
        row.refused, row.given_up = found.quarantined + found.conflicts, found.given_up
        found.check(row.peak_mb < 350, f"a process took {row.peak_mb} MB")
        row.problems = found.problems
        assert found.recorded > 0, "nothing was recorded: this proves nothing"
        assert not found.problems, "\n".join(found.problems)
        return found

    def look(self, connection: psycopg.Connection) -> list[str]:
        """Judge once more, with this connection; what is wrong."""
        return verdict.look(connection, *self._evidence, self._ignored).problems

    def _logs(self, found: verdict.Verdict) -> None:
        """No traceback, and no password, in any log."""
        passwords = list(self.broker.users.values())
        for path in (self.folder / "logs").glob("*.log"):
            text = path.read_text("utf-8", "replace")
            found.check("Traceback" not in text, f"{path.name} has a traceback:\n{text[-1500:]}")
            found.check(not any(password in text for password in passwords), f"{path.name} tells a password")

    def _watch(self) -> None:
        """The largest any of our processes gets."""
        while not self._watching.wait(0.2):
            for child in [*self.workers.values(), *self.edges.values()]:
                with suppress(psutil.Error, RuntimeError):
                    size = psutil.Process(child.pid).memory_info().rss // 1_000_000
                    self.row.peak_mb = max(self.row.peak_mb, size)


def _environ(**more: str) -> dict[str, str]:
    """The environment of a process: ours without settings of the product, and what is given."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("HEFA_")}
    return {**plain, "PYTHONUNBUFFERED": "1", **{key: value for key, value in more.items() if value}}
