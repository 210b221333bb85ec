"""What the material app answers about balances, as plain values: its JSON is these, its page is drawn from these."""

from collections.abc import Callable, Iterable
from typing import Any

from hefa_apps.material.balance import ALL, Balanced, Ratio, out_over_in, plant_yield, recovery, suspected
from hefa_apps.material.formulas import FED, looked, needs, reconciled, watched
from hefa_apps.material.plant import Plan, plan
from hefa_apps.metrics import Reckoning, plain

Sentences = Callable[..., str]  # the words of the portal: id and fields to a sentence


def figures(r: Reckoning, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return metrics as every answer of the portal writes them, each with the link to its explanation."""
    return [plain(r.figure(id)) | {"explain": f"/api/explain/{id}"} for id in ids]


def balance(r: Reckoning, species: str, words: Sentences) -> dict[str, Any]:
    """Return one species' balance: streams as measured and reconciled, nodes with residuals, tests, suspects."""
    r.ahead((*needs(r), r.looking(watched(r))))
    the_plan, by = plan(), reconciled(r)
    told = by[species]
    found, kinds = told.found, _kinds(the_plan)
    doubted = {name for group in suspected(found) for name in group.streams} if found else set()
    streams = []
    for name, amount in told.amounts.items():
        streams.append({
            "name": name,
            "title": the_plan.title(name),
            "kind": kinds[name],
            "measured": amount.value,
            "sd": amount.sd,
            "reconciled": found.value[name] if found else None,
            "reconciled_sd": found.sd[name] if found else None,
            "adjustment": found.adjustment[name] if found else None,
            "z": found.z[name] if found else None,
            "status": found.status[name] if found else None,
            "beyond": bool(found and name in found.beyond),
            "suspect": name in doubted,
            "coverage": amount.coverage,
            "tags": _tags(the_plan, name),
            "reason": words(f"material.why.{amount.why}") if amount.why else None,
        })  # fmt: skip
    nodes = [
        {
            "name": part.name,
            "title": part.title,
            "area": part.area,
            "in": part.enters,
            "out": part.leaves,
            "residual": b.residual if b else None,
            "sd": b.sd if b else None,
            "z": b.z if b else None,
            "reconciled": b.closed if b else None,
            "suspect": not doubted.isdisjoint((*part.enters, *part.leaves)),
        }
        for part, b in zip(the_plan.parts, found.balances if found else [None] * len(the_plan.parts), strict=True)
    ]
    return {
        "species": species,
        "unit": "kg",
        "as": "oxide",
        "accepted": found.accepted if found else None,
        "chi2": found.chi2 if found else None,
        "chi2_limit": found.chi2_limit if found else None,
        "degrees_of_freedom": found.freedom if found else None,
        "z_limit": found.z_limit if found else None,
        "suspects": _suspects(the_plan, told),
        "equivalents": found.equivalent if found else [],
        "coverage": looked(r).least(tag for flow in the_plan.flows for tag in flow.tags if tag in r.catalogue.tags),
        "text": verdict(the_plan, told, words),
        "source": the_plan.source,
        "streams": streams,
        "nodes": nodes,
        "reason": None if found else words("material.no_balance"),
    }


def verdict(the_plan: Plan, told: Balanced, words: Sentences) -> str:
    """Return the sentence that a person wants to read first."""
    found = told.found
    if found is None:
        return words("material.no_balance")
    if not found.freedom:
        return words("material.untested")
    if found.accepted and found.beyond:
        return words("material.stands_out", suspects=", ".join(the_plan.title(name) for name in found.beyond))
    if found.accepted:
        return words("material.accepted")
    first = found.suspects[0].streams
    return words("material.rejected", suspects=", ".join(the_plan.title(name) for name in first))


def _suspects(the_plan: Plan, told: Balanced) -> list[dict[str, Any]]:
    return [
        {
            "streams": group.streams,
            "titles": [the_plan.title(name) for name in group.streams],
            "tags": [tag for name in group.streams for tag in _tags(the_plan, name)],
            "z": group.z,
            "chi2_drop": group.drop,
            "chi2_without": group.without,
        }
        for group in (suspected(told.found) if told.found else ())
    ]


def _kinds(the_plan: Plan) -> dict[str, str]:
    found = {flow.name: "stream" for flow in the_plan.flows}
    found |= {stock.name: "stock" for stock in the_plan.stocks}
    return found | {holdup.name: "hold-up" for holdup in the_plan.holdups}


def _tags(the_plan: Plan, name: str) -> tuple[str, ...]:
    for flow in the_plan.flows:
        if flow.name == name:
            return flow.tags
    return next(((*s.tanks, s.strength) for s in the_plan.stocks if s.name == name), ())


def elements(r: Reckoning, words: Sentences) -> list[dict[str, Any]]:
    """Return the tests of every species on one line each."""
    answer = []
    for species, told in reconciled(r).items():
        found = told.found
        answer.append({
            "species": species,
            "accepted": found.accepted if found else None,
            "chi2": found.chi2 if found else None,
            "chi2_limit": found.chi2_limit if found else None,
            "degrees_of_freedom": found.freedom if found else None,
            "suspects": _suspects(plan(), told),
            "text": verdict(plan(), told, words),
        })  # fmt: skip
    return answer


def yields(r: Reckoning) -> dict[str, Any]:
    """Return yield and recoveries, each as its metric with a deviation; `measured` is out / (in - d stock) unreconciled."""
    the_plan, by = plan(), reconciled(r)
    rows = [_ratio(r, "yield", "", plant_yield(the_plan, by[ALL]), None)]
    stocks = _stocks_between(the_plan)
    for of in the_plan.recoveries:
        if of.name in {
            one.id.rpartition(".")[2] for one in r.desk.metrics(r.catalogue) if one.id.startswith("material.recovery.")
        }:
            raw = out_over_in(of, by, FED, stocks.get(of.into, ()))
            rows.append(_ratio(r, f"material.recovery.{of.name}", of.title, recovery(of, by, FED), raw))
    return {"unit": "%", "rows": rows}


def _stocks_between(the_plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the stocks that lie between the fed liquor and each stream."""
    found: dict[str, tuple[str, ...]] = {FED: ()}
    stocks = {stock.name for stock in the_plan.stocks}
    for part in the_plan.parts:
        before = next((found[name] for name in part.enters if name in found), None)
        if before is not None:
            held = (*before, *(name for name in part.leaves if name in stocks))
            found |= dict.fromkeys(part.leaves, held)
    return found


def _ratio(r: Reckoning, metric: str, title: str, told: Ratio, raw: Ratio | None) -> dict[str, Any]:
    return plain(r.figure(metric)) | {
        "explain": f"/api/explain/{metric}",
        "title": title or None,
        "sd": None if told.sd is None else 100 * told.sd,
        "measured": None if raw is None or raw.value is None else 100 * raw.value,
        "measured_sd": None if raw is None or raw.sd is None else 100 * raw.sd,
    }
