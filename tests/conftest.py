"""What tests stand on: a real PostgreSQL, real brokers, the seeds, a browser. Nothing of ours is replaced.

`HEFA_TEST_DSN` names a server (its administrator's DSN) to use instead of the embedded one; `HEFA_TEST_DSN=docker` is
the TimescaleDB of the compose stack (or HEFA_TIMESCALEDB_IMAGE) in a container. `HEFA_TEST_BROKER=docker` does the same
for the tests of the broker as it is deployed.
`HEFA_TEST_REQUIRE=all` turns every skip into a failure; what a machine cannot have by nature is deselected and listed.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets as token
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer

from hefa_contract.plant import Plant, load
from hefa_demo import broker as brokers
from hefa_demo.ports import answers, free_port
from hefa_demo.postgres import Postgres, PostgresError, binaries
from hefa_platform.certificates import make as make_certificates
from hefa_platform.secrets import Places, divide, gateways
from hefa_platform.secrets import write as write_secrets

ROOT = Path(__file__).parents[1]
REQUIRE_ALL = os.environ.get("HEFA_TEST_REQUIRE") == "all"
NATURAL = ("needs_registry", "needs_community")  # markers of what a machine cannot have by its nature
BROKER_PORTS = (1883, 8883, 8884)  # plain, by certificate, by password: deploy/mosquitto.conf
ROLES = ("owner", "ingest", "jobs", "api", "read")

_deselected = pytest.StashKey[list[str]]()

# How long an example takes says how busy the machine is, and nothing else. Developers search at random; a run that decides
# asks the same each time, so that a rare example is found by those who look for it, and holds up no other change.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=REQUIRE_ALL
)
settings.load_profile("patient")


# --- what is here, and what is missing -------------------------------------------------------------------------------


def chromium_path() -> str | None:
    """The browser for page tests; HEFA_CHROMIUM names another one."""
    named = os.environ.get("HEFA_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def timescaledb_image() -> str:
    """HEFA_TIMESCALEDB_IMAGE, else a local stand-in under the official name, else what the compose file names."""
    asked = os.environ.get("HEFA_TIMESCALEDB_IMAGE")
    listing = ("docker", "images", "--filter", "label=stand-in", "--format", "{{.Repository}}:{{.Tag}}")
    local = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.split()
    found = [image for image in local if image.startswith("timescale/timescaledb:")]
    named = re.search(r"HEFA_TIMESCALEDB_IMAGE:-([^}]+)}", (ROOT / "docker-compose.yml").read_text("utf-8"))
    assert named is not None
    return asked or (found[0] if found else named[1])


def pytest_report_header() -> list[str]:
    dsn = os.environ.get("HEFA_TEST_DSN")
    if dsn == "docker":
        server, engine = f"{timescaledb_image()} in a container", "TimescaleDB"
    elif dsn:
        with psycopg.connect(dsn) as connection:
            server = f"PostgreSQL {connection.info.parameter_status('server_version')} (HEFA_TEST_DSN)"
            row = connection.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'")
            found = row.fetchone()
            engine = f"TimescaleDB {found[0]}" if found else "plain PostgreSQL"
    else:
        engine = "plain PostgreSQL"
        try:
            version = [str(binaries() / "postgres"), "--version"]
            text = subprocess.run(version, capture_output=True, text=True, check=True).stdout
            server = f"PostgreSQL {text.split()[-1]} (embedded)"
        except PostgresError:
            server = "none"
    kinds = ", ".join(brokers.available()) or "none"
    return [
        f"server: {server}, engine: {engine}",
        f"brokers: {kinds}; chromium: {chromium_path() or 'none'}" + ("; every skip is a failure" * REQUIRE_ALL),
    ]


def _failed_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if REQUIRE_ALL and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason}\n(HEFA_TEST_REQUIRE=all: nothing may be skipped)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _failed_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _failed_skip(report)
    return report


@pytest.hookimpl(tryfirst=True)  # before -m, which would leave nothing to list
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not REQUIRE_ALL:
        return
    natural = [item for item in items if any(item.get_closest_marker(name) for name in NATURAL)]
    config.stash[_deselected] = [item.nodeid for item in natural]
    if natural:
        config.hook.pytest_deselected(items=natural)
        items[:] = [item for item in items if item not in natural]


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Under xdist the workers collect, and the controller tells.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["natural"] = session.config.stash.get(_deselected, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[_deselected] = getattr(node, "workeroutput", {}).get("natural", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    names = config.stash.get(_deselected, [])
    if names:
        terminalreporter.section("not for this machine (" + ", ".join(NATURAL) + ")")
        for name in names:
            terminalreporter.line(name)


# --- database --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DatabaseUnderTest:
    """A migrated database of one test. Each attribute is a DSN: the administrator's, and one for each role."""

    name: str
    admin: str
    owner: str
    ingest: str
    jobs: str
    api: str
    read: str


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DSN of a server's administrator: HEFA_TEST_DSN, else an embedded server of this session."""
    named = os.environ.get("HEFA_TEST_DSN")
    if named == "docker":
        container = PostgresContainer(timescaledb_image(), username="postgres", dbname="postgres", driver=None)
        with container:
            yield container.get_connection_url()
        return
    if named:
        yield named
        return
    try:
        server = Postgres(tmp_path_factory.mktemp("postgres"), token.token_hex(16))
    except PostgresError as error:
        pytest.skip(str(error))
    server.start()
    try:
        yield server.dsn()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def role_passwords(postgres: str) -> dict[str, str]:
    """Passwords of our roles, which all databases of a server share: the same in every session on that server."""
    return {f"hefa_{role}": hashlib.sha256(f"{postgres}/{role}".encode()).hexdigest()[:32] for role in ROLES}


