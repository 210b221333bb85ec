"""What the energy app answers, as plain values: its JSON is these, its pages are drawn from these, its CSV are rows of these.

Figures that are metrics come as `plain()` writes them. A figure that is not known is null and says why.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from hefa_apps.client import Setting, Use
from hefa_apps.energy import formulas
from hefa_apps.energy.baseline import Fit, Reason, Saving
from hefa_apps.energy.carbon import Carbon, carbon, regions
from hefa_apps.energy.emissions import Emission
from hefa_apps.energy.model import KWH_PER, MADE_HERE, Demand, Point, flows, night, tree
from hefa_apps.energy.registers import (
    ELECTRICITY,
    carriers,
    factors_asked,
    finest,
    finest_asked,
    metered,
    quarters,
    rows_asked,
    seen,
    seen_asked,
    tariffs,
    tariffs_asked,
)
from hefa_apps.energy.study import Study
from hefa_apps.energy.tariff import BandCost, Bill, bill, in_force
from hefa_apps.figures import number
from hefa_apps.metrics import Reckoning, plain, use
from hefa_apps.metrics.use import FEED
from hefa_apps.page import places
from hefa_apps.usage import UNACCOUNTED, ordered, share, total

MOST_SLOTS = 96  # of an hour or less, that a chart of cost shows one by one

Sentences = Callable[..., str]  # the words of the portal: id and fields to a sentence


def figures(r: Reckoning, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return metrics as every answer of the portal writes them, each with the link to its explanation."""
    return [plain(r.figure(id)) | {"explain": f"/api/explain/{id}"} for id in ids]


def demand(r: Reckoning, zone: ZoneInfo) -> dict[str, Any]:
    """Return the demand curve with its peak."""
    found = quarters(r)
    base, hours = night(found.points, r.catalogue.root.zone)
    return {
        "unit": "kW",
        "step": "15m",
        "peak": found.peak.kw if found.peak else None,
        "peak_at": found.peak.start.astimezone(zone) if found.peak else None,
        "mean": found.mean,
        "load_factor": share(found.mean, found.peak.kw if found.peak else None),
        "night": base,
        "night_hours": hours,
        "coverage": found.coverage,
        "reason": None if found.peak else "No whole quarter of an hour is known in this period.",
        "points": [
            {"start": p.start.astimezone(zone), "end": p.end.astimezone(zone), "value": p.kw} for p in found.points
        ],
        "days": _daily(found, zone),
        "figures": figures(r, ("energy.demand.peak", "energy.night")),
    }


def _daily(found: Demand, zone: ZoneInfo) -> list[dict[str, Any]]:
    """Each calendar day's highest quarter of an hour and mean."""
    by: dict[date, list[Point]] = {}
    for point in found.points:
        by.setdefault(point.start.astimezone(zone).date(), []).append(point)
    told = []
    for day, points in by.items():
        known = [point for point in points if point.kw is not None]
        top = max(known, key=lambda point: point.kw or 0.0, default=None)
        told.append(
            {
                "day": day.isoformat(),
                "peak": top.kw if top else None,
                "peak_at": top.start.astimezone(zone) if top else None,
                "mean": sum(point.kw or 0.0 for point in known) / len(known) if known else None,
            }
        )
    return told


def prepare(r: Reckoning, name: str = ELECTRICITY) -> None:
    """Ask side by side for all that the figures of the morning, the demand and the bill are reckoned from."""
    asked = (tariffs_asked(r, name), rows_asked(r, ELECTRICITY, "area", "1h"))
    r.ahead((*formulas.needs(r), *asked, use.looking(r), r.looking(formulas.watched(r))))


