"""How the metrics of the business app are reckoned; what each means stands in `metrics/business.toml`."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hefa_apps.business.model import Allocation, Line, Sum, shares, total, unit_price
from hefa_apps.client import Catalogue, Refused, Setting
from hefa_apps.metrics import Basis, Figure, Input, Members, Need, Outcome, Reckoning, targets
from hefa_apps.metrics.reckoning import Formula
from hefa_apps.metrics.use import FEED, subjects

CURRENCY = "CNY"
ELECTRICITY = "electricity"
_PRICE = "GET /v1/settings/price"
_KG = 1000.0
_HOUR = 3600.0
_LONG = 24.0 * 32  # hours: longer periods are added up by the day


@cache
def plant() -> dict[str, Any]:
    """Return `plant.toml`."""
    return tomllib.loads((Path(__file__).parent / "plant.toml").read_text("utf-8"))


@dataclass(frozen=True)
class Told:
    """A line with how well it is known and where to look."""

    line: Line
    coverage: float | None
    reason: str = ""
    metric: str = ""
    tags: tuple[str, ...] = ()
    example: bool = False
    source: str = ""


def prices(r: Reckoning) -> list[Setting]:
    """Return the prices that were in force over the range."""
    found: list[Setting] = r.answer(_prices_asked(r))
    return found


def _prices_asked(r: Reckoning) -> Need:
    return r.need(("business prices",), lambda: [s for s in r.caller.settings_over("price", r.start, r.end) if s.value])


def needs(r: Reckoning) -> list[Need]:
    """Return what this app itself asks; the figures of the other apps have questions of their own."""
    return [_prices_asked(r), targets.asked(r), *(_wasted(r, tuple(tags)) for tags in plant()["waste"].values())]


def lines(r: Reckoning) -> list[Told]:
    """Return everything sold and bought over the range, products first."""
    found: list[Told] = r.once(("business lines",), lambda: _lines(r))
    return found


def _lines(r: Reckoning) -> list[Told]:
    names: dict[str, list[Setting]] = {}
    for setting in prices(r):
        names.setdefault(setting.name, []).append(setting)
    told = [_told(r, name, given) for name, given in names.items()]
    if ELECTRICITY in {s.name for s in subjects(r.catalogue)}:
        told.append(_electricity(r))
    groups = ("product", "feed", "reagent", "energy", "water", "waste")
    kept = [one for one in told if one is not None]
    return sorted(kept, key=lambda one: groups.index(one.line.group) if one.line.group in groups else len(groups))


def _electricity(r: Reckoning) -> Told:
    used = r.figure(f"use.{ELECTRICITY}")
    try:
        bill = r.figure("energy.cost")
    except Refused as error:  # a bill of years is more than the platform gives at once
        line = Line(ELECTRICITY, "energy", used.value, used.unit, None, None)
        return Told(line, used.coverage, f"The bill of this period cannot be told: {error}", tags=used.tags)
    price = bill.value / used.value if bill.value is not None and used.value else None
    line = Line(ELECTRICITY, "energy", used.value, used.unit, price, bill.value)
    return Told(line, bill.coverage, bill.reason, "energy.cost", bill.tags, source="GET /v1/settings/tariff")


def _told(r: Reckoning, name: str, given: list[Setting]) -> Told | None:
    group = str((given[-1].value or {}).get("group", ""))
    metric, scale, unit = _metric(r, name, group)
    if group == "waste" and name in plant()["waste"]:
        return _waste(r, name, given)
    if not metric:
        return None  # a price of something that this site neither makes nor meters
    amount = money = 0.0
    last: Figure | None = None
    for setting in given:
        a, b = max(setting.start or r.start, r.start), min(setting.end or r.end, r.end)
        if b <= a:
            continue
        last = (r if (a, b) == (r.start, r.end) else r.over(a, b)).figure(metric)
        each = _each(setting, unit)
        if last.value is None or each is None:
            why = last.reason or f"The price of {name} cannot be brought to {unit}."
            return Told(_line(name, group, None, unit, None), last.coverage, why, metric, last.tags, setting.example)
        amount += last.value * scale
        money += last.value * scale * each
    if last is None:
        return None
    whole = r.figure(metric)
    line = Line(name, group, amount, unit, money / amount if amount else _each(given[-1], unit), money)
    return Told(line, whole.coverage, "", metric, whole.tags, any(s.example for s in given), given[-1].source)


def _line(name: str, group: str, amount: float | None, unit: str, price: float | None) -> Line:
    return Line(name, group, amount, unit, price, None)


def _metric(r: Reckoning, name: str, group: str) -> tuple[str, float, str]:
    """Return the metric that tells how much of it there was, its scale and the unit after scaling."""
    there = {s.name for s in subjects(r.catalogue)}
    if group == "product":
        return (f"production.output.{name}", _KG, "kg") if name in products(r) else ("", 1.0, "")
    if group == "feed" and name == plant()["feed"] and FEED in there:
        return f"use.{FEED}", 1.0, "kg"
    return (f"use.{name}", 1.0, r.figure(f"use.{name}").unit) if name in there else ("", 1.0, "")


def _each(setting: Setting, unit: str) -> float | None:
    value = setting.value or {}
    if value.get("currency", CURRENCY) != CURRENCY:
        return None
    return unit_price(float(value["value"]), str(value.get("per", "")), unit, float(value.get("strength") or 1))


def _waste(r: Reckoning, name: str, given: list[Setting]) -> Told:
    tags = [tag for tag in plant()["waste"][name] if tag in r.catalogue.tags]
    kg, known = r.answer(_wasted(r, tuple(plant()["waste"][name])))
    each = _each(given[-1], "kg")
    money = None if kg is None or each is None else kg * each
    why = "" if money is not None else "Nothing is known of what was discharged in this period."
    line = Line(name, "waste", kg, "kg", each, money)
    return Told(line, known, why, "", tuple(tags), given[-1].example, given[-1].source)


def _wasted(r: Reckoning, tags: tuple[str, ...]) -> Need:
    """Return the question for kg from gauges in kg/h, and the share known."""
    return r.need(("business waste", tags), lambda: _integral(r, [tag for tag in tags if tag in r.catalogue.tags]))


def _integral(r: Reckoning, tags: list[str]) -> tuple[float | None, float | None]:
    """Return kg from gauges in kg/h over the hours that are known of them, and the share known."""
    if not tags:
        return None, None
    whole = (r.end - r.start).total_seconds() / _HOUR
    step, length = ("1h", 1.0) if whole <= _LONG else ("1d", 24.0)
    answer = r.caller.series(tags, r.start, r.end, step, max_points=10_000)
    amount, hours, told = 0.0, 0.0, False
    for one in answer.series:
        for i, (ts, value) in enumerate(zip(one.ts, one.value, strict=True)):
            start = ts / 1e6 / _HOUR
            first, last = r.start.timestamp() / _HOUR, r.end.timestamp() / _HOUR
            inside = max(min(start + length, last) - max(start, first), 0.0)
            known = min((one.coverage[i] or 0.0) * length if one.coverage else inside, inside)
            if value is not None:
                amount, hours, told = amount + value * known, hours + known, True
    return (amount if told else None), hours / (whole * len(tags)) if whole else None


def products(r: Reckoning) -> list[str]:
    """Return the products that this site can tell the output of."""
    there = {metric.id for metric in r.desk.metrics(r.catalogue)}
    return [name for name in plant()["products"] if f"production.output.{name}" in there]


def sums(r: Reckoning) -> Sum:
    """Return revenue, cost and margin of the range."""
    return total([one.line for one in lines(r)])


def _coverage(r: Reckoning, keep: Callable[[Line], bool] = lambda line: True) -> float | None:
    return min((one.coverage for one in lines(r) if one.coverage is not None and keep(one.line)), default=None)


def _inputs(r: Reckoning, keep: Callable[[Line], bool]) -> tuple[Input, ...]:
    return tuple(
        Input(
            one.line.name, one.line.money, CURRENCY, one.coverage, one.metric, one.tags[0] if one.tags else "", _PRICE
        )
        for one in lines(r)
        if keep(one.line)
    )


def _why(r: Reckoning, keep: Callable[[Line], bool]) -> str:
    missing = next((one for one in lines(r) if keep(one.line) and one.line.money is None), None)
    if missing:
        return f"{missing.line.name}: {missing.reason or 'not known.'}"
    return "There are no prices of it: enter them in the settings."


def _money(name: str, keep: Callable[[Line], bool]) -> Formula:
    def formula(r: Reckoning) -> Outcome:
        value: float | None = getattr(sums(r), name)
        return Outcome(value, _inputs(r, keep), _coverage(r, keep), "" if value is not None else _why(r, keep))

    return formula


def per_tonne(r: Reckoning) -> Outcome:
    """Return the margin per t REO fed: sums divided."""
    left, fed = r.figure("business.margin"), r.figure(f"use.{FEED}")
    inputs = (r.input(left.id), r.input(fed.id))
    coverage = min((c for c in (left.coverage, fed.coverage) if c is not None), default=None)
    if left.value is None or not fed.value:
        return Outcome(None, inputs, coverage, left.reason or fed.reason or "Nothing was fed in this period.")
    return Outcome(left.value / (fed.value / _KG), inputs, coverage, tags=fed.tags)


def commodity(r: Reckoning, subject: str) -> Outcome:
    """Return the money of one thing bought or sold."""
    one = next((one for one in lines(r) if one.line.name == subject), None)
    if one is None:
        return Outcome(None, reason="It has no price in this period.")
    line = one.line
    inputs = (
        Input("amount", line.amount, line.unit, one.coverage, one.metric, one.tags[0] if one.tags else ""),
        Input("mean price", line.price, f"{CURRENCY}/{line.unit}", source=_PRICE),
    )
    return Outcome(line.money, inputs, one.coverage, one.reason, one.tags)


def allocated(r: Reckoning, how: Allocation) -> dict[str, float] | None:
    """Return which part of what the site used each product bears."""
    names = products(r)
    made = {name: r.figure(f"production.output.{name}").value for name in names}
    money = {one.line.name: one.line.price for one in lines(r) if one.line.income}
    return shares(made, money, how)


def burden(metrics: tuple[str, ...], scale: float, how: Allocation) -> Formula:
    """Return the formula of what a kg of product bears of figures of the site."""

    def formula(r: Reckoning, subject: str) -> Outcome:
        parts = [r.figure(id) for id in metrics]
        made = r.figure(f"production.output.{subject}")
        share = allocated(r, how)
        inputs = (
            *(r.input(id) for id in metrics),
            r.input(made.id),
            Input(f"share of {subject} by {how} allocation", share.get(subject) if share else None, "1"),
        )
        known = [c for c in (*(p.coverage for p in parts), made.coverage) if c is not None]
        if share is None or not made.value or any(p.value is None for p in parts):
            why = next((p.reason for p in (*parts, made) if p.reason), "Output or prices of all products are needed.")
            return Outcome(None, inputs, min(known, default=None), why)
        whole = sum(p.value or 0.0 for p in parts)
        return Outcome(whole * scale * share[subject] / (made.value * _KG), inputs, min(known, default=None))

    return formula


def _named(catalogue: Catalogue) -> dict[str, str]:
    """Return everything that this site makes, meters or pays for, in its currency."""
    names = {s.name for s in subjects(catalogue)} - {FEED}
    return dict.fromkeys(sorted(names | set(plant()["products"]) | {plant()["feed"], *plant()["waste"]}), CURRENCY)


def _sold(unit: str) -> Members:
    return lambda catalogue: dict.fromkeys(plant()["products"], unit)


def everything(line: Line) -> bool:
    """Keep every line."""
    return True


FORMULAS: dict[str, Formula] = {
    "business.revenue": _money("revenue", lambda line: line.income),
    "business.cost": _money("cost", lambda line: not line.income),
    "business.margin": _money("margin", everything),
    "business.margin_per_t": per_tonne,
    "business.money.*": commodity,
    "business.carbon.economic.*": burden(("energy.co2.scope1", "energy.co2.scope2"), _KG, "economic"),
    "business.carbon.mass.*": burden(("energy.co2.scope1", "energy.co2.scope2"), _KG, "mass"),
    "business.water.economic.*": burden(("use.water",), _KG, "economic"),
    "business.water.mass.*": burden(("use.water",), _KG, "mass"),
}
MEMBERS: dict[str, Members] = {
    "business.money.*": _named,
    "business.carbon.economic.*": _sold("kg/kg"),
    "business.carbon.mass.*": _sold("kg/kg"),
    "business.water.economic.*": _sold("L/kg"),
    "business.water.mass.*": _sold("L/kg"),
}
BASIS = Basis(needs, lambda r: [])
