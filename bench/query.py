"""How fast the API answers, alone and while data arrives, against the limits of the same server in the same minutes.

    python bench/query.py [--long] [--only questions,ratio,clients,ingest,bytes]

The core plant (752 tags): a month of rollups, and raw readings every 60 s for two days, the last ten minutes every
second; `--long` takes raw readings for the month and every second for the last day (100 million readings; an hour).
Data are made in the database, rollups by the SQL that maintain uses. Times mean little on a shared machine, so they
are printed with their budgets and with the limit `SELECT 1`; what must hold are ratios: against the same question asked
of raw readings, no errors with 20 clients at once, and the age of readings at their ack while they ask.
Exit code 1 where one does not hold. HEFA_TEST_DSN names another server than the embedded one.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import ingest
import numpy as np
import psycopg
from benchrig.finding import Finding, tell
from benchrig.gateway import Gateway
from benchrig.platform import Platform

from hefa_demo import broker as brokers
from hefa_platform.store import consumption, rollups
from hefa_platform.store.buckets import HOUR, MINUTE, floor
from hefa_platform.store.database import Database

TAG = "A2-SX.SXA.MS-A01.ph"
MONTH = timedelta(days=30)
CLIENTS = 20
Ask = Mapping[str, Any]


class Data:
    """A month of the core plant up to the minute `end`; raw readings from `raw` on, every second from `fine` on."""

    def __init__(self, platform: Platform, *, long: bool) -> None:
        self.platform = platform
        self.end = floor(datetime.now(UTC), MINUTE)
        self.start = floor(self.end - MONTH, HOUR)
        self.raw = self.start if long else floor(self.end - timedelta(days=2), HOUR)
        self.fine = self.end - (timedelta(days=1) if long else timedelta(minutes=10))
        self.admin = psycopg.connect(platform.admin, autocommit=True, options="-c jit=off -c work_mem=128MB")

    def make(self) -> None:
        began = time.perf_counter()
        self.admin.execute("UPDATE rollup_state SET watermark = %s", [self.end])
        self.admin.execute(
            """
            SELECT ensure_partitions(ARRAY(SELECT (%s::timestamptz AT TIME ZONE 'UTC')::date + n
                                             FROM generate_series(0, %s) AS n))
            """,
            [self.raw, (self.end - self.raw).days + 2],
        )
        # Registers run at a third of what they can; gauges swing about their normal.
        self.admin.execute("""
            CREATE TABLE bench_tag AS
            SELECT tag_id, kind = 'counter' AS counter, coalesce(max_rate, 0) / 3 / 3600 AS rate, coalesce(normal, 1) AS normal,
                   EXISTS (SELECT FROM meter WHERE meter.tag_id = tag.tag_id) OR name = 'A2-SX.SXA.MS-A01.ph' AS monthly
              FROM tag WHERE core ORDER BY tag_id
        """)
        for start, end, every in ((self.raw, self.fine, "1 minute"), (self.fine, self.end, "1 second")):
            for left, right in _days(start, end):
                self.admin.execute(
                    """
                    INSERT INTO reading
                    SELECT tag_id, ts, CASE WHEN counter THEN rate * date_part('epoch', ts - %(zero)s)
                                            ELSE normal * (1 + 0.05 * sin(date_part('epoch', ts) / 900 + tag_id)) END, 192
                      FROM bench_tag CROSS JOIN generate_series(%(from)s, %(to)s - interval '1 microsecond',
                                                                %(every)s::interval) AS ts
                    """,
                    {"zero": self.start, "from": left, "to": right, "every": every},
                )
        for left, right in _days(self.start, self.end):
            self._minutes(left, right)
        self.admin.execute("""
            INSERT INTO latest (tag_id, ts, value, quality)
            SELECT t.tag_id, r.ts, r.value, r.quality FROM bench_tag t
             CROSS JOIN LATERAL (SELECT * FROM reading WHERE tag_id = t.tag_id ORDER BY ts DESC LIMIT 1) AS r
        """)
        self.admin.execute("SELECT write_hours(array_agg(tag_id), array_agg(%s::timestamptz), array_agg(%s::timestamptz)) FROM bench_tag",
                           [self.start, self.end])  # fmt: skip
        while rollups.refresh(self.admin, settled=False) is not None:
            pass
        self.admin.execute("DROP TABLE bench_tag")
        for table in ("reading", "reading_1m", "latest"):
            self.admin.execute(f"VACUUM (ANALYZE) {table}")
        (count,) = self.admin.execute("SELECT count(*) FROM reading").fetchone() or (0,)
        print(f"{count:,} readings made in {time.perf_counter() - began:.0f} s", flush=True)

    def _minutes(self, left: datetime, right: datetime) -> None:
        """What `minute_rollup` would say of readings every minute: it would take most of the time of a benchmark.

        In the order in which maintain leaves it: an hour's minutes by tag.
        """
        self.admin.execute(
            """
            INSERT INTO reading_1m
            SELECT tag_id, ts, 1, 1, v, v, v, ts, v, ts, v, v * 60, 60, 192,
                   CASE WHEN counter THEN rate * 60 END, CASE WHEN counter THEN 0 END, CASE WHEN counter THEN 0 END,
                   CASE WHEN counter THEN 0 END
              FROM bench_tag
             CROSS JOIN generate_series(%(from)s, %(to)s - interval '1 microsecond', interval '1 minute') AS ts
             CROSS JOIN LATERAL (
               SELECT CASE WHEN counter THEN rate * date_part('epoch', ts - %(zero)s)
                           ELSE normal * (1 + 0.05 * sin(date_part('epoch', ts) / 900 + tag_id)) END AS v) AS one
             WHERE monthly OR ts >= %(raw)s
             ORDER BY date_bin('1 hour', ts, 'epoch'), tag_id, ts
            """,
            {"zero": self.start, "from": left, "to": right, "raw": self.raw},
        )

    def questions(self) -> dict[str, tuple[str, Ask, float]]:
        """By name: path, parameters, and the budget in ms."""
        cascade = [
            tag.name for tag in self.platform.plant.tags.values() if tag.core and tag.name.startswith("A2-SX.SXA.MS-")
        ]
        day, month = (self.end - timedelta(days=1)).isoformat(), self.start.isoformat()
        to = self.end.isoformat()
        return {
            "latest of all tags": ("/latest", {"core": "true", "limit": 2000}, 20),
            "one tag, 24 h at 1 min": ("/series", {"tag": TAG, "from": day, "to": to, "step": "1m"}, 30),
            "one tag, 30 days": ("/series", {"tag": TAG, "from": month, "to": to}, 50),
            "34 cascade tags, 24 h": ("/series", {"tag": cascade[:34], "from": day, "to": to}, 150),
            "all carriers by area per day, 30 days": (
                "/consumption", {"by": "area", "step": "1d", "from": month, "to": to}, 150,
            ),
        }  # fmt: skip


class Client:
    """One caller with one connection."""

    def __init__(self, base: str, key: str) -> None:
        parts = urlsplit(base)
        self._prefix, self._headers = parts.path, {"Authorization": f"Bearer {key}", "Accept-Encoding": "gzip"}
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def ask(self, path: str, query: Ask) -> float:
        """Seconds to the last byte. Raises for any other answer than 200."""
        began = time.perf_counter()
        self._connection.request("GET", f"{self._prefix}{path}?{urlencode(query, doseq=True)}", headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise AssertionError(f"{answer.status} {path} {body[:200]!r}")
        return time.perf_counter() - began


def questions(data: Data) -> Iterator[Finding]:
    """Each question alone, in turn with its limits: a query that does nothing, an answer that says nothing."""
    with data.platform.api() as (base, key), psycopg.connect(data.platform.admin, autocommit=True) as connection:
        client = _ready(base, key)
        for name, (path, query, budget) in data.questions().items():
            times, floors, empty = [], [], []
            for n in range(60):
                floors.append(_seconds(lambda: connection.execute("SELECT 1")))
                empty.append(client.ask("/health", {}))
                took = client.ask(path, query)
                if n >= 10:
                    times.append(took)
            limit = f"SELECT 1 {_p95(floors):.2f} ms, health {_p95(empty):.1f} ms"
            yield Finding(
                f"{name}, p95 (p50 {statistics.median(times) * 1e3:.1f})", _p95(times), "ms", f"<= {budget:g}", limit
            )


def ratio(data: Data) -> Iterator[Finding]:
    """The same questions asked of raw readings, by the same rules, over the days of which there are some."""
    day = data.end - timedelta(days=1)
    with Database(data.platform.dsn("api"), max_size=1) as database:
        meters = consumption.billed(m for m in consumption.meters(database, "*") if m.stream == "supply" and m.carrier)
        ids = [meter.tag_id for meter in meters]
        asked = [day, data.end]
        whole = [(data.end - day).total_seconds()]
        by_rollup = _fastest(lambda: consumption.consumption(database, meters, "area", asked, day, data.end, whole))
    with psycopg.connect(data.platform.dsn("api"), autocommit=True, options="-c jit=off") as connection:
        by_raw = _fastest(
            lambda: connection.execute(
                "SELECT tag_id, sum(inc_measured) FROM minute_rollup(%s, array_fill(%s::timestamptz, ARRAY[%s]), "
                "array_fill(%s::timestamptz, ARRAY[%s])) GROUP BY tag_id",
                [ids, day, len(ids), data.end, len(ids)],
            ).fetchall(),
            3,
        )
    yield Finding(
        "consumption of a day: raw / rollups", by_raw / by_rollup, "times", "", f"{by_raw * 1e3:.0f} / {by_rollup * 1e3:.1f} ms",
        gate=3,
    )  # fmt: skip


def clients(data: Data) -> Iterator[Finding]:
    """Twenty clients at once, each asking all questions again and again without a pause."""
    with data.platform.api() as (base, key):
        _ready(base, key)
        with _crowd(data, base, key, pause_s=0.0) as told:
            time.sleep(10)
    yield Finding(
        f"{CLIENTS} clients at once: answers", len(told.times) / 10, "per s", "", f"p95 {_p95(told.times):.0f} ms"
    )
    yield Finding(
        f"{CLIENTS} clients at once: errors", len(told.errors), "", "", "; ".join(told.errors[:1]), gate=0, most=True
    )


def arriving(data: Data) -> Iterator[Finding]:
    """10,000 readings a second, alone and while 20 clients ask a question a second each, twice in turn."""
    sending = ingest.Bench(data.platform, long=False)
    with ExitStack() as stack:
        stack.enter_context(data.platform.worker("w1"))
        base, key = stack.enter_context(data.platform.api())
        gateways = [stack.enter_context(Gateway(data.platform.broker.url(edge), edge)) for edge in ingest.EDGES]
        for gateway in gateways:
            gateway.wait_for_workers()
        _ready(base, key)
        alone, asked = [], []
        for _ in range(3):
            alone.append(sending.ages(gateways, 8))
            with _crowd(data, base, key, pause_s=1.0) as told:
                asked.append(sending.ages(gateways, 8))
            assert not told.errors, told.errors[0]
    quiet, busy = (statistics.median(p99 for _, p99 in ages) for ages in (alone, asked))
    yield Finding("age at the ack, p99, 10,000 readings/s", quiet, "ms", "", "250 ms are the envelope's")
    yield Finding(f"the same while {CLIENTS} clients ask: worse by a factor", busy / quiet, "times", "<= 1.2",
                  f"{busy:.0f} ms", gate=2.0, most=True)  # fmt: skip


def size(data: Data) -> Iterator[Finding]:
    """Bytes of a reading with its index, and packed in the columnstore where there is one."""
    (count,) = data.admin.execute("SELECT count(*) FROM reading").fetchone() or (0,)
    hot = _bytes(data)
    yield Finding("a reading, hot, with its index", hot / count, "bytes", "", f"{count:,} readings")
    if data.platform.engine.kind == "timescaledb-community":
        data.admin.execute(
            "SELECT compress_chunk(chunk, if_not_compressed => true) FROM show_chunks('reading') AS chunk"
        )
        yield Finding("a reading, packed", _bytes(data) / count, "bytes", "", f"{hot / _bytes(data):.0f} times smaller")


class Told:
    """What a crowd of clients met."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.errors: list[str] = []


