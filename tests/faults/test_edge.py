"""Gateways are killed, starved of disk, given a wrong clock or a broker that takes only small packets."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hefa_demo import broker as brokers


@pytest.mark.fault("1", "edge killed")
@pytest.mark.parametrize("point", [pytest.param("outbox.appending", marks=pytest.mark.hours), "outbox.appended"])
def test_killed_around_the_commit_of_a_message(stage, point: str) -> None:
    scene = stage(f"at {point}")
    scene.start_worker()
    for nth in (1, 4, 11):
        scene.died(scene.start_edge(fail=f"{point}:kill@{nth}"))
    scene.start_edge()
    scene.flows()
    scene.drain()
    scene.judge()


@pytest.mark.fault("2", "edge killed")
@pytest.mark.parametrize(
    "point", ["publisher.sent", "publisher.acknowledged", pytest.param("publisher.retired", marks=pytest.mark.hours)]
)
def test_killed_between_sending_and_forgetting(stage, point: str) -> None:
    scene = stage(f"at {point}")
    scene.start_worker()
    for nth in (1, 3, 9):
        scene.died(scene.start_edge(fail=f"{point}:kill@{nth}"))
    scene.start_edge()
    scene.flows()
    scene.drain()
    scene.judge()


@pytest.mark.fault("3", "edge killed at random")
def test_killed_again_and_again(stage, long: bool) -> None:
    scene = stage()
    scene.start_worker()
    for _ in range(200 if long else 6):
        edge = scene.start_edge(rate=2000, every_s=0.02)
        written = len(list(scene.edge_folder().glob("*.oracle")))
        scene.until(lambda n=written: len(list(scene.edge_folder().glob("*.oracle"))) > n, "it begins")
        scene.run(scene.chance.uniform(0.05, 0.6))
        scene.kill(edge)
    scene.start_edge()
    scene.flows()
    scene.drain()
    scene.judge()
    reused = scene.query("SELECT count(*) FROM quarantine WHERE code = 'EPOCH_REUSE'")
    assert reused == [(0,)], "a number was used twice"


@pytest.mark.fault("3", "the site (hefa-edge run) killed at random")
def test_the_real_site_killed_again_and_again(stage, long: bool) -> None:
    """The plant with its six gateways. Its outboxes, which keep what was acknowledged, are the oracle here."""
    scene = stage()
    scene.start_worker()
    for _ in range(40 if long else 2):
        site = scene.start_site()
        scene.flows()
        scene.run(scene.chance.uniform(0.5, 2.0))
        scene.kill(site)
    scene.start_site()
    scene.flows()
    scene.run(3)
    scene.finish_site()
    scene.judge()
    assert scene.query("SELECT count(*) FROM reading_conflict") == [(0,)], "a time was recorded twice"


@pytest.mark.fault("13", "outbox full")
@pytest.mark.parametrize("policy", ["drop_oldest", "block"])
def test_a_full_outbox_tells_exactly_what_it_gave_up(stage, policy: str) -> None:
    scene = stage(policy)
    scene.start_edge(outbox_max_bytes=100_000, outbox_policy=policy, rate=6000)
    scene.until(lambda: (scene.edge_folder() / "listening").exists(), "the gateways have begun")
    scene.run(5)  # nobody takes anything: a few times what the outbox holds
    scene.start_worker()
    scene.flows()
    scene.run(1)
    scene.drain()
    found = scene.judge()
    assert found.given_up > 0, "the outbox was never full: this proves nothing"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 14 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system: run as root")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", str(folder)], check=False)
    if done.returncode != 0:
        pytest.skip("this machine allows no mount: run where CAP_SYS_ADMIN is given")
    try:
        yield folder
    finally:
        for _ in range(50):
            if subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:  # whoever still has a file of it open shall not leave it mounted for good
            subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


@pytest.mark.fault("13", "edge disk full")
def test_a_full_disk_is_like_a_full_outbox(small_disk: Path, stage) -> None:
    scene = stage()
    edge = scene.start_edge(data=small_disk, rate=50_000)
    scene.until(lambda: scene.free(small_disk) < 100_000, "the disk is full")
    scene.run(2)
    assert edge.running, edge.tail()
    scene.start_worker()
    scene.flows()
    told = "SELECT count(DISTINCT edge_id) FROM gap"
    scene.until(lambda: scene.query(told) == [(2,)], "the gaps are told")
    scene.drain()
    found = scene.judge()
    assert found.given_up > 0


@pytest.mark.fault("16", "edge clock")
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((-3600.0, 0.0), id="back"),
        pytest.param((3600.0, 0.0), id="ahead"),
        pytest.param((-5.0, 0.0, 5.0), id="small", marks=pytest.mark.hours),
        pytest.param((-1.79e9, 0.0), id="1970", marks=pytest.mark.hours),
    ],
)
def test_a_clock_that_jumps(stage, steps: tuple[float, ...]) -> None:
    scene = stage(" ".join(f"{step:+.0f} s" for step in steps))
    scene.start_worker()
    scene.start_edge()
    scene.flows()
    for step in steps:
        scene.clock(step)
        scene.run(1.5)
        if step == 3600.0:
            scene.until(lambda: scene.count("quarantine") > 0, "readings of another time are refused")
    scene.drain()
    found = scene.judge()
    if steps[0] in (3600.0, -1.79e9):
        assert found.quarantined > 0, "readings of another time were taken"


@pytest.mark.fault("18", "a broker that takes 8 kB")
def test_too_large_for_the_broker(stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "MAX_PACKET", 8192)
    scene = stage(broker="mosquitto")
    scene.start_worker()
    scene.start_edge(rate=12_000, every_s=0.2)
    scene.flows()
    scene.run(2)
    scene.drain()
    scene.judge()
    assert scene.count("gap") > 0, "nothing was split: this proves nothing"


@pytest.mark.fault("15", "refused by the broker")
def test_a_password_and_an_access_rule_that_change(stage) -> None:
    scene = stage(broker="mosquitto")
    scene.start_worker()
    link = scene.proxy(scene.broker.port)
    edge = scene.start_edge(mqtt=link)
    scene.flows()
    state = scene.broker.folder / "mosquitto"
    for name, old, new, sign in (
        ("mosquitto.passwd", "gw-a1:$7$", "gw-a1:$7$1", "refuses us as gw-a1"),
        ("mosquitto.acl", "pattern write hefa/v1/%u/data", "pattern write hefa/v1/%u/other", "refuses what we publish"),
    ):
        kept = (state / name).read_text()
        (state / name).write_text(kept.replace(old, new))
        os.kill(scene.broker.pid, signal.SIGHUP)
        scene.run(0.3)
        link.cut()
        scene.until(lambda sign=sign: sign in edge.log.read_text(), f"the log says: {sign}")
        before = edge.log.stat().st_size
        scene.run(3)
        assert edge.log.stat().st_size - before < 3000, "it cries without a pause"
        assert scene.pending() > 0
        (state / name).write_text(kept)
        os.kill(scene.broker.pid, signal.SIGHUP)
        scene.until(lambda: scene.pending() < 20, "the outboxes are empty again", 90)
    scene.drain()
    scene.judge()
