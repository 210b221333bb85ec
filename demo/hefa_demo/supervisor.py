"""Start every tier as a process, keep it running, and stop all of it in order.

The supervisor knows the tiers by their commands only. It runs in the thread that made it: children die with the
thread that started them (see `leash`), so nothing here starts a process from anywhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from hefa_demo import probe
from hefa_demo.broker import Broker, BrokerError
from hefa_demo.config import PORTS, Layout, Options
from hefa_demo.ports import Claims, claims
from hefa_demo.postgres import Postgres, PostgresError, create_database
from hefa_demo.process import Child, Server, tail, trim, wait_until
from hefa_demo.screen import Screen

_HEALTHY_AFTER = 20.0  # seconds a process must have run for its earlier crashes to be forgotten
_LONGEST_PAUSE = 30.0  # seconds between two restarts
_GIVE_UP = 5  # crashes in a row, before the demo was ready, that end it
_USAGE = 2  # exit code of our commands for a setting they cannot use: another try would not help
_SUMMING = 180.0  # seconds to wait for the sums of the history
_POLL = 0.1  # seconds


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


class _StopAsked(Exception):
    """The person, or the system, asked to stop."""


class _Watched:
    """A server that is kept running, with its history of crashes."""

    def __init__(self, name: str, server: Child | Server) -> None:
        self.name = name
        self.server = server
        self.crashes = 0
        self.started = time.monotonic()
        self.restart_at: float | None = None


class Supervisor:
    """One run of the demo in `options.data_dir`. Use it once, from the main thread."""

    def __init__(self, options: Options, screen: Screen) -> None:
        self.options = options
        self.screen = screen
        self.layout = Layout(options.data_dir.absolute())
        self._servers: list[_Watched] = []  # in the order of their start
        self._errands: list[Child] = []  # processes that end by themselves
        self._asked = 0  # how often somebody asked us to stop
        self._document: dict[str, Any] = {}
        self._ports: dict[str, int] = {}
        self._ready = False
        self._trimmed = time.monotonic()

    def run(self) -> int:
        """Start, stay, stop; return 0, or 130 when it was stopped before it was ready.

        Raises DemoError, after having stopped whatever had started.
        """
        with _only_one(self.layout), self._signals(), claims() as ports:
            self.layout.document.unlink(missing_ok=True)
            try:
                if self.options.fresh:
                    self._wipe()
                self._choose_ports(ports)
                self._start()
                self._stay()
            except _StopAsked:
                pass
            except (PostgresError, BrokerError) as error:
                raise DemoError(str(error)) from error
            finally:
                self._stop()
        self.screen.step(f"stopped; the data stay in {self.options.data_dir}")
        return 0 if self._ready else 130

    # --- start -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Everything, in the order in which each part finds what it needs.

        The tiers wait for what is not there yet, so the slow imports of one overlap with the work of another.
        """
        secrets_written = self._begin_secrets()
        admin_dsn = self._start_database()
        self._finish(secrets_written)
        self._document = json.loads((self.layout.secrets / "stack.json").read_text("utf-8"))
        self._start_broker()
        self._once("migrate", "hefa-platform", "migrate", env={"HEFA_DSN": admin_dsn})
        self._serve("api", "hefa-platform", "api")
        self._serve("apps", "hefa-apps", "portal")
        self._once("load", "hefa-platform", "load")
        self._keep("ingest", self._child("ingest", "hefa-platform", "ingest"))
        self._keep("maintain", self._child("maintain", "hefa-platform", "maintain"))
        self._backfill()
        live_from = datetime.now(UTC)
        self._keep("edge", self._child("edge", "hefa-edge", "run", *self._story()))
        self._until_live(live_from)
        self._until_summed_up()
        self._ready = True
        self._write_document()
        self.screen.ready(self._document, str(self.options.data_dir), self.options.run_for)

    def _choose_ports(self, claimed: Claims) -> None:
        for name, preferred in PORTS.items():
            if name == "postgres" and self.options.dsn:
                continue
            port = claimed.first_free(preferred)
            if port != preferred:
                self.screen.note(f"port {preferred} is taken: {name} takes {port}")
            self._ports[name] = port

    def _begin_secrets(self) -> Child:
        """Start writing the secrets; the database's password is made here, so that its cluster need not wait."""
        folder = self.layout.secrets
        folder.mkdir(mode=0o700, exist_ok=True)
        password = folder / "postgres_password"
        if not password.exists():
            password.touch(mode=0o600)
            password.write_text(secrets.token_hex(24))
        host, port = "127.0.0.1", self._ports.get("postgres", 5432)
        argv = ["--dir", str(folder), "--mqtt-host", "127.0.0.1", "--mqtt-port", str(self._ports["mqtt"])]
        argv += ["--api-url", self._url("api"), "--portal-url", self._url("portal")]
        if self.options.dsn:
            parts = urlsplit(self.options.dsn)
            host, port = parts.hostname or host, parts.port or port
            argv += ["--database", parts.path.strip("/") or "hefa"]
        child = self._child("secrets", "hefa-platform", "secrets", *argv, "--postgres-host", host)
        child.argv += ["--postgres-port", str(port)]
        self._begin(child)
        return child

    def _start_database(self) -> str:
        """Start, or find, the server with the database `hefa`; return the administrator's DSN of it."""
        if self.options.dsn:
            self.screen.step("database: the server of --dsn")
            return self._named_database(self.options.dsn)
        password = (self.layout.secrets / "postgres_password").read_text().strip()
        first = not self.layout.postgres.exists()
        self.screen.step("making the database" if first else "starting the database")
        server = Postgres(self.layout.postgres, password, self._ports["postgres"], self.layout.log("postgres"))
        self._keep("postgres", server)
        server.create_database("hefa")
        return server.dsn("hefa")

    def _named_database(self, dsn: str) -> str:
        """The DSN with its database, or with `hefa`, made when missing, where it names none."""
        parts = urlsplit(dsn)
        if parts.scheme not in ("postgresql", "postgres"):
            raise DemoError("--dsn is a URL: postgresql://administrator:password@host:5432/database")
        if parts.path.strip("/"):
            return dsn
        create_database(dsn, "hefa")
        return parts._replace(path="/hefa").geturl()

    def _start_broker(self) -> None:
        broker = Broker(
            self.layout.broker, self.layout.secrets, self._ports["mqtt"], self.options.broker, self.layout.log("broker")
        )
        self._keep("broker", broker)
        self.screen.step(f"broker: {broker.kind} on port {broker.port}")

    def _serve(self, name: str, command: str, port: str) -> None:
        self._keep(name, self._child(name, command, "serve", "--host", "127.0.0.1", "--port", str(self._ports[port])))

    def _backfill(self) -> None:
        """Publish the history through MQTT, once in the life of the data folder; an interrupted one goes on."""
        if self.options.history == 0:
            return
        if self.layout.history.exists():
            self.screen.step("the history is there; the plant goes on from now")
            return
        argv = ["--history", f"{self.options.history:.0f}s", *self._story(), "--progress", "json"]
        begun = datetime.now(UTC)
        child = self._child("backfill", "hefa-edge", "backfill", *argv, piped=True)
        self._begin(child)
        progress = _Progress(child)
        told = False
        while child.running or not progress.ended:
            self._tick()
            if not told and probe.answers(self._url("portal") + "/healthz"):
                told = True
                self.screen.step(f"the portal answers: {self._url('portal')}  (key {self._document['key']})")
            if progress.latest:
                self.screen.history(progress.latest)
        self.screen.history_done()
        self._finish(child)
        readings = int(progress.latest.get("readings", 0))
        span = {"from": (begun - timedelta(seconds=self.options.history)).isoformat(), "to": begun.isoformat()}
        self.layout.history.write_text(json.dumps({**span, "readings": readings}) + "\n")
        self.screen.step(f"the history is complete: {readings:,} readings through MQTT")

    def _story(self) -> list[str]:
        """Which plant `hefa-edge` shows: how many tags, what is made when, and what goes wrong."""
        return ["--profile", self.options.profile, "--scenario", self.options.scenario]

    def _until_live(self, since: datetime) -> None:
        """Wait until every tier is well and REST serves a reading that the live gateways made."""
        key = str(self._document["key"])
        self._until(lambda: all(watched.server.running for watched in self._servers), "every process", 60)
        self._until(lambda: probe.answers(self._url("api") + "/v1/ready"), "the API", 60)
        self._until(lambda: probe.answers(self._url("portal") + "/healthz"), "the portal", 60)
        self._until(lambda: probe.newest_reading(self._url("api"), key) >= since, "the first live reading", 120)

    def _until_summed_up(self) -> None:
        """Wait until REST can sum up the whole history: pages opened before that would show a part of it."""
        if not self.layout.history.exists():
            return
        span = json.loads(self.layout.history.read_text("utf-8"))
        start, end = datetime.fromisoformat(span["from"]), datetime.fromisoformat(span["to"])
        key = str(self._document["key"])
        tags = probe.a_gauge_of_each_edge(self._url("api"), key)
        deadline = time.monotonic() + _SUMMING
        while time.monotonic() < deadline:
            done, total = probe.covered(self._url("api"), key, tags, start, end)
            if done >= total:
                break
            self.screen.history({"phase": "sum", "done": done, "total": total, "readings": span["readings"]})
            self._ticks(1.0)
        else:
            self.screen.note("the history is still being added up: its oldest hours come during the next minutes")
        self.screen.history_done()

    def _url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    def _write_document(self) -> None:
        """Write demo.json whole or not at all, readable for its owner only."""
        pids = {watched.name: watched.server.pid for watched in self._servers}
        partial = self.layout.document.with_name("demo.json.partial")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_text(json.dumps({**self._document, "pids": {**pids, "supervisor": os.getpid()}}, indent=2) + "\n")
        partial.replace(self.layout.document)

    # --- processes -------------------------------------------------------------------------------------------------

    def _child(
        self, name: str, command: str, *argv: str, piped: bool = False, env: Mapping[str, str] | None = None
    ) -> Child:
        beside = Path(sysconfig.get_path("scripts")) / command
        found = str(beside) if beside.exists() else shutil.which(command)
        if found is None:
            raise DemoError(f"the command {command} is not installed: pip install 'hefa[demo]'")
        # Each process finds its role's DSN and URL in the secrets; only one of them acts as administrator.
        inherited = {k: v for k, v in os.environ.items() if k not in ("HEFA_DSN", "HEFA_MQTT_URL")}
        ours = {
            "HEFA_SECRETS_DIR": str(self.layout.secrets),
            "HEFA_DATA_DIR": str(self.layout.root),
            "HEFA_API_URL": self._url("api"),
            "PYTHONUNBUFFERED": "1",
        }
        return Child(name, [found, *argv], self.layout.log(name), env={**inherited, **ours, **(env or {})}, piped=piped)

    def _keep(self, name: str, server: Child | Server) -> None:
        """Start a server that has to run until the end."""
        self._check_asked()
        watched = _Watched(name, server)
        self._servers.append(watched)
        server.start()

    def _begin(self, child: Child) -> None:
        self._errands.append(child)
        child.start()

    def _finish(self, child: Child, timeout: float = 120) -> None:
        """Wait for a process that ends by itself; DemoError, with the end of its log, when it fails or does not end."""
        deadline = time.monotonic() + timeout
        while child.running and time.monotonic() < deadline:
            self._tick()
        if child.returncode != 0:
            how = "did not end" if child.running else f"failed with exit code {child.returncode}"
            raise DemoError(f"{child.name} {how}; the end of {child.log}:\n{child.tail()}")

    def _once(self, name: str, command: str, *argv: str, env: Mapping[str, str] | None = None) -> None:
        self.screen.step(name)
        child = self._child(name, command, *argv, env=env)
        self._begin(child)
        self._finish(child)

    def _until(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{what} did not come within {timeout:g} s; see the logs in {self.layout.root / 'logs'}"
                )
            self._ticks(0.3)

    def _stay(self) -> None:
        """Keep everything running until asked to stop or until the time asked for is over."""
        end = None if self.options.run_for is None else time.monotonic() + self.options.run_for
        while end is None or time.monotonic() < end:
            self._tick()

    def _tick(self) -> None:
        """What has to be done all the time: notice a wish to stop, restart what crashed, keep the logs short."""
        self._check_asked()
        for watched in self._servers:
            self._revive(watched)
        if time.monotonic() - self._trimmed > 10:
            self._trimmed = time.monotonic()
            for log in (self.layout.root / "logs").glob("*.log"):
                trim(log)
        time.sleep(_POLL)

    def _ticks(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(max(1, round(seconds / _POLL))):
            self._tick()

    def _check_asked(self) -> None:
        if self._asked:
            raise _StopAsked

    def _revive(self, watched: _Watched) -> None:
        now = time.monotonic()
        if watched.server.running:
            if watched.crashes and now - watched.started > _HEALTHY_AFTER:
                watched.crashes = 0
            return
        if watched.restart_at is None:
            if now - watched.started > _HEALTHY_AFTER:
                watched.crashes = 0
            pause = min(_LONGEST_PAUSE, 0.5 * 2**watched.crashes)
            watched.crashes += 1
            log = f"the end of {watched.server.log}:\n{tail(watched.server.log, 8)}"
            hopeless = watched.server.returncode == _USAGE or watched.crashes >= _GIVE_UP
            if hopeless and not self._ready:
                raise DemoError(f"{watched.name} cannot run; {log}")
            again = f"{watched.name} ended unexpectedly and starts again in {pause:g} s"
            self.screen.note(f"{again}; {log}" if watched.crashes == 1 else again)
            watched.restart_at = now + pause
        elif now >= watched.restart_at:
            watched.restart_at = None
            watched.started = now
            try:
                watched.server.start()
            except (PostgresError, BrokerError) as error:
                self.screen.note(str(error))
            else:
                if self._ready:
                    self._write_document()

    # --- stop ------------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Stop what produces before what receives, so that nothing is refused on the way out."""
        self.layout.document.unlink(missing_ok=True)
        self.screen.history_done()
        if self._servers:
            self.screen.step("stopping")
        by_name = {watched.name: watched.server for watched in self._servers}
        waves: Sequence[Sequence[str]] = (("edge",), ("apps", "api", "ingest", "maintain"), ("broker",), ("postgres",))
        for child in self._errands:
            child.stop()
        for wave in waves:
            self._stop_together([by_name[name] for name in wave if name in by_name])

    def _stop_together(self, servers: Sequence[Child | Server]) -> None:
        """Ask all, give them eight seconds, end the rest by force; a second Ctrl-C cuts the eight seconds short."""
        for server in servers:
            server.ask_to_stop()
        wait_until(lambda: self._asked > 1 or not any(server.running for server in servers), 8.0)
        for server in servers:
            server.stop(patience=0.0)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def ask(number: int, frame: FrameType | None) -> None:
            self._asked += 1  # the second time, everything is ended by force

        wanted = [signal.SIGINT, signal.SIGTERM]
        # An ignored hang-up stays ignored: nohup asks for that. An ignored SIGINT is only what a shell gives to
        # whatever a script starts with `&`, and kill -INT has to stop the demo there too.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
        before = {number: signal.signal(number, ask) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wipe(self) -> None:
        self.screen.step("forgetting what earlier runs kept")
        for path in self.layout.kept:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


class _Progress:
    """The last JSON line that a piped child printed, read in a thread of its own."""

    def __init__(self, child: Child) -> None:
        self.latest: Mapping[str, Any] = {}
        self._output = child.output
        self._thread = threading.Thread(target=self._read, daemon=True, name=f"{child.name} progress")
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):  # closed while we read: the child was stopped
            for line in self._output:
                with contextlib.suppress(json.JSONDecodeError):
                    told = json.loads(line)
                    if isinstance(told, dict):
                        self.latest = told


@contextlib.contextmanager
def _only_one(layout: Layout) -> Iterator[None]:
    """Hold the data folder for this process; DemoError names the one that has it."""
    layout.root.mkdir(parents=True, exist_ok=True)
    strange = sorted({path.name for path in layout.root.iterdir()} - layout.names)
    if strange and not layout.lock.exists():
        raise DemoError(
            f"{layout.root} holds something else ({', '.join(strange[:3])}): choose a new or empty folder as --data-dir"
        )
    with layout.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise DemoError(
                f"a demo is running in {layout.root} already (process {lock.read().strip() or 'unknown'}): stop it, or "
                "choose another --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield
