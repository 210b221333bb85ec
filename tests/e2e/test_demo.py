"""`hefa demo` as a person runs it: one command, a living plant, and nothing left behind, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from hefa_demo.process import wait_until

COMMAND = str(Path(sysconfig.get_path("scripts")) / "hefa")
pytestmark = pytest.mark.timeout(600)  # seven processes start, several times

TIERS = {"postgres", "broker", "ingest", "maintain", "api", "apps", "edge"}


class Demo:
    """One run of the command in a data folder."""

    def __init__(self, data_dir: Path, *argv: str) -> None:
        self.data_dir = data_dir
        self.document_path = data_dir / "demo.json"
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEFA_")} | {"COLUMNS": "200"}
        self.output_path = data_dir.with_suffix(f".{time.monotonic_ns()}.out")
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [COMMAND, "demo", "--data-dir", str(data_dir), "--profile", "core", "--history", "1h", *argv],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
            )

    @property
    def output(self) -> str:
        return self.output_path.read_text("utf-8")

    def until_ready(self, timeout: float = 240) -> dict[str, Any]:
        wait_until(lambda: self.document_path.exists() or self.process.poll() is not None, timeout, interval=0.05)
        assert self.document_path.exists(), self.output
        return self.document

    @property
    def document(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.document_path.read_text("utf-8"))
        return read

    def end(self, how: signal.Signals | None = None, timeout: float = 120) -> int:
        if how is not None:
            self.process.send_signal(how)
        return self.process.wait(timeout)

    def left(self) -> list[str]:
        """Living processes that belong to this data folder."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "environ", "status"]):
            info = process.info
            if info["status"] == psutil.STATUS_ZOMBIE or info["pid"] in (os.getpid(), self.process.pid):
                continue
            words = [*(info["cmdline"] or []), (info["environ"] or {}).get("HEFA_DATA_DIR", "")]
            if any(str(self.data_dir) in word for word in words):
                found.append(f"{info['pid']}: {' '.join(info['cmdline'] or [])}")
        return found


