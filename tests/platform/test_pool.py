"""A pool of processes: as many as asked, each alone in its death, all gone with the pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hefa_platform.pool import Pool


def until(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def lives(folder: Path) -> dict[str, list[int]]:
    """Process ids by name, in the order of their lives."""
    return {path.name: [int(pid) for pid in path.read_text().split()] for path in folder.iterdir()}


def command(folder: Path, then: str = "sleep 60") -> Callable[[str], list[str]]:
    return lambda name: ["/bin/sh", "-c", f"echo $$ >> {folder}/{name}; exec {then}"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lives").mkdir()
    return tmp_path / "lives"


def test_each_is_started_again_and_all_end_with_the_pool(folder: Path) -> None:
    pool = Pool("w", 3, command(folder), os.environ)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(pool.run()))
    thread.start()
    until(lambda: {name for name, pids in lives(folder).items() if pids} == {"w", "w-2", "w-3"})
    time.sleep(0.1)
    os.kill(lives(folder)["w-2"][0], signal.SIGKILL)
    until(lambda: len(lives(folder)["w-2"]) == 2)
    assert len(lives(folder)["w"]) == len(lives(folder)["w-3"]) == 1
    pool.stop()
    thread.join(30)
    assert codes == [0]
    for pids in lives(folder).values():
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def test_wrong_settings_end_the_pool_at_once(folder: Path) -> None:
    assert Pool("w", 2, command(folder, "sh -c 'exit 2'"), os.environ).run() == 2


def test_a_worker_that_cannot_end_is_ended_when_its_pool_was_killed() -> None:
    code = (
        "import time; from hefa_platform import pool; pool.PATIENCE_S = 0.2; pool.on_leash(lambda: None);"
        "print('ready', flush=True); time.sleep(120)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.stdin.close()
    assert child.wait(60) == 1
    child.stdout.close()


def test_a_worker_ends_when_its_pool_was_killed(tmp_path: Path) -> None:
    """The leash: standard input closes."""
    code = (
        "import sys, threading; from hefa_platform.pool import on_leash;"
        "gone = threading.Event(); on_leash(gone.set); print('ready', flush=True); gone.wait(60); print('gone', flush=True)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.stdin.close()
    assert child.stdout.readline() == "gone\n"
    assert child.wait(30) == 0
    child.stdout.close()
