"""What the site means to make when: campaigns, the plan of each day, windows of maintenance. Pure.

A plan is of the scenario, not of the plant: without one the plant runs at its design feed for ever. It follows the
calendar of the site, and chance has an address: the plan of a day is a function of (seed, day), so that history and
present join and any day of any year has its plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from hefa_contract.plant import Plant
from hefa_edge import keyed
from hefa_edge.catalogue import FaultError, duration

_DAY = 86_400_000_000
_QUARTER = 900_000_000
_EASED = 8  # quarters of an hour in which people move from one pace to the next
_LEAST, _MOST = 0.3, 1.25  # a cascade is turned down, not switched off; pumps and kilns have no more in them


class Window(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Planned work: each `every` for `lasts`, first at `first` after a Monday's midnight.

    Meanwhile the plan of the day is multiplied by `pace`, and the kilns that `rests` names are kept warm without feed.
    """

    every: str
    lasts: str
    first: str = "0h"
    pace: float = 1.0
    rests: list[str] = []


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of the design feed: that of a campaign lies from `low` to `high`, each day varies around it by `daily`.

    `source` says where the numbers come from; `daily` is a standard deviation.
    """

    source: str
    campaign: str = "7d"
    low: float = 1.0
    high: float = 1.0
    daily: float = 0.0
    windows: list[Window] = []


@dataclass(slots=True)
class Planned:
    """A plan on the calendar of a plant. Raises FaultError when it cannot be followed."""

    plan: Plan
    plant: Plant
    seed: int
    _monday: int = field(init=False)
    _starts: int = field(init=False)  # of the plant day, µs after midnight
    _campaign: int = field(init=False)
    _windows: list[tuple[int, int, int, Window]] = field(init=False)
    _drawn: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        monday = datetime(2024, 1, 1, tzinfo=ZoneInfo(self.plant.timezone))
        self._monday = round(monday.timestamp() * 1e6)
        self._starts = (self.plant.plantday.hour * 60 + self.plant.plantday.minute) * 60_000_000
        self._campaign = duration(self.plan.campaign)
        if self._campaign <= 0 or self._campaign % _DAY:
            raise FaultError(f"plan: campaign = {self.plan.campaign!r} is no number of whole days such as 6d")
        if not _LEAST <= self.plan.low <= self.plan.high <= _MOST:
            raise FaultError(f"plan: low and high lie between {_LEAST} and {_MOST}, low not above high")
        if not 0 <= self.plan.daily <= 0.2:
            raise FaultError(f"plan: daily = {self.plan.daily:g} is not between 0 and 0.2")
        self._windows = [self._window(window) for window in self.plan.windows]

    def pace(self, ts: int) -> float:
        """Say which share of the design feed is planned in the minute that begins at `ts` (µs)."""
        quarter = ts // _QUARTER * _QUARTER
        return sum(self._wanted(quarter - k * _QUARTER) for k in range(_EASED)) / _EASED

    def resting(self, ts: int) -> frozenset[str]:
        """Name the kilns that are not fed in the minute that begins at `ts`."""
        return frozenset(unit for window in self._open(ts) for unit in window.rests)

    def _wanted(self, ts: int) -> float:
        day = (ts - self._monday - self._starts) // _DAY
        if day not in self._drawn:
            if len(self._drawn) > 1000:
                self._drawn.clear()
            self._drawn[day] = self._draw(day)
        pace = self._drawn[day]
        for window in self._open(ts):
            pace *= window.pace
        return min(max(pace, _LEAST), _MOST)

    def _draw(self, day: int) -> float:
        campaign = day * _DAY // self._campaign
        level = float(keyed.uniform(keyed.keys(["plan of a campaign"], self.seed, "plan"), campaign)[0])
        varied = float(keyed.normal(keyed.keys(["plan of a day"], self.seed, "plan"), day)[0])
        return self.plan.low + level * (self.plan.high - self.plan.low) + self.plan.daily * min(max(varied, -2.5), 2.5)

    def _open(self, ts: int) -> list[Window]:
        return [window for first, every, lasts, window in self._windows if (ts - first) % every < lasts]

    def _window(self, window: Window) -> tuple[int, int, int, Window]:
        every, lasts, first = (duration(text) for text in (window.every, window.lasts, window.first))
        if not 0 < lasts <= every:
            raise FaultError(f"plan: lasts = {window.lasts!r} of a window is not up to every = {window.every!r}")
        if not _LEAST <= window.pace <= 1:
            raise FaultError(f"plan: pace = {window.pace:g} of a window is not between {_LEAST} and 1")
        kilns = {tag.unit for tag in self.plant.tags.values() if tag.template.startswith("KILN_")}
        if unknown := [unit for unit in window.rests if unit not in kilns]:
            raise FaultError(f"plan: {unknown[0]!r} cannot rest; it may be one of {', '.join(sorted(kilns))}")
        return self._monday + first, every, lasts, window
