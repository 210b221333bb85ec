"""What the energy app reads: registers by the hour, days with their drivers, tariffs and factors. Each is asked once.

Which tag is what is found in the plant model (carriers, templates, units), never by a name of this plant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hefa_apps.client import Catalogue, Refused, Series, Setting, Tag, Use
from hefa_apps.energy.emissions import Factor
from hefa_apps.energy.model import Demand, MeterSeen, demand
from hefa_apps.energy.tariff import Tariff, TariffError, parse
from hefa_apps.metrics import Need, Reckoning
from hefa_apps.metrics.use import FEED
from hefa_apps.question import calendar
from hefa_apps.usage import UNACCOUNTED

ELECTRICITY = "electricity"
QUARTER = timedelta(minutes=15)
MOST_QUARTERS = 9_600  # of one question, a hundred days: what the platform answers at once
KNOWN = 0.9  # a day watched for less than this share of its time fits no baseline

# Relative uncertainties at one standard deviation: estimates, as settings do not carry any yet.
METER_U = {"electricity": 0.005, "gas": 0.015, "steam": 0.02, "water": 0.02, FEED: 0.005}
FACTOR_U = {"electricity": 0.05, "gas": 0.02, FEED: 0.05}


def roots(catalogue: Catalogue, carrier: str) -> list[Tag]:
    """Return the billing meters of what comes in of a carrier and that no other meter is a part of."""
    return [
        tag
        for tag in catalogue.tags.values()
        if (m := tag.meter) and m.carrier == carrier and m.role == "billing" and m.stream == "supply" and not m.parent
    ]


def carriers(catalogue: Catalogue) -> list[str]:
    """Return the carriers that come in."""
    found = {t.meter.carrier for t in catalogue.tags.values() if t.meter and t.meter.stream == "supply"}
    return sorted(c for c in found if c)


def metered(catalogue: Catalogue, carrier: str) -> str:
    """Return the carrier. Raises `Refused` when it is not metered here."""
    if not roots(catalogue, carrier):
        known = ", ".join(carriers(catalogue)) or "none"
        raise Refused(422, "not metered", f"{carrier} is not metered here; metered are: {known}")
    return carrier


def rows(r: Reckoning, carrier: str, by: str, step: str | None) -> list[Use]:
    """Return the use of a carrier by area, line or meter and step."""
    found: list[Use] = r.answer(rows_asked(r, carrier, by, step))
    return found


def rows_asked(r: Reckoning, carrier: str, by: str, step: str | None) -> Need:
    """Return the question that `rows` answers."""

    def ask() -> list[Use]:
        return list(r.caller.consumption(r.start, r.end, by=by, step=step, carriers=[carrier]).rows)

    return r.need(("energy rows", carrier, by, step), ask)


def finest_asked(r: Reckoning, there: Sequence[str], by: str = "line") -> list[Need]:
    """Return the questions that `finest` asks first for these carriers."""
    return [rows_asked(r, carrier, split, None) for carrier in there for split in _SPLITS[by]]


_SPLITS = {"line": ("line", "area"), "area": ("area",)}


def finest(r: Reckoning, carrier: str, by: str = "line") -> list[Use]:
    """Return the use of a carrier by line or area; by what is coarser where its meters cannot tell lines apart."""
    for split in _SPLITS[by]:
        try:
            return rows(r, carrier, split, None)
        except Refused:
            continue
    return [replace(row, key=UNACCOUNTED) for row in rows(r, carrier, "total", None)]


def quarters(r: Reckoning) -> Demand:
    """Return the demand of the site by quarters of an hour. Raises `Refused` for more than the platform answers."""
    found: Demand = r.answer(quarters_asked(r))
    return found


def quarters_asked(r: Reckoning) -> Need:
    """Return the question that `quarters` answers."""
    return r.need(("energy quarters",), lambda: _ask_quarters(r))


def _ask_quarters(r: Reckoning) -> Demand:
    if (r.end - r.start) / QUARTER > MOST_QUARTERS:
        most = int(MOST_QUARTERS * QUARTER / timedelta(days=1))
        raise Refused(422, "too long", f"quarters of an hour are shown for {most} days at most; ask for less")
    meters = roots(r.catalogue, metered(r.catalogue, ELECTRICITY))
    answer = r.caller.series([t.tag for t in meters], r.start, r.end, "15m", agg="increment", max_points=10_000)
    return demand(_buckets(answer.series, answer.from_, answer.to, QUARTER))


def _buckets(
    series: Sequence[Series], start: datetime, end: datetime, length: timedelta
) -> list[tuple[datetime, datetime, float | None]]:
    """Add the meters of a site up, bucket by bucket; one that is not known makes the sum unknown.

    A bucket that the range cuts speaks of its part, and one that has not been is not there.
    """
    found = []
    for i, us in enumerate(series[0].ts if series else ()):
        first = datetime.fromtimestamp(us / 1e6, UTC)
        values = [one.value[i] for one in series]
        a, b = max(first, start), min(first + length, end)
        if b - a == length:
            found.append((a, b, None if None in values else sum(v for v in values if v is not None)))
    return found


def reactive(r: Reckoning) -> float | None:
    """Return the reactive energy of the site, from the register beside the active one of each incoming meter."""
    found: float | None = r.answer(reactive_asked(r))
    return found


def reactive_asked(r: Reckoning) -> Need:
    """Return the question that `reactive` answers."""

    def ask() -> float | None:
        beside = [
            tag.tag
            for root in roots(r.catalogue, ELECTRICITY)
            for tag in r.catalogue.tags.values()
            if tag.equipment == root.equipment and tag.kind == "counter" and (tag.unit or "").endswith("{reactive}")
        ]
        if not beside:
            return None
        answer = r.caller.series(beside, r.start, r.end, "1d", agg="increment", max_points=10_000)
        parts = [value for one in answer.series for value in one.value]
        known = [value for value in parts if value is not None]
        return sum(known) if known and len(known) == len(parts) else None

    return r.need(("energy reactive",), ask)


@dataclass(frozen=True)
class Dated:
    """Tariffs in order of time with the settings that they were read from."""

    tariffs: tuple[tuple[datetime, Tariff], ...]
    settings: tuple[Setting, ...]


def tariffs(r: Reckoning, name: str = ELECTRICITY) -> Dated | None:
    """Return what was in force over the range; None when there is no such tariff. Raises `Refused` for a broken one."""
    dated: Dated | None = r.answer(tariffs_asked(r, name))
    return dated


def tariffs_asked(r: Reckoning, name: str = ELECTRICITY) -> Need:
    """Return the question that `tariffs` answers."""
    return r.need(("energy tariffs", name), lambda: _ask_tariffs(r, name))


def _ask_tariffs(r: Reckoning, name: str) -> Dated | None:
    found = [s for s in r.caller.settings_over("tariff", r.start, r.end, names=[name]) if s.value]
    if not found:
        return None
    try:
        read = [(s.start or s.valid_from, parse(s.value or {}, s.name)) for s in found]
    except TariffError as error:
        raise Refused(422, "tariff", f"the tariff {name!r} cannot be used: {error}") from None
    return Dated(tuple(sorted(read, key=lambda pair: pair[0])), tuple(found))


def factors(r: Reckoning) -> list[Setting]:
    """Return every factor in force over the range."""
    found: list[Setting] = r.answer(factors_asked(r))
    return found


def factors_asked(r: Reckoning) -> Need:
    """Return the question that `factors` answers."""
    return r.need(("energy factors",), lambda: [s for s in r.caller.settings_over("factor", r.start, r.end) if s.value])


def factor(setting: Setting, tonne: bool = False) -> Factor:
    """Return a factor setting as kg per unit of the platform's amounts (materials count in kg)."""
    value = setting.value or {}
    per = str(value.get("per", ""))
    scale, per = (1e-3, "kg") if tonne and per == "t" else (1.0, per)
    return Factor(
        name=setting.name,
        value=float(value["value"]) * scale,
        unit=f"{value.get('unit', 'kg')}/{per}",
        since=setting.start or setting.valid_from,
        uncertainty=FACTOR_U.get(str(value.get("of")), 0.05),
        source=setting.source,
    )


