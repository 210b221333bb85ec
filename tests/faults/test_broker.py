"""The broker and the network: killed, set back, slow, deaf."""

from __future__ import annotations

import os
import shutil
import signal

import pytest


@pytest.mark.fault("4", "broker killed")
def test_a_broker_that_dies_under_load(stage, long: bool) -> None:
    scene = stage()
    scene.start_worker("w1")
    scene.start_worker("w2")
    scene.start_edge()
    scene.flows()
    for _ in range(20 if long else 2):
        scene.run(scene.chance.uniform(0.2, 1.5))
        scene.kill(scene.broker)
        scene.run(scene.chance.uniform(0.0, 1.0))
        scene.broker.start()
        scene.flows()
    scene.drain()
    scene.judge()


@pytest.mark.fault("5", "broker set back to an old state")
def test_a_broker_restored_from_yesterday(stage) -> None:
    """Persistent sessions, so that the old state holds messages that were finished long ago."""
    scene = stage(broker="mosquitto")
    worker = scene.start_worker(HEFA_SESSION_EXPIRY_S="300")
    scene.start_edge()
    scene.flows()
    with scene.frozen(worker):
        scene.run(1)
        scene.broker.stop()  # saves what waits for the frozen worker
    state = scene.broker.folder / "mosquitto" / "mosquitto.db"
    old = state.with_name("old.db")
    shutil.copy2(state, old)
    scene.broker.start()
    scene.flows()
    scene.run(2)
    scene.kill(scene.broker)
    old.replace(state)
    shutil.chown(state, state.parent.stat().st_uid, state.parent.stat().st_gid)
    scene.broker.start()
    scene.flows()
    scene.drain()
    scene.judge()


# Seconds of each wrong in the short form, by side; the long form has all of it at both, and twenty times as long.
WRONGS = {
    "edge": {"cut again and again": 2, "refused": 1, "5 % of packets end the connection": 2, "half closed": 1},
    "worker": {"1 kB/s": 2, "1 s round trip": 3, "nothing passes": 3},
}


@pytest.mark.fault("14", "network")
@pytest.mark.parametrize("side", ["edge", "worker"])
def test_a_network_that_misbehaves(stage, side: str, long: bool) -> None:
    wrongs = WRONGS["edge"] | WRONGS["worker"] if long else WRONGS[side]
    scene = stage(f"at the {side}'s side: {', '.join(wrongs)}")
    link = scene.proxy(scene.broker.port)
    scene.start_worker(mqtt=link if side == "worker" else None)
    scene.start_edge(mqtt=link if side == "edge" else None, rate=2000)
    scene.flows()
    for wrong, seconds in wrongs.items():
        seconds = seconds * 20 if long else seconds
        if wrong == "cut again and again":
            for _ in range(seconds):
                link.cut()
                scene.run(1)
        elif wrong == "refused":
            link.refuse()
        elif wrong == "half closed":
            link.half_close()
        elif wrong == "1 kB/s":
            link.throttle(1000)
        elif wrong == "1 s round trip":
            link.delay(0.5)
        elif wrong == "nothing passes":
            link.blackhole()
        else:
            link.reset_at_random(0.05)
        scene.run(seconds)
        link.heal()
        scene.until(lambda: scene.pending() < 20, f"the outboxes are empty again after: {wrong}", 150)
    scene.drain()
    scene.judge()


@pytest.mark.fault("14", "a broker that delivers nothing")
def test_a_silent_connection_is_left_for_another(stage) -> None:
    """Both sides are connected and nothing comes: the worker is not ready and tries anew, the gateways too."""
    scene = stage(broker="mosquitto")
    worker = scene.start_worker(HEFA_SILENCE_S="3")
    edge = scene.start_edge()
    scene.flows()
    rules = scene.broker.folder / "mosquitto" / "mosquitto.acl"
    kept = rules.read_text()
    rules.write_text(kept.replace("topic read hefa/v1/+/data", "topic read hefa/v1/+/nothing"))
    os.kill(scene.broker.pid, signal.SIGHUP)
    ready = "SELECT ready, detail LIKE 'no data for %% s, though gateways are online' FROM worker WHERE task = %s"
    scene.until(lambda: scene.query(ready, "ingest") == [(False, True)], "the worker is not ready")
    scene.until(lambda: "connecting anew" in worker.log.read_text(), "the worker connects anew")
    scene.until(lambda: "nothing was acknowledged" in edge.log.read_text(), "the gateways connect anew")
    rules.write_text(kept)
    os.kill(scene.broker.pid, signal.SIGHUP)
    scene.flows()
    scene.until(lambda: scene.query(ready, "ingest") == [(True, False)], "the worker is ready again")
    scene.drain()
    scene.judge()
