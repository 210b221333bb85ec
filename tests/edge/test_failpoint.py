"""Both tiers' failpoints: off by default, exact when set."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hefa_edge import failpoint as of_edge
from hefa_platform import failpoint as of_platform

TIERS = pytest.mark.parametrize("module", [of_edge, of_platform], ids=["edge", "platform"])


def run(module: object, points: str, *passes: str) -> subprocess.CompletedProcess[str]:
    """Pass points in a process of its own; `a/b` passes a about b. Prints what survived."""
    code = f"from {module.__name__} import reach\n" + "".join(
        f"reach(*{tuple(one.split('/'))!r}); print({one!r}, flush=True)\n" for one in passes
    )
    environ = {**os.environ, "HEFA_FAILPOINT": points}
    return subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)


@TIERS
@pytest.mark.parametrize(
    ("points", "survived"),
    [
        ("", ["a", "b", "a", "a/x"]),
        ("other:kill", ["a", "b", "a", "a/x"]),
        ("a:kill", []),
        ("b:kill", ["a"]),
        ("a:kill@2", ["a", "b"]),
        ("a:kill@9", ["a", "b", "a", "a/x"]),
        ("a:kill~x", ["a", "b", "a"]),
        ("b:kill@2, a:kill@3", ["a", "b", "a"]),
    ],
)
def test_kill_comes_at_the_point_and_time_that_were_named(module, points: str, survived: list[str]) -> None:
    done = run(module, points, "a", "b", "a", "a/x")
    assert done.stdout.split() == survived
    assert done.returncode == (0 if len(survived) == 4 else -signal.SIGKILL)


@TIERS
def test_raise_and_sleep(module) -> None:
    done = run(module, "a:raise", "a")
    assert done.returncode == 1
    assert "Broken: a" in done.stderr
    before = time.monotonic()
    assert run(module, "a:sleep=0.3", "a", "a").returncode == 0
    assert time.monotonic() - before > 0.6


@TIERS
@pytest.mark.parametrize("points", ["a", "a:explode", "a:sleep", "kill", "a:kill@x"])
def test_what_is_no_failpoint_is_refused_at_once(module, points: str) -> None:
    assert "HEFA_FAILPOINT" in run(module, points).stderr