def get(document: dict[str, Any], path: str) -> Any:
    request = urllib.request.Request(document["api"] + path, headers={"Authorization": f"Bearer {document['key']}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)


def stored(document: dict[str, Any]) -> int:
    return sum(edge["stored"] for edge in get(document, "/v1/pipeline")["edges"])


@dataclass
class FirstRun:
    """What was seen of a first start that ended by itself."""

    data_dir: Path
    document: dict[str, Any] = field(default_factory=dict)
    mode: int = 0
    alive: set[str] = field(default_factory=set)
    latest: list[dict[str, Any]] = field(default_factory=list)
    tags: int = 0
    stored: int = 0
    hour: dict[str, Any] = field(default_factory=dict)
    ready_at: float = 0.0
    ended_at: float = 0.0
    code: int = -1
    output: str = ""
    left: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstRun]:
    """A demo of five seconds in a new folder, while something else has the portal's port."""
    seen = FirstRun(tmp_path_factory.mktemp("demo") / "data")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # somebody has it already, which is as good
        # The embedded broker, as on a machine without mosquitto; the later starts take what is preferred.
        demo = Demo(seen.data_dir, "--for", "5s", "--broker", "iotcore")
        try:
            seen.document = demo.until_ready()
            seen.ready_at = time.monotonic()
            seen.mode = stat.S_IMODE(demo.document_path.stat().st_mode)
            seen.alive = {name for name, pid in seen.document["pids"].items() if psutil.pid_exists(pid)}
            now = datetime.now(UTC)
            seen.tags = len(get(seen.document, "/v1/tags?core=true&limit=1000")["items"])
            seen.latest = get(seen.document, "/v1/latest?core=true&limit=1000")["items"]
            window = f"from={(now - timedelta(minutes=50)):%Y-%m-%dT%H:%M:%SZ}&to={now:%Y-%m-%dT%H:%M:%SZ}"
            seen.hour = get(seen.document, f"/v1/consumption?carrier=electricity&by=total&{window}")
            seen.stored = stored(seen.document)
            seen.code = demo.end()
            seen.ended_at = time.monotonic()
        finally:
            if demo.process.poll() is None:
                demo.end(signal.SIGKILL)
        seen.output = demo.output
        wait_until(lambda: not demo.left(), 60)
        seen.left = demo.left()
        yield seen


def test_it_stops_by_itself(first_run: FirstRun) -> None:
    assert first_run.code == 0, first_run.output
    assert first_run.left == []
    assert not (first_run.data_dir / "demo.json").exists()
    assert 4 < first_run.ended_at - first_run.ready_at < 120


def test_it_writes_down_where_everything_is(first_run: FirstRun) -> None:
    document = first_run.document
    assert set(document) == {"portal", "api", "mqtt", "database", "key", "pids"}
    assert first_run.mode == 0o600
    assert set(document["pids"]) >= TIERS
    assert first_run.alive == set(document["pids"])
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", document["portal"])
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", document["api"])
    assert re.fullmatch(r"mqtt://gw-guest:[^@]+@127\.0\.0\.1:\d+", document["mqtt"])
    assert re.fullmatch(r"postgresql://hefa_read:[^@]+@127\.0\.0\.1:\d+/hefa", document["database"])
    assert document["key"] in first_run.output
    assert document["portal"] in first_run.output


def test_a_taken_port_is_said_plainly(first_run: FirstRun) -> None:
    port = first_run.document["portal"].rpartition(":")[2]
    assert port != "8080"
    assert f"port 8080 is taken: portal takes {port}" in first_run.output


def test_the_plant_lives(first_run: FirstRun) -> None:
    """Every core tag has a reading that is not stale, and the hour of history has its consumption."""
    assert first_run.tags == len(first_run.latest) == 752
    assert [item["tag"] for item in first_run.latest if item["stale"]] == []
    (row,) = first_run.hour["rows"]
    assert row["value"] > 0
    assert row["coverage"] > 0.9


def test_a_second_start_keeps_the_data(first_run: FirstRun) -> None:
    """It joins without a second backfill, survives a tier's crash, keeps others out, and ends on Ctrl-C."""
    demo = Demo(first_run.data_dir)
    try:
        document = demo.until_ready()
        assert stored(document) >= first_run.stored
        assert document["key"] == first_run.document["key"]
        assert "the history is there" in demo.output

        other = Demo(first_run.data_dir)
        assert other.end() == 1
        assert f"is running in {first_run.data_dir} already (process {demo.process.pid})" in other.output

        os.kill(document["pids"]["api"], signal.SIGKILL)
        assert wait_until(lambda: demo.document["pids"]["api"] != document["pids"]["api"], 60)
        assert "api ended unexpectedly and starts again" in demo.output
        assert wait_until(lambda: _answers(demo.document), 60)

        assert demo.end(signal.SIGINT) == 0, demo.output
    finally:
        if demo.process.poll() is None:
            demo.end(signal.SIGKILL)
    assert wait_until(lambda: not demo.left(), 60), demo.left()
    assert not demo.document_path.exists()


def _answers(document: dict[str, Any]) -> bool:
    try:
        return bool(get(document, "/v1/ready")["ready"])
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent: run it there")
def test_nothing_survives_a_killed_supervisor(first_run: FirstRun) -> None:
    demo = Demo(first_run.data_dir)
    try:
        demo.until_ready()
    finally:
        demo.end(signal.SIGKILL)
    assert wait_until(lambda: not demo.left(), 60), demo.left()
    # What was left on disk does not stand in the way of the next start; a wish to stop is heard before it is ready.
    again = Demo(first_run.data_dir)
    assert wait_until(lambda: "broker" in again.output, 60)
    assert not again.document_path.exists()
    assert again.end(signal.SIGTERM) == 130
    assert again.left() == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data" / "edge").mkdir(parents=True)
    (tmp_path / "data" / "thesis.tex").write_text("mine")
    demo = Demo(tmp_path / "data", "--fresh")
    assert demo.end() == 1
    assert "holds something else (thesis.tex)" in demo.output
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["edge", "thesis.tex"]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--for", "soon"], "'soon' is no duration"),
        (["--history", "2 days"], "'2 days' is no duration"),
        (["--fresh", "--dsn", "postgresql://u@127.0.0.1/x"], "drop that one yourself"),
        (["--dsn", "host=127.0.0.1"], "--dsn is a URL"),
    ],
)
def test_what_it_cannot_do_is_a_sentence(tmp_path: Path, argv: list[str], sentence: str) -> None:
    demo = Demo(tmp_path / "data", *argv)
    assert demo.end() in (1, 2)
    assert sentence in " ".join(demo.output.replace("│", " ").split())
    assert demo.left() == []
