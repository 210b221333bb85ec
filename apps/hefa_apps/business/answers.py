"""What the business app answers, as plain values: its JSON is these, its pages and its CSV are drawn from these."""

from collections.abc import Mapping
from typing import Any

from hefa_apps.business.formulas import CURRENCY, lines, plant, products, sums
from hefa_apps.business.model import Line, Wishes, total, what_if
from hefa_apps.client import Lot, Missing, Refused
from hefa_apps.metrics import Reckoning, plain, targets
from hefa_apps.metrics.use import FEED

HEADLINE = ("business.revenue", "business.cost", "business.margin", "business.margin_per_t")


def told(r: Reckoning, id: str) -> dict[str, Any]:
    """Return a figure as every answer of the portal writes it, with the link to its explanation."""
    return plain(r.figure(id)) | {"explain": f"/api/explain/{id}"}


def margin(r: Reckoning) -> dict[str, Any]:
    """Return revenue, cost and margin, and everything that was sold and bought."""
    prepare(r)
    fed = r.figure(f"use.{FEED}")
    t = fed.value / 1000 if fed.value else None
    rows = [
        {
            "name": one.line.name,
            "group": one.line.group,
            "amount": one.line.amount,
            "unit": one.line.unit,
            "price": one.line.price,
            "price_unit": f"{CURRENCY}/{one.line.unit}",
            "money": one.line.money,
            "per_t": one.line.money / t if one.line.money is not None and t else None,
            "coverage": one.coverage,
            "metric": one.metric or None,
            "explain": f"/api/explain/{one.metric}" if one.metric else None,
            "example": one.example,
            "source": one.source,
            "reason": one.reason or None,
        }
        for one in lines(r)
    ]
    return {"currency": CURRENCY, "figures": [told(r, id) for id in HEADLINE], "lines": rows, "feed_t": t}


def footprint(r: Reckoning) -> list[dict[str, Any]]:
    """Return CO2 and water per kg of each product, shared out by value and by mass."""
    return [
        {
            "product": name,
            **{
                f"{what}_{how}": told(r, f"business.{what}.{how}.{name}")
                for what in ("carbon", "water")
                for how in ("economic", "mass")
            },
        }
        for name in products(r)
    ]


def lights(r: Reckoning) -> list[dict[str, Any]]:
    """Return a light for every target that names a metric, the worst first; each with what to look at."""
    given: dict[str, dict[str, Any]] = {
        name: {**value, "unit": "%", "example": False, "source": ""} for name, value in plant()["lights"].items()
    }
    given |= targets.given(r)
    found = [one for name, value in given.items() if (one := _light(r, name, value))]
    order = ("red", "amber", "unknown", "green")
    return sorted(found, key=lambda one: order.index(one["light"]))


def prepare(r: Reckoning) -> None:
    """Ask side by side for all that the morning is reckoned from: figures of every app."""
    r.prepare()


def _light(r: Reckoning, name: str, value: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        r.desk.find(name, r.catalogue)
    except Missing:
        return None  # a target of something that the laboratory measures, or that nobody reckons here
    try:
        figure = r.figure(name)
    except Refused as error:
        return _untold(r, name, value, str(error))
    lamp = targets.judged(figure, value)
    return {
        "metric": name,
        "name": figure.name,
        "light": lamp.colour,
        "value": figure.value,
        "unit": figure.unit,
        "target": lamp.target,
        "warn": lamp.warn,
        "better": lamp.better,
        "off": lamp.off(figure.value),
        "coverage": figure.coverage,
        "reason": lamp.reason,
        "example": lamp.example,
        "source": lamp.source or None,
        "explain": f"/api/explain/{name}",
        "tags": [{"tag": tag, "link": f"/live/tags/{tag}"} for tag in figure.tags],
    }


def _untold(r: Reckoning, name: str, value: Mapping[str, Any], why: str) -> dict[str, Any]:
    """Return the light of a figure that cannot be asked for over this period."""
    metric = r.desk.find(name, r.catalogue)[0]
    return {
        "metric": name,
        "name": metric.name,
        "light": "unknown",
        "value": None,
        "unit": metric.unit,
        "target": float(value["value"]),
        "warn": value.get("warn"),
        "better": str(value.get("better", "higher")),
        "off": None,
        "coverage": None,
        "reason": why,
        "example": bool(value.get("example")),
        "source": value.get("source") or None,
        "explain": f"/api/explain/{name}",
        "tags": [],
    }


def scenario(r: Reckoning, wishes: Wishes) -> dict[str, Any]:
    """Return the margin as it is and as it would be. Nothing is stored. Raises `Refused` for an unknown price."""
    prepare(r)
    now = [one.line for one in lines(r)]
    there = {line.name for line in now}
    if strange := sorted(wishes.prices.keys() - there):
        raise Refused(422, "price", f"there is no price of {strange[0]!r} here: known are {', '.join(sorted(there))}")
    then = what_if(now, wishes)
    before, after = total(now), total(then)
    fed = r.figure(f"use.{FEED}")
    t = fed.value / 1000 if fed.value else None
    t_then = t * (1 + wishes.feed_pct / 100) if t else None
    return {
        "currency": CURRENCY,
        "stored": False,
        "asked": {
            "prices": dict(wishes.prices),
            "electricity_pct": wishes.electricity_pct,
            "feed_pct": wishes.feed_pct,
        },
        "assumption": "All amounts follow the feed in proportion: no fixed part, no limit of capacity.",
        "now": _sum(before.revenue, before.cost, before.margin, t),
        "then": _sum(after.revenue, after.cost, after.margin, t_then),
        "change": None if before.margin is None or after.margin is None else after.margin - before.margin,
        "reason": None if before.margin is not None else r.figure("business.margin").reason,
        "lines": [_pair(a, b) for a, b in zip(now, then, strict=True)],
    }


def _sum(revenue: float | None, cost: float | None, left: float | None, t: float | None) -> dict[str, float | None]:
    per_t = left / t if left is not None and t else None
    return {"revenue": revenue, "cost": cost, "margin": left, "margin_per_t": per_t}


def _pair(now: Line, then: Line) -> dict[str, Any]:
    return {
        "name": now.name,
        "group": now.group,
        "unit": now.unit,
        "price_now": now.price,
        "price_then": then.price,
        "money_now": now.money,
        "money_then": then.money,
    }


def offered(lots: list[Lot]) -> list[dict[str, Any]]:
    """Return the lots whose margin may be asked for, the latest first."""
    return [
        {
            "lot": lot.lot,
            "kind": lot.kind,
            "material": lot.material,
            "kg": lot.kg,
            "begun": lot.begun,
            "state": lot.state,
        }
        for lot in lots
        if lot.state != "named"
    ]


def unknown(r: Reckoning) -> bool:
    """Say whether nothing can be told of the money of the range."""
    whole = sums(r)
    return whole.revenue is None and whole.cost is None
