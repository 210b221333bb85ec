"""What a lot earns: its value less its part of what the site spent while it was made, with its genealogy.

Joint costs have no true share: they are shared out by value or by mass, and the answer says by which.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from hefa_apps.business.formulas import CURRENCY, allocated, lines, plant, products, sums
from hefa_apps.business.model import Allocation
from hefa_apps.client import Lot, Refused, Trace
from hefa_apps.metrics import Reckoning

_LEAST = timedelta(hours=8)  # of the time over which costs are shared out
_MOST = timedelta(days=31)
_STAGES = ("feed", "liquor", "campaign", "kiln", "packed")


def margin(r: Reckoning, name: str, how: Allocation, now: datetime) -> dict[str, Any]:
    """Return the margin of a lot. Raises `Missing` when there is no such lot.

    A finished product earns by itself. Any other lot earns by the finished products that it came into, each by the
    mass that both have in common.
    """
    caller = r.caller
    lot, back, forward = caller.together(
        lambda: caller.lot(name), lambda: caller.trace(name, "back"), lambda: caller.trace(name, "forward")
    )
    window = _window(lot, now)
    over = r.over(*window)
    share, whole = allocated(over, how), sums(over)
    parts = _finished(lot, forward)
    cost = {p: _cost(over, p, share) for p in products(over)}
    price = {one.line.name: one.line.price for one in lines(over) if one.line.income}
    rows: list[dict[str, Any]] = []
    for one, product, kg in parts:
        value = None if price.get(product) is None else kg * (price[product] or 0.0)
        spent = None if cost.get(product) is None else kg * (cost[product] or 0.0)
        left = None if value is None or spent is None else value - spent
        rows.append({"lot": one, "product": product, "kg": kg, "revenue": value, "cost": spent, "margin": left})
    known = [row for row in rows if row["margin"] is not None]
    told = bool(rows) and len(known) == len(rows)
    mass = sum(float(row["kg"]) for row in rows)
    left_over = sum(float(row["margin"] or 0.0) for row in known) if told else None
    coverage = min((one.coverage for one in lines(over) if one.coverage is not None), default=None)
    return {
        "lot": lot.lot,
        "kind": lot.kind,
        "material": lot.material,
        "state": lot.state,
        "kg": lot.kg,
        "begun": lot.begun,
        "ended": lot.ended,
        "currency": CURRENCY,
        "allocation": how,
        "window": {
            "from": window[0],
            "to": window[1],
            "coverage": coverage,
            "cost": whole.cost,
            "revenue": whole.revenue,
        },
        "revenue": sum(float(row["revenue"] or 0.0) for row in rows) if told else None,
        "cost": sum(float(row["cost"] or 0.0) for row in rows) if told else None,
        "margin": left_over,
        "margin_per_kg": left_over / mass if left_over is not None and mass > 0 else None,
        "costs": _commodities(over, rows) if told else [],
        "products": rows,
        "reason": None if told else _why(rows, whole.cost is None or share is None),
        "back": _steps(back),
        "forward": _steps(forward),
        "results": lot.results,
    }


def _why(rows: list[dict[str, Any]], unknown: bool) -> str:
    if not rows:
        return "Nothing of this lot has become a finished product yet."
    return "Not everything that was made or used while it was made is known." if unknown else "A product has no price."


def _window(lot: Lot, now: datetime) -> tuple[datetime, datetime]:
    """Return the time over which costs are shared out: a day up to the end of the lot, longer where it took longer."""
    end = min(lot.ended or now, now)
    start = min(lot.begun or end, end) - timedelta(hours=24)
    if lot.kind in ("feed", "liquor", "campaign"):  # what becomes of it comes later
        start, end = min(lot.begun or end, end), now
    start = max(min(start, end - _LEAST), end - _MOST)
    minute = {"second": 0, "microsecond": 0}
    return start.astimezone(UTC).replace(**minute), end.astimezone(UTC).replace(**minute)  # type: ignore[arg-type]


def _finished(lot: Lot, forward: Trace) -> list[tuple[str, str, float]]:
    """Return the finished products that the lot is, or that its mass went into: lot, product, kg in common."""
    names = plant()["products"]
    if lot.material in names and lot.kg and (lot.state in ("packed", "consumed") or lot.kind == "packed"):
        return [(lot.lot, lot.material, lot.kg)]
    packed = [
        n
        for n in forward.nodes
        if n.material in names and n.kind in ("packed", "campaign") and n.lot != lot.lot and n.kg
    ]
    return [(node.lot, node.material, node.kg or 0.0) for node in packed]


def _cost(r: Reckoning, product: str, share: dict[str, float] | None) -> float | None:
    """Return what a kg of a product bears of the cost of the range."""
    spent, made = sums(r).cost, r.figure(f"production.output.{product}").value
    return None if share is None or spent is None or not made else spent * share[product] / (made * 1000)


def _commodities(r: Reckoning, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cost by what it was spent on."""
    spent = sums(r).cost
    whole = sum(float(row["cost"] or 0.0) for row in rows)
    return [
        {"name": one.line.name, "group": one.line.group, "money": (one.line.money or 0.0) / spent * whole if spent else None,
         "metric": one.metric or None}
        for one in lines(r)
        if not one.line.income
    ]  # fmt: skip


def _steps(trace: Trace) -> list[dict[str, Any]]:
    """Return the lots of a trace by stage, the lot itself left out."""
    order = {stage: i for i, stage in enumerate(_STAGES)}
    nodes = [node for node in trace.nodes if node.lot != trace.lot]
    return [
        {"lot": n.lot, "kind": n.kind, "material": n.material, "depth": n.depth, "kg": n.kg, "share": n.weight}
        for n in sorted(nodes, key=lambda n: (n.depth, order.get(n.kind, 9), n.lot))
    ]


def allocation(text: str) -> Allocation:
    """Return how to share out. Raises `Refused`."""
    if text == "economic":
        return "economic"
    if text == "mass":
        return "mass"
    raise Refused(422, "allocation", f"{text!r} is no way to share out: economic (by value) or mass")
