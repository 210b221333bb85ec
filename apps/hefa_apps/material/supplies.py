"""What the material app answers about water, salts, reagents and advice, as plain values."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from hefa_apps.material import advice as advices
from hefa_apps.material.answers import Sentences, figures
from hefa_apps.material.doses import Dose, doses
from hefa_apps.material.formulas import cascade, looked, needs, prices, salts, watched, water
from hefa_apps.material.plant import plan
from hefa_apps.metrics import Reckoning, targets
from hefa_apps.question import calendar

REUSE = ("water.reuse.process", "water.reuse")


def water_of(r: Reckoning, words: Sentences) -> dict[str, Any]:
    """Return the water balance with both definitions of reuse, the target, the residual, and what limits confidence."""
    r.ahead((*needs(r), r.looking(watched(r))))
    told, found = water(r), looked(r)
    meters = [("fresh", told.fresh), ("reuse", told.reuse), ("discharge", told.discharge), ("loop", told.loop)]
    meters += [("user", one) for one in told.users] + [("recovered", one) for one in told.recovered]
    aims = {name: aim for name, aim in targets.given(r).items() if name in REUSE}
    limit = r.catalogue.tags.get(told.limits or "")
    return {
        "unit": "m3",
        "figures": figures(r, REUSE),
        "targets": [
            {"metric": name, **{field: aim.get(field) for field in ("value", "unit", "source", "example")}}
            for name, aim in aims.items()
        ],
        "process_sd": None if told.process_sd is None else 100 * told.process_sd,
        "with_loop_sd": None if told.with_loop_sd is None else 100 * told.with_loop_sd,
        "meters": [
            {"role": role, "tag": one.tag, "name": _name(r, one.tag), "value": one.value, "sd": one.sd,
             "coverage": found.coverage.get(one.tag), "reason": None if one.value is not None else words("material.why.silent")}
            for role, one in meters
        ],
        "open": told.open,
        "open_sd": told.open_sd,
        "unmetered": told.unmetered,
        "unmetered_sd": told.unmetered_sd,
        "limits": told.limits,
        "limits_name": _name(r, told.limits) if limit else None,
    }  # fmt: skip


def _name(r: Reckoning, tag: str | None) -> str:
    found = r.catalogue.tags.get(tag or "")
    unit = (found.equipment or "").rpartition(".")[2] if found else ""
    return f"{unit} {found.description}".strip() if found else str(tag)


def ledger(r: Reckoning, words: Sentences) -> dict[str, Any]:
    """Return the ledger of salts and residue: generated = recovered + stored + discharged + open."""
    found = looked(r)
    rows = [
        asdict(one) | {"coverage": found.least(t for t in one.tags if t in r.catalogue.tags),
                       "reason": None if one.discharged is not None else words("material.no_salinity")}
        for one in salts(r)
    ]  # fmt: skip
    nothing = dict.fromkeys(("generated", "recovered", "stored", "discharged", "open", "coverage"))
    residue = {"name": "residue", **nothing, "tags": (), "reason": words("material.no_residue")}
    return {"unit": "kg", "rows": [*rows, residue]}


def stores(r: Reckoning) -> dict[str, Any]:
    """Return what reagent tanks hold at the end of the period, kg of pure substance, and how it changed."""
    found, rows = looked(r), []
    for name, table in plan().more["stores"].items():
        per = table["capacity"] / 100 * table["kg_per_m3"]
        level, rise = found.last.get(table["tank"]), found.change(table["tank"])
        rows.append({
            "name": name, "material": table["material"], "tag": table["tank"], "level": level,
            "value": None if level is None else per * level, "change": None if rise is None else per * rise,
            "reason": None if level is not None else "The level has not been read at the end of this period.",
        })  # fmt: skip
    return {"unit": "kg", "rows": rows}


def dosed(r: Reckoning) -> dict[str, Any]:
    """Return every dose of every shift against stoichiometry, with what the rest cost."""
    r.ahead(needs(r))
    clock = calendar(r.catalogue.root)
    known = prices(r)

    def shift(moment: datetime) -> datetime:
        local = moment.astimezone(clock.zone)
        starts = [datetime.combine(local.date(), one, clock.zone) for one in clock.shifts]
        earlier = [one for one in starts if one <= local]
        if earlier:
            return max(earlier)
        return starts[-1] - timedelta(days=1) if starts else datetime.combine(local.date(), clock.plantday, clock.zone)

    every = doses(plan(), looked(r), shift, r.end)
    rows = [_dose(one, known.get(one.material)) for one in every]
    totals = []
    for name in dict.fromkeys(one.name for one in every):
        same = [one for one in every if one.name == name]
        whole = Dose(name, same[0].title, same[0].material, same[0].start, same[-1].end,
                     _sum([one.dosed for one in same]), _sum([one.needed for one in same]))  # fmt: skip
        totals.append(_dose(whole, known.get(whole.material)))
    used = {
        name: {"value": price, "unit": "CNY/kg", "source": s.source, "example": s.example}
        for name, (price, s) in known.items()
    }
    return {"unit": "kg", "currency": "CNY", "totals": totals, "rows": rows, "prices": used}


def _sum(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if known and len(known) == len(values) else None


def _dose(one: Dose, price: Any) -> dict[str, Any]:
    cost = None if one.over is None or price is None else one.over * price[0]
    reason = None if one.over is not None else "The meter of the dose or of what it follows has not reported."
    return asdict(one) | {"over": one.over, "ratio": one.ratio, "cost": cost, "reason": reason}


def advised(r: Reckoning, words: Sentences) -> dict[str, Any]:
    """Return the advice on scrub and soap of the cascade: both sides, the band, and `no_change` when it does not pay."""
    r.ahead(needs(r))
    about, now, known = plan().more["advice"], cascade(r), prices(r)
    kg = {name: price for name, (price, _) in known.items()}
    cost = advices.Prices(kg.get("NaOH"), kg.get("HCl"), kg.get("PrNd oxide"))
    steady = advices.Steady(about["soap"], about["loss"], about["purity"], about["spec"])
    if now is None:
        told = [advices.Advice(name, "unknown", "silent") for name in ("scrub", "soap")]
    else:
        told = [advices.scrub(now, cost, about["spec"]), advices.soap(now, steady, cost)]
    tags = {"scrub": about["scrub_set"], "soap": about["degree"]}
    degree = looked(r).mean(about["degree"])
    return {
        "currency": "CNY",
        "now": asdict(now) if now else None,
        "advice": [
            asdict(one) | {"title": words(f"material.advice.{one.name}"), "text": words(f"material.advice_why.{one.reason}"),
                           "tag": tags[one.name], "reason": one.reason, "degree": _degrees(one, degree)}
            for one in told
        ],
        "prices": {name: {"value": known[name][0], "unit": "CNY/kg", "source": known[name][1].source, "example": known[name][1].example}
                   for name in ("NaOH", "HCl", "PrNd oxide") if name in known},
        "note": words("material.advice_note"),
    }  # fmt: skip


def _degrees(one: advices.Advice, degree: float | None) -> dict[str, Any] | None:
    """Return what an advice on soap is in % of saponification, which people set; the organic stays."""
    if one.name != "soap" or not one.now or one.advised is None or degree is None:
        return None
    return {"now": degree, "advised": degree * one.advised / one.now, "unit": "%"}
