"""Ingest workers are killed, frozen, replaced; gateways must not notice, except that it takes longer."""

from __future__ import annotations

import time

import psycopg
import pytest

POINTS = [
    pytest.param("ingest.received", marks=pytest.mark.hours),
    "intake.copying",
    pytest.param("intake.committing", marks=pytest.mark.hours),
    "ingest.committed",
    pytest.param("ingest.answered", marks=pytest.mark.hours),
]


@pytest.mark.fault("6", "ingest killed")
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_its_worst_moments(stage, point: str) -> None:
    scene = stage(f"at {point}")
    scene.start_edge()
    for nth in (1, 3, 6):
        worker = scene.start_worker(fail=f"{point}:kill@{nth}")
        scene.died(worker)
    scene.start_worker()
    scene.flows()
    scene.run(1.0)
    scene.drain()
    scene.judge()


@pytest.mark.fault("7", "one of 3 workers killed, for good")
def test_a_worker_that_never_comes_back(stage) -> None:
    scene = stage()
    workers = [scene.start_worker(f"w{n}") for n in (1, 2, 3)]
    scene.start_edge(rate=9000)
    scene.flows()
    scene.run(1)
    with scene.frozen(workers[0]):  # what the broker gives it piles up in its window
        scene.run(2)
        scene.kill(workers[0])
    scene.drain(60)
    scene.judge()


@pytest.mark.fault("8", "workers restarted one by one")
def test_a_rolling_restart(stage, long: bool) -> None:
    scene = stage()
    names = ["w1", "w2", "w3"]
    for name in names:
        scene.start_worker(name)
    scene.start_edge()
    scene.flows()
    for name in names:
        scene.until(lambda child=scene.workers[name]: " ready worker=" in child.log.read_text(), f"{name} has begun")
    for name in names * (10 if long else 1):
        scene.workers[name].stop(60)
        assert scene.workers[name].returncode == 0, scene.workers[name].tail()
        lives = scene.workers[name].log.read_text().count(" ready worker=")
        restarted = scene.start_worker(name)
        scene.until(
            lambda child=restarted, n=lives: child.log.read_text().count(" ready worker=") > n, f"{name} is back"
        )
        scene.run(0.7)
    scene.drain()
    scene.judge()


@pytest.mark.fault("23", "worker frozen")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.hours)])
def test_a_worker_that_stands_still(stage, workers: int, long: bool) -> None:
    scene = stage(f"one of {workers}")
    running = [scene.start_worker(f"w{n}") for n in range(workers)]
    scene.start_edge(rate=6000)
    scene.flows()
    with scene.frozen(running[0]):
        scene.run(60 if long else 4)
        if workers > 1:
            scene.flows(60)  # also where it was frozen in the middle of a transaction
    scene.flows()
    scene.drain()
    scene.judge()


@pytest.mark.fault("19", "everything ten times, in any order")
def test_a_replay_of_all_that_was_sent(stage) -> None:
    scene = stage()
    scene.start_worker("w1")
    scene.start_worker("w2")
    scene.start_edge()
    scene.flows()
    scene.run(2)
    scene.drain()
    before = scene.count()
    for edge in ("gw-a1", "gw-a2"):
        messages = scene.sent(edge) * 10
        scene.chance.shuffle(messages)
        with scene.stranger(edge) as peer:
            for epoch, seq, payload in messages:
                peer.publish(payload, epoch, seq)
            peer.answered(len({(epoch, seq) for epoch, seq, _ in messages}))
    assert scene.count() == before
    scene.judge()


@pytest.mark.fault("20", "same time, other value")
def test_conflicts_are_kept_and_counted(stage) -> None:
    scene = stage()
    scene.start_worker()
    scene.start_edge(edges=["gw-a1"])
    scene.flows()
    tag, second = scene.tag("gw-a3"), 10**6
    now = time.time_ns() // 1000
    with scene.stranger("gw-a3") as peer:
        # A thousand readings in one millisecond, then the same times again: half with the same value, half with another.
        peer.send("e", 1, tag, [(now + k, float(k)) for k in range(1000)])
        peer.send("e", 2, tag, [(now + k, float(k) if k % 2 else -1.0) for k in range(1000)])
        # In one message, and against a message of the same group.
        peer.send("e", 3, tag, [(now + second, 1.0), (now + second, 1.0), (now + second, 2.0)])
        peer.answered(3)
    scene.also("gw-a3", tag, [now + k for k in range(1000)] + [now + second], [float(k) for k in range(1000)] + [1.0])
    scene.drain()
    found = scene.judge()
    assert found.conflicts == 501
    accounts = scene.query(
        "SELECT sum(received), sum(stored), sum(duplicate), sum(conflict) FROM intake_counter"
        " JOIN edge USING (edge_id) WHERE name = 'gw-a3'"
    )
    assert accounts == [(2003, 1001, 501, 501)]