@dataclass(frozen=True)
class Day:
    """One whole day: energy and the drivers, None where not enough of it is known."""

    start: datetime
    energy: float | None
    production: float | None  # t
    temperature: float | None  # Cel

    @property
    def complete(self) -> bool:
        """Say whether the day can stand in a fit."""
        return None not in (self.energy, self.production, self.temperature)


def thermometer(catalogue: Catalogue) -> Tag | None:
    """Return the gauge of the outdoor temperature: the one in Cel of a weather station."""
    there = (t for t in catalogue.tags.values() if t.template == "WEATHER" and t.unit == "Cel" and t.kind == "gauge")
    return next(there, None)


def days(r: Reckoning, carrier: str, place: str | None, first: datetime, last: datetime) -> list[Day]:
    """Return the whole plant days that start in [first, last) and have ended, with use, t fed and mean temperature."""
    start, end = whole_days(r.catalogue, first, last)
    if start >= end:
        return []
    caller, warm = r.caller, thermometer(r.catalogue)
    by = "area" if place else "total"
    asks = [
        lambda: caller.consumption(start, end, by=by, step="plantday", carriers=[carrier]),
        lambda: caller.consumption(start, end, by="total", step="plantday", materials=[FEED]),
    ]
    if warm:
        asks.append(lambda: caller.series([warm.tag], start, end, "plantday", agg="mean", max_points=10_000))  # type: ignore[arg-type,return-value]
    used, fed, *mild = r.once(("energy days", carrier, place, start, end), lambda: caller.together(*asks))
    energy = {u.start: u.value if (u.coverage or 0) >= KNOWN else None for u in used.rows if place in (None, u.key)}
    tonnes = {u.start: u.value / 1e3 if u.value is not None and (u.coverage or 0) >= KNOWN else None for u in fed.rows}
    warmth: dict[datetime, float | None] = {}
    if mild and mild[0].series:
        found = mild[0].series[0]
        warmth = {datetime.fromtimestamp(us / 1e6, UTC): v for us, v in zip(found.ts, found.value, strict=True)}
    starts = sorted({u.start for u in fed.rows} | set(energy))
    zone = r.catalogue.root.zone
    return [Day(s.astimezone(zone), energy.get(s), tonnes.get(s), warmth.get(s.astimezone(UTC))) for s in starts]