def cost(r: Reckoning, zone: ZoneInfo, name: str = ELECTRICITY) -> dict[str, Any]:
    """Return the bill by band, by area and by day. Without a tariff: energy alone, and the reason."""
    metered(r.catalogue, ELECTRICITY)
    prepare(r, name)
    dated = tariffs(r, name)
    answer: dict[str, Any] = {"carrier": ELECTRICITY, "tariff": name}
    ids = ("energy.cost", "energy.price", "energy.cost_per_t")
    if dated is None:
        nothing = ("currency", "energy", "capacity", "adjustment", "total", "mean", "power_factor", "kwh", "coverage")
        return (
            answer
            | dict.fromkeys(nothing)
            | {"reason": formulas.NO_TARIFF, "settings": [], "bands": [], "areas": [], "days": [], "slots": []}
            | {"figures": figures(r, ids) if name == ELECTRICITY else []}
        )
    hours = formulas.hourly(r, name, "area")
    found = formulas.billed(r, name)
    assert found is not None
    fed = r.figure(f"use.{FEED}")
    tonnes = fed.value / 1e3 if fed.value else None
    return answer | {
        "currency": found.currency,
        "unit": "kW.h",
        "kwh": found.kwh,
        "energy": found.energy,
        "capacity": found.capacity,
        "capacity_months": found.months,
        "capacity_of": dated.tariffs[-1][1].capacity.unit if dated.tariffs[-1][1].capacity else None,
        "power_factor": found.power_factor,
        "power_factor_target": dated.tariffs[-1][1].target,
        "adjustment_share": found.adjustment_share,
        "adjustment": found.adjustment,
        "total": found.total,
        "mean": found.mean,
        "per_t": found.total / tonnes if found.total is not None and tonnes else None,
        "coverage": formulas.coverage(hours),
        "reason": None if found.total is not None else "Nothing is known of the electricity used in this period.",
        "settings": [setting(s) for s in dated.settings],
        "bands": [_band(band, found) for band in found.bands],
        "areas": _areas(r, hours, dated.tariffs, found, tonnes),
        "days": _days(hours, dated.tariffs, r.catalogue.root.zone, zone),
        "slots": _slots(hours, dated.tariffs, r.catalogue.root.zone, zone),
        "figures": figures(r, ids) if name == ELECTRICITY else [],
    }


def _band(band: BandCost, of: Bill) -> dict[str, Any]:
    return {
        "band": band.band,
        "price": band.price,
        "kwh": band.kwh,
        "cost": band.cost,
        "share": share(band.kwh, of.kwh),
        "hours": band.hours,
        "known_hours": band.known_hours,
    }


def _areas(r: Reckoning, hours: list[Use], dated: Any, whole: Bill, tonnes: float | None) -> list[dict[str, Any]]:
    """Energy charges by area; capacity and power factor are the site's and stay with it."""
    by: dict[str, list[Use]] = {}
    for row in hours:
        by.setdefault(row.key, []).append(row)
    called = places(r.catalogue)
    found = []
    for key in ordered(by, [node.path for node in r.catalogue.root.below("area")]):
        part = bill(formulas.slots(by[key]), dated, r.catalogue.root.zone, charges=False)
        found.append(
            {
                "key": key,
                "name": called.get(key),
                "kwh": part.kwh,
                "cost": part.energy,
                "share": share(part.energy, whole.energy),
                # What rounding leaves unaccounted has no price.
                "mean": part.mean if part.kwh and abs(part.kwh) >= 1 else None,
                "per_t": part.energy / tonnes if part.energy is not None and tonnes else None,
                "bands": {band.band: band.kwh for band in part.bands},
            }
        )
    return found


def _days(hours: list[Use], dated: Any, site: ZoneInfo, zone: ZoneInfo) -> list[dict[str, Any]]:
    """Energy charges by band and calendar day of the asked zone."""
    by: dict[Any, list[Use]] = {}
    for row in hours:
        by.setdefault(row.start.astimezone(zone).date(), []).append(row)
    found = []
    for day in sorted(by):
        part = bill(formulas.slots(by[day]), dated, site, charges=False)
        costs: dict[str, float | None] = {}
        for band in part.bands:
            costs[band.band] = _plus(costs.get(band.band), band.cost)
        found.append({"day": day.isoformat(), "kwh": part.kwh, "cost": part.energy, "bands": costs})
    return found