@pytest.fixture(scope="session")
def migrated(postgres: str, role_passwords: dict[str, str]) -> Iterator[str]:
    """Name of a migrated database to clone."""
    with psycopg.connect(postgres, autocommit=True) as admin:
        name = f"hefa_template_{token.token_hex(4)}"
        _create(admin, name)
        _migrate(make_conninfo(postgres, dbname=name), role_passwords)
        # TimescaleDB's background workers hold sessions on every database that lets them in; a template must be free.
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
        admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield name
        finally:
            _drop(admin, name)


@pytest.fixture
def database(postgres: str, migrated: str, role_passwords: dict[str, str]) -> Iterator[DatabaseUnderTest]:
    """A fresh database with the whole schema and no data, dropped after the test."""
    name = f"hefa_test_{token.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        _create(admin, name, migrated)
        try:
            dsns = {r: _dsn(postgres, name, f"hefa_{r}", role_passwords[f"hefa_{r}"]) for r in ROLES}
            yield DatabaseUnderTest(name=name, admin=_dsn(postgres, name), **dsns)
        finally:
            _drop(admin, name)


def _migrate(dsn: str, passwords: dict[str, str]) -> None:
    from hefa_platform.store.migrations import migrate  # here, so that tests without a database run without it

    migrate(dsn, passwords)


def _create(admin: psycopg.Connection, name: str, template: str | None = None) -> None:
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    admin.execute(statement)


def _drop(admin: psycopg.Connection, name: str) -> None:
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    try:
        admin.execute(drop)
    except psycopg.errors.InternalError:  # a background worker of TimescaleDB tidied up in the same moment
        admin.execute(drop)


def _dsn(server: str, database: str, user: str | None = None, password: str | None = None) -> str:
    """A URL, because programs are given one; credentials of the server's DSN unless others are named."""
    parts = conninfo_to_dict(server)
    user, password = user or str(parts.get("user", "postgres")), password or str(parts.get("password", ""))
    return f"postgresql://{user}:{password}@{parts.get('host', '127.0.0.1')}:{parts.get('port', 5432)}/{database}"


# --- broker ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def secrets_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users, passwords and access rules of the broker, as `hefa-platform secrets` lays them out."""
    folder = tmp_path_factory.mktemp("secrets")
    write_secrets(folder, Places(), [f"gw-a{n}" for n in range(1, 7)])
    return folder


@pytest.fixture(params=["mosquitto", "iotcore"])
def broker(request: pytest.FixtureRequest, tmp_path: Path, secrets_dir: Path) -> Iterator[brokers.Broker]:
    """A running broker of each kind: `.url(user)`, `.host`, `.port`, `.kind`, `.restart()`, `.stop()`, `.kill()`."""
    fix = {"mosquitto": "apt-get install mosquitto", "iotcore": "pip install 'hefa[demo]'"}[request.param]
    if request.param not in brokers.available():
        pytest.skip(f"{request.param} is not installed: {fix}")
    running = brokers.Broker(tmp_path / "broker", secrets_dir, kind=request.param)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@dataclass