def whole_days(catalogue: Catalogue, first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Return the plant days that [first, last) holds whole, as the range from the first's start to the last's end."""
    site = calendar(catalogue.root)

    def at(day: datetime) -> datetime:
        return datetime.combine(day.date(), site.plantday, site.zone)

    start = at(first.astimezone(site.zone))
    if start < first:
        start = at(start + timedelta(days=1))
    end = at(last.astimezone(site.zone))
    if end > last:
        end = at(end - timedelta(days=1))
    return start.astimezone(UTC), end.astimezone(UTC)


def hours(r: Reckoning, start: datetime, end: datetime) -> list[float | None]:
    """Return the site's electricity by the hour over [start, end), both whole hours."""
    meters = roots(r.catalogue, metered(r.catalogue, ELECTRICITY))
    answer = r.caller.series([t.tag for t in meters], start, end, "1h", agg="increment", max_points=10_000)
    return [kwh for _, _, kwh in _buckets(answer.series, answer.from_, answer.to, timedelta(hours=1))]


def seen(r: Reckoning, carrier: str, names: Mapping[str, str]) -> list[MeterSeen]:
    """Return every meter of what comes in of a carrier with what its register counted."""
    found: list[MeterSeen] = r.answer(seen_asked(r, carrier, names))
    return found


def seen_asked(r: Reckoning, carrier: str, names: Mapping[str, str]) -> Need:
    """Return the question that `seen` answers."""

    def ask() -> list[MeterSeen]:
        meters = [
            t
            for t in r.catalogue.tags.values()
            if t.meter and t.meter.carrier == carrier and t.meter.stream == "supply"
        ]
        if not meters:
            return []
        answer = r.caller.series([t.tag for t in meters], r.start, r.end, "1d", agg="increment", max_points=10_000)
        counted = {one.tag: _sum(one.value) for one in answer.series}
        return [
            MeterSeen(
                tag=t.tag,
                name=names.get(t.equipment or "", "") or t.description,
                serves=t.meter.serves,
                parent=t.meter.parent,
                check=t.meter.role == "check",
                known=counted.get(t.tag),
            )
            for t in meters
            if t.meter
        ]

    return r.need(("energy seen", carrier), ask)


def _sum(values: Sequence[float | None]) -> float | None:
    """Add what is known; None when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
