"""How the energy metrics are reckoned; what each means stands in `metrics/energy.toml`."""

from collections.abc import Callable
from datetime import datetime, timedelta

from hefa_apps.client import Catalogue, Series, Tag, Use
from hefa_apps.energy.carbon import carbon
from hefa_apps.energy.model import NIGHT, night
from hefa_apps.energy.registers import (
    ELECTRICITY,
    carriers,
    factors_asked,
    quarters,
    quarters_asked,
    reactive,
    reactive_asked,
    roots,
    rows,
    rows_asked,
    tariffs,
    tariffs_asked,
)
from hefa_apps.energy.tariff import Bill, Slot, bill
from hefa_apps.metrics import Basis, Figure, Input, Members, Need, Outcome, Reckoning, targets, use
from hefa_apps.metrics.reckoning import Formula
from hefa_apps.metrics.use import FEED, subjects
from hefa_apps.usage import UNACCOUNTED, total

_TONNE = 1e3
LONG = 93  # days: beyond it figures are asked for one by one, as they are needed
CURRENCY = "CNY"  # of every metric of money
NO_TARIFF = "There is no tariff for electricity: enter one with POST /v1/settings/tariff."
NO_FACTOR = "There is no factor for this: enter one with POST /v1/settings/factor."
NO_FEED = "Nothing was fed in this period, so there is nothing to divide by."


def billed(r: Reckoning, name: str = ELECTRICITY) -> Bill | None:
    """Return the site's bill of electricity for the range; None without a tariff."""
    return r.once(("energy bill", name), lambda: _bill(r, name))  # type: ignore[no-any-return]


def _bill(r: Reckoning, name: str) -> Bill | None:
    dated = tariffs(r, name)
    if dated is None:
        return None
    demanded = quarters(r)
    peak = demanded.peak.kw if demanded.peak else None
    return bill(slots(hourly(r, name)), dated.tariffs, r.catalogue.root.zone, reactive=reactive(r), demand=peak)


def hourly(r: Reckoning, name: str = ELECTRICITY, by: str = "total") -> list[Use]:
    """Return electricity, whole or by area, in buckets that no change of band cuts."""
    dated = tariffs(r, name)
    steps = [tariff.step(r.catalogue.root.zone, r.start) for _, tariff in dated.tariffs] if dated else []
    finest = min(steps, key=("1m", "15m", "1h").index, default="1h")
    return rows(r, ELECTRICITY, by, finest)


def slots(found: list[Use]) -> list[Slot]:
    """Return rows of any keys as slots of energy, the keys of a slot added up."""
    by: dict[tuple[datetime, datetime], float | None] = {}
    for row in found:
        span = row.start, row.end
        held = by.get(span)
        by[span] = row.value if held is None else held if row.value is None else held + row.value
    return [Slot(*span, by[span]) for span in sorted(by)]


def coverage(found: list[Use]) -> float | None:
    """Return how much of the time the rows cover."""
    return total(found).coverage


def cost(r: Reckoning) -> Outcome:
    found = billed(r)
    if found is None:
        return Outcome(None, reason=NO_TARIFF)
    used = r.figure(f"use.{ELECTRICITY}")
    source = "GET /v1/settings/tariff"
    inputs = (
        *(
            Input(
                f"{b.band}: {_number(b.kwh)} kWh at {b.price:g} {found.currency}/kWh",
                b.cost,
                found.currency,
                source=source,
            )
            for b in found.bands
        ),
        Input("capacity charge, shared out by time", found.capacity, found.currency, source=source),
        Input("power factor adjustment", found.adjustment, found.currency, source=source),
        r.input("energy.demand.peak"),
        r.input(f"use.{ELECTRICITY}"),
    )
    reason = "" if found.total is not None else "Nothing is known of the electricity used in this period."
    if found.currency != CURRENCY:
        return Outcome(
            None, inputs, used.coverage, f"The tariff is in {found.currency}, costs are reckoned in {CURRENCY}."
        )
    return Outcome(found.total, inputs, used.coverage, reason, used.tags)


def price(r: Reckoning) -> Outcome:
    found = billed(r)
    if found is None or found.mean is None:
        return Outcome(None, reason=NO_TARIFF if found is None else "Nothing was used in this period.")
    if found.currency != CURRENCY:
        return Outcome(None, reason=f"The tariff is in {found.currency}, costs are reckoned in {CURRENCY}.")
    inputs = (
        Input("energy charge", found.energy, found.currency, source="GET /v1/settings/tariff"),
        Input("energy priced", found.kwh, "kW.h"),
    )
    return Outcome(found.mean, inputs, r.figure(f"use.{ELECTRICITY}").coverage)