@pytest.mark.fault("17", "gateways that send rubbish")
def test_rubbish_is_named_and_hurts_nobody(stage, long: bool) -> None:
    scene = stage()
    worker = scene.start_worker()
    scene.start_edge()
    scene.flows()
    good = scene.sent("gw-a1")[0][2]
    rubbish: dict[bytes, str] = {
        b"": "JSON_SYNTAX",
        b"\x00\xff\xfe": "PAYLOAD_NOT_UTF8",
        b"{": "JSON_SYNTAX",
        good[:-1]: "JSON_SYNTAX",
        b"[" * 10_000: "JSON_DEPTH",
        b'{"v":1,"v":1}': "JSON_DUPLICATE_KEY",
        b'{"v":1,"x":NaN}': "JSON_SYNTAX",
        b'{"v":1}': "SCHEMA",
        b"null": "SCHEMA",
        b'{"v":1,"a":"\xed\xa0\x80"}': "PAYLOAD_NOT_UTF8",
        b"{" + b" " * 250_000 + b"}": "PAYLOAD_TOO_LARGE",
    }
    with scene.stranger("gw-guest") as peer:
        for n, payload in enumerate(rubbish):
            peer.publish(payload, "rubbish", n)
        peer.answered(len(rubbish))
        told = {int(err["correlation"].split(":")[1]): err["code"] for err in peer.errors}
        assert told == dict(enumerate(rubbish.values()))
        for n in range(2000 if long else 200):
            mutant = bytearray(good)
            for _ in range(scene.chance.randint(1, 4)):
                mutant[scene.chance.randrange(len(mutant))] = scene.chance.randrange(256)
            peer.publish(bytes(mutant), "mutant", n)
        # Some mutants differ in nothing that is answered, or take another's number.
        peer.answered(len(rubbish) + (1800 if long else 180))
    assert worker.running
    scene.forget_edge("gw-guest")
    scene.drain()
    scene.judge()


@pytest.mark.fault("all", "random kills under load")
def test_anything_at_any_time(stage, server, long: bool) -> None:
    """What a bad night does: every few seconds something else dies, freezes or is cut."""
    scene = stage(f"{'20 minutes' if long else '20 seconds'}, 3 workers")
    mqtt, db = scene.proxy(scene.broker.port), scene.proxy(scene.port, postgres=True)
    names = ["w1", "w2", "w3"]
    for name in names:
        scene.start_worker(name, db=db, mqtt=mqtt)
    scene.start_maintain()
    for edges in (["gw-a1", "gw-a2"], ["gw-a3", "gw-a4"]):
        scene.start_edge(edges[0], edges, mqtt=mqtt, rate=1500)
    scene.flows()
    end = time.monotonic() + (1200 if long else 20)

    def worker() -> None:
        name = scene.chance.choice(names)
        scene.kill(scene.workers[name])
        scene.run(scene.chance.uniform(0, 1))
        scene.start_worker(name, db=db, mqtt=mqtt)

    def edge() -> None:
        name = scene.chance.choice(list(scene.edges))
        scene.kill(scene.edges[name])
        scene.start_edge(name, [name, f"gw-a{int(name[-1]) + 1}"], mqtt=mqtt, rate=1500)

    def broker() -> None:
        scene.kill(scene.broker)
        scene.run(scene.chance.uniform(0, 1))
        scene.broker.start()

    def database() -> None:
        if server is not None:
            scene.kill(server)
            scene.run(scene.chance.uniform(0, 1))
            server.start()

    def frozen() -> None:
        with scene.frozen(scene.workers[scene.chance.choice(names)]):
            scene.run(scene.chance.uniform(0.2, 2))

    def network() -> None:
        link = scene.chance.choice([mqtt, db])
        scene.chance.choice([link.cut, link.blackhole, lambda: link.delay(0.2), lambda: link.reset_at_random(0.02)])()
        scene.run(scene.chance.uniform(0.2, 2))
        link.heal()

    def commit() -> None:
        db.cut_at_commit(scene.chance.choice(["reply", "request"]), scene.chance.randint(1, 3))

    while time.monotonic() < end:
        scene.chance.choice([worker, worker, edge, broker, database, frozen, network, commit])()
        scene.run(scene.chance.uniform(0.2, 2))
    mqtt.heal()
    db.heal()
    scene.drain(180)
    scene.judge()