def _slots(hours: list[Use], dated: Any, site: ZoneInfo, zone: ZoneInfo) -> list[dict[str, Any]]:
    """Energy charge of each slot with its band, for periods of a few days; none for longer ones."""
    found = formulas.slots(hours)
    if len(found) > MOST_SLOTS:
        return []
    return [
        {
            "start": slot.start.astimezone(zone),
            "band": (tariff := in_force(dated, slot.start)).band(slot.start.astimezone(site)),
            "price": (price := tariff.price(slot.start.astimezone(site))),
            "kwh": slot.kwh,
            "cost": None if slot.kwh is None else slot.kwh * price,
        }
        for slot in found
    ]


def _plus(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else a + b


def setting(s: Setting) -> dict[str, Any]:
    """Return a version of a setting: what holds from when, and who says so."""
    return {
        "kind": s.kind,
        "name": s.name,
        "valid_from": s.valid_from,
        "value": s.value,
        "source": s.source,
        "example": s.example,
        "by": s.by,
        "id": s.id,
    }


def emissions(r: Reckoning, region: str) -> dict[str, Any]:
    """Return scopes 1 and 2, both views of electricity, and coal equivalent."""
    r.ahead((factors_asked(r), *use.needs(r), use.looking(r)))
    found: Carbon = carbon(r, region)
    first, first_u = found.scope1
    return {
        "unit": "kg",
        "region": region,
        "regions": regions(r),
        "scope1": {"value": first, "u": first_u, "parts": [_emission(part) for part in found.direct]},
        "scope2_location": _emission(found.location),
        "scope2_market": _emission(found.market),
        "total_location": _both(first, found.location.value),
        "total_market": _both(first, found.market.value),
        "kgce": {"value": found.coal, "by": found.kgce},
        "reason": None if first is not None and found.location.value is not None else formulas.NO_FACTOR,
        "settings": [setting(s) for s in found.settings if (s.value or {}).get("quantity") in ("CO2", "kgce")],
        "figures": figures(
            r,
            (
                "energy.co2.scope1",
                "energy.co2.scope2",
                "energy.co2.scope2_market",
                "energy.co2_per_t",
                "energy.kgce",
                "kgce.per_t",
            ),
        ),
    }


def _both(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _emission(part: Emission) -> dict[str, Any]:
    return {
        "subject": part.subject,
        "amount": part.amount,
        "amount_unit": part.amount_unit,
        "value": part.value,
        "u": part.u,
        "factors": [asdict(f) for f in part.factors],
        "reason": None if part.value is not None else formulas.NO_FACTOR if part.missing else "Nothing is known of it.",
    }


def specific(r: Reckoning, by: str) -> dict[str, Any]:
    """Return use per t fed of every carrier, whole and by area or line: sums divided, never a mean of ratios."""
    there = carriers(r.catalogue)
    r.ahead((*finest_asked(r, there, by), *use.needs(r), use.looking(r)))
    fed = r.figure(f"use.{FEED}")
    tonnes = fed.value / 1e3 if fed.value else None
    called = places(r.catalogue)
    order = [n.path for area in r.catalogue.root.below("area") for n in (area, *area.below("line"))]
    found = []
    for carrier in there:
        parts: dict[str, list[Use]] = {}
        for row in finest(r, carrier, by):
            parts.setdefault(row.key, []).append(row)
        for key in ordered(parts, order):
            whole = total(parts[key])
            found.append(
                {
                    "carrier": carrier,
                    "key": key,
                    "name": called.get(key),
                    "unit": f"{parts[key][0].unit}/t",
                    "value": whole.value / tonnes if whole.value is not None and tonnes else None,
                    "use": whole.value,
                    "measured": whole.measured,
                    "estimated": whole.estimated,
                    "unknown": whole.unknown,
                    "coverage": whole.coverage,
                    "reason": _why_no_ratio(whole.value, tonnes),
                }
            )
    return {
        "by": by,
        "fed": plain(fed),
        "figures": figures(r, (f"{c}.per_t" for c in there)),
        "rows": found,
    }


def _why_no_ratio(value: float | None, tonnes: float | None) -> str | None:
    if value is None:
        return "No meter has reported in this period."
    return None if tonnes else formulas.NO_FEED


def meters(r: Reckoning, carrier: str) -> dict[str, Any]:
    """Return the meter tree of a carrier with what stays unaccounted below each meter."""
    metered(r.catalogue, carrier)
    called = places(r.catalogue)
    asked = (seen_asked(r, carrier, called), rows_asked(r, carrier, "meter", None))
    r.ahead((*asked, *use.needs(r), use.looking(r)))
    found = tree(seen(r, carrier, called))
    return {
        "carrier": carrier,
        "unit": r.figure(f"use.{carrier}").unit,
        "meters": [
            {
                "tag": b.meter.tag,
                "name": b.meter.name,
                "serves": b.meter.serves,
                "parent": b.meter.parent,
                "role": "check" if b.meter.check else "billing",
                "depth": b.depth,
                "value": b.meter.known,
                "share": b.share,
                "unaccounted": b.unaccounted,
                "unaccounted_share": b.unaccounted_share,
                "reason": None if b.meter.known is not None else "Its register told nothing in this period.",
            }
            for b in found
        ],
        "figures": figures(r, (f"energy.unaccounted.{carrier}", f"use.{carrier}")),
    }


def sankey(r: Reckoning, carrier: str) -> dict[str, Any]:
    """Return nodes and links of where a carrier went, or with `all` every carrier of energy, in kWh."""
    everything = carrier == "all"
    wanted = [c for c in carriers(r.catalogue) if c in KWH_PER] if everything else [metered(r.catalogue, carrier)]
    r.ahead(finest_asked(r, wanted))
    used: dict[str, dict[str, float]] = {}
    unknown = []
    for name in wanted:
        for row in finest(r, name):
            if row.value is None:
                unknown.append({"carrier": name, "key": row.key})
            else:
                used.setdefault(name, {})[row.key] = row.value
    makers = _makers(r) if everything else {}
    links = flows(used, makers, one_unit=everything)
    called = places(r.catalogue)
    names = dict.fromkeys(end for link in links for end in (link.source, link.target))
    return {
        "carrier": carrier,
        "unit": "kW.h" if everything else r.figure(f"use.{carrier}").unit,
        "factors": {c: KWH_PER[c] for c in wanted} if everything else {},
        "nodes": [{"id": n, "name": called.get(n), "kind": _kind(n, wanted)} for n in names],
        "links": [asdict(link) for link in links],
        "unknown": unknown,
        "reason": None if links else "Nothing is known of the use in this period.",
    }


def _makers(r: Reckoning) -> dict[str, str]:
    """The line in which a carrier is made here: the one that its maker's fuel serves and that is named for it."""
    found = {}
    for made, fuel in MADE_HERE.items():
        lines = {t.meter.serves for t in r.catalogue.tags.values() if t.meter and t.meter.carrier == fuel}
        named = [line for line in lines if line.rpartition(".")[2].lower() == made]
        if named:
            found[made] = named[0]
    return found


def _kind(node: str, wanted: list[str]) -> str:
    if node in wanted:
        return "carrier"
    return node if node in (UNACCOUNTED, "loss") else "line" if "." in node else "area"


def reasons(words: Sentences, told: Iterable[Reason]) -> list[dict[str, str]]:
    """Return reasons as sentences."""
    return [
        {"code": reason.code, "text": words(f"energy.why.{reason.code}", **spoken(reason.fields))} for reason in told
    ]


def spoken(fields: Mapping[str, float | int | str]) -> dict[str, str]:
    """Return the fields of a sentence as it says them: numbers with about four figures."""
    return {name: str(v) if isinstance(v, str | int) else number(v) for name, v in fields.items()}


def fitted(fit: Fit | None) -> dict[str, Any] | None:
    """Return a fit's coefficients and statistics."""
    if fit is None:
        return None
    return {
        "coefficients": [asdict(c) for c in fit.coefficients],
        "n": fit.n,
        "r2": fit.r2,
        "r2_adjusted": fit.r2_adjusted,
        "s": fit.s,
        "cv_rmse": fit.cv,
        "f_p": fit.f_p,
        "durbin_watson": fit.durbin_watson,
        "autocorrelation": fit.rho,
        "mean": fit.mean,
    }


def saved(told: Saving | None, unit: str) -> dict[str, Any] | None:
    """Return a saving with its interval."""
    if told is None:
        return None
    names = ("expected", "used", "saving", "low", "high", "share", "share_low", "share_high", "enpi", "level", "days")
    return {"unit": unit, "claimed": told.claimed} | {name: getattr(told, name) for name in names} | {
        "days_outside": sum(told.outside),
        "cusum": next((c for c in reversed(told.cusum) if c is not None), None),
    }  # fmt: skip


def about(s: Study, r: Reckoning, words: Sentences, zone: ZoneInfo) -> dict[str, Any]:
    """Return what every answer of a study begins with: the terms, and whether the baseline holds."""
    return {
        "carrier": s.terms.carrier,
        "area": s.terms.place,
        "unit": r.figure(f"use.{s.terms.carrier}").unit,
        "drivers": list(s.terms.drivers),
        "driver_units": {"production": "t", "temperature": "Cel"},
        "baseline_from": s.span[0].astimezone(zone),
        "baseline_to": s.span[1].astimezone(zone),
        "frozen": s.frozen,
        "kept": setting(s.terms.kept) if s.terms.kept else None,
        "baseline_days": len(s.past),
        "baseline_days_known": len(s.known_past),
        "accepted": s.accepted,
        "reasons": reasons(words, s.refused),
        "doubts": reasons(words, s.doubts),
    }


def baseline(s: Study, r: Reckoning, words: Sentences, zone: ZoneInfo) -> dict[str, Any]:
    """Return the fit with the days that it stands on."""
    predicted = [float(value) for value in s.fit.x @ s.fit.b] if s.fit else []
    expected = {day.start: value for day, value in zip(s.known_past, predicted, strict=s.fit is not None)}
    return about(s, r, words, zone) | {
        "fit": fitted(s.fit),
        "days": [
            {
                "day": day.start,
                "value": day.energy,
                "production": day.production,
                "temperature": day.temperature,
                "expected": expected.get(day.start),
            }
            for day in s.past
        ],
    }


def cusum(s: Study, r: Reckoning, words: Sentences, zone: ZoneInfo) -> dict[str, Any]:
    """Return use against the baseline day by day, and the running sum of the difference."""
    told = s.saving
    place = {day.start: i for i, day in enumerate(s.known_now)}
    lines = []
    for day in s.now:
        i = place.get(day.start)
        known = told is not None and i is not None
        expected = told.expected_by_day[i] if told is not None and i is not None else None
        lines.append(
            {
                "day": day.start,
                "value": day.energy,
                "production": day.production,
                "temperature": day.temperature,
                "expected": expected,
                "difference": day.energy - expected if day.energy is not None and expected is not None else None,
                "cusum": told.cusum[i] if told is not None and i is not None else None,
                "outside": told.outside[i] if told is not None and i is not None else None,
                "reason": None
                if known
                else "Use, production or temperature is not known well enough."
                if s.fit
                else None,
            }
        )
    return about(s, r, words, zone) | {"enpi": told.enpi if told else None, "days": lines}


def saving(s: Study, r: Reckoning, words: Sentences, zone: ZoneInfo) -> dict[str, Any]:
    """Return the normalised saving: claimed, or why not."""
    head = about(s, r, words, zone)
    told = s.saving
    why = reasons(words, told.reasons if told else s.refused)
    said = verdict(told)
    return head | {
        "verdict": said,
        "text": words(f"energy.verdict.{said}"),
        "saving": saved(told, head["unit"]),
        "reasons": why,
    }


def verdict(told: Saving | None) -> str:
    """Return what may be said of a saving: saving, likely (too vague to claim), excess, none (it may be nought), refused."""
    if told is None or told.reasons or told.low is None or told.high is None:
        return "refused"
    if told.claimed:
        return "saving"
    return "excess" if told.high < 0 else "likely" if told.low > 0 else "none"


def overview(r: Reckoning) -> list[str]:
    """Return the metrics of the morning, those that the site can tell."""
    there = {metric.id for metric in r.desk.metrics(r.catalogue)}
    families = [id for id in sorted(there) if id.startswith(("energy.evaporator.", "energy.kiln."))]
    asked = ("electricity.per_t", "energy.cost", "energy.night", "energy.demand.peak", "energy.unaccounted.electricity")
    return [id for id in (*asked, *families, "kgce.per_t", "energy.co2_per_t") if id in there]
