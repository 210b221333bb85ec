"""What the energy app says besides sums: loads, demand, the night, the meter tree, the flows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from hefa_apps.usage import UNACCOUNTED, Stack, share

# The order in which people name them; a site's other carriers follow.
CARRIERS = ("electricity", "water", "gas", "steam", "air")


@dataclass(frozen=True)
class Load:
    """Mean rates per hour in the whole bars of a period: the highest with its time, the lowest, and their mean.

    `factor` = mean / peak: 1 is a load without any peak.
    """

    peak: float
    peak_at: datetime
    base: float
    mean: float

    @property
    def factor(self) -> float | None:
        """Return the load factor, None when nothing was used."""
        return self.mean / self.peak if self.peak > 0 else None


def load(stack: Stack) -> Load | None:
    """Return the load of a stack, None without a whole bar. Bars that the period cuts or that nobody knows are left out.

    A bar counts when any of its keys is known; what none knows of it was never part of the use either.
    """
    rates: list[tuple[float, datetime, float]] = []
    for i, bar in enumerate(stack.bars):
        known = _known([cells[i] for cells in stack.values.values()])
        hours = (bar.end - bar.start) / timedelta(hours=1)
        if bar.whole and known and hours > 0:
            rates.append((sum(known) / hours, bar.start, hours))
    if not rates:
        return None
    peak, at, _ = max(rates, key=lambda rate: rate[0])
    mean = sum(rate * hours for rate, _, hours in rates) / sum(hours for _, _, hours in rates)
    return Load(peak, at, min(rate for rate, _, _ in rates), mean)


def _known(cells: Sequence[float | None]) -> list[float]:
    return [cell for cell in cells if cell is not None]


def rate_unit(unit: str) -> str:
    """Return the UCUM unit of `unit` per hour: energy per hour is power."""
    return unit.removesuffix(".h") if unit.endswith("W.h") else f"{unit}/h"


@dataclass(frozen=True)
class Point:
    """Mean power over one bucket in kW; None where it is not known."""

    start: datetime
    end: datetime
    kw: float | None


@dataclass(frozen=True)
class Demand:
    """A demand curve: its highest point, its mean, and how much of the time is known (0–1)."""

    points: tuple[Point, ...]
    peak: Point | None
    mean: float | None
    coverage: float


def demand(buckets: Sequence[tuple[datetime, datetime, float | None]]) -> Demand:
    """Return the demand of buckets of energy in kWh. A bucket's demand is its energy over its own length."""
    points = []
    energy = known = every = 0.0
    for start, end, kwh in buckets:
        hours = (end - start) / timedelta(hours=1)
        every += hours
        if kwh is not None and hours > 0:
            energy += kwh
            known += hours
        points.append(Point(start, end, kwh / hours if kwh is not None and hours > 0 else None))
    told = [point for point in points if point.kw is not None]
    return Demand(
        tuple(points),
        max(told, key=lambda point: point.kw or 0.0, default=None),
        energy / known if known else None,
        known / every if every else 0.0,
    )


NIGHT = (1, 5)  # local hours in which a plant shows what it draws without people


def night(points: Sequence[Point], zone: tzinfo) -> tuple[float | None, float]:
    """Return the mean power in the hours of `NIGHT`, and how many of them are known."""
    first, last = NIGHT
    energy = hours = 0.0
    for point in points:
        if first <= point.start.astimezone(zone).hour < last and point.kw is not None:
            length = (point.end - point.start) / timedelta(hours=1)
            energy += point.kw * length
            hours += length
    return (energy / hours if hours else None), hours


@dataclass(frozen=True)
class MeterSeen:
    """A meter with what its register counted: `known` None where nothing is known of it."""

    tag: str
    name: str
    serves: str
    parent: str | None
    check: bool
    known: float | None


@dataclass(frozen=True)
class Branch:
    """A meter of the tree; `unaccounted` is what it counted and none of its billing children did.

    None on a leaf, and where a child is not known: then the rest cannot be told from its use.
    """

    meter: MeterSeen
    depth: int
    share: float | None
    unaccounted: float | None
    unaccounted_share: float | None


def tree(meters: Sequence[MeterSeen]) -> list[Branch]:
    """Return the meters of one carrier from each root down, the largest child first, check meters last."""
    there = {meter.tag for meter in meters}
    below: dict[str | None, list[MeterSeen]] = {}
    for meter in meters:
        below.setdefault(meter.parent if meter.parent in there else None, []).append(meter)
    branches: list[Branch] = []

    def walk(meter: MeterSeen, depth: int, whole: float | None) -> None:
        children = sorted(below.get(meter.tag, []), key=lambda m: (m.check, -(m.known or 0.0), m.tag))
        counted = [child.known for child in children if not child.check]
        rest = None
        if counted and meter.known is not None and None not in counted:
            rest = meter.known - sum(c for c in counted if c is not None)
        branches.append(
            Branch(
                meter, depth, share(meter.known, whole), rest, share(rest, meter.known) if rest is not None else None
            )
        )
        for child in children:
            walk(child, depth + 1, whole)

    for root in sorted(below.get(None, []), key=lambda m: (m.check, m.tag)):
        walk(root, 0, root.known)
    return branches


# What a unit of a carrier is worth as energy, so that a picture of all flows has one unit.
KWH_PER = {
    "electricity": 1.0,
    "gas": 38.931 / 3.6,  # per m3{n}: lower heating value of the Chinese reporting guidelines (recalled)
    "steam": 2.69e3 / 3.6,  # per t: saturated steam at 0.8 MPa over feed water at 20 Cel (recalled)
}
MADE_HERE = {"steam": "gas"}  # carriers that the site makes from another one: counted there already


@dataclass(frozen=True)
class Flow:
    """A band of the Sankey diagram."""

    source: str
    target: str
    value: float


def flows(used: Mapping[str, Mapping[str, float]], makers: Mapping[str, str], *, one_unit: bool) -> list[Flow]:
    """Return the bands of a Sankey diagram: carrier to area to line.

    `used` gives each carrier's use by line, area or `unaccounted`; `makers` names the line in which a carrier made here
    is made. With `one_unit` everything is in kWh and what a maker takes in flows on as the carrier that it makes, less
    its loss. Nothing that is not positive is drawn.
    """
    bands: dict[tuple[str, str], float] = {}

    def add(source: str, target: str, value: float) -> None:
        if value > 0:
            bands[source, target] = bands.get((source, target), 0.0) + value

    for carrier, by in used.items():
        if one_unit and carrier not in KWH_PER:
            continue
        worth = KWH_PER.get(carrier, 1.0) if one_unit else 1.0
        for key, amount in by.items():
            area = key.partition(".")[0]
            made = next((c for c, line in makers.items() if line == key and MADE_HERE.get(c) == carrier), None)
            if one_unit and made is not None:
                out = min(sum(used.get(made, {}).values()) * KWH_PER[made], amount * worth)
                add(carrier, made, out)
                add(carrier, "loss", amount * worth - out)
                continue
            if key == UNACCOUNTED:
                add(carrier, UNACCOUNTED, amount * worth)
                continue
            add(carrier, area, amount * worth)
            if key != area:
                add(area, key, amount * worth)
    return [Flow(source, target, value) for (source, target), value in bands.items()]
