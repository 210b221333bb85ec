"""Children: what they print is kept, they end in time, and their log does not grow for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from hefa_demo.process import Child, tail, trim, wait_until

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


def python(tmp_path: Path, program: str, **more: object) -> Child:
    return Child("child", [sys.executable, "-c", program], tmp_path / "logs" / "child.log", **more)  # type: ignore[arg-type]


def test_output_and_errors_go_to_the_log(tmp_path: Path) -> None:
    child = python(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    child.start()
    assert child.wait(30) == 3
    assert not child.running
    assert sorted(child.tail().split()) == ["err", "out"]


def test_a_piped_child_is_read(tmp_path: Path) -> None:
    child = python(tmp_path, "print('one'); print('two')", piped=True)
    child.start()
    assert [line.strip() for line in child.output] == ["one", "two"]
    child.stop()


def test_it_is_asked_before_it_is_forced(tmp_path: Path) -> None:
    child = python(tmp_path, STUBBORN)
    child.start()
    assert wait_until(lambda: "deaf" in child.tail(), 60)
    begun = time.monotonic()
    child.stop(patience=0.3)
    assert child.returncode == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - begun < 50, "forced, and not waited for"
    child.stop()  # safe to repeat


def test_it_starts_again(tmp_path: Path) -> None:
    child = python(tmp_path, "import time; time.sleep(60)")
    child.start()
    first = child.pid
    with pytest.raises(RuntimeError, match="is running already"):
        child.start()
    child.kill()
    assert child.returncode == -signal.SIGKILL
    child.start()
    assert child.pid != first
    child.stop()
    assert child.returncode == -signal.SIGTERM


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_it_dies_with_its_parent_by_its_own_signal(tmp_path: Path, stop_signal: signal.Signals) -> None:
    heard = (
        f"import signal, time; signal.signal({int(stop_signal)}, lambda n, f: exit(print('heard', n, flush=True))); "
    )
    program = f"""
import os, pathlib, signal, sys
from hefa_demo.process import Child, wait_until
child = Child("child", [sys.executable, "-c", {heard + "print('up', flush=True); time.sleep(60)"!r}],
              pathlib.Path({str(tmp_path / "log")!r}), stop_signal=signal.Signals({int(stop_signal)}))
child.start()
wait_until(lambda: "up" in child.tail(), 60)
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    pid = int(done.stdout)
    assert wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 60)
    assert f"heard {int(stop_signal)}" in tail(tmp_path / "log")


def test_the_terminals_interrupt_does_not_reach_it(tmp_path: Path) -> None:
    child = python(tmp_path, "import time; time.sleep(60)")
    child.start()
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    child.stop()


def test_a_long_log_is_cut_while_its_program_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    with log.open("ab") as writer:
        writer.write(b"old line\n" * 1000)
        writer.flush()
        trim(log, limit=9000)
        assert log.stat().st_size == 9000
        trim(log, limit=900)
        assert log.stat().st_size == 0
        writer.write(b"new line\n")
    assert log.read_bytes() == b"new line\n"
    assert (tmp_path / "long.log.1").read_bytes() == b"old line\n" * 100
    trim(tmp_path / "missing.log")


def test_tail_of_a_long_or_missing_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_text("\n".join(map(str, range(50_000))))
    assert tail(log, 2) == "49998\n49999"


def test_wait_until() -> None:
    event = threading.Event()
    threading.Timer(0.05, event.set).start()
    assert wait_until(event.is_set, 60)
    assert not wait_until(lambda: False, 0.05)