@pytest.mark.fault("6", "a message that kills workers")
def test_a_message_that_kills_whoever_stores_it_is_put_aside(stage) -> None:
    scene = stage("2 workers that are started again")
    pool = scene.start_worker(count=2, fail="readings.storing:kill~gw-a3/987654321")
    scene.start_edge()
    scene.flows()
    now, tag = time.time_ns() // 1000, scene.tag("gw-a3")
    with scene.stranger("gw-a3") as peer:
        began = time.monotonic()
        while not peer.done and time.monotonic() - began < 120:
            peer.send("poison", 987654321, tag, [(now, 1.0), (now + 1, 2.0)])
            scene.run(1.5)
        assert peer.done == {("poison", 987654321)}
        assert {rejection["i"] for rejection in peer.rejected} == {0, 1}
    scene.row.kills = pool.log.read_text().count("a worker ended with -9")
    assert 2 <= scene.row.kills <= 6
    scene.also("gw-a3", tag, [now, now + 1], [1.0, 2.0])
    scene.flows()
    scene.drain()
    found = scene.judge()
    assert found.quarantined == 2


@pytest.mark.fault("17", "a row that the database refuses")
def test_one_bad_row_in_a_group_is_found_and_the_rest_is_stored(stage) -> None:
    scene = stage()
    with psycopg.connect(scene.dsns["admin"], autocommit=True) as admin:
        admin.execute("ALTER TABLE reading ADD CONSTRAINT picky CHECK (value <> 4242)")
    scene.start_worker()
    scene.start_edge()
    scene.flows()
    now, tag = time.time_ns() // 1000, scene.tag("gw-a3")
    values = [4242.0 if k in (7, 300, 301) else float(k) for k in range(500)]
    with scene.stranger("gw-a3") as peer:
        peer.send("e", 1, tag, [(now + k, value) for k, value in enumerate(values)])
        peer.answered(1)
        assert sorted(rejection["i"] for rejection in peer.rejected) == [7, 300, 301]
    scene.also("gw-a3", tag, [now + k for k in range(500)], values)
    scene.drain()
    found = scene.judge()
    assert found.quarantined == 3


@pytest.mark.fault("$share", "the same messages, in any order, to")
def test_the_result_is_the_same_with_any_number_of_workers(stage) -> None:
    """New ones, each three times, and the same readings under another epoch: every figure is the same."""
    now = time.time_ns() // 1000
    results, received = [], "SELECT sum(received) FROM intake_counter"
    for count in (1, 2, 4):
        scene = stage(f"{count} worker{'s' if count > 1 else ''}")
        scene.start_worker(count=count)
        tag = scene.tag("gw-a3")
        scene.until(lambda n=count, s=scene: s.count("worker") >= n, "all workers are there")
        jobs = [(e, seq) for e in ("one", "one", "one", "two") for seq in range(1, 101)]
        scene.chance.shuffle(jobs)
        with scene.stranger("gw-a3") as peer:
            for epoch, seq in jobs:
                peer.send(epoch, seq, tag, [(now + seq * 1000 + k, float(seq + k)) for k in range(200)])
            peer.answered(200)
            scene.until(lambda s=scene: s.query(received) == [(80_000,)], "the repetitions have come too")
        times = [now + seq * 1000 + k for seq in range(1, 101) for k in range(200)]
        scene.also("gw-a3", tag, times, [float(seq + k) for seq in range(1, 101) for k in range(200)])
        scene.judge()
        figures = "SELECT count(*), count(DISTINCT ts), sum(value), min(ts), max(ts) FROM reading"
        accounts = (
            "SELECT sum(received), sum(stored), sum(duplicate), sum(conflict), sum(quarantined) FROM intake_counter"
        )
        results.append(scene.query(figures) + scene.query(accounts))
    assert results[0] == results[1] == results[2]
    assert results[0][1] == (80_000, 20_000, 60_000, 0, 0)
