"""Looking ahead: tomorrow's electricity, and when to run the evaporator. Data from the platform, maths from elsewhere.

Advice only: whoever runs the plant decides. What the plant model does not words (the ramp, the size of the brine tank)
is an assumption that the question may replace, and the answer names it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hefa_apps.client import Refused, Tag
from hefa_apps.energy import formulas
from hefa_apps.energy.answers import spoken
from hefa_apps.energy.forecast import HORIZON, LEAST, Forecast, forecast
from hefa_apps.energy.loadshift import Advice, Plan, Task, advise
from hefa_apps.energy.registers import ELECTRICITY, hours, metered, quarters, tariffs
from hefa_apps.energy.tariff import in_force
from hefa_apps.metrics import Reckoning

HOUR = timedelta(hours=1)
PAST = timedelta(days=42)  # that a forecast learns from
WATCHED = timedelta(days=7)  # from which the evaporator's habits are read
TANK = 800.0  # m3: the reference plant's brine tank (estimate), which the plant model does not hold
RAMP = 4.0  # t/h from hour to hour (estimate)
TURNDOWN = 0.35  # of the normal rate: what vendors of such evaporators name


def coming(r: Reckoning, now: datetime, words: Callable[..., str], zone: ZoneInfo) -> dict[str, Any]:
    """Return the forecast of the next 24 hours with its backtest, or why there is none."""
    metered(r.catalogue, ELECTRICITY)
    end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    past = hours(r, end - PAST, end)
    begin = end - HOUR * len(past)
    site = r.catalogue.root.zone
    ahead = [end + HOUR * i for i in range(HORIZON)]
    first = next((i for i, kwh in enumerate(past) if kwh is not None), len(past))
    known = past[first:]
    clock = [(begin + HOUR * (first + i)).astimezone(site).hour for i in range(len(known))]
    found: Forecast = forecast(known, clock, [when.astimezone(site).hour for when in ahead])
    naive = known[-HORIZON:]
    return {
        "unit": "kW.h",
        "step": "1h",
        "made": end.astimezone(zone),
        "shown": found.shown,
        "reason": None if found.shown else words(f"energy.why.forecast.{found.reason}", **_lacking(known)),
        "backtest": {
            "days": found.days,
            "model": asdict(found.model),
            "day_before": asdict(found.day_before),
            "week_before": asdict(found.week_before),
            "skill": found.skill,
        },
        "total": sum(found.values) if found.shown else None,
        "hours": [
            {"start": when.astimezone(zone), "value": value, "low": low, "high": high}
            for when, value, low, high in zip(ahead, found.values, found.low, found.high, strict=False)
        ],
        "past": [
            {"start": (end - HOUR * (len(naive) - i)).astimezone(zone), "value": kwh} for i, kwh in enumerate(naive)
        ],
    }


def _lacking(known: list[float | None]) -> dict[str, int]:
    """Say how many days of hours are there, how many are needed, and how many are missing."""
    hours = sum(kwh is not None for kwh in known)
    return {
        "days": hours // HORIZON,
        "least": LEAST // HORIZON,
        "missing": max(0, -((hours - LEAST) // HORIZON)),
    }


@dataclass(frozen=True)
class Wishes:
    """What a reader sets instead of what the plant shows; None = as the plant shows it."""

    total: float | None = None
    low: float | None = None
    high: float | None = None
    energy: float | None = None
    ramp: float | None = None
    tank: float | None = None
    tank_start: float | None = None
    inflow: float | None = None
    demand: bool = True


def shifted(
    r: Reckoning, now: datetime, wishes: Wishes, unit: str, words: Callable[..., str], zone: ZoneInfo, name: str
) -> dict[str, Any]:
    """Return advice for the next 24 whole hours of an evaporator, with everything that it was reckoned from."""
    counter = _counter(r, unit)
    subject = (counter.equipment or "").rpartition(".")[2]
    begin = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + HOUR
    ahead = r.over(begin, begin + HOUR * HORIZON)
    dated = tariffs(ahead, name)
    if dated is None:
        raise Refused(422, "no tariff", formulas.NO_TARIFF)
    site = r.catalogue.root.zone
    starts = [begin + HOUR * i for i in range(HORIZON)]
    prices = tuple(in_force(dated.tariffs, when).price(when.astimezone(site)) for when in starts)
    habit = _habit(r, counter, now, subject)
    missing = [name for name in ("energy", "total") if getattr(wishes, name) is None and habit[name] is None]
    if missing:
        return _answer(None, None, None, subject, habit, wishes, starts, prices, words, zone) | {
            "outcome": "unknown",
            "text": words("energy.shift.unknown"),
        }
    capacity = in_force(dated.tariffs, begin).capacity
    month = begin.astimezone(site).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    days = ((month + timedelta(days=32)).replace(day=1) - month).days
    task = Task(
        prices=prices,
        total=_or(wishes.total, habit["total"]),
        low=_or(wishes.low, habit["low"]),
        high=_or(wishes.high, habit["high"]),
        energy=_or(wishes.energy, habit["energy"]),
        ramp=_or(wishes.ramp, RAMP),
        running=habit["running"] if wishes.total is None else None,
        tank_start=_or(wishes.tank_start, habit["tank_share"] * _or(wishes.tank, TANK)),
        tank_high=_or(wishes.tank, TANK),
        inflow=(_or(wishes.inflow, habit["feed"] * _or(wishes.total, habit["total"]) / HORIZON),) * HORIZON,
        feed=habit["feed"],
        other=_others(r, counter, now, starts) if wishes.demand else (),
        demand_price=capacity.price / days if wishes.demand and capacity and capacity.contract is None else 0.0,
        demand_so_far=_peak(r, month, now) if wishes.demand else 0.0,
    )
    advice = advise(task)
    return _answer(task, advice, dated.tariffs[-1][1].currency, subject, habit, wishes, starts, prices, words, zone)


def _answer(
    task: Task | None,
    advice: Advice | None,
    currency: str | None,
    subject: str,
    habit: dict[str, Any],
    wishes: Wishes,
    starts: list[datetime],
    prices: tuple[float, ...],
    words: Callable[..., str],
    zone: ZoneInfo,
) -> dict[str, Any]:
    best, usual = (advice.best, advice.usual) if advice else (None, None)
    used = {} if task is None else {k: v for k, v in asdict(task).items() if k not in ("prices", "inflow", "other")}
    return {
        "unit": subject,
        "outcome": advice.outcome if advice else None,
        "text": words(f"energy.shift.{advice.outcome}") if advice else None,
        "reasons": [
            {"code": code, "text": words(f"energy.why.shift.{code}", **spoken(numbers))}
            for code, numbers in advice.reasons
        ]
        if advice
        else [],
        "currency": currency,
        "saving": advice.saving if advice else None,
        "best": _plan(best),
        "usual": _plan(usual),
        "task": used | {"inflow": task.inflow[0] if task and task.inflow else None},
        "units": {"total": "t", "rate": "t/h", "energy": "kW.h/t", "tank": "m3", "inflow": "m3/h", "demand": "kW"},
        "assumed": [n for n, value in (("ramp", wishes.ramp), ("tank", wishes.tank)) if value is None],
        "seen": habit,
        "hours": [
            {
                "start": when.astimezone(zone),
                "price": prices[i],
                "usual": usual.rates[i] if usual else None,
                "best": best.rates[i] if best else None,
                "tank": best.tank[i] if best and best.tank else None,
            }
            for i, when in enumerate(starts)
        ],
    }


def _plan(plan: Plan | None) -> dict[str, Any] | None:
    if plan is None:
        return None
    return {
        "cost": plan.cost,
        "energy_cost": plan.energy_cost,
        "demand_cost": plan.demand_cost,
        "peak": plan.peak,
    }


def _or(wish: float | None, seen: float | None) -> float:
    found = wish if wish is not None else seen
    assert found is not None
    return found


def _counter(r: Reckoning, unit: str) -> Tag:
    """The evaporator asked for, else the one with the greatest normal rate. Raises `Refused` where there is none."""
    there = formulas.evaporators(r.catalogue)
    if not there:
        raise Refused(422, "no evaporator", "no evaporator with an electricity meter stands in the plant model")
    if unit and unit not in there:
        raise Refused(422, "no evaporator", f"{unit} is no evaporator of this site; there are {', '.join(there)}")
    counters = [t for t in r.catalogue.tags.values() if t.template == "MVR" and t.kind == "counter" and t.unit == "t"]
    normal = {t.tag: (_beside(r, t, "evap") or t).normal or 0.0 for t in counters}
    named = [t for t in counters if (t.equipment or "").rpartition(".")[2] in ((unit,) if unit else there)]
    return max(named, key=lambda t: normal[t.tag])


def _beside(r: Reckoning, tag: Tag, suffix: str) -> Tag | None:
    return r.catalogue.tags.get(f"{tag.equipment}.{suffix}")


def _habit(r: Reckoning, counter: Tag, now: datetime, subject: str) -> dict[str, Any]:
    """Return how the evaporator has run: rates, bounds, energy per t, feed per t, how full the tanks are."""
    end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    week = r.over(end - WATCHED, end)
    rate, feed = _beside(r, counter, "evap"), _beside(r, counter, "feed")
    levels = [
        t.tag
        for t in r.catalogue.tags.values()
        if t.area == counter.area and t.template == "TANK" and t.unit == "%" and t.kind == "gauge"
    ]
    gauges = [t.tag for t in (rate, feed) if t]
    found = r.caller.series(gauges, end - timedelta(days=1), end, "1h", agg="mean", max_points=100) if gauges else None
    means = {one.tag: [v for v in one.value if v is not None] for one in (found.series if found else ())}
    rates = means.get(rate.tag, []) if rate else []
    feeds = means.get(feed.tag, []) if feed else []
    newest = r.caller.latest(tags=levels[:200]) if levels else []
    full = [n.value for n in newest if n.value is not None and not n.stale]
    mean = sum(rates) / len(rates) if rates else None
    normal = (rate.normal if rate else None) or mean or 0.0
    limits = rate.limits if rate else None
    return {
        "energy": week.figure(f"energy.evaporator.{subject}").value,
        "total": mean * HORIZON if mean else None,
        "running": rates[-1] if rates else None,
        "low": limits.l if limits and limits.l is not None else TURNDOWN * normal,
        "high": limits.h if limits and limits.h is not None else 1.4 * normal,
        "feed": (sum(feeds) / len(feeds)) / mean if feeds and mean else 1.25,
        "tank_share": (sum(full) / len(full) / 100) if full else 0.5,
        "hours": len(rates),
    }


def _others(r: Reckoning, counter: Tag, now: datetime, starts: list[datetime]) -> tuple[float, ...]:
    """What the rest of the site draws by the hour of the local day, the mean of the week before; none if unknown."""
    end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    mine = formulas.meters_of(r.catalogue, counter.line, ELECTRICITY)
    site = r.catalogue.root.zone
    whole = hours(r, end - WATCHED, end)
    answer = r.caller.series([t.tag for t in mine], end - WATCHED, end, "1h", agg="increment", max_points=10_000)
    by: dict[int, list[float]] = {}
    for i, kwh in enumerate(whole):
        parts = [one.value[i] if i < len(one.value) else None for one in answer.series]
        if kwh is not None and None not in parts:
            hour = (end - WATCHED + HOUR * i).astimezone(site).hour
            by.setdefault(hour, []).append(kwh - sum(p for p in parts if p is not None))
    found = [by.get(when.astimezone(site).hour) for when in starts]
    return tuple(sum(f) / len(f) for f in found if f) if all(found) else ()


def _peak(r: Reckoning, month: datetime, now: datetime) -> float:
    """The month's highest demand so far."""
    end = now.astimezone(UTC)
    if end - month < timedelta(hours=1):
        return 0.0
    found = quarters(r.over(month.astimezone(UTC), end)).peak
    return (found.kw if found else None) or 0.0