@contextmanager
def _crowd(data: Data, base: str, key: str, pause_s: float) -> Iterator[Told]:
    told, stop = Told(), threading.Event()
    asked = list(data.questions().values())

    def run(n: int) -> None:
        client = Client(base, key)
        stop.wait(pause_s * n / CLIENTS)
        while not stop.is_set():
            n += 1
            path, query, _ = asked[n % len(asked)]
            try:
                told.times.append(client.ask(path, query))
            except (AssertionError, OSError, http.client.HTTPException) as error:
                told.errors.append(f"{type(error).__name__} {error}")
                client = Client(base, key)
            stop.wait(pause_s)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _ready(base: str, key: str) -> Client:
    until = time.monotonic() + 60
    while True:
        try:
            client = Client(base, key)
            client.ask("/ready", {})
            return client
        except (OSError, AssertionError):
            assert time.monotonic() < until, "the API does not answer"
            time.sleep(0.2)


def _bytes(data: Data) -> int:
    hypertable = data.platform.engine.hypertables
    statement = (
        "SELECT hypertable_size('reading')"
        if hypertable
        else "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'reading'::regclass"
    )
    (found,) = data.admin.execute(statement).fetchone() or (0,)
    return int(found)


def _days(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        following = min(floor(start, timedelta(days=1)) + timedelta(days=1), end)
        yield start, following
        start = following


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _fastest(work: Callable[[], object], times: int = 10) -> float:
    return min(_seconds(work) for _ in range(times))


def _p95(seconds: Sequence[float]) -> float:
    return float(np.percentile(seconds, 95)) * 1e3 if seconds else float("nan")


PARTS = {"questions": questions, "ratio": ratio, "clients": clients, "ingest": arriving, "bytes": size}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=brokers.available(), default=brokers.available()[0])
    parser.add_argument("--only", default=",".join(PARTS), help="some parts, by comma: " + ", ".join(PARTS))
    parser.add_argument("--long", action="store_true", help="raw readings for a month, a day of them every second")
    wish = parser.parse_args()
    missed = 0
    with Platform(wish.broker) as platform:
        print(f"{platform.engine.version}, {wish.broker}", flush=True)
        data = Data(platform, long=wish.long)
        data.make()
        for part in wish.only.split(","):
            missed += tell(PARTS[part](data))
        data.admin.close()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
