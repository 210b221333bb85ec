"""History through a real broker: complete, the same after kill -9, and the live site joins it without a jump."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from hefa_contract.envelope import Envelope, Events
from hefa_contract.event import Shift
from hefa_edge.backfill import Backfill
from hefa_edge.checkpoint import Checkpoint
from hefa_edge.config import Settings
from hefa_edge.outbox import Outbox

M = 60_000_000
HEFA_EDGE = [sys.executable, "-c", "from hefa_edge.cli import main; main()"]


class Process(subprocess.Popen):
    """A process that a failed test does not wait for."""

    def __exit__(self, kind: type[BaseException] | None, *told: object) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, *told)


@pytest.fixture
def edge(broker, tmp_path: Path) -> Callable[..., Process]:
    """Start `hefa-edge` with the broker's credentials and a data directory."""
    for n in range(1, 7):
        (tmp_path / f"mqtt_url_gw-a{n}").write_text(broker.url(f"gw-a{n}"))

    def start(command: str, *arguments: str, data: str = "data") -> Process:
        options = ["--secrets", str(tmp_path), "--data-dir", str(tmp_path / data), "--profile", "core"]
        return Process([*HEFA_EDGE, command, *options, *arguments], stdout=subprocess.PIPE, text=True)

    return start


def collected(heard: list) -> dict[tuple[str, int], float | None]:
    """Readings by tag and time. No number may have two payloads, no time two values, nothing two numbers."""
    payloads: dict[bytes, bytes] = {}
    for one in heard:
        assert payloads.setdefault(one.correlation, one.payload) == one.payload
    out: dict[tuple[str, int], float | None] = {}
    for message in (one.message for one in {one.correlation: one for one in heard}.values()):
        if isinstance(message, Envelope):
            for tag, dt, value in zip(message.tag, message.dt, message.value, strict=True):
                key = (message.tags[tag], message.base + dt)
                assert key not in out
                out[key] = value
    return out


def shifts(heard: list) -> list[int]:
    messages = [one.message for one in {one.correlation: one for one in heard}.values()]
    events = (event for message in messages if isinstance(message, Events) for event in message.events)
    return sorted(event.ts for event in events if isinstance(event, Shift))


def test_history_is_complete_and_progress_is_told(edge, platform) -> None:
    platform.accept()
    with edge("backfill", "--history", "9h", "--progress", "json") as process:
        assert process.stdout is not None
        steps = [json.loads(process.stdout.readline())]
        began = time.time()  # it has looked at the clock by now
        steps += [json.loads(line) for line in process.stdout]
    ended = time.time()
    assert process.returncode == 0
    assert steps[-1]["phase"] == "done"
    assert all(0 <= step["done"] <= step["total"] for step in steps)
    assert [step["readings"] for step in steps] == sorted(step["readings"] for step in steps)
    readings = collected(platform.heard)
    assert len(readings) == steps[-1]["readings"]
    times = sorted({ts for _, ts in readings})
    assert times == list(range(times[0], times[-1] + M, M))  # no minute is missing
    assert times[0] <= (began - 9 * 3600) * 1e6
    assert (ended - 180) * 1e6 <= times[-1] <= ended * 1e6  # a busy machine ends slowly
    assert {one.message.lane for one in platform.heard if isinstance(one.message, Envelope)} == {"backfill"}
    assert len(shifts(platform.heard)) in (1, 2)  # eight hours a shift
    assert not any(".GW-" in tag for tag, _ in readings)  # a gateway has no past to simulate
    assert platform.status == []  # the backfill is not the gateway: it says nothing of being there


@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_killed_again_and_again_it_gives_the_same_history(edge, platform, until) -> None:
    platform.accept()
    to = time.strftime("%Y-%m-%dT%H:%M:00+00:00", time.gmtime())
    span = ("--history", "14h", "--to", to)
    with edge("backfill", *span, "--progress", "none", data="whole") as process:
        pass
    assert process.returncode == 0
    whole, whole_shifts = collected(platform.heard), shifts(platform.heard)
    platform.heard.clear()
    chance = random.Random(5)
    deaths = 0
    while True:
        with edge("backfill", *span, "--progress", "json", data="killed") as process:
            process.stdout.readline()  # it has made its first block of this life
            if deaths < 3:
                time.sleep(chance.uniform(0.0, 0.4))
                process.kill()
            process.stdout.read()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        deaths += 1
    assert deaths >= 1
    until(lambda: len(collected(platform.heard)) >= len(whole))
    assert collected(platform.heard) == whole
    assert shifts(platform.heard) == whole_shifts


