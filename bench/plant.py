"""How fast and how flat the simulated plant is.

    python bench/plant.py [--days 30]

A step of the whole site (all tags, one minute), a day at one reading a minute sampled and encoded into envelopes, and
the memory over a simulated month, each beside its budget. The yardstick of the machine is taken in the same run: the
same sampling over the plant without physics, which is what a step cannot be cheaper than. CPU time of one core, so that
a busy machine changes little. Exit code 1 over budget.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from hefa_contract import plant as plant_model
from hefa_contract.envelope import encode
from hefa_edge.config import CHECKOUT_SEEDS, read_seeds
from hefa_edge.packing import pack
from hefa_edge.plant import behaviour
from hefa_edge.plant.flowsheet import DynamicPlant
from hefa_edge.plant.steady import SteadyPlant
from hefa_edge.simulation import Simulation

START = 1_795_300_000_000_000 // 60_000_000 * 60_000_000
MINUTE = 60_000_000
DAY = 1440

BUDGETS = {"step, ms": 5.0, "day sampled and encoded, s": 12.0, "growth over the days, MB": 20.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30, help="simulated days of the memory test")
    days = parser.parse_args().days

    texts = read_seeds(CHECKOUT_SEEDS)
    plant = plant_model.load(texts)
    tags = tuple(plant.tags.values())
    site = Simulation(DynamicPlant(plant, behaviour.read(texts), 1), tags, 1, START)
    steady = Simulation(SteadyPlant(plant, 1), tags, 1, START)

    site.advance(START + MINUTE)
    steps = [_cpu(partial(site.advance, START + k * MINUTE)) for k in range(2, 602)]
    floor = [_cpu(partial(steady.advance, START + k * MINUTE)) for k in range(1, 601)]
    step = 1000 * statistics.median(steps)

    # Before the day, whose arrays would leave room for a leak to hide in.
    gc.collect()
    before = _resident_mb()
    for k in range(1, days * DAY + 1):
        site.advance(START + (601 + k) * MINUTE)
    gc.collect()
    growth = _resident_mb() - before

    names = [tag.name for tag in tags]
    sizes: list[int] = []
    day = _cpu(lambda: sizes.append(_day(site, names)))

    print(f"{len(tags)} tags; the plant without physics takes {1000 * statistics.median(floor):.2f} ms a step")
    measured = dict(zip(BUDGETS, (step, day, growth), strict=True))
    for name, value in measured.items():
        print(f"{name:28} {value:8.2f}   budget {BUDGETS[name]:6.1f}")
    print(f"{'a step / without physics':28} {step / (1000 * statistics.median(floor)):8.2f}")
    print(f"{'envelope bytes of that day':28} {sizes[0]:,}; memory over {days} simulated days")
    return int(any(value > BUDGETS[name] for name, value in measured.items()))


def _day(site: Simulation, names: list[str]) -> int:
    """Simulate, sample, pack and encode a day; return the bytes."""
    first = site.ts
    ticks = [site.advance(first + k * MINUTE) for k in range(1, DAY + 1)]
    tag = np.concatenate([tick.tag for tick in ticks])
    ts = np.repeat([tick.ts for tick in ticks], [len(tick.tag) for tick in ticks]).astype(np.int64)
    value = np.concatenate([tick.value for tick in ticks])
    quality = np.concatenate([tick.quality for tick in ticks])
    order = np.argsort(tag, kind="stable")
    total = 0
    for seq, envelope in enumerate(
        pack(names, tag[order], ts[order], value[order], quality[order], lane="backfill", made=START), 1
    ):
        envelope.epoch, envelope.seq = "bench", seq
        total += len(encode(envelope))
    return total


def _cpu(work: Callable[[], object]) -> float:
    """CPU seconds that `work` takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _resident_mb() -> float:
    """Memory in use now where the system tells it, else the most there ever was."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