def peak(r: Reckoning) -> Outcome:
    found = quarters(r)
    meters = tuple(t.tag for t in roots(r.catalogue, ELECTRICITY))
    if found.peak is None:
        return Outcome(None, (), found.coverage, reason="No whole quarter of an hour is known.", tags=meters)
    when = found.peak.start.astimezone(r.catalogue.root.zone)
    inputs = tuple(
        Input(f"register increment of the quarter at {when:%Y-%m-%d %H:%M}", (found.peak.kw or 0) / 4, "kW.h", tag=tag)
        for tag in meters[:1]
    )
    return Outcome(found.peak.kw, inputs, found.coverage, tags=meters)


def base(r: Reckoning) -> Outcome:
    demanded = quarters(r)
    mean, hours = night(demanded.points, r.catalogue.root.zone)
    meters = tuple(t.tag for t in roots(r.catalogue, ELECTRICITY))
    if mean is None:
        first, last = NIGHT
        reason = f"The period holds no known hour between {first:02d}:00 and {last:02d}:00."
        return Outcome(None, reason=reason, tags=meters)
    inputs = (Input("known hours of the night", hours, "h"), Input("energy in them", mean * hours, "kW.h"))
    return Outcome(mean, inputs, demanded.coverage, tags=meters)


def unaccounted(r: Reckoning, subject: str) -> Outcome:
    found = rows(r, subject, "meter", None)
    rest = next((row for row in found if row.key == UNACCOUNTED), None)
    whole = r.figure(f"use.{subject}")
    inputs = (
        Input("what no meter below the main one saw", rest.value if rest else None, whole.unit),
        r.input(f"use.{subject}"),
    )
    if rest is None or rest.value is None or not whole.value:
        reason = whole.reason or "No meter stands below another one, so nothing can be missing."
        return Outcome(None, inputs, whole.coverage, reason=reason, tags=whole.tags)
    return Outcome(
        rest.value / whole.value * 100, inputs, min(rest.coverage or 0, whole.coverage or 0), tags=whole.tags
    )


def evaporators(catalogue: Catalogue) -> dict[str, str]:
    """Return the units that evaporate (a counter of t evaporated) in a line with an electricity meter."""
    there = (t for t in catalogue.tags.values() if _evaporated(t) and meters_of(catalogue, t.line, ELECTRICITY))
    return {_unit(t): "kW.h/t" for t in there}


def _evaporated(tag: Tag) -> bool:
    return tag.template == "MVR" and tag.kind == "counter" and tag.unit == "t"


def evaporator(r: Reckoning, subject: str) -> Outcome:
    """Return kWh per t evaporated: the line's electricity meters over the unit's own counter."""
    counter = next(t for t in r.catalogue.tags.values() if _evaporated(t) and _unit(t) == subject)
    return _ratio(r, meters_of(r.catalogue, counter.line, ELECTRICITY), counter, 1.0)


def kilns(catalogue: Catalogue) -> dict[str, str]:
    """Return the kilns (an output in kg/h) in a line with a gas meter."""
    there = (t for t in catalogue.tags.values() if _burnt(t) and meters_of(catalogue, t.line, "gas"))
    return {_unit(t): "m3{n}/t" for t in there}


def _burnt(tag: Tag) -> bool:
    return (tag.template or "").startswith("KILN") and tag.kind == "gauge" and tag.tag.endswith(".rate")


def kiln(r: Reckoning, subject: str) -> Outcome:
    """Return gas per t of oxide: the line's gas meters over the kiln's output."""
    rate = next(t for t in r.catalogue.tags.values() if _burnt(t) and _unit(t) == subject)
    return _ratio(r, meters_of(r.catalogue, rate.line, "gas"), rate, 1 / _TONNE)