class Dying(Checkpoint):
    """A process that ends between its outboxes and its checkpoint."""

    def save(self, document: dict) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_a_block_that_is_in_the_outboxes_is_not_made_twice(plant, edge, tmp_path: Path, platform, until) -> None:
    platform.accept()
    settings = Settings(secrets_dir=tmp_path, data_dir=tmp_path / "data", profile="core")
    now = time.time()
    with Dying(settings.state_dir) as checkpoint, pytest.raises(KeyboardInterrupt):
        Backfill(plant, settings, checkpoint, 1800, clock=lambda: now).run(lambda _: None)
    with Checkpoint(settings.state_dir) as checkpoint:
        assert checkpoint.read() is None
        later = now + 600
        assert Backfill(plant, settings, checkpoint, 2400, clock=lambda: later).run(lambda _: None)
    times = {ts for _, ts in collected(platform.heard)}
    assert sorted(times) == list(range(min(times), max(times) + M, M))
    assert len(times) == 41
    assert {len(collected([h for h in platform.heard if f"gw-a{n}" in h.topic])) > 400 for n in range(1, 7)} == {True}


@pytest.mark.parametrize("broker", ["iotcore"], indirect=True)
def test_history_goes_on_behind_the_last_reading_of_a_site_that_was_killed(
    plant, edge, tmp_path: Path, platform
) -> None:
    """Its outboxes know more than its checkpoint: a minute that was recorded is not made again."""
    platform.accept()
    settings = Settings(secrets_dir=tmp_path, data_dir=tmp_path / "data", profile="core")
    now = time.time()
    recorded = round(now - 600) // 60 * M + 3_000_000
    outbox = Outbox(settings.state_dir / "outbox-gw-a3.sqlite")
    tag = next(tag for tag in plant.tags.values() if tag.edge == "gw-a3")
    outbox.append(
        [
            Envelope(
                epoch="",
                seq=0,
                lane="live",
                made=recorded,
                base=recorded,
                tags=[tag.name],
                tag=[0],
                dt=[0],
                value=[1.0],
                quality=None,
            )
        ],
        (recorded - M, recorded),
    )
    outbox.close()
    with Checkpoint(settings.state_dir) as checkpoint:
        assert Backfill(plant, settings, checkpoint, 1800, clock=lambda: now).run(lambda _: None)
    times = {ts for _, ts in collected(platform.heard)}
    assert min(times) == recorded // M * M + M


@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
def test_the_live_site_joins_and_comes_back_without_a_jump(edge, platform, until) -> None:
    platform.accept()
    register = "A6-UTIL.ELEC.PM-MAIN.e"

    def live() -> list[Envelope]:
        return [
            one.message for one in platform.heard if isinstance(one.message, Envelope) and one.message.lane == "live"
        ]

    def all_tags() -> bool:
        return len({tag for message in live() for tag in message.tags}) == 752

    def shown(heard: list) -> list[tuple[int, float]]:
        return sorted((ts, value) for (tag, ts), value in collected(heard).items() if tag == register)

    with edge("backfill", "--history", "2h", "--progress", "none") as process:
        pass
    ended = time.time()
    assert process.returncode == 0
    with edge("run") as process:
        until(all_tags, 60)
        joined = time.time()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert process.returncode == 0
    until(lambda: len(platform.status) >= 12)
    assert [status.online for status in platform.status] == [True] * 6 + [False] * 6
    rows = shown(platform.heard)
    assert 120 <= len(rows) <= 125
    for (ts, value), (next_ts, next_value) in pairwise(rows):
        hours = (next_ts - ts) / 3.6e9
        assert next_ts - ts <= 2 * M + (joined - ended) * 1e6  # one ends and the other starts in a moment
        assert next_value - value == pytest.approx(1900 * hours, rel=0.15, abs=0.21)  # the plant is not always as busy

    platform.heard.clear()
    with edge("run") as process:  # killed, and started again
        until(all_tags, 60)
        os.kill(process.pid, signal.SIGKILL)
    time.sleep(1)
    with edge("run") as process:
        until(lambda: len(shown(platform.heard)) >= 2 and len({message.epoch for message in live()}) == 6, 60)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    again = shown(platform.heard)
    assert again[0][1] >= rows[-1][1]
    assert again[1][1] - again[0][1] == pytest.approx(1900 * (again[1][0] - again[0][0]) / 3.6e9, rel=0.15, abs=0.21)


def test_it_waits_for_the_platform_and_can_be_told_to_stop(edge, platform) -> None:
    platform.accept(False)
    with edge("backfill", "--history", "1h", "--progress", "json") as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["phase"] != "publish":
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert platform.heard == []
    platform.accept()
    with edge("backfill", "--history", "1h", "--progress", "none") as process:
        pass
    assert process.returncode == 0
    assert len({ts for _, ts in collected(platform.heard)}) >= 60
