"""The stream over a real socket: who hears what, how slow listeners and a stopping server end it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hefa_platform.api import Limits, create_app
from hefa_platform.api.server import server
from hefa_platform.api.stream import QUEUE, Broadcaster, Listener, StreamFull
from hefa_platform.store import tags

PH = "A2-SX.SXA.MS-A01.ph"
TEMP = "A1-FEED.DISS.R-101.temp"


@pytest.fixture(scope="module")
def base(site: Any) -> Iterator[str]:
    """Address of a real server on the module's database; at most three streams."""
    app = create_app(site.api, Limits(streams=3))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        running = server(app, "127.0.0.1", 0)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        running.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def http(base: str, site: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=base, headers={"Authorization": f"Bearer {site.key('viewer')}"}, timeout=60) as client:
        yield client


def heard(lines: Iterator[str], wanted: int, seconds: float = 60) -> list[dict[str, Any]]:
    """The first `wanted` items of a stream."""
    items: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    for line in lines:
        if line.startswith("data: "):
            items += json.loads(line.removeprefix("data: "))["items"]
        if len(items) >= wanted or time.monotonic() > until:
            break
    return items


def say(site: Any, tag: str, value: float) -> None:
    site.record(tag, [(datetime.now(UTC), value, 192)])


def test_each_listener_hears_what_it_asked_for(site: Any, http: httpx2.Client) -> None:
    with (
        http.stream("GET", "/v1/stream", params={"tag": PH}) as one,
        http.stream("GET", "/v1/stream", params={"area": "A1-FEED", "core": "true"}) as area,
    ):
        assert one.headers["content-type"].startswith("text/event-stream")
        assert one.headers["cache-control"] == "no-store"
        ph, feed = one.iter_lines(), area.iter_lines()
        assert next(ph).startswith("retry")
        say(site, TEMP, 75.5)
        say(site, PH, 3.25)
        (item,) = heard(ph, 1)
        assert (item["tag"], item["value"], item["unit"], item["stale"]) == (PH, 3.25, "[pH]", False)
        assert item.keys() == http.get("/v1/latest", params={"tag": PH}).json()["items"][0].keys()
        assert [(item["tag"], item["value"]) for item in heard(feed, 1)] == [(TEMP, 75.5)]
        # What was heard is not said again, though the thread looks back over what it has seen.
        time.sleep(2.2)
        say(site, PH, 3.5)
        assert [item["value"] for item in heard(ph, 1)] == [3.5]


def changed(site: Any, tag: str, state: str) -> int:
    """An alarm of the tag goes into a state; the id of the change."""
    ((change,),) = site.execute(
        """
        WITH made AS (
          INSERT INTO alarm (tag_id, level, priority, state, crossed_at, raised_at, late)
          SELECT tag_id, 'bad', 'low', %s, now(), now(), false FROM tag WHERE name = %s RETURNING alarm_id, state
        )
        INSERT INTO alarm_change (alarm_id, to_state, by) SELECT alarm_id, state, 'system' FROM made RETURNING change_id
        """,
        state, tag,
    )  # fmt: skip
    return int(change)


def told(lines: Iterator[str], wanted: int) -> list[tuple[int, str, str]]:
    """(id, tag, state) of the first `wanted` changes of alarms."""
    found: list[tuple[int, str, str]] = []
    number = 0
    for line in lines:
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            said = json.loads(line.removeprefix("data: "))
            found.append((number, said["alarm"]["tag"], said["change"]["to"]))
            if len(found) == wanted:
                break
    return found


