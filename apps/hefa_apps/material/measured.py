"""What the instruments said over a period, by buckets: increments of registers, means of gauges, levels at both ends."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from hefa_apps.client import Series
from hefa_apps.metrics import Reckoning

_NEAR = timedelta(hours=1)  # how far from an end of a period its level may be taken
_MOST = 150  # tags in a question

Values = tuple[float | None, ...]


@dataclass(frozen=True)
class Seen:
    """Readings of a period in buckets of equal length; `hours` of each bucket that lies in the period.

    `counted` are increments of registers, `means` means of gauges, `known` the hours of each bucket that a gauge was
    known for; `first` and `last` levels at both ends; `coverage` 0–1 by tag. A tag that the platform does not know is
    in none of them.
    """

    hours: tuple[float, ...] = ()
    starts: tuple[datetime, ...] = ()
    counted: dict[str, Values] = field(default_factory=dict)
    means: dict[str, Values] = field(default_factory=dict)
    known: dict[str, tuple[float, ...]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)

    def total(self, tag: str) -> float | None:
        """Return what a register counted; None when nothing is known of it."""
        known = [v for v in self.counted.get(tag, ()) if v is not None]
        return sum(known) if known else None

    def mean(self, tag: str) -> float | None:
        """Return the mean of a gauge over what is known of it."""
        if tag not in self.means:
            return None
        pairs = [(v, h) for v, h in zip(self.means[tag], self.hours, strict=True) if v is not None and h > 0]
        return sum(v * h for v, h in pairs) / sum(h for _, h in pairs) if pairs else None

    def integral(self, tag: str) -> float | None:
        """Return a gauge per hour, added up over what is known of it; None when nothing is."""
        if self.mean(tag) is None:
            return None
        return sum((v or 0.0) * h for v, h in zip(self.means[tag], self.known[tag], strict=True))

    def change(self, tag: str) -> float | None:
        """Return how much a level rose over the period."""
        return self.last[tag] - self.first[tag] if tag in self.first and tag in self.last else None

    def least(self, tags: Iterable[str]) -> float | None:
        """Return the least coverage of some tags."""
        return min((self.coverage.get(tag, 0.0) for tag in tags), default=None)


def step_for(hours: float) -> str:
    """Return the buckets of a period of this length: short against hold-ups, few enough to be quick."""
    return "15m" if hours <= 12 else "1h" if hours <= 24 * 8 else "plantday"


def seen(r: Reckoning, registers: Sequence[str], gauges: Sequence[str], levels: Sequence[str]) -> Seen:
    """Ask the platform, side by side. Tags that the site does not have are left out."""
    known = [tuple(dict.fromkeys(t for t in tags if t in r.catalogue.tags)) for tags in (registers, gauges, levels)]
    return r.once(("material seen", *known), partial(_ask, r, *known))  # type: ignore[no-any-return]


def _ask(r: Reckoning, registers: Sequence[str], gauges: Sequence[str], levels: Sequence[str]) -> Seen:
    caller, step = r.caller, step_for((r.end - r.start).total_seconds() / 3600)
    asks: list[Any] = []

    def ask(tags: Sequence[str], start: datetime, end: datetime, step: str, agg: str) -> None:
        for i in range(0, len(tags), _MOST):
            some = tags[i : i + _MOST]
            asks.append(partial(caller.series, some, start, end, step, agg=agg, max_points=10_000))

    ask(registers, r.start, r.end, step, "increment")
    ask(gauges, r.start, r.end, step, "mean")
    counts = len(asks)
    # Means of an hour calm an analyser's noise; both ends lag by as much, so a change stays one.
    short = "15m" if r.end - r.start < 6 * _NEAR else "1h"
    ask(levels, r.start - _NEAR, r.start + _NEAR, short, "mean")
    firsts = len(asks)
    ask(levels, r.end - _NEAR, r.end, short, "mean")
    if not asks:
        return Seen()
    answers = caller.together(*asks)
    spans = next((one.ts for a in answers[:counts] for one in a.series), ())
    starts = [datetime.fromtimestamp(us / 1e6, r.start.tzinfo) for us in spans]
    ends = [*starts[1:], r.end]
    hours = [(min(b, r.end) - max(a, r.start)).total_seconds() / 3600 for a, b in zip(starts, ends, strict=True)]
    found = Seen(tuple(hours), tuple(starts))
    for answer in answers[:counts]:
        for one in answer.series:
            table = found.counted if one.agg == "increment" else found.means
            table[one.tag] = one.value
            shares = [c or 0.0 for c in one.coverage or [1.0] * len(hours)]
            found.known[one.tag] = tuple(c * h for c, h in zip(shares, hours, strict=True))
            found.coverage[one.tag] = sum(found.known[one.tag]) / sum(hours) if sum(hours) else 0.0
    for one in (one for answer in answers[counts:firsts] for one in answer.series):
        if (level := _level(one, r.start.timestamp())) is not None:
            found.first[one.tag] = level
    for one in (one for answer in answers[firsts:] for one in answer.series):
        if (level := _level(one, r.end.timestamp())) is not None:
            found.last[one.tag] = level
    found.coverage.update({tag: 1.0 if tag in found.first and tag in found.last else 0.0 for tag in levels})
    return found


def _level(one: Series, at: float) -> float | None:
    """Return the last known level before `at`, else the first one after it."""
    known = [(us / 1e6, v) for us, v in zip(one.ts, one.value, strict=True) if v is not None]
    before = [v for ts, v in known if ts < at]
    return before[-1] if before else known[0][1] if known else None
