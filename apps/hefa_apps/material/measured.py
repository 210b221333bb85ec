"""What the instruments said over a period, by buckets: increments of registers, means of gauges, levels at both ends."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from hefa_apps.client import Series
from hefa_apps.material.seen import Seen
from hefa_apps.metrics import Need, Reckoning

_NEAR = timedelta(hours=1)  # how far from an end of a period its level may be taken
_MOST = 150  # tags in a question


def step_for(hours: float) -> str:
    """Return the buckets of a period of this length: short against hold-ups, few enough to be quick."""
    return "15m" if hours <= 12 else "1h" if hours <= 24 * 8 else "plantday"


def seen(r: Reckoning, registers: Sequence[str], gauges: Sequence[str], levels: Sequence[str]) -> Seen:
    """Ask the platform, side by side. Tags that the site does not have are left out."""
    place = ("material seen", *map(tuple, (registers, gauges, levels)))
    return r.once(place, partial(_assemble, r, registers, gauges, levels))  # type: ignore[no-any-return]


def needs(r: Reckoning, registers: Sequence[str], gauges: Sequence[str], levels: Sequence[str]) -> list[Need]:
    """Return the questions that `seen` is made of."""
    return [need for part in _parts(r, registers, gauges, levels) for need in part]


def _parts(
    r: Reckoning, registers: Sequence[str], gauges: Sequence[str], levels: Sequence[str]
) -> tuple[list[Need], list[Need], list[Need]]:
    """Return the questions for increments and means, for the levels at the start, and for those at the end."""
    step = step_for((r.end - r.start).total_seconds() / 3600)
    # Means of an hour calm an analyser's noise; both ends lag by as much, so a change stays one.
    short = "15m" if r.end - r.start < 6 * _NEAR else "1h"

    def of(tags: Sequence[str], start: datetime, end: datetime, step: str, agg: str) -> list[Need]:
        known = tuple(dict.fromkeys(t for t in tags if t in r.catalogue.tags))
        groups = [known[i : i + _MOST] for i in range(0, len(known), _MOST)]
        return [
            r.need(
                ("material series", some, start, end, agg),
                partial(r.caller.series, some, start, end, step, agg=agg, max_points=10_000),
            )
            for some in groups
        ]

    return (
        [*of(registers, r.start, r.end, step, "increment"), *of(gauges, r.start, r.end, step, "mean")],
        of(levels, r.start - _NEAR, r.start + _NEAR, short, "mean"),
        of(levels, r.end - _NEAR, r.end, short, "mean"),
    )


def _assemble(r: Reckoning, registers: Sequence[str], gauges: Sequence[str], levels: Sequence[str]) -> Seen:
    parts = _parts(r, registers, gauges, levels)
    asks = [need for part in parts for need in part]
    counts, firsts = len(parts[0]), len(parts[0]) + len(parts[1])
    if not asks:
        return Seen()
    r.ahead(asks)
    answers = [r.answer(need) for need in asks]
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
    found.coverage.update(
        {tag: 1.0 if tag in found.first and tag in found.last else 0.0 for tag in levels if tag in r.catalogue.tags}
    )
    return found


def _level(one: Series, at: float) -> float | None:
    """Return the last known level before `at`, else the first one after it."""
    known = [(us / 1e6, v) for us, v in zip(one.ts, one.value, strict=True) if v is not None]
    before = [v for ts, v in known if ts < at]
    return before[-1] if before else known[0][1] if known else None
