"""How fast ingest is, each figure against a limit of the same machine taken in the same minutes.

    python bench/ingest.py [--only throughput,single,…] [--broker mosquitto|iotcore] [--long]

Envelopes go through a real broker to real workers, and count when the platform's ack, which comes after COMMIT, is
back. On a shared machine absolute figures mean little: each is taken in turn with its limit, and medians are compared.
What is gated are ratios; milliseconds are printed beside their budgets. HEFA_TEST_DSN names another server than the
embedded one. `--long` drains the whole backlog of five million readings. Exit code 1 when a gate is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from benchrig.finding import Finding, tell
from benchrig.gateway import Gateway, bare_loop, envelopes, messages, names
from benchrig.platform import Platform, resident_mb

from hefa_contract.envelope import Envelope, encode
from hefa_demo import broker as brokers
from hefa_edge.outbox import Outbox
from hefa_edge.publisher import Publisher
from hefa_platform.store import binary_copy

EDGE = "gw-a2"
EDGES = [f"gw-a{n}" for n in range(1, 7)]
READINGS = 500  # in an envelope
PAIRS = 7  # one after the other: single ones differ by a factor of two on a shared machine
ENVELOPES = 2000  # of a pair: so many that how it begins and ends does not count
GROUP = 20_000  # readings of one raw COPY: as many as ingest takes into a transaction at most


class Bench:
    """The parts share a platform; what one of them measures may be the limit of the next."""

    def __init__(self, platform: Platform, *, long: bool) -> None:
        self.platform, self.long = platform, long
        self._tags = names(platform.plant, EDGE)
        self._seq = 1
        with psycopg.connect(platform.admin) as connection:
            self._ids: dict[str, int] = dict(connection.execute("SELECT name, tag_id FROM tag").fetchall())

    def envelopes(self, count: int, readings: int = READINGS) -> list[Envelope]:
        """Envelopes that were never sent."""
        first, self._seq = self._seq, self._seq + count
        return envelopes(self._tags, count, first, readings)

    @contextmanager
    def gateway(self, workers: int = 1, window: int = 128, **settings: object) -> Iterator[Gateway]:
        """A gateway and so many workers, which are ready."""
        with ExitStack() as stack:
            for n in range(workers):
                stack.enter_context(self.platform.worker(f"w{n + 1}", **settings))
            gateway = stack.enter_context(Gateway(self.platform.broker.url(EDGE), EDGE, window))
            gateway.wait_for_workers(workers)
            yield gateway
        self.platform.empty()

    # --- the parts ---------------------------------------------------------------------------------------------------

    def throughput(self) -> Iterator[Finding]:
        """One worker and two, against raw COPY of the same rows into the same table; and against one INSERT a reading.

        Raw COPY has the rows as they were sent. Sorted by tag and time before, as a worker does it in its own time, it
        is faster: that limit is told too. Each worker has the window of one gateway before it: two that shared one
        would make groups of half the size.
        """
        with psycopg.connect(self.platform.admin, autocommit=True) as connection:
            for workers, budget in ((1, 0.75), (2, 1.0)):
                copied, presorted, ingested, single = [], [], [], []
                spent = dict[str, float]()
                with self.gateway(workers, window=128 * workers) as gateway:
                    gateway.send(messages(self.envelopes(400)))
                    for _ in range(PAIRS):
                        made = self.envelopes(ENVELOPES)
                        for rates, in_order in ((copied, False), (presorted, True)):
                            self.platform.empty()
                            rates.append(self._raw_copy(connection, made, in_order=in_order))
                        self.platform.empty()
                        sent = messages(made)
                        before = self.platform.cpu_s()
                        ingested.append(len(made) * READINGS / gateway.send(sent))
                        for name, seconds in self.platform.cpu_s().items():
                            used = 1e6 * (seconds - before[name]) / (PAIRS * len(made) * READINGS)
                            spent[name] = spent.get(name, 0.0) + used
                        single.append(self._inserts(connection, 200))
                who = "one worker" if workers == 1 else f"{workers} workers"
                yield Finding(f"{who}, readings/s", statistics.median(ingested), "/s")
                shares = ", ".join(f"{name} {used:.2f}" for name, used in sorted(spent.items()))
                yield Finding(f"{who}, CPU a reading", sum(spent.values()), "us", "", shares)
                limit = f"{statistics.median(copied):,.0f}/s, median of {PAIRS} pairs"
                yield Finding(
                    f"{who} / raw COPY", _median_ratio(ingested, copied), "x", f">= {budget}", limit, gate=0.6
                )
                limit = f"{statistics.median(presorted):,.0f}/s"
                yield Finding(
                    f"{who} / raw COPY of rows sorted before", _median_ratio(ingested, presorted), "x", "", limit
                )
                if workers == 1:
                    naive = f"{statistics.median(single):,.0f}/s"
                    what = "one worker / an autocommitted INSERT a reading"
                    yield Finding(what, _median_ratio(ingested, single), "x", ">= 100", naive, 100)

    def single(self) -> Iterator[Finding]:
        """Envelopes of one reading, against paho that only publishes, receives and acknowledges the same bytes."""
        count, window, other = 5000, 600, EDGES[2]
        bare, ours = [], []
        url = self.platform.broker.url
        with self.gateway(window=window) as gateway:
            gateway.send(messages(self.envelopes(1000, readings=1)))
            for _ in range(3):
                sent = messages(self.envelopes(count, readings=1))
                bare.append(count / bare_loop(url("ingest"), url(other), other, sent, window))
                ours.append(count / gateway.send(sent))
        rate, limit = statistics.median(ours), statistics.median(bare)
        ratio = statistics.median(o / b for o, b in zip(ours, bare, strict=True))
        yield Finding("envelopes of one reading, one worker", rate, "/s", ">= 3,000", f"bare paho loop {limit:,.0f}/s")
        yield Finding("envelopes of one reading / bare paho loop", ratio, "x", "", "median of 3 pairs", gate=0.5)

    def latency(self) -> Iterator[Finding]:
        """Ten thousand readings a second from six gateways that close an envelope after 250 ms: age at the ack."""
        with psycopg.connect(self.platform.admin, autocommit=True) as connection:
            floor = statistics.median(_seconds(lambda: connection.execute("SELECT 1")) for _ in range(200))
            commit = 1 / self._inserts(connection, 200)
        limit = f"SELECT 1 {floor * 1e3:.2f} ms, an INSERT with its COMMIT {commit * 1e3:.1f} ms"
        with ExitStack() as stack:
            stack.enter_context(self.platform.worker("w1"))
            gateways = [stack.enter_context(Gateway(self.platform.broker.url(edge), edge)) for edge in EDGES]
            for gateway in gateways:
                gateway.wait_for_workers()
            alone = self.ages(gateways, 10)
            yield Finding("age at the ack, p50, 10,000 readings/s", alone[0], "ms", "", limit)
            yield Finding(
                "age at the ack, p99, 10,000 readings/s", alone[1], "ms", "<= 300", "250 ms are the envelope's"
            )
            stack.enter_context(self.platform.rollups())
            base, key = stack.enter_context(self.platform.api())
            stack.enter_context(_asking(base, key, self._tags))
            busy = self.ages(gateways, 15)
            yield Finding("the same with rollups and the API at work, p50", busy[0], "ms")
            yield Finding("the same with rollups and the API at work, p99", busy[1], "ms", "<= 500")
        self.platform.empty()

    def backlog(self) -> Iterator[Finding]:
        """A real outbox, filled before, is drained by the real publisher; memory is watched on both sides."""
        count = 10_000 if self.long else 1_000
        context = multiprocessing.get_context("spawn")
        ready, go, done = context.Event(), context.Event(), context.Event()
        path = self.platform.folder / "backlog.sqlite"
        arguments = (path, self.platform.broker.url(EDGE), self._tags, count, ready, go, done)
        with self.platform.worker("w1") as worker, Gateway(self.platform.broker.url(EDGES[0]), EDGES[0]) as other:
            other.wait_for_workers()
            process = context.Process(target=_drain, args=arguments, daemon=True)
            process.start()
            assert ready.wait(600), "the outbox was not filled"
            sizes: list[tuple[float, float]] = []
            go.set()
            began = time.perf_counter()
            while not done.wait(0.1):
                sizes.append((resident_mb(worker.pid), resident_mb(process.pid or 0)))
            took = time.perf_counter() - began
            process.join(20)
        stored = self.platform.accounts()
        self.platform.empty()
        assert stored["received"] == stored["stored"] + stored["duplicate"], stored
        yield Finding(f"backlog of {count * READINGS:,} readings, drained", count * READINGS / took, "/s")
        settled = sizes[len(sizes) // 4 :]
        for side, name in ((0, "worker"), (1, "gateway")):
            size = [one[side] for one in settled]
            growth = max(size) / size[0]
            at = f"{size[0]:.0f} MB after a quarter, {max(size):.0f} MB at most"
            yield Finding(f"  memory of the {name}, most / after a quarter", growth, "x", "~ 1", at, 1.25, most=True)

    def refill(self) -> Iterator[Finding]:
        """The same envelopes again: known to the ledger; after a restore, when only their readings are; and among new ones.

        By two gateways: the one whose readings were there takes the careful way for a while, with new ones too.
        """
        fresh, resent, refilled, mixed = [], [], [], []
        with self.gateway() as first, Gateway(self.platform.broker.url(EDGES[2]), EDGES[2]) as second:
            first.send(messages(self.envelopes(200)))
            tags = names(self.platform.plant, EDGES[2])
            for _ in range(5):
                self.platform.empty()
                sent = messages(self.envelopes(400))
                fresh.append(first.send(sent))
                before = self.platform.accounts()
                resent.append(first.send(sent))
                self._seq += len(sent)
                again = messages(envelopes(tags, len(sent), self._seq))
                second.send(again)
                self.platform.forget_messages()
                refilled.append(second.send(again))
                after = self.platform.accounts()
                assert after["duplicate"] - before["duplicate"] == 2 * len(sent) * READINGS, (before, after)
                unknown = messages(envelopes(tags, len(sent) // 2, self._seq + len(sent)))
                self.platform.forget_messages()
                mixed.append(second.send([one for pair in zip(again[::2], unknown, strict=True) for one in pair]))
        for what, seconds, gate in (
            ("known to the ledger", resent, 0.5),
            ("after a restore", refilled, 0.5),
            ("every second one new", mixed, None),
        ):
            ratio = statistics.median(f / s for f, s in zip(fresh, seconds, strict=True))
            rate = statistics.median(len(sent) * READINGS / s for s in seconds)
            budget = f">= {gate}" if gate else ""
            yield Finding(f"refill of duplicates, {what} / new", ratio, "x", budget, f"{rate:,.0f}/s", gate=gate)

    # --- limits ------------------------------------------------------------------------------------------------------

    def _raw_copy(self, connection: psycopg.Connection[Any], made: Sequence[Envelope], *, in_order: bool) -> float:
        """Readings a second of binary COPY into `reading`, packed before; leaves them there."""
        per_group = GROUP // READINGS
        streams = []
        for start in range(0, len(made), per_group):
            part = made[start : start + per_group]
            tag = np.array([self._ids[e.tags[k]] for e in part for k in e.tag])
            ts = np.array([e.base + dt for e in part for dt in e.dt])
            value = np.array([v for e in part for v in e.value], float)
            order = np.lexsort((ts, tag)) if in_order else slice(None)
            streams.append(binary_copy.pack(tag[order], ts[order], value[order], np.full(len(tag), 192)))
        connection.execute("SELECT ensure_partitions(ARRAY[(now() AT TIME ZONE 'UTC')::date])")
        began = time.perf_counter()
        for stream in streams:
            statement = "COPY reading (tag_id, ts, value, quality) FROM STDIN (FORMAT binary)"
            with connection.cursor().copy(statement) as copy:
                copy.write(stream)
        return len(made) * READINGS / (time.perf_counter() - began)

    def _inserts(self, connection: psycopg.Connection[Any], count: int) -> float:
        """Readings a second of one prepared INSERT and one COMMIT each."""
        tag, now = self._ids[self._tags[0]], time.time_ns() // 1000 + 60_000_000
        statement = (
            "INSERT INTO reading VALUES (%s, timestamptz 'epoch' + %s * interval '1 microsecond', 1.5, 192::smallint)"
        )
        began = time.perf_counter()
        for k in range(count):
            connection.execute(statement, [tag, now + k], prepare=True)
        return count / (time.perf_counter() - began)

    def ages(self, gateways: Sequence[Gateway], seconds: float) -> tuple[float, float]:
        """p50 and p99, in ms, of a reading's age when its ack is there. The first two seconds warm up."""
        tick_s, close_s = 0.025, 0.25
        per_tick = round(10_000 / len(gateways) * tick_s)
        sampled: dict[tuple[int, int], list[int]] = {}
        start = time.time()
        threads = []
        for k, (edge, gateway) in enumerate(zip(EDGES, gateways, strict=True)):
            tags = names(self.platform.plant, edge)
            first, self._seq = self._seq, self._seq + 10_000

            def run(k: int = k, gateway: Gateway = gateway, tags: list[str] = tags, seq: int = first) -> None:
                time.sleep(close_s * k / len(gateways))  # gateways do not close their envelopes all at once
                opened, times, due = time.time(), list[int](), time.time()
                while time.time() < start + seconds:
                    due += tick_s
                    time.sleep(max(0.0, due - time.time()))
                    now = time.time_ns() // 1000
                    times += [now + n // len(tags) for n in range(per_tick)]
                    if time.time() - opened >= close_s or len(times) >= READINGS - per_tick:
                        count, opened = len(times), time.time()
                        tag = [n % per_tick % len(tags) for n in range(count)]
                        made = Envelope(
                            epoch="ages", seq=seq, lane="live", made=now, base=times[0], tags=tags, tag=tag,
                            dt=[ts - times[0] for ts in times], value=[float(n) for n in range(count)],
                        )  # fmt: skip
                        sampled[k, seq] = times
                        gateway.publish(seq, encode(made))
                        seq, times = seq + 1, []

            threads.append(threading.Thread(target=run))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for gateway in gateways:
            gateway.wait()
        ages = [
            gateways[k].acknowledged[seq] * 1e3 - ts / 1e3
            for (k, seq), times in sampled.items()
            if times[0] / 1e6 > start + 2
            for ts in times
        ]
        p50, p99 = np.percentile(ages, [50, 99])
        return float(p50), float(p99)


def _drain(path: Path, url: str, tags: list[str], count: int, ready: Any, go: Any, done: Any) -> None:
    """Fill an outbox, say so, and publish it when told; a process of its own, so that its memory is its own."""
    outbox = Outbox(path, grace_s=0)
    for start in range(0, count, 100):
        outbox.append(envelopes(tags, 100, 1 + start))
        time.sleep(0.11)  # the times of the next hundred follow those of the last
    publisher = Publisher(EDGE, url, outbox)
    ready.set()
    go.wait()
    publisher.start()
    while outbox.depth.messages:
        time.sleep(0.05)
    done.set()
    publisher.stop()
    outbox.close()


@contextmanager
def _asking(base: str, key: str, tags: Sequence[str]) -> Iterator[None]:
    """Somebody looks at the newest values, a trend and a report, ten times a second."""
    stop = threading.Event()
    several = "&".join(f"tag={tag}" for tag in tags[:20])
    paths = [f"/latest?{several}", f"/series?{several}&from={_ago(600)}&step=1m", "/pipeline"]

    def run() -> None:
        n = 0
        while not stop.wait(0.1):
            n += 1
            asked = urllib.request.Request(base + paths[n % len(paths)], headers={"Authorization": f"Bearer {key}"})
            try:
                with urllib.request.urlopen(asked, timeout=10) as answer:
                    json.load(answer)
            except OSError:
                stop.wait(0.2)  # it is still starting

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _median_ratio(rates: Sequence[float], limits: Sequence[float]) -> float:
    """The median of what was taken in turn."""
    return statistics.median(rate / limit for rate, limit in zip(rates, limits, strict=True))


def _ago(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


PARTS = {
    "throughput": Bench.throughput,
    "single": Bench.single,
    "latency": Bench.latency,
    "backlog": Bench.backlog,
    "refill": Bench.refill,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=brokers.available(), default=brokers.available()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="some parts, by comma: " + ", ".join(PARTS))
    parser.add_argument("--long", action="store_true", help="a backlog of five million readings")
    wish = parser.parse_args()
    missed = 0
    with Platform(wish.broker) as platform:
        print(f"{platform.engine.version}, {wish.broker}, envelopes of {READINGS} readings", flush=True)
        bench = Bench(platform, long=wish.long)
        for part in wish.only.split(","):
            missed += tell(PARTS[part](bench))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