def _ratio(r: Reckoning, meters: list[Tag], per: Tag, scale: float) -> Outcome:
    """Divide the increments of meters by the amount that a counter or a rate (per hour) tells."""
    used, used_known = _amount(r, meters)
    made, made_known = _amount(r, [per])
    inputs = (
        *(
            Input(t.description, None if used is None else used, t.unit or "", used_known, tag=t.tag)
            for t in meters[:1]
        ),
        Input(per.description, made, "kg" if scale < 1 else "t", made_known, tag=per.tag),
    )
    coverage = min(used_known, made_known)
    tags = (meters[0].tag, per.tag)
    if used is None or made is None:
        return Outcome(None, inputs, coverage, "Not enough is known of what was used or made.", tags)
    if made <= 0:
        return Outcome(None, inputs, coverage, "Nothing was made, so there is nothing to divide by.", tags)
    return Outcome(used / (made * scale), inputs, coverage, tags=tags)


def _amount(r: Reckoning, tags: list[Tag]) -> tuple[float | None, float]:
    """Return what tags add up to over the range (a gauge per hour: its mean times the hours known), and coverage."""
    seen = _machines(r)
    amount, known, every, told = 0.0, 0.0, 0, False
    for tag in tags:
        one = seen[tag.tag]
        for value, part in zip(one.value, one.coverage or (1.0,) * len(one.value), strict=True):
            every += 1
            known += part or 0.0
            if value is not None:
                told = True
                amount += value if tag.kind == "counter" else value * (part or 0.0)
    return (amount if told else None), (known / every if every else 0.0)


def _machines(r: Reckoning) -> dict[str, Series]:
    """Return the hours of every tag that evaporators and kilns are judged by, asked at once."""
    found: dict[str, Series] = r.answer(_machines_asked(r))
    return found


def _machines_asked(r: Reckoning) -> Need:
    def ask() -> dict[str, Series]:
        names = _machine_tags(r.catalogue)
        if not names:
            return {}
        answer = r.caller.series(names, r.start, r.end, "1h", max_points=10_000)
        return {one.tag: one for one in answer.series}

    return r.need(("energy machines",), ask)


def _machine_tags(catalogue: Catalogue) -> list[str]:
    names: dict[str, None] = {}
    for tag in catalogue.tags.values():
        carrier = ELECTRICITY if _evaporated(tag) else "gas" if _burnt(tag) else None
        meters = meters_of(catalogue, tag.line, carrier) if carrier else []
        if meters:
            names |= dict.fromkeys((tag.tag, *(meter.tag for meter in meters)))
    return list(names)


def needs(r: Reckoning) -> list[Need]:
    """Return what the figures of a period are reckoned from, for a page that asks it ahead."""
    if (r.end - r.start) / timedelta(days=1) > LONG:
        return []
    asked = [*use.needs(r), _machines_asked(r), factors_asked(r), tariffs_asked(r), targets.asked(r)]
    if roots(r.catalogue, ELECTRICITY):
        asked += [quarters_asked(r), reactive_asked(r)]
        asked += [rows_asked(r, ELECTRICITY, "total", "1h"), rows_asked(r, ELECTRICITY, "meter", None)]
    return asked


def watched(r: Reckoning) -> list[str]:
    """Return the tags whose freshness the figures tell."""
    main = (tag.tag for carrier in carriers(r.catalogue) for tag in roots(r.catalogue, carrier))
    return sorted({*main, *_machine_tags(r.catalogue)})


def meters_of(catalogue: Catalogue, line: str | None, carrier: str) -> list[Tag]:
    """Return the billing meters of a carrier that serve a line."""
    return [
        t
        for t in catalogue.tags.values()
        if (m := t.meter) and line and m.serves == line and m.carrier == carrier and m.role == "billing"
    ]


def _unit(tag: Tag) -> str:
    return (tag.equipment or tag.tag).rpartition(".")[2]


def coal(r: Reckoning) -> Outcome:
    found = carbon(r)
    inputs = tuple(
        Input(carrier, value, "kg", source="GET /v1/settings/factor") for carrier, value in found.kgce.items()
    )
    return Outcome(found.coal, inputs, _known(r), reason="" if found.coal is not None else _why(bool(found.kgce)))


def scope1(r: Reckoning) -> Outcome:
    found = carbon(r)
    value, u = found.scope1
    inputs = (
        *(Input(part.subject, part.value, "kg", source="GET /v1/settings/factor") for part in found.direct),
        Input("uncertainty, one standard deviation", u, "kg"),
    )
    return Outcome(_t(value), inputs, _known(r), reason="" if value is not None else _why(bool(found.direct)))


def scope2(r: Reckoning) -> Outcome:
    return _power(r, market=False)


