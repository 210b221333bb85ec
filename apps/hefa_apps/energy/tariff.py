"""What electricity costs by the clock on the wall: bands, capacity charge, power factor. Pure.

A tariff is data (a dated setting). Its calendar names a band for every minute of a local day; the first rule that
fits the month and the day counts, so seasons and weekends stand before the rule for the rest. Energy comes in slots of
real time and each slot's band is read off the local clock, so the 23 and 25 hour days come out right by themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import hypot
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WORDS = {"all": DAYS, "workday": DAYS[:5], "weekend": DAYS[5:]}
_DAY = 24 * 60


class TariffError(ValueError):
    """A tariff that cannot be read; the text says what to change."""


@dataclass(frozen=True)
class Rule:
    """Bands of some days: `spans` are (first minute, last minute + 1, band) and cover the whole day."""

    months: frozenset[int]
    days: frozenset[int]
    spans: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Capacity:
    """A charge per month: `price` for each unit of `contract`, or of the highest demand when `contract` is None."""

    price: float
    unit: str
    contract: float | None


@dataclass(frozen=True)
class Tariff:
    """Prices per kWh by band, and when each band is in force."""

    name: str
    currency: str
    prices: Mapping[str, float]
    rules: tuple[Rule, ...]
    holidays: Mapping[date, int]  # a day that counts as another weekday
    capacity: Capacity | None = None
    target: float | None = None  # power factor
    steps: tuple[tuple[float, float], ...] = ()  # (power factor from, share added to the bill), highest first

    def band(self, local: datetime) -> str:
        """Return the band in force at a local time."""
        day = self.holidays.get(local.date(), local.weekday())
        minute = local.hour * 60 + local.minute
        for rule in self.rules:
            if local.month in rule.months and day in rule.days:
                return next(band for first, end, band in rule.spans if first <= minute < end)
        raise TariffError(f"the tariff {self.name!r} says nothing about {local:%A %d %B}")

    def price(self, local: datetime) -> float:
        """Return the price of a kWh at a local time."""
        return self.prices[self.band(local)]

    def step(self, zone: ZoneInfo, when: datetime) -> str:
        """Return the longest bucket of energy that no band change cuts, where UTC hours are this zone's hours."""
        marks = [minute for rule in self.rules for first, _, _ in rule.spans for minute in (first,)]
        offset = when.astimezone(zone).utcoffset() or timedelta(0)
        marks.append(int(offset.total_seconds() // 60))
        for step, minutes in (("1h", 60), ("15m", 15)):
            if all(mark % minutes == 0 for mark in marks):
                return step
        return "1m"


@dataclass(frozen=True)
class Slot:
    """Energy in [start, end), None where it is not known."""

    start: datetime
    end: datetime
    kwh: float | None


@dataclass(frozen=True)
class BandCost:
    """What one band took: `hours` are those of the period in it, `known_hours` those whose energy is known."""

    band: str
    price: float
    kwh: float | None
    cost: float | None
    hours: float
    known_hours: float


@dataclass(frozen=True)
class Bill:
    """Energy by band, the cheapest first, and the charges beside it, None where they cannot be told."""

    currency: str
    bands: tuple[BandCost, ...]
    kwh: float | None
    energy: float | None
    capacity: float | None
    months: float  # how many months of capacity were charged: 1/30 for one day of a month of 30 days
    power_factor: float | None
    adjustment_share: float | None
    adjustment: float | None

    @property
    def total(self) -> float | None:
        """Everything that is known of the bill; None when not even the energy is."""
        return None if self.energy is None else self.energy + (self.capacity or 0.0) + (self.adjustment or 0.0)

    @property
    def mean(self) -> float | None:
        """The mean price of a kWh, energy alone."""
        return self.energy / self.kwh if self.energy is not None and self.kwh else None


def parse(document: Mapping[str, Any], name: str = "electricity") -> Tariff:
    """Read the value of a tariff setting. Raises `TariffError` with a sentence for whoever wrote it.

    `bands` name a price each; `calendar` is a list of rules with `hours` (band → list of ["HH:MM", "HH:MM"]), and,
    where they differ by season or day, `months` and `days` ("all", "workday", "weekend" or names of days).
    `power_factor` is the target, or {"target", "steps": [[from, share of the bill], …]}.
    """
    try:
        prices = {str(band): float(price) for band, price in document["bands"].items()}
        calendar = list(document["calendar"])
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise TariffError(f"a tariff needs `bands` with a price each and a `calendar`: {error}") from None
    if not calendar:
        raise TariffError("the calendar of a tariff needs at least one rule")
    rules = tuple(_rule(entry, prices) for entry in calendar)
    tariff = Tariff(
        name=name,
        currency=str(document.get("currency", "CNY")),
        prices=prices,
        rules=rules,
        holidays=_holidays(document.get("holidays") or {}),
        capacity=_capacity(document.get("capacity")),
        target=_target(document.get("power_factor")),
        steps=_steps(document.get("power_factor")),
    )
    told = {(month, day) for rule in rules for month in rule.months for day in rule.days}
    if len(told) < 12 * 7:
        raise TariffError("the calendar does not cover every month and day: end it with a rule for all of them")
    return tariff


def _rule(entry: Mapping[str, Any], prices: Mapping[str, float]) -> Rule:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("hours"), Mapping):
        raise TariffError('a rule of the calendar needs `hours`, such as {"valley": [["00:00", "08:00"]]}')
    try:
        months = frozenset(int(m) for m in entry.get("months") or range(1, 13))
    except (TypeError, ValueError):
        raise TariffError("`months` is a list of the numbers 1-12") from None
    asked = entry.get("days") or "all"
    words = list(asked) if isinstance(asked, list | tuple) else [asked]
    names = [name for word in words for name in _WORDS.get(str(word), (str(word),))]
    unknown = [name for name in names if name not in DAYS]
    if unknown or not months <= frozenset(range(1, 13)):
        raise TariffError(f"a rule knows the months 1–12 and the days {', '.join((*_WORDS, *DAYS))}, not {unknown}")
    spans: list[tuple[int, int, str]] = []
    for band, hours in entry["hours"].items():
        if band not in prices:
            raise TariffError(f"the band {band!r} has no price")
        for pair in hours if isinstance(hours, Sequence) else (hours,):
            first, end = _span(pair)
            spans += [(first, end, band)] if first < end else [(first, _DAY, band), (0, end, band)]
    spans = sorted(span for span in spans if span[0] < span[1])
    edges = [0, *(end for _, end, _ in spans)]
    if [first for first, _, _ in spans] != edges[:-1] or edges[-1] != _DAY:
        raise TariffError("the hours of a rule must cover the day from 00:00 to 24:00 without gap and without overlap")
    return Rule(months, frozenset(DAYS.index(name) for name in names), tuple(spans))


def _span(pair: Any) -> tuple[int, int]:
    try:
        first, end = (_minute(str(part)) for part in pair)
    except (TypeError, ValueError):
        raise TariffError(f'{pair!r} is no span of hours such as ["08:00", "10:30"]') from None
    return first, end


def _minute(text: str) -> int:
    if text.strip() == "24:00":
        return _DAY
    clock = time.fromisoformat(text.strip())
    return clock.hour * 60 + clock.minute


def _holidays(found: Mapping[str, str]) -> dict[date, int]:
    try:
        return {date.fromisoformat(day): DAYS.index(like) for day, like in found.items()}
    except (ValueError, AttributeError) as error:
        raise TariffError(
            f'holidays name a day and the weekday it counts as, {{"2026-10-01": "sun"}}: {error}'
        ) from None


def _capacity(found: Any) -> Capacity | None:
    if not found:
        return None
    price = _number(found, "price") if isinstance(found, Mapping) else None
    if price is None:
        raise TariffError("a capacity charge needs a `price` per month")
    return Capacity(price, str(found.get("unit", "kV.A")), _number(found, "contract"))


def _target(found: Any) -> float | None:
    return _number(found, "target") if isinstance(found, Mapping) else _number({"target": found}, "target")


def _steps(found: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(found, Mapping) or not found.get("steps"):
        return ()
    try:
        return tuple(sorted(((float(a), float(b)) for a, b in found["steps"]), reverse=True))
    except (TypeError, ValueError):
        raise TariffError("power_factor.steps is a list of [power factor from, share of the bill]") from None


def _number(found: Any, name: str) -> float | None:
    if not found or found.get(name) is None:
        return None
    try:
        return float(found[name])
    except (TypeError, ValueError):
        raise TariffError(f"`{name}` is a number") from None


def adjustment(power_factor: float, target: float, steps: Sequence[tuple[float, float]] = ()) -> float:
    """Return the share by which a bill changes for a power factor, to the hundredth as bills do.

    Without `steps`: the Chinese rule of 1983 (recalled) — half a per cent for each hundredth missing, one per cent
    from the 21st on, two from the 26th; 0.15 per cent off for each hundredth above the target, five at most.
    """
    factor = round(power_factor, 2)
    if steps:
        return next((share for least, share in steps if factor >= least), steps[-1][1])
    points = round((target - factor) * 100)
    if points <= 0:
        return -0.0015 * min(-points, 5)
    return 0.005 * min(points, 20) + 0.01 * min(max(points - 20, 0), 5) + 0.02 * max(points - 25, 0)


def power_factor(active: float | None, reactive: float | None) -> float | None:
    """Return the power factor of a period from its active and reactive energy."""
    if active is None or reactive is None or active <= 0:
        return None
    return active / hypot(active, reactive)


def in_force(dated: Sequence[tuple[datetime, Tariff]], when: datetime) -> Tariff:
    """Return the tariff in force; the oldest one for times before any. `dated` is in order of time and not empty."""
    return next((tariff for since, tariff in reversed(dated) if since <= when), dated[0][1])


def months(start: datetime, end: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime, float]]:
    """Return the parts of the period in each local month with the share of that month that they are."""
    parts = []
    first = start.astimezone(zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while first.astimezone(UTC) < end:
        following = (first + timedelta(days=32)).replace(day=1)
        a, b = first.astimezone(UTC), following.astimezone(UTC)
        inside = min(b, end.astimezone(UTC)) - max(a, start.astimezone(UTC))
        if inside > timedelta(0):
            parts.append((max(a, start.astimezone(UTC)), min(b, end.astimezone(UTC)), inside / (b - a)))
        first = following
    return parts


def bill(
    slots: Sequence[Slot],
    dated: Sequence[tuple[datetime, Tariff]],
    zone: ZoneInfo,
    *,
    reactive: float | None = None,
    demand: float | None = None,
    charges: bool = True,
) -> Bill:
    """Price the slots of a period. `demand` is its highest mean power in kW, `reactive` its reactive energy.

    A charge per kV.A counts the demand over the power factor, or the demand alone where that is not known. `charges`
    False prices energy alone, as for an area, which has no contract of its own. A capacity charge is a
    month's: a shorter period bears its share of it.
    """
    found: dict[tuple[str, float], list[float | None]] = {}
    hours: dict[tuple[str, float], list[float]] = {}
    order: list[tuple[str, float]] = []
    for slot in slots:
        tariff = in_force(dated, slot.start)
        band = tariff.band(slot.start.astimezone(zone))
        key = (band, tariff.prices[band])
        if key not in found:
            order.append(key)
        length = (slot.end - slot.start) / timedelta(hours=1)
        found.setdefault(key, []).append(slot.kwh)
        hours.setdefault(key, []).append(length)
    cheapest = {band: min(t.prices[band] for _, t in dated if band in t.prices) for band, _ in order}
    order.sort(key=lambda key: (cheapest[key[0]], key))
    bands = []
    for key in order:
        known = [kwh for kwh in found[key] if kwh is not None]
        kwh = sum(known) if known else None
        lengths = list(zip(found[key], hours[key], strict=True))
        bands.append(
            BandCost(
                *key,
                kwh,
                None if kwh is None else kwh * key[1],
                sum(hours[key]),
                sum(length for amount, length in lengths if amount is not None),
            )
        )
    kwh = _sum(band.kwh for band in bands)
    energy = _sum(band.cost for band in bands)
    factor = power_factor(kwh, reactive) if charges else None
    capacity, charged = _charge(slots, dated, zone, demand, factor) if charges else (None, 0.0)
    last = in_force(dated, slots[-1].start) if slots else dated[-1][1]
    share = None
    if factor is not None and (last.target is not None or last.steps):
        share = adjustment(factor, last.target or 0.9, last.steps)
    return Bill(
        currency=dated[-1][1].currency,
        bands=tuple(bands),
        kwh=kwh,
        energy=energy,
        capacity=capacity,
        months=charged,
        power_factor=factor,
        adjustment_share=share,
        adjustment=None if share is None or energy is None else share * (energy + (capacity or 0.0)),
    )


def _charge(
    slots: Sequence[Slot],
    dated: Sequence[tuple[datetime, Tariff]],
    zone: ZoneInfo,
    demand: float | None,
    factor: float | None,
) -> tuple[float | None, float]:
    total, charged, known = 0.0, 0.0, False
    if slots:
        for first, _, share in months(slots[0].start, slots[-1].end, zone):
            capacity = in_force(dated, first).capacity
            size = None if capacity is None else capacity.contract
            if capacity is not None and size is None and demand is not None:
                size = demand / factor if factor and capacity.unit == "kV.A" else demand
            if capacity is not None and size is not None:
                known = True
                total += capacity.price * size * share
                charged += share
    return (total if known else None), charged


def _sum(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
