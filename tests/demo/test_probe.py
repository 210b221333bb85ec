"""Questions over HTTP: every way not to get an answer is a no."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hefa_demo import probe
from hefa_demo.process import free_port

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
BODIES = {
    "/some": b'{"items":[{"ts":"2026-11-21T08:00:01.5Z"},{"ts":"2026-11-21T07:00:00Z"},{"ts":null}]}',
    "/none": b'{"items":[]}',
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        case, _, rest = self.path.partition("/v1/")
        allowed = not rest or self.headers["Authorization"] == "Bearer secret"
        body = BODIES.get(case)
        self.send_response(200 if body and allowed else 401 if body else 503)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_answers(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # for the world outside, not for loopback
    assert probe.answers(server + "/none")
    assert not probe.answers(server + "/ill")
    assert not probe.answers(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("case", "key", "newest"),
    [
        ("/some", "secret", datetime(2026, 11, 21, 8, 0, 1, 500_000, tzinfo=UTC)),
        ("/some", "guess", NEVER),
        ("/none", "secret", NEVER),
        ("/ill", "secret", NEVER),
    ],
)
def test_newest_reading(server: str, case: str, key: str, newest: datetime) -> None:
    assert probe.newest_reading(server + case, key) == newest
