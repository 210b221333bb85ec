"""Tanks: level, volume, and hours until full or empty from how the level moved. Pure.

The slope is Theil and Sen's, the median of the slopes between all pairs: a lorry or a bad reading does not bend it.
Full and empty are the very high and very low limit where the plant model sets them, else the range of the level.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from hefa_apps.client import Series, Tag
from hefa_apps.live.model import Point

TEMPLATE = "TANK"
_MICRO = 1e6
_FEWEST = 5  # levels to say a slope from
_FAR = 240.0  # hours: beyond ten days a straight line says nothing
_MOST_PAIRS = 60  # levels that are compared with each other; more are thinned out


@dataclass(frozen=True)
class Tank:
    """A tank now. `slope` in % per hour, `flow` in the volume's unit per hour (negative: it empties).

    `hours` until `limit` (% of the level), None while it stands or would need longer than ten days.
    """

    name: str
    level: Point
    volume: Point | None
    slope: float | None
    flow: float | None
    hours: float | None
    limit: float | None

    @property
    def filling(self) -> bool:
        return self.slope is not None and self.slope > 0


def tanks(points: Mapping[str, Point], series: Sequence[Series]) -> list[Tank]:
    """Return every tank with its trend; `series` are levels over the last hours, in any order."""
    trends = {one.tag: one for one in series}
    found = []
    for point in points.values():
        if _is_level(point.tag):
            trend = trends.get(point.tag.tag)
            volume = points.get(point.tag.tag.removesuffix("lvl") + "vol")
            found.append(_tank(point, volume, slope(trend) if trend else None))
    return sorted(found, key=lambda tank: (tank.hours is None, tank.hours or 0.0, tank.level.tag.tag))


def levels(tags: Iterable[Tag]) -> list[str]:
    """Return the tags whose trend `tanks` wants."""
    return [tag.tag for tag in tags if _is_level(tag)]


def _is_level(tag: Tag) -> bool:
    return tag.template == TEMPLATE and tag.tag.endswith(".lvl")


def slope(series: Series) -> float | None:
    """Return how fast a level moves, per hour; None when it is not known, 0 when it only trembles.

    It trembles when the pairs do not agree on a direction: fewer than two thirds of them go its way.
    """
    known = [
        (ts / _MICRO / 3600, value) for ts, value in zip(series.ts, series.value, strict=True) if value is not None
    ]
    if len(known) < _FEWEST:
        return None
    thin = known[:: max(1, len(known) // _MOST_PAIRS)]
    pairs = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(thin, 2) if b[0] > a[0]]
    found = median(pairs)
    agreeing = sum(1 for pair in pairs if pair * found > 0)
    return found if agreeing * 3 >= len(pairs) * 2 else 0.0


def _tank(level: Point, volume: Point | None, rate: float | None) -> Tank:
    tag, reading = level.tag, level.reading
    value = reading.value if reading and level.standing not in ("bad", "stale", "silent") else None
    limits = tag.limits
    full = limits.hh if limits and limits.hh is not None else tag.high
    empty = limits.ll if limits and limits.ll is not None else tag.low
    limit = None if not rate else full if rate > 0 else empty
    hours = (limit - value) / rate if rate and limit is not None and value is not None else None
    if hours is not None:
        hours = max(0.0, hours)
    whole = volume.tag.high if volume else None
    span = (tag.high - tag.low) if tag.high is not None and tag.low is not None else None
    flow = rate / span * whole if rate is not None and whole and span else None
    near = hours is not None and hours <= _FAR
    name = (tag.equipment or tag.tag).rpartition(".")[2]
    return Tank(name, level, volume, rate, flow, hours if near else None, limit if near else None)
