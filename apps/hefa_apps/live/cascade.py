"""A cascade as a profile: pH and composition by stage, how far from the reference, and which stage moved first. Pure.

The reference of a stage is what the plant model calls normal, or its median over a period that the reader chose. The
distance is dimensionless: 0 is on the profile, 1 is the average stage standing at its high or low limit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from statistics import median
from typing import Any

from hefa_apps.client import Catalogue, Series, Tag
from hefa_apps.live.model import Point

TOLERANCE = 0.3  # pH: half the width of the band where a stage has no limits of its own
SIGMAS = 4.0  # a stage has moved when it stays this many of its own standard deviations away
HOLDS = 3  # … for so many buckets on end
_MAD = 1.4826  # median absolute deviation to standard deviation, of a normal distribution
ELEMENTS = ("la", "ce", "pr", "nd")


@dataclass(frozen=True)
class Stage:
    """One place of the cascade, counted from the raffinate. `point` is None where nothing is measured.

    `reference` and `tolerance` in pH; `deviation` in tolerances.
    """

    number: int
    point: Point | None = None
    reference: float | None = None
    tolerance: float = TOLERANCE

    @property
    def value(self) -> float | None:
        """The pH, None where it is not measured or not known."""
        reading = self.point.reading if self.point else None
        known = reading is not None and self.point is not None and self.point.standing not in ("bad", "stale", "silent")
        return reading.value if reading is not None and known else None

    @property
    def deviation(self) -> float | None:
        """How far from the reference, in tolerances, signed."""
        if self.value is None or self.reference is None:
            return None
        return (self.value - self.reference) / self.tolerance


@dataclass(frozen=True)
class Sample:
    """What an analyser says at its stage: shares in % of REO by element, and what the model calls normal."""

    stage: int
    name: str
    description: str
    shares: Mapping[str, Point]

    def share(self, elements: Sequence[str]) -> float | None:
        """Return the sum of some elements, None when one is not known."""
        readings = [self.shares[e].reading for e in elements if e in self.shares]
        values = [r.value for r in readings if r is not None and r.value is not None and r.quality >= 64]
        return sum(values) if len(values) == len(elements) else None

    def normal(self, elements: Sequence[str]) -> float | None:
        """Return what the plant model calls normal for the sum of some elements."""
        values = [self.shares[e].tag.normal for e in elements if e in self.shares]
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(elements) else None


@dataclass(frozen=True)
class Profile:
    """A cascade now, from raffinate to strip end. `known` stages are those with a value and a reference."""

    name: str
    path: str
    description: str
    feed: int
    key: tuple[str, ...]
    stages: tuple[Stage, ...]
    samples: tuple[Sample, ...]

    @property
    def measured(self) -> int:
        return sum(stage.point is not None for stage in self.stages)

    @property
    def known(self) -> int:
        return sum(stage.deviation is not None for stage in self.stages)

    @property
    def distance(self) -> float | None:
        """Root of the mean squared deviation, in tolerances; None while no stage is known."""
        found = [stage.deviation for stage in self.stages if stage.deviation is not None]
        return sqrt(sum(d * d for d in found) / len(found)) if found else None

    @property
    def farthest(self) -> Stage | None:
        """The stage that is farthest from its reference."""
        found = [stage for stage in self.stages if stage.deviation is not None]
        return max(found, key=lambda stage: abs(stage.deviation or 0.0), default=None)


@dataclass(frozen=True)
class Move:
    """A stage that left its place: since when (µs), by how much, and in which direction."""

    number: int
    tag: str
    ts: int
    before: float
    now: float

    @property
    def at(self) -> datetime:
        """Since when."""
        return datetime.fromtimestamp(self.ts / 1e6, UTC)


def profile(
    name: str,
    layout: Mapping[str, Any],
    catalogue: Catalogue,
    points: Mapping[str, Point],
    reference: Mapping[str, float] | None = None,
) -> Profile | None:
    """Return the profile of one cascade of a layout; None where the plant has no such line.

    `reference` gives the pH of a tag; a stage that it does not name has none. None: what the plant model calls normal.
    """
    line = next((node for node in catalogue.root.below("line") if node.path == layout["at"]), None)
    if line is None:
        return None
    stages = {i: Stage(i) for i in range(1, int(layout["stages"]) + 1)}
    for tag in stage_tags(layout, catalogue):
        number, point = trailing(tag.equipment or ""), points.get(tag.tag)
        if number in stages and point is not None:
            normal = tag.normal if reference is None else reference.get(tag.tag)
            high = tag.limits.h if tag.limits else None
            tolerance = abs(high - tag.normal) if high is not None and tag.normal is not None else 0.0
            stages[number] = Stage(number, point, normal, tolerance or TOLERANCE)
    samples = []
    for unit, stage in layout.get("analysers", {}).items():
        named = {element: f"{line.path}.{unit}.{element}" for element in ELEMENTS}
        shares = {element: points[tag] for element, tag in named.items() if tag in points}
        if shares:
            about = next((u.description for u in line.below("unit") if u.path == f"{line.path}.{unit}"), unit)
            samples.append(Sample(int(stage), unit, about, shares))
    return Profile(
        name=name,
        path=line.path,
        description=line.description or name,
        feed=int(layout["feed"]),
        key=tuple(layout["key"]),
        stages=tuple(stages.values()),
        samples=tuple(samples),
    )


def stage_tags(layout: Mapping[str, Any], catalogue: Catalogue) -> list[Tag]:
    """Return the pH tags of the stages of one cascade."""
    return [
        tag
        for tag in catalogue.tags.values()
        if tag.line == layout["at"] and tag.template == layout["template"] and tag.tag.endswith(".ph")
    ]


def medians(series: Sequence[Series]) -> dict[str, float]:
    """Return the median of each series; those without any value are left out."""
    found = {}
    for one in series:
        known = [value for value in one.value if value is not None]
        if known:
            found[one.tag] = median(known)
    return found


def moves(series: Sequence[Series], numbers: Mapping[str, int], quantum: float = 0.01) -> list[Move]:
    """Return the stages that left their place and are still away, the first to leave first.

    Each stage is judged by itself: its place is the median of the first third of the range, its noise the median
    absolute deviation there, at least `quantum`. It moved when it stayed `SIGMAS` of that away for `HOLDS` buckets on
    end, up to the newest; a stage that came back did not move. A gap ends a run.
    """
    found = []
    for one in series:
        known = [(ts, value) for ts, value in zip(one.ts, one.value, strict=True) if value is not None]
        first = [value for _, value in known[: max(HOLDS, len(known) // 3)]]
        if len(known) < 3 * HOLDS:
            continue
        place = median(first)
        noise = max(_MAD * median(abs(value - place) for value in first), quantum)
        run: list[tuple[int, float]] = []
        for ts, value in reversed(known):
            if abs(value - place) <= SIGMAS * noise or (run and (value > place) != (run[-1][1] > place)):
                break
            run.append((ts, value))
        if len(run) >= HOLDS:
            found.append(Move(numbers[one.tag], one.tag, run[-1][0], place, run[0][1]))
    return sorted(found, key=lambda move: (move.ts, -abs(move.now - move.before)))


def trailing(name: str) -> int:
    """Return the number at the end of a name: 27 of `MS-A27`; 0 without one."""
    digits = name[len(name.rstrip("0123456789")) :]
    return int(digits) if digits else 0
