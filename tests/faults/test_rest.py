"""Those who ask must not hold up those who store: REST under load that nobody should make, while data flows."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from urllib.parse import urlencode

import pytest

from hefa_platform.store import keys
from hefa_platform.store.database import Database

WINDOW = {"from": "2016-11-22T00:00:00Z", "to": "2026-11-22T00:00:00Z"}
HOUR_MS = 3_600_000  # what is older was recorded late on purpose


def ages(scene) -> Counter[int]:
    """Readings by the age in ms, to an eighth of a factor of two, at which they were stored."""
    rows = scene.query("SELECT bucket, sum(readings)::bigint FROM freshness GROUP BY bucket")
    return Counter({bucket: count for bucket, count in rows if 2 ** (bucket / 8) < HOUR_MS})


def p99_ms(counts: Counter[int]) -> float:
    left = 0.01 * counts.total()
    for bucket in sorted(counts, reverse=True):
        left -= counts[bucket]
        if left <= 0:
            return 2 ** ((bucket + 1) / 8)
    raise AssertionError("nothing was stored")


class Crowd:
    """Asks without a pause from several threads, and holds connections open that never finish their request."""

    def __init__(self, port: int, key: str, paths: list[str]) -> None:
        self.port, self._key, self._paths = port, key, paths
        self.answers: dict[str, Counter[int]] = {path: Counter() for path in paths}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(8)]
        self._threads += [threading.Thread(target=self._dawdle) for _ in range(20)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def ask(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._key}"})
            return connection.getresponse().status
        finally:
            connection.close()

    def _ask(self, n: int) -> None:
        while not self._stop.is_set():
            n += 1
            path = self._paths[n % len(self._paths)]
            self.answers[path][self.ask(path)] += 1

    def _dawdle(self) -> None:
        """A header, letter by letter."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as line:
            line.sendall(b"GET /v1/latest HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            while not self._stop.wait(0.2):
                line.sendall(b"x")


@pytest.mark.fault("24", "REST asked for too much")
def test_whoever_asks_does_not_hold_up_who_stores(stage, long: bool) -> None:
    scene = stage("10^9 points, slow requests, no pause")
    scene.start_worker()
    scene.start_maintain()
    port = scene.start_api()
    scene.start_edge()
    tags = [name for (name,) in scene.query("SELECT name FROM tag WHERE kind = 'gauge' ORDER BY 1 LIMIT 190")]
    with Database(scene.dsns["api"], max_size=1) as database:
        key, _ = keys.create(database, name="crowd", role="viewer", site="*", expires_at=None, by="rig")
    too_much = "/v1/series?" + urlencode({"tag": tags, "step": "1m", **WINDOW}, doseq=True)  # 190 × 5.3 million minutes
    paths = [too_much, "/v1/latest", "/v1/series?" + urlencode({"tag": tags[:50], "step": "raw"}, doseq=True)]
    scene.flows()
    before = ages(scene)
    scene.run(3)
    quiet = ages(scene)
    with ExitStack() as stack:
        crowd = stack.enter_context(Crowd(port, key, [*paths, "/v1/pipeline"]))
        scene.run(120 if long else 4)
    busy = ages(scene)
    assert crowd.ask("/v1/health") == 200, "the API is held up by slow requests"
    answers = {path[:14]: dict(codes) for path, codes in crowd.answers.items()}
    assert {code for codes in crowd.answers.values() for code in codes} <= {200, 422, 429}, answers
    assert set(crowd.answers[too_much]) <= {422, 429}, answers
    calm, crowded = p99_ms(quiet - before), p99_ms(busy - quiet)
    assert crowded < max(10 * calm, 3000), f"p99 of ingest: {calm:.0f} ms, with the crowd {crowded:.0f} ms"
    scene.drain()
    scene.judge()
