"""How fast one ingest worker is, against the limit of the same machine in the same minute.

    python bench/ingest.py [--broker mosquitto|iotcore] [--envelopes 600] [--rounds 3]

Sends envelopes of 500 readings through a real broker to a real worker and waits for the platform's acks; in turn with
it, copies the same rows straight into the same table in groups of 20,000 (raw COPY: what the database can take on one
connection). Absolute rates mean little on a shared machine; the ratio is the budget: at least 0.6. Exit code 1 below.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from hefa_contract import plant as plant_model
from hefa_contract import receipt
from hefa_contract.envelope import Envelope, encode
from hefa_demo import broker as brokers
from hefa_demo.postgres import Postgres
from hefa_platform import secrets
from hefa_platform.config import CHECKOUT_SEEDS, read_seeds
from hefa_platform.store import binary_copy, migrations
from hefa_platform.store import plant_model as models
from hefa_platform.store.database import Database

EDGE = "gw-a2"
READINGS = 500
GROUP = 20_000
BUDGET = 0.6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=brokers.available(), default=brokers.available()[0])
    parser.add_argument("--envelopes", type=int, default=600, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        plant = plant_model.load(read_seeds(CHECKOUT_SEEDS))
        secrets.write(folder / "secrets", secrets.Places(), plant.edges)
        passwords = secrets.passwords(folder / "secrets")
        server = Postgres(folder / "postgres", "bench")
        broker = brokers.Broker(folder / "broker", folder / "secrets", kind=wish.broker)
        server.start()
        broker.start()
        try:
            admin = server.dsn()
            migrations.migrate(admin, passwords)
            with Database(admin, max_size=1) as owner:
                models.load(owner, plant)
            parts = urlsplit(admin)
            dsn = f"postgresql://hefa_ingest:{passwords['hefa_ingest']}@{parts.hostname}:{parts.port}{parts.path}"
            environment = os.environ | {
                "HEFA_DSN": dsn,
                "HEFA_MQTT_URL": broker.url("ingest"),
                "HEFA_LOG_LEVEL": "WARNING",
            }
            command = [sys.executable, "-m", "hefa_platform.cli", "ingest", "--worker", "bench"]
            worker = subprocess.Popen(command, env=environment)
            try:
                return measure(admin, broker.url(EDGE), plant, wish)
            finally:
                worker.terminate()
                worker.wait(10)
        finally:
            broker.stop()
            server.stop()


def measure(admin: str, url: str, plant: plant_model.Plant, wish: argparse.Namespace) -> int:
    names = [tag.name for tag in plant.tags_of_edge(EDGE) if tag.kind == "gauge"][:200]
    with psycopg.connect(admin, autocommit=True) as connection:
        ids = dict(connection.execute("SELECT name, tag_id FROM tag").fetchall())
        gateway = Gateway(url)
        try:
            gateway.wait_for_worker()
            copied, ingested = [], []
            for number in range(wish.rounds + 1):
                envelopes = make(names, wish.envelopes, seq=number * wish.envelopes)
                rates = raw_copy(connection, envelopes, ids), gateway.send(envelopes)
                (stored,) = connection.execute("SELECT count(*) FROM reading").fetchone() or (0,)
                assert stored == wish.envelopes * READINGS, f"{stored} readings stored"
                connection.execute("TRUNCATE reading, ledger, latest")
                if number:  # the first round warms up
                    copied.append(rates[0])
                    ingested.append(rates[1])
        finally:
            gateway.close()
    ratio = statistics.median(i / c for i, c in zip(ingested, copied, strict=True))
    print(f"broker                 {wish.broker}")
    print(f"raw COPY, limit        {statistics.median(copied):>10,.0f} readings/s  (groups of {GROUP:,})")
    print(
        f"one worker, measured   {statistics.median(ingested):>10,.0f} readings/s  (envelopes of {READINGS}, to the ack)"
    )
    print(f"ratio                  {ratio:>10.2f}             (budget: at least {BUDGET})")
    return 0 if ratio >= BUDGET else 1


def make(names: list[str], count: int, seq: int) -> list[Envelope]:
    """Envelopes of now, each with readings of all tags; no reading is there twice."""
    start = time.time_ns() // 1000
    chance = np.random.default_rng(seq)
    index = (np.arange(READINGS) % len(names)).tolist()
    step = (np.arange(READINGS) // len(names)).tolist()
    return [
        Envelope(
            epoch="bench",
            seq=seq + n,
            lane="live",
            made=start,
            base=start + n * 1000,
            tags=names,
            tag=index,
            dt=step,
            value=chance.random(READINGS).round(4).tolist(),
        )
        for n in range(count)
    ]  # fmt: skip


def raw_copy(connection: psycopg.Connection[Any], envelopes: list[Envelope], ids: dict[str, int]) -> float:
    """Readings a second of binary COPY into `reading`, packed before; leaves the table empty again."""
    per_group = GROUP // READINGS
    streams = []
    for start in range(0, len(envelopes), per_group):
        part = envelopes[start : start + per_group]
        tag = np.array([ids[e.tags[k]] for e in part for k in e.tag])
        ts = np.array([e.base + dt for e in part for dt in e.dt])
        value = np.array([v for e in part for v in e.value], float)
        order = np.lexsort((ts, tag))
        streams.append(binary_copy.pack(tag[order], ts[order], value[order], np.full(len(tag), 192)))
    connection.execute("SELECT ensure_partitions(ARRAY[(now() AT TIME ZONE 'UTC')::date])")
    began = time.perf_counter()
    for stream in streams:
        with connection.cursor().copy("COPY reading (tag_id, ts, value, quality) FROM STDIN (FORMAT binary)") as copy:
            copy.write(stream)
    rate = len(envelopes) * READINGS / (time.perf_counter() - began)
    connection.execute("TRUNCATE reading")
    return rate


class Gateway:
    """Sends as fast as the window of unacknowledged envelopes lets it."""

    WINDOW = 128

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._changed = threading.Condition()
        self._open: set[int] = set()
        self._accepting = False
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=EDGE, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(unquote(parts.username or ""), unquote(parts.password or ""))
        self._client.max_inflight_messages_set(self.WINDOW)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(f"hefa/v1/{EDGE}/ack", 1), ("hefa/v1/state/ingest/+", 1)]
        )
        self._client.on_message = self._receive
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for_worker(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._accepting, 30), "no worker within 30 s"

    def send(self, envelopes: list[Envelope]) -> float:
        """Readings a second, from the first publish to the last ack."""
        payloads = [(envelope.seq, encode(envelope)) for envelope in envelopes]
        began = time.perf_counter()
        for seq, payload in payloads:
            with self._changed:
                assert self._changed.wait_for(lambda: len(self._open) < self.WINDOW, 60), "no acks for 60 s"
                self._open.add(seq)
            self._client.publish(f"hefa/v1/{EDGE}/data", payload, qos=1)
        with self._changed:
            assert self._changed.wait_for(lambda: not self._open, 60), "no acks for 60 s"
        return len(envelopes) * READINGS / (time.perf_counter() - began)

    def _receive(self, client: Any, userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            if message.topic.endswith("/ack"):
                ack = receipt.decode_ack(message.payload)
                assert not ack.rejected, ack.rejected[:3]
                self._open.difference_update(ack.ok)
            else:
                self._accepting |= receipt.decode_ingest_state(message.payload).accepting
            self._changed.notify_all()


if __name__ == "__main__":
    sys.exit(main())
