"""Questions over HTTP: every way not to get an answer is a no."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hefa_demo import probe
from hefa_demo.ports import free_port

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
BODIES = {
    "/plant/v1/edges": b'{"items":[{"edge":"api"},{"edge":"gw-a1"},{"edge":"gw-a2"}]}',
    "/plant/v1/tags?kind=gauge&core=true&edge=gw-a1&limit=20": b'{"items":[{"tag":"event","period_s":0.0},'
    b'{"tag":"first","period_s":1.0},{"tag":"second","period_s":1.0}]}',
    "/plant/v1/tags?kind=gauge&core=true&edge=gw-a2&limit=20": b'{"items":[{"tag":"other","period_s":60.0}]}',
    "/quarters/v1/series?tag=a&tag=b&step=15m&agg=mean&from=2026-11-21T00%3A30%3A00Z&to=2026-11-21T02%3A00%3A00Z": (
        b'{"series":[{"coverage":[1.0,0.95]},{"coverage":[0.0,0.5]}]}'
    ),
    "/hours/v1/series?tag=a&step=1h&agg=mean&from=2026-11-01T02%3A00%3A00Z&to=2026-11-21T02%3A00%3A00Z": (
        b'{"series":[{"coverage":[1.0]}]}'
    ),
    "/some": b'{"items":[{"ts":"2026-11-21T08:00:01.5Z"},{"ts":"2026-11-21T07:00:00Z"},{"ts":null}]}',
    "/none": b'{"items":[]}',
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        case, _, rest = self.path.partition("/v1/")
        allowed = not rest or self.headers["Authorization"] == "Bearer secret"
        body = BODIES.get(self.path, BODIES.get(case))
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
    importlib.reload(probe)
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


def test_a_gauge_of_each_edge(server: str) -> None:
    assert probe.a_gauge_of_each_edge(server + "/plant", "secret") == ["first", "other"]
    assert probe.a_gauge_of_each_edge(server + "/ill", "secret") == []


@pytest.mark.parametrize(
    ("case", "tags", "start", "end", "found"),
    [
        ("/quarters", ["a", "b"], "2026-11-21T00:07:00Z", "2026-11-21T02:14:59Z", (2, 4)),
        ("/hours", ["a"], "2026-11-01T00:07:00Z", "2026-11-21T02:14:59Z", (1, 1)),
        ("/quarters", [], "2026-11-21T00:07:00Z", "2026-11-21T02:14:59Z", (0, 0)),
        ("/quarters", ["a"], "2026-11-21T00:07:00Z", "2026-11-21T00:40:00Z", (0, 0)),
        ("/ill", ["a"], "2026-11-21T00:07:00Z", "2026-11-21T02:14:59Z", (0, 1)),
    ],
)
def test_covered(server: str, case: str, tags: list[str], start: str, end: str, found: tuple[int, int]) -> None:
    span = datetime.fromisoformat(start), datetime.fromisoformat(end)
    assert probe.covered(server + case, "secret", tags, *span) == found
