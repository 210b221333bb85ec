"""A process with real gateways (outbox, publisher, session) and no plant: as many readings as asked, each one told to
the oracle. Started by `scene` with a JSON file; SIGUSR1 ends the recording and leaves the publishing, SIGTERM ends all.

Readings are of the gateway's own tags of the plant model: gauges within their range, registers that count up evenly.
Every fifth batch is two hours late. A file `clock` in its folder moves the gateway's clock by so many seconds.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from faultrig import oracle

from hefa_contract.plant import Plant, Tag, load
from hefa_edge.config import Settings, read_seeds
from hefa_edge.gateway import Gateway
from hefa_edge.outbox import OutboxFull

LATE_US = 2 * 3_600_000_000
GAUGES, REGISTERS = 24, 4


class Source:
    """Makes the readings of one gateway. Times of a tag never repeat, in this process or the next."""

    def __init__(self, plant: Plant, edge: str, seed: int) -> None:
        mine = [tag for tag in plant.tags.values() if tag.edge == edge and tag.template != "GATEWAY"]
        gauges = [tag for tag in mine if tag.kind == "gauge" and tag.low is not None and tag.high is not None]
        self.tags: list[Tag] = [*gauges[:GAUGES], *[tag for tag in mine if tag.kind == "counter"][:REGISTERS]]
        self._low = np.array([tag.low or 0.0 for tag in self.tags])
        self._span = np.array([(tag.high or 0.0) - (tag.low or 0.0) for tag in self.tags])
        self._counter = np.array([tag.kind == "counter" for tag in self.tags])
        self._rate = np.array([(tag.max_rate or 1.0) / 2 / 3600 for tag in self.tags])
        self._chance = np.random.default_rng(seed)

    def batch(self, start_us: int, end_us: int, readings: int) -> oracle.Rows:
        """`readings` in [start, end), by tag, then time."""
        per_tag = max(1, readings // len(self.tags))
        tag = np.repeat(np.arange(len(self.tags)), per_tag)
        step = (end_us - start_us) / per_tag
        ts = start_us + np.tile((np.arange(per_tag) * step).astype(np.int64), len(self.tags))
        gauge = self._low[tag] + self._span[tag] * self._chance.random(len(tag))
        value = np.where(self._counter[tag], (ts / 1e6 - 1.76e9) * self._rate[tag], gauge)
        return oracle.rows(tag, ts, np.round(value, 6), np.full(len(tag), 192))


def main(config: dict[str, Any]) -> None:
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    folder = Path(config["folder"])
    settings = Settings(data_dir=Path(config["data"]), secrets_dir=Path(config["secrets"]), **config["settings"])
    plant = load(read_seeds(settings.seeds))
    stop, quiet = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: quiet.set())
    (folder / "listening").touch()  # a signal before this would have ended us

    def clock() -> float:
        try:
            return time.time() + float((folder / "clock").read_text())
        except (FileNotFoundError, ValueError):
            return time.time()

    sources = {edge: Source(plant, edge, time.time_ns() % 2**32) for edge in config["edges"]}
    gateways = {edge: Gateway(edge, source.tags, settings, clock=clock) for edge, source in sources.items()}
    name = f"{time.time_ns()}.oracle"
    records = {
        edge: oracle.Oracle(folder / f"{edge}-{name}", [tag.name for tag in source.tags])
        for edge, source in sources.items()
    }
    for gateway in gateways.values():
        gateway.start()
    per_batch = round(config["rate"] * config["every_s"] / len(sources))
    last, number = round(clock() * 1e6), 0
    try:
        while not stop.wait(config["every_s"]):
            if any(gateway.publisher.failure for gateway in gateways.values()):
                raise SystemExit("a publisher failed")
            if quiet.is_set() or not config["rate"]:
                (folder / "quiet").touch()  # nothing more is recorded: who waits for empty outboxes may begin to
                continue
            now = round(clock() * 1e6)
            number += 1
            shift = LATE_US if number % 5 == 0 else 0
            first, last = last, now
            if now <= first:  # the clock was put back: go on from there
                first = now - round(config["every_s"] * 1e6)
            for edge, source in sources.items():
                rows = source.batch(first - shift, now - shift, per_batch)
                records[edge].meant(rows)
                columns = (rows["tag"], rows["ts"], rows["value"], rows["quality"])
                try:
                    gateways[edge].record(*columns, mark=(first - shift, now - shift))
                except OutboxFull:
                    gateways[edge].outbox.skip(len(rows))
                    records[edge].skipped()
                else:
                    records[edge].kept()
    finally:
        for gateway in gateways.values():
            gateway.stop()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
