"""The portal as a process: `hefa-apps serve`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from hefa_apps.cli import cli
from hefa_demo.ports import free_port


@contextmanager
def serving(api: str, secrets: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [sys.executable, "-m", "hefa_apps", "serve", "--port", str(port), "--api-url", api]
    environ = os.environ | {"HEFA_SECRETS_DIR": str(secrets)}
    with (secrets / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                httpx2.get(f"{url}/healthz", timeout=1)
                break
            except httpx2.TransportError:
                assert process.poll() is None
                time.sleep(0.1)
        yield process, url
    finally:
        process.kill()
        process.wait()


def test_the_portal_serves_without_a_platform_and_says_so(tmp_path: Path) -> None:
    with serving("http://127.0.0.1:9", tmp_path) as (process, url):
        answer = httpx2.get(f"{url}/api/live/overview", headers={"Authorization": "Bearer hefa_any_key"}, timeout=60)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["title"] == "The platform does not answer"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)
        assert "no session key" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_an_open_stream_does_not_hold_the_portal(portal, tmp_path: Path, stop: signal.Signals) -> None:
    (tmp_path / "session_key").write_text("a secret of this test")
    with serving(portal.api, tmp_path) as (process, url):
        headers = {"Authorization": f"Bearer {portal.key}"}
        with httpx2.stream("GET", f"{url}/api/live/stream?area=A6-UTIL", headers=headers, timeout=60) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("retry:")
            process.send_signal(stop)
            for _ in lines:
                pass
        process.wait(60)  # an open stream would hold it for ever
        log = (tmp_path / "log").read_text()
        assert "Traceback" not in log
        assert "no session key" not in log


@pytest.mark.parametrize(
    ("setting", "text", "says"),
    [
        ("HEFA_PORTAL_PORT", "80x", "HEFA_PORTAL_PORT: Input should be a valid integer"),
        ("HEFA_LOG_LEVEL", "loud", "HEFA_LOG_LEVEL: Input should be 'DEBUG'"),
        ("HEFA_FLOWSHEET", "/nowhere.toml", "the flowsheet /nowhere.toml cannot be used"),
        ("HEFA_FLOWSHEET", __file__, "cannot be used: "),
    ],
)
def test_a_wrong_setting_is_a_sentence(monkeypatch: pytest.MonkeyPatch, setting: str, text: str, says: str) -> None:
    monkeypatch.setenv(setting, text)
    done = CliRunner().invoke(cli, ["serve"])
    assert done.exit_code == 2
    assert says in done.stderr