def test_changes_of_alarms_are_told_and_what_was_missed(site: Any, http: httpx2.Client) -> None:
    with http.stream("GET", "/v1/stream", params={"event": "alarm", "area": "A2-SX"}, timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        changed(site, TEMP, "UNACK")
        first, second = changed(site, PH, "UNACK"), changed(site, PH, "ACKED")
        assert told(lines, 2) == [(first, PH, "UNACK"), (second, PH, "ACKED")]
    third = changed(site, TEMP, "ACKED")
    again = {"params": {"event": "alarm"}, "headers": {"Last-Event-ID": str(first)}, "timeout": 60}
    with http.stream("GET", "/v1/stream", **again) as stream:
        assert told(stream.iter_lines(), 2) == [(second, PH, "ACKED"), (third, TEMP, "ACKED")]
    for wrong in ({"event": "alarm", "core": True}, {"priority": "low"}, {"event": "alarm", "priority": "loud"}):
        assert http.get("/v1/stream", params=wrong).status_code == 422


@pytest.mark.parametrize(
    ("query", "status"),
    [({"tag": "nope"}, 404), ({"area": "a\x00"}, 422), ({"tags": PH}, 422), ({"tag": ["x"] * 201}, 422)],
)
def test_a_bad_question_is_answered_before_the_stream_begins(
    http: httpx2.Client, query: dict[str, Any], status: int
) -> None:
    answer = http.get("/v1/stream", params=query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_more_streams_than_allowed(http: httpx2.Client) -> None:
    with (
        http.stream("GET", "/v1/stream") as one,
        http.stream("GET", "/v1/stream") as two,
        http.stream("GET", "/v1/stream") as three,
    ):
        lines = [stream.iter_lines() for stream in (one, two, three)]
        assert [next(each) for each in lines] == ["retry: 2000"] * 3
        refused = http.get("/v1/stream")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    deadline = time.monotonic() + 60
    while True:  # the places are free again when the server has noticed
        with http.stream("GET", "/v1/stream") as again:
            if again.status_code == 200:
                break
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_slow_listener_is_dropped_and_the_others_are_not(site: Any) -> None:
    async def lag() -> tuple[list[bytes], list[bytes]]:
        loop = asyncio.get_running_loop()
        slow, quick = (Listener(lambda tag: True, loop) for _ in range(2))
        taken: list[bytes] = []

        async def read() -> None:
            taken.extend([message async for message in quick.messages()])

        reading = asyncio.create_task(read())
        for n in range(QUEUE + 5):
            for listener in (slow, quick):
                listener.offer(b"%d" % n)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        quick.offer(None)
        await reading
        return [message async for message in slow.messages()], taken

    slow, quick = asyncio.run(lag())
    assert slow == [b"retry: 2000\n\n", b": too slow, dropped: connect again\n\n"]
    assert quick[1:-1] == [b"%d" % n for n in range(QUEUE + 5)]


def test_nothing_is_asked_while_nobody_listens_and_a_closed_one_takes_nobody(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    changed = tags.changed
    monkeypatch.setattr(tags, "changed", lambda *args: asked.append(args) or changed(*args))
    broadcaster = Broadcaster(site.api, capacity=1, interval_s=0.02)

    async def listen() -> list[bytes]:
        listener = Listener(lambda tag: True, asyncio.get_running_loop())
        broadcaster.join(listener)
        with pytest.raises(StreamFull):
            broadcaster.join(Listener(lambda tag: True, asyncio.get_running_loop()))
        deadline = time.monotonic() + 60
        while len(asked) < 3:
            assert time.monotonic() < deadline, "it asks while somebody listens"
            await asyncio.sleep(0.02)
        broadcaster.leave(listener)
        quiet = len(asked)
        await asyncio.sleep(0.4)
        assert len(asked) <= quiet + 1, "one question may have been on its way"
        broadcaster.join(listener)
        broadcaster.close()
        return [message async for message in listener.messages()]

    assert asyncio.run(listen())[-1] == b": closing\n\n"


def test_sigterm_ends_open_streams(site: Any, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("hefa-platform")), "serve", "--port", str(port)],
        env=os.environ | {"HEFA_DSN": site.api._dsn}, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        headers = {"Authorization": f"Bearer {site.key('viewer')}"}
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as http:
            deadline = time.monotonic() + 60
            while True:
                try:
                    if http.get("/v1/ready").status_code == 200:
                        break
                except httpx2.TransportError:
                    assert time.monotonic() < deadline, log.seek(0) or log.read()
                time.sleep(0.1)
            with http.stream("GET", "/v1/stream") as stream:
                lines = stream.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                assert ": closing" in list(lines)  # left open, it would be silent until the client gave up
                assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        log.seek(0)
        said = log.read()
        log.close()
    assert "Traceback" not in said
    assert "ERROR" not in said
