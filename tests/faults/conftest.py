"""The fault rig: `make test-faults`. Real broker, real database, real processes; each test is a fault of its number.

`--long` makes it hurt longer (minutes of outage, hundreds of kills); `--table FILE` keeps the result as Markdown.
HEFA_FAULTS_BROKER chooses mosquitto or iotcore. HEFA_TEST_DSN runs it against a server that is not ours to kill.
"""

from __future__ import annotations

import os
import secrets as token
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from faultrig import server as servers  # noqa: E402
from faultrig.scene import EDGES, Row, Scene  # noqa: E402
from faultrig.table import table  # noqa: E402

from hefa_demo import broker as brokers  # noqa: E402
from hefa_demo.process import Server  # noqa: E402
from hefa_platform.secrets import Places  # noqa: E402
from hefa_platform.secrets import write as write_secrets  # noqa: E402

_rows = pytest.StashKey[list[Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="faults: more kills, longer outages")
    parser.addoption("--table", type=Path, help="faults: write the result to this file as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hours: only with --long, where there is time for more of the same")
    config.stash[_rows] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        more = [item for item in items if item.get_closest_marker("hours")]
        config.hook.pytest_deselected(items=more)
        items[:] = [item for item in items if item not in more]
    for item in items:  # hours are meant; in the short form each wait has its own end
        item.add_marker(pytest.mark.timeout(0 if config.getoption("--long") else 400))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes (`-n`) hands its lines to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["rows"] = [asdict(row) for row in session.config.stash[_rows]]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    node.config.stash[_rows] += [Row(**row) for row in getattr(node, "workeroutput", {}).get("rows", [])]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = table([row for row in config.stash[_rows] if row.number != "0"])
    if config.stash[_rows]:
        terminalreporter.section("nothing lost, nothing twice")
        for line in lines:
            terminalreporter.line(line)
    target = config.getoption("--table")
    if target is not None and not hasattr(config, "workeroutput"):
        target.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server | None]:
    """The cluster that faults may kill; None where HEFA_TEST_DSN names one that is somebody's."""
    if os.environ.get("HEFA_TEST_DSN"):
        yield None
        return
    made = servers.make_server(tmp_path_factory.mktemp("postgres"))
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="session")
def make_database(server: Server | None) -> Iterator[Callable[..., dict[str, str]]]:
    dsn = server.dsn() if server else os.environ["HEFA_TEST_DSN"]
    with servers.template(dsn, HERE.parents[1] / "seeds") as make:
        yield make


@pytest.fixture(scope="session")
def rig_secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    write_secrets(folder, Places(), EDGES)
    return folder


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, tmp_path: Path, rig_secrets: Path, make_database, server: Server | None
) -> Iterator[Callable[..., Scene]]:
    """Makes the scene of a fault: `stage()`, once or more often in one test; each is a line of the table."""
    marker = request.node.get_closest_marker("fault")
    kind = os.environ.get("HEFA_FAULTS_BROKER") or brokers.available()[0]
    made: list[str] = []
    with ExitStack() as stack:

        def make(what: str = "", *, broker: str = kind, tablespace: str | None = None) -> Scene:
            if broker not in brokers.available():
                pytest.skip(f"this fault is of {broker}, which is not installed")
            row = Row(marker.args[0], marker.args[1] + (f": {what}" if what else ""))
            row.problems.append("not finished")
            request.config.stash[_rows].append(row)
            name = f"hefa_fault_{token.token_hex(4)}"
            made.append(name)
            dsns = make_database(name, tablespace)
            folder = tmp_path / name
            scene = Scene(folder, dsns, server, rig_secrets, broker, row, long=request.config.getoption("--long"))
            return stack.enter_context(scene)

        yield make
    dsn = server.dsn() if server else os.environ["HEFA_TEST_DSN"]
    for name in made:
        servers.drop(dsn, name)


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--long"))


@pytest.fixture
def killable(server: Server | None) -> Server:
    if server is None:
        pytest.skip("HEFA_TEST_DSN names a server that is not ours to kill: unset it")
    return server
