"""Production in figures: effectiveness after ISO 22400-2, on-cut time, losses, stops, and what a lot's verdict is. Pure.

Masses are t or kg REO, times hours. What is not known stays None and is never taken for zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Effectiveness:
    """OEE and its factors as fractions, None where they cannot be told.

    `nee` counts set-up (heating up) as operating. The losses are t REO, and with `good` they make up `possible`:
    what the rated rate would have made in the whole busy time.
    """

    availability: float | None
    effectiveness: float | None
    quality: float | None
    oee: float | None
    nee: float | None
    possible: float
    stopped: float | None
    slow: float | None
    off_spec: float | None
    good: float | None


def effectiveness(
    busy: float, operating: float | None, rated: float, produced: float | None, good: float | None, setup: float = 0.0
) -> Effectiveness:
    """Judge a period: hours planned busy and operating, rated t/h, t produced and t of it on spec.

    ISO 22400-2 for a continuous flow: availability = operating / busy, effectiveness = (produced / operating) / rated,
    quality = good / produced; OEE is their product, which is good / (rated x busy) even where nothing ran.
    """
    possible = rated * busy
    available = operating / busy if operating is not None and busy > 0 else None
    speed = produced / (operating * rated) if produced is not None and operating and rated > 0 else None
    quality = good / produced if good is not None and produced else None
    idle = operating is not None and operating <= 0
    whole = 0.0 if idle and possible > 0 else good / possible if good is not None and possible > 0 else None
    net = None
    if whole is not None and operating:
        net = whole * (operating + setup) / operating
    elif idle:
        net = whole
    return Effectiveness(
        availability=available,
        effectiveness=speed,
        quality=quality,
        oee=whole,
        nee=net,
        possible=possible,
        stopped=None if operating is None else possible - operating * rated,
        slow=None if operating is None or produced is None else operating * rated - produced,
        off_spec=None if produced is None or good is None else produced - good,
        good=good,
    )


def purity(shares: Mapping[str, float | None], oxides: Mapping[str, float], wanted: Iterable[str]) -> float | None:
    """Return mol % of the wanted elements among RE, from oxide shares in % of REO and g of oxide per mol of RE."""
    moles: dict[str, float] = {}
    for element, oxide in oxides.items():
        share = shares.get(element)
        if share is None:
            return None
        moles[element] = max(share, 0.0) / oxide
    whole = sum(moles.values())
    return 100 * sum(moles[element] for element in wanted) / whole if whole > 0 else None


@dataclass(frozen=True)
class Slot:
    """A bucket of a judgement: hours of the period in it, hours known of it, and the verdict (None: unknown)."""

    start: datetime
    hours: float
    known: float
    ok: bool | None
    made: float | None = None  # kg


@dataclass(frozen=True)
class Judged:
    """Hours for which a verdict is good, bad and unknown; `share` is good over known."""

    good: float
    bad: float
    unknown: float

    @property
    def share(self) -> float | None:
        known = self.good + self.bad
        return self.good / known if known > 0 else None

    @property
    def coverage(self) -> float | None:
        whole = self.good + self.bad + self.unknown
        return (self.good + self.bad) / whole if whole > 0 else None


def judged(slots: Iterable[Slot]) -> Judged:
    """Add up the hours of slots by their verdict; what is not known of a slot is unknown."""
    good = bad = unknown = 0.0
    for slot in slots:
        known = 0.0 if slot.ok is None else min(slot.known, slot.hours)
        unknown += slot.hours - known
        if slot.ok:
            good += known
        else:
            bad += known
    return Judged(good, bad, unknown)


def on_spec(slots: Iterable[Slot]) -> float | None:
    """Return the share of the mass that was made while its verdict was good, over slots with verdict and mass."""
    all_of_it = good = 0.0
    for slot in slots:
        if slot.ok is None or slot.made is None:
            continue
        all_of_it += slot.made
        good += slot.made if slot.ok else 0.0
    return good / all_of_it if all_of_it > 0 else None


def hours_between(start: datetime, end: datetime) -> float:
    """Return the length of a range in hours, never below nought."""
    return max((end - start) / HOUR, 0.0)


def busy(start: datetime, end: datetime, stops: Iterable[tuple[datetime, datetime]], hours_a_day: float = 24) -> float:
    """Return the hours planned busy in [start, end): without the planned stops, at so many hours a day."""
    left = [(start, end)]
    for first, last in stops:
        parts = [part for a, b in left for part in ((a, min(b, first)), (max(a, last), b))]
        left = [(a, b) for a, b in parts if b > a]
    return sum(hours_between(a, b) for a, b in left) * min(max(hours_a_day, 0), 24) / 24


@dataclass(frozen=True)
class Stop:
    """Something stood still, or was not as it should be, from `start` to `end` (None: it still does)."""

    cause: str
    kind: str
    start: datetime
    end: datetime | None
    tag: str = ""
    reason: str = ""

    def hours(self, now: datetime) -> float:
        """Return how long it lasted, until `now` where it lasts."""
        return hours_between(self.start, self.end or now)


def stops(
    cause: str,
    tag: str,
    readings: Sequence[tuple[datetime, str | None]],
    until: datetime,
) -> list[Stop]:
    """Return the stops in readings of a state: each is the kind of stop that lasts until the next reading, None is none.

    Neighbours of the same kind are one stop. The last one ends at `until`.
    """
    found: list[Stop] = []
    for i, (start, kind) in enumerate(readings):
        end = readings[i + 1][0] if i + 1 < len(readings) else until
        if kind is None or end <= start:
            continue
        if found and found[-1].kind == kind and found[-1].end == start:
            found[-1] = Stop(cause, kind, found[-1].start, end, tag)
        else:
            found.append(Stop(cause, kind, start, end, tag))
    return found


@dataclass(frozen=True)
class Bar:
    """One cause of a Pareto chart; `cumulative` is the share of all hours up to and with it."""

    cause: str
    kind: str
    hours: float
    count: int
    cumulative: float
    tag: str
    reasons: tuple[str, ...]


def pareto(found: Iterable[Stop], now: datetime) -> list[Bar]:
    """Return causes by the hours that they took, the longest first."""
    groups: dict[tuple[str, str], list[Stop]] = {}
    for stop in found:
        groups.setdefault((stop.cause, stop.kind), []).append(stop)
    ordered = sorted(groups.items(), key=lambda g: (-sum(s.hours(now) for s in g[1]), g[0]))
    whole = sum(stop.hours(now) for _, group in ordered for stop in group)
    bars, so_far = [], 0.0
    for (cause, kind), group in ordered:
        hours = sum(stop.hours(now) for stop in group)
        so_far += hours
        reasons = tuple(dict.fromkeys(stop.reason for stop in group if stop.reason))
        bars.append(Bar(cause, kind, hours, len(group), so_far / whole if whole else 0.0, group[0].tag, reasons))
    return bars


def crew(crews: Sequence[str], day: date, shift: int) -> str:
    """Say who works on a day in shift `shift` (0 its first): each crew two days in each shift, one pair of days off."""
    return crews[(day.toordinal() // 2 - shift) % len(crews)] if crews else ""


@dataclass(frozen=True)
class Limit:
    """A specification: at least (`higher`) or at most so much."""

    value: float
    better: str

    def met(self, value: float) -> bool:
        """Say whether a value is within it."""
        return value >= self.value if self.better == "higher" else value <= self.value


def verdict(results: Mapping[str, float], limits: Mapping[str, Limit]) -> str:
    """Return `off spec` when a result misses its limit, `on spec` when each limit has a result that meets it, else `open`."""
    if any(not limits[name].met(value) for name, value in results.items() if name in limits):
        return "off spec"
    return "on spec" if limits and limits.keys() <= results.keys() else "open"


def first_pass(lots: Iterable[tuple[float, str]]) -> float | None:
    """Return the mass on spec at the first judgement over the mass judged; (kg, verdict) of each lot."""
    told = [(kg, said) for kg, said in lots if said != "open" and kg > 0]
    whole = sum(kg for kg, _ in told)
    return sum(kg for kg, said in told if said == "on spec") / whole if whole else None