def scope2_market(r: Reckoning) -> Outcome:
    return _power(r, market=True)


def _power(r: Reckoning, *, market: bool) -> Outcome:
    part = carbon(r).market if market else carbon(r).location
    inputs = (
        r.input(f"use.{ELECTRICITY}"),
        *(Input(f.name, f.value, f.unit, source="GET /v1/settings/factor") for f in part.factors),
        Input("uncertainty, one standard deviation", part.u, "kg"),
    )
    return Outcome(_t(part.value), inputs, _known(r), reason="" if part.value is not None else _why(not part.missing))


def _why(factors: bool) -> str:
    return "Not everything that was used in this period is known." if factors else NO_FACTOR


def _t(kg: float | None) -> float | None:
    return None if kg is None else kg / _TONNE


def _known(r: Reckoning) -> float | None:
    parts = [r.figure(f"use.{c}").coverage for c in carriers(r.catalogue) if c in (ELECTRICITY, "gas")]
    return min((p for p in parts if p is not None), default=None)


def per_tonne(id: str) -> Callable[[Reckoning], Outcome]:
    """Return the formula of another metric per t fed: sums are divided, never ratios averaged."""

    def formula(r: Reckoning) -> Outcome:
        top, fed = r.figure(id), r.figure(f"use.{FEED}")
        inputs = (r.input(id), r.input(f"use.{FEED}"))
        known = min((c for c in (top.coverage, fed.coverage) if c is not None), default=None)
        if top.value is None or not fed.value:
            return Outcome(None, inputs, known, top.reason or fed.reason or NO_FEED)
        return Outcome(top.value / (fed.value / _TONNE), inputs, known)

    return formula


def carbon_per_tonne(r: Reckoning) -> Outcome:
    """Return scopes 1 and 2 (location) in kg per t fed."""
    parts: list[Figure] = [r.figure("energy.co2.scope1"), r.figure("energy.co2.scope2")]
    fed = r.figure(f"use.{FEED}")
    inputs = tuple(r.input(id) for id in ("energy.co2.scope1", "energy.co2.scope2", f"use.{FEED}"))
    if not fed.value or any(part.value is None for part in parts):
        reason = next((p.reason for p in (*parts, fed) if p.reason), NO_FEED)
        return Outcome(None, inputs, fed.coverage, reason=reason)
    known = [c for c in (*(p.coverage for p in parts), fed.coverage) if c is not None]
    return Outcome(sum(p.value or 0 for p in parts) * _TONNE / (fed.value / _TONNE), inputs, min(known, default=None))


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def where_metered(formula: Callable[[Reckoning], Outcome], *names: str) -> Callable[[Reckoning], Outcome]:
    """Return the formula for sites that meter these subjects; elsewhere the figure says that they are not."""

    def guarded(r: Reckoning) -> Outcome:
        there = {subject.name for subject in subjects(r.catalogue)}
        missing = [name for name in names if name not in there]
        return Outcome(None, reason=f"{missing[0]} is not metered here.") if missing else formula(r)

    return guarded


FORMULAS: dict[str, Formula] = {
    "energy.cost": where_metered(cost, ELECTRICITY),
    "energy.cost_per_t": where_metered(per_tonne("energy.cost"), ELECTRICITY, FEED),
    "energy.price": where_metered(price, ELECTRICITY),
    "energy.demand.peak": where_metered(peak, ELECTRICITY),
    "energy.night": where_metered(base, ELECTRICITY),
    "energy.unaccounted.*": unaccounted,
    "energy.evaporator.*": evaporator,
    "energy.kiln.*": kiln,
    "energy.kgce": where_metered(coal, ELECTRICITY, FEED),
    "kgce.per_t": where_metered(per_tonne("energy.kgce"), ELECTRICITY, FEED),
    "energy.co2.scope1": where_metered(scope1, ELECTRICITY, FEED),
    "energy.co2.scope2": where_metered(scope2, ELECTRICITY),
    "energy.co2.scope2_market": where_metered(scope2_market, ELECTRICITY),
    "energy.co2_per_t": where_metered(carbon_per_tonne, ELECTRICITY, FEED),
}
MEMBERS: dict[str, Members] = {
    "energy.unaccounted.*": lambda catalogue: dict.fromkeys(carriers(catalogue), "%"),
    "energy.evaporator.*": evaporators,
    "energy.kiln.*": kilns,
}
BASIS = Basis(needs, watched)
