"""What the production app answers, as plain values: its JSON is these, its pages and its CSV are drawn from these."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from hefa_apps.metrics import Reckoning, plain
from hefa_apps.production.downtime import in_alarm, stood
from hefa_apps.production.formulas import SITE, judge, plan_of, products, whose_output
from hefa_apps.production.handover import watches
from hefa_apps.production.lots import Judged, in_work, lots_of
from hefa_apps.production.measured import made, pure, seen
from hefa_apps.production.model import pareto
from hefa_apps.production.plant import works

_MOST = 20  # bars of a Pareto chart


def told(r: Reckoning, id: str) -> dict[str, Any]:
    """Return a figure as every answer of the portal writes it, with the link to its explanation."""
    return plain(r.figure(id)) | {"explain": f"/api/explain/{id}"}


def headline(r: Reckoning) -> list[str]:
    """Return the metrics of the morning."""
    if works().runs not in r.catalogue.tags:
        return []
    there = {p.name for p in products(r.catalogue)}
    cuts = [f"production.on_cut.{cut.name}" for cut in works().cuts if set(cut.products) <= there]
    factors = [f"production.{name}.{SITE}" for name in ("attainment", "availability", "effectiveness", "quality")]
    return ["production.output", factors[0], "oee", *factors[1:], *cuts]


def overview(r: Reckoning) -> dict[str, Any]:
    """Return the figures of the morning, a row per product, and where the rest of the possible output went."""
    site = works().runs in r.catalogue.tags
    return {
        "figures": [told(r, id) for id in headline(r)],
        "products": [product(r, p.name) for p in products(r.catalogue)],
        "losses": losses(r) if site else None,
    }


def product(r: Reckoning, name: str) -> dict[str, Any]:
    """Return everything that is told of one product; `evidence` is how its output is known."""
    plan = plan_of(r, name)
    ids = ("attainment", "availability", "effectiveness", "quality", "oee", "nee", "first_pass")
    return {
        "product": name,
        "evidence": "estimated" if works().product(name).estimated else "measured",
        "output": told(r, whose_output(name)),
        "plan": plan.tonnes if plan else None,
        "plan_unit": "t",
        "plan_is_example": plan.example if plan else None,
        **{id: told(r, f"production.{id}.{name}") for id in ids},
        "purity": told(r, f"purity.{name}"),
    }


def losses(r: Reckoning) -> dict[str, Any]:
    """Return the possible output of the site and what became of it, t REO: the parts add up to it."""
    found = judge(r, SITE)
    figure = r.figure("oee")
    if found is None:
        return {"unit": "t", "possible": None, "parts": [], "reason": figure.reason, "coverage": figure.coverage}
    parts = {"stopped": found.stopped, "slow": found.slow, "off_spec": found.off_spec, "good": found.good}
    return {
        "unit": "t",
        "possible": found.possible,
        "parts": [{"part": name, "value": value} for name, value in parts.items()],
        "coverage": figure.coverage,
        "reason": None if None not in parts.values() else figure.reason or "Not all of it is known.",
    }


def output(r: Reckoning) -> dict[str, Any]:
    """Return what was made in each step, kg REO, beside the plan; null where it is not known."""
    found = seen(r)
    lines = {p.name: made(r, p) for p in products(r.catalogue)}
    good = {p.name: [slot.ok for slot in pure(r, p)] for p in products(r.catalogue)}
    plan = plan_of(r, SITE)
    a_h = plan.tonnes * 1000 / plan.busy if plan and plan.busy else None
    zone = r.catalogue.root.zone
    rows = [
        {
            "start": bucket.start.astimezone(zone),
            "hours": bucket.hours,
            **{name: values[i] for name, values in lines.items()},
            "plan": None if a_h is None else a_h * bucket.hours,
            "on_spec": {name: said[i] for name, said in good.items()},
        }
        for i, bucket in enumerate(found.buckets)
    ]
    return {
        "unit": "kg",
        "step": found.step,
        "products": list(lines),
        "colours": {p.name: p.colour for p in products(r.catalogue)},
        "rows": rows,
    }


def downtime(r: Reckoning) -> dict[str, Any]:
    """Return the stops of the range with their reasons, as a Pareto by cause; and the time in alarm beside it."""
    found = stood(r)
    alarms = pareto(in_alarm(r, found.alarms), r.end)
    return {
        "unit": "h",
        "hours": sum(stop.hours(r.end) for stop in found.stops),
        "pareto": [asdict(bar) for bar in pareto(found.stops, r.end)[:_MOST]],
        "stops": [
            asdict(stop) | {"hours": stop.hours(r.end)} for stop in sorted(found.stops, key=lambda s: s.start)[::-1]
        ],
        "alarms": [asdict(bar) for bar in alarms[:_MOST]],
        "note": "Stops of machines that stand side by side overlap: their hours are not lost hours of the site.",
    }


def work(r: Reckoning, now: datetime) -> dict[str, Any]:
    """Return the lots in work by stage, and the finished products of the range with their verdicts."""
    every = lots_of(r)
    there = in_work(every)
    stages = []
    for stage in dict.fromkeys((*works().stages, *(one.lot.kind for one in there))):
        of = [one for one in there if one.lot.kind == stage]
        kg = [one.lot.left_kg if one.lot.left_kg is not None else one.lot.kg for one in of]
        known = [value for value in kg if value is not None]
        stages.append(
            {
                "stage": stage,
                "lots": len(of),
                "kg": sum(known) if known else None,
                "unknown": len(kg) - len(known),
                "oldest_h": max((age for one in of if (age := one.age(now)) is not None), default=None),
            }
        )
    packed = [one for one in every if one.lot.state == "packed"]
    return {
        "unit": "kg",
        "stages": [s for s in stages if s["lots"] or s["stage"] in works().stages],
        "in_work": [shown(one, now) for one in there],
        "packed": [shown(one, now) for one in packed],
    }


def shown(one: Judged, now: datetime) -> dict[str, Any]:
    """Return a lot as answers write it."""
    lot = one.lot
    return {
        "lot": lot.lot,
        "stage": lot.kind,
        "material": lot.material,
        "product": one.product or None,
        "state": lot.state,
        "equipment": lot.equipment,
        "kg": lot.kg,
        "left_kg": lot.left_kg,
        "begun": lot.begun,
        "ended": lot.ended,
        "age_h": one.age(now),
        "verdict": one.verdict,
        "results": [asdict(result) for result in lot.results],
    }


def log(r: Reckoning, now: datetime) -> dict[str, Any]:
    """Return the shifts of the range with their crews and the notes of each, the latest first."""
    return {
        "shifts": [
            {
                "start": watch.start,
                "end": watch.end,
                "crew": watch.crew,
                "crew_told": watch.told,
                "notes": [
                    {
                        "note": n.note,
                        "subject": n.subject,
                        "from": n.from_,
                        "to": n.to,
                        "text": n.text,
                        "kind": n.kind,
                        "author": n.author or n.by,
                        "entered": n.entered,
                        "version": n.version,
                        "tag": n.subject if n.subject in r.catalogue.tags else None,
                    }
                    for n in watch.notes
                ],
            }
            for watch in watches(r, now)
        ]
    }