class SecuredBroker:
    """mosquitto with `deploy/mosquitto.conf` as compose mounts it: only paths and ports are this machine's."""

    folder: Path
    mqtt: int
    certificates: int
    passwords: int
    hang_up: Callable[[], object]
    """Send it SIGHUP."""

    @property
    def tls(self) -> Path:
        """The authority's folder: ca.crt, <name>.crt, <name>.key."""
        return self.folder / "tls"

    def password(self, user: str) -> str:
        return (self.folder / f"mqtt_password_{user}").read_text()

    def plain(self, user: str) -> str:
        """URL of the listener without TLS."""
        return f"mqtt://{user}:{self.password(user)}@127.0.0.1:{self.mqtt}"

    def by_certificate(self, name: str, **files: Path) -> str:
        """URL of the listener for certificates; `ca`, `cert` and `key` instead of those of `name`."""
        named = {"ca": self.tls / "ca.crt", "cert": self.tls / f"{name}.crt", "key": self.tls / f"{name}.key", **files}
        return f"mqtts://localhost:{self.certificates}?" + "&".join(f"{key}={path}" for key, path in named.items())

    def by_password(self, user: str) -> str:
        """URL of the listener for passwords over TLS."""
        return f"mqtts://{user}:{self.password(user)}@localhost:{self.passwords}?ca={self.tls / 'ca.crt'}"

    def publish_secrets(self) -> None:
        """Lay the secrets out anew, and have the broker read them; returns when it has."""
        divide(self.folder, ())
        self.hang_up()
        for _ in range(2):  # it reads them at the end of a round of its loop: the second answer is of a later round
            assert _refuses_nobody(self.mqtt)


def _refuses_nobody(port: int) -> bool:
    """Whether a broker answers there to a CONNECT without a name."""
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as line:
            line.sendall(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00")
            return line.recv(64) != b""
    except ConnectionError:
        return False


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """The broker as compose runs it, on free ports. A module's own."""
    folder = tmp_path_factory.mktemp("secured")
    edges = [f"gw-{name}" for name in ("a1", "a2", "revoked", "expired", "moved")]
    write_secrets(folder, Places(), edges, grants=["gw-hall3 read hall3/#", "plc write hall3/#"])
    make_certificates(folder / "tls", (), gateways(folder))
    divide(folder, ())
    # Whoever runs the tests owns the files; as root, mosquitto would become a user who may not read them.
    conf = ("user root\n" if os.geteuid() == 0 else "") + (ROOT / "deploy" / "mosquitto.conf").read_text()
    run = _in_container if os.environ.get("HEFA_TEST_BROKER") == "docker" else _on_this_machine
    with run(folder, conf) as broker:
        yield broker


@contextmanager
def _on_this_machine(folder: Path, conf: str) -> Iterator[SecuredBroker]:
    program = brokers.mosquitto_path()
    if program is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    ports = [free_port() for _ in BROKER_PORTS]
    text = conf.replace("/run/hefa/", f"{folder}/for/broker/")
    for wanted, port in zip(BROKER_PORTS, ports, strict=True):
        text = text.replace(f"listener {wanted}\n", f"listener {port} 127.0.0.1\n")
    (folder / "mosquitto.conf").write_text(text)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while not all(answers("127.0.0.1", port) for port in ports):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.05)
        yield SecuredBroker(folder, *ports, lambda: process.send_signal(signal.SIGHUP))
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def _in_container(folder: Path, conf: str) -> Iterator[SecuredBroker]:
    """The image of the compose file, with what compose mounts, published on loopback."""
    image = re.search(r"image: (eclipse-mosquitto:\S+)", (ROOT / "docker-compose.yml").read_text("utf-8"))
    assert image is not None
    (folder / "mosquitto.conf").write_text(conf)
    container = (
        DockerContainer(image[1], user=f"{os.geteuid()}:{os.getegid()}", read_only=True, cap_drop=["ALL"])
        .with_volume_mapping(folder / "mosquitto.conf", "/mosquitto/config/mosquitto.conf")
        .with_volume_mapping(folder / "for" / "broker", "/run/hefa")
        .with_command(["/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"])
    )
    for port in BROKER_PORTS:
        container.ports[f"{port}/tcp"] = ("127.0.0.1", None)  # type: ignore[assignment]  # as docker-py takes it
    with container:
        ports = [int(container.get_exposed_port(port)) for port in BROKER_PORTS]
        end = time.monotonic() + 60
        while not _refuses_nobody(ports[0]):
            assert time.monotonic() < end, container.get_logs()
            time.sleep(0.05)
        yield SecuredBroker(folder, *ports, lambda: container.get_wrapped_container().kill("SIGHUP"))


# --- seeds and browser -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def seeds_dir() -> Path:
    return ROOT / "seeds"


@pytest.fixture(scope="session")
def plant(seeds_dir: Path) -> Plant:
    """The plant model of seeds/, loaded once."""
    return load({p.relative_to(seeds_dir).as_posix(): p.read_text("utf-8") for p in sorted(seeds_dir.rglob("*.toml"))})


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; start it headless with --no-sandbox when root."""
    found = chromium_path()
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests of a file. No longer: playwright leaves an event loop running in the thread."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield running
        running.close()
