"""When was a value beyond its limits: pure, and the same however the time is cut into pieces.

A reading holds until the next one. Beyond a limit for the on-delay raises an alarm; inside it by the deadband for the
off-delay ends it. What is not known (bad quality, no reading for two heartbeats) neither raises nor ends anything: a
run that was being waited for begins again. What is to be known at a time is thus the alarms active then, and the
readings of the longest delay before it: evaluation can begin anywhere, from what was stored, and ends where it would
have. Times are µs since the epoch.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

CLEAR, BETWEEN, BEYOND, UNKNOWN = range(4)
LEVELS = ("ll", "l", "h", "hh")


@dataclass(frozen=True)
class Rule:
    """One limit of a tag. Delays in µs; `deadband` in the tag's unit."""

    level: str
    limit: float
    deadband: float
    on_us: int
    off_us: int
    priority: str
    latching: bool = False

    def status(self, value: float) -> int:
        """Where a value stands to the limit: to pass it is to be beyond it, not on it."""
        past = value - self.limit if self.level in ("h", "hh") else self.limit - value
        if past > 0:
            return BEYOND
        back = self.limit - self.deadband if self.level in ("h", "hh") else self.limit + self.deadband
        inside = value <= back if self.level in ("h", "hh") else value >= back
        return CLEAR if inside else BETWEEN


@dataclass(frozen=True)
class Zones:
    """The rules of a tag as one scale: `thresholds` cut the values into zones in each of which every rule says the same.

    The zone of a value is the number of thresholds up to it, as PostgreSQL's width_bucket counts.
    """

    rules: tuple[Rule, ...]
    thresholds: tuple[float, ...]
    statuses: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> "Zones":
        cuts: set[float] = set()
        for rule in rules:
            if rule.level in ("h", "hh"):
                cuts |= {math.nextafter(rule.limit, math.inf), math.nextafter(rule.limit - rule.deadband, math.inf)}
            else:
                cuts |= {rule.limit, rule.limit + rule.deadband}
        thresholds = sorted(cuts)
        samples = [-math.inf, *thresholds]
        return cls(tuple(rules), tuple(thresholds), tuple(tuple(rule.status(v) for v in samples) for rule in rules))

    def zone(self, value: float) -> int:
        return bisect_right(self.thresholds, value)


class Change(NamedTuple):
    """From `ts` on the value is in another zone; None: it is not known."""

    ts: int
    zone: int | None
    value: float


class Excursion(NamedTuple):
    """A time beyond a limit; `returned` None: it was so still at the end. `carried`: it was active at the beginning."""

    level: str
    crossed: int
    raised: int
    returned: int | None
    value: float
    carried: bool


class Active(NamedTuple):
    """An excursion that is under way when evaluation begins."""

    crossed: int
    raised: int
    value: float


def excursions(
    zones: Zones, changes: Sequence[Change], start: int, end: int, active: Mapping[str, Active]
) -> list[Excursion]:
    """The excursions in [start, end], by level and time. `changes` begin the longest delay before `start`.

    `active` are those under way at `start`, by level.
    """
    found: list[Excursion] = []
    for rule, statuses in zip(zones.rules, zones.statuses, strict=True):
        current = active.get(rule.level)
        carried = current is not None
        since: int | None = None
        value = math.nan
        for n, change in enumerate(changes):
            status = UNKNOWN if change.zone is None else statuses[change.zone]
            if status != (BEYOND if current is None else CLEAR):
                since = None
                continue
            if since is None:
                since, value = change.ts, change.value
            due = max(since + (rule.on_us if current is None else rule.off_us), start)
            if due > (min(changes[n + 1].ts, end) if n + 1 < len(changes) else end):
                continue
            if current is None:
                current = Active(since, due, value)
            else:
                found.append(Excursion(rule.level, current.crossed, current.raised, due, current.value, carried))
                current, carried = None, False
            since = None
        if current is not None:
            found.append(Excursion(rule.level, current.crossed, current.raised, None, current.value, carried))
    return found


def rules_of(tag: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Rule]:
    """The rules of a tag by the setting `alarm`: for each field the first exception that fits, else what it says of all.

    `tag` has name, template, suffix, area, the limits, the range low..high and normal. The deadband is a share of the
    range, but at most half the way from the limit to the normal value: an alarm must be able to end.
    """
    rules = []
    for level in LEVELS:
        limit = tag[level]
        if limit is None:
            continue
        said = Said(tag, level, settings)
        if not said("enabled", True):
            continue
        deadband = 0.0
        if tag["low"] is not None and tag["high"] is not None:
            deadband = said("deadband_percent", settings["deadband_percent"]) / 100 * abs(tag["high"] - tag["low"])
        if tag["normal"] is not None:
            deadband = min(deadband, abs(limit - tag["normal"]) / 2)
        rules.append(
            Rule(
                level,
                limit,
                deadband,
                round(said("on_delay_s", settings["on_delay_s"]) * 1e6),
                round(said("off_delay_s", settings["off_delay_s"]) * 1e6),
                said("priority", settings["priorities"].get(level, "low")),
                said("latching", False),
            )
        )
    return rules


class Said:
    """What the setting `alarm` says of one alarm of a tag, which has name, template, suffix and area."""

    def __init__(self, tag: Mapping[str, Any], level: str, settings: Mapping[str, Any]) -> None:
        self._fitting = [rule for rule in settings["rules"] if level in rule["limits"] and _fits(rule, tag)]

    def __call__(self, field: str, otherwise: Any) -> Any:
        """The field of the first rule that says it; `otherwise` where none does."""
        return next((rule[field] for rule in self._fitting if rule.get(field) is not None), otherwise)


def _fits(rule: Mapping[str, Any], tag: Mapping[str, Any]) -> bool:
    named = {"tag": "name", "template": "template", "suffix": "suffix", "area": "area"}
    return all(rule[key] is None or fnmatchcase(tag[field] or "", rule[key]) for key, field in named.items())
