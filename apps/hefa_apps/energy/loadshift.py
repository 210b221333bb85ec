"""When to run a load that can wait, such as an evaporator fed from a tank: a linear programme. Pure.

Chosen is the rate of each hour. The total is fixed, the rate has bounds and a ramp, and the tank before the load may
neither run dry nor over. Paid is the energy at each hour's price and, where the tariff charges the highest demand,
what a new peak of the whole site costs. The advice is compared with running evenly, or as near to that as the tank
allows, under the same rules; where it saves nothing there is no advice.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

WORTH = 1e-3  # of the cost: what saves less is not worth a change


@dataclass(frozen=True)
class Task:
    """What has to be done: `total` t in hours at `prices` per kWh, each hour at `low` to `high` t/h.

    `energy` is kWh per t. The tank, if there is one, holds `tank_start` m3 of `tank_low` to `tank_high`, takes
    `inflow` m3/h in each hour and gives `feed` m3 per t. `ramp` is the greatest change from hour to hour in t/h;
    `running` is the rate now, from which the first hour ramps. `other` is what else the site draws, in kW;
    `demand_price` is paid for each kW above `demand_so_far`.
    """

    prices: tuple[float, ...]
    total: float
    low: float
    high: float
    energy: float
    ramp: float | None = None
    running: float | None = None
    tank_start: float | None = None
    tank_low: float = 0.0
    tank_high: float | None = None
    inflow: tuple[float, ...] = ()
    feed: float = 1.0
    other: tuple[float, ...] = ()
    demand_price: float = 0.0
    demand_so_far: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A schedule: rates by hour, the tank at the end of each, the costs. `peak` is the site's highest demand in kW."""

    rates: tuple[float, ...]
    tank: tuple[float, ...]
    energy_cost: float
    demand_cost: float
    peak: float | None

    @property
    def cost(self) -> float:
        """Everything paid."""
        return self.energy_cost + self.demand_cost


@dataclass(frozen=True)
class Advice:
    """The best plan beside the usual one. `outcome`: advised, nothing (it saves nothing) or infeasible.

    `reasons` are ids below `energy.why.shift` of the rules that cannot all be kept, with numbers.
    """

    outcome: str
    best: Plan | None
    usual: Plan | None
    saving: float | None
    reasons: tuple[tuple[str, dict[str, float]], ...] = ()


def advise(task: Task) -> Advice:
    """Return the cheapest schedule and what it saves against the evenest one that keeps the same rules."""
    impossible = _obvious(task)
    if impossible:
        return Advice("infeasible", None, None, None, impossible)
    best = _solve(task, even=False)
    if best is None:
        return Advice("infeasible", None, None, None, _conflict(task))
    usual = _solve(task, even=True) or best
    saved = usual.cost - best.cost
    if saved <= WORTH * max(abs(usual.cost), 1e-9):
        return Advice("nothing", usual, usual, 0.0)
    return Advice("advised", best, usual, saved)


def _obvious(task: Task) -> tuple[tuple[str, dict[str, float]], ...]:
    """Rules that break by themselves."""
    hours = len(task.prices)
    found: list[tuple[str, dict[str, float]]] = []
    slack = 1e-9 * max(1.0, task.total)
    if task.low > task.high:
        found.append(("bounds", {"low": task.low, "high": task.high}))
    if task.total > hours * task.high + slack:
        found.append(("much", {"total": task.total, "most": hours * task.high, "high": task.high}))
    if task.total < hours * task.low - slack:
        found.append(("little", {"total": task.total, "least": hours * task.low, "low": task.low}))
    if task.tank_start is not None and task.tank_high is not None:
        if not task.tank_low <= task.tank_start <= task.tank_high:
            found.append(("start", {"start": task.tank_start, "low": task.tank_low, "high": task.tank_high}))
        end = task.tank_start + sum(task.inflow) - task.feed * task.total
        if end > task.tank_high + slack:
            found.append(("over", {"end": end, "high": task.tank_high}))
        if end < task.tank_low - slack:
            found.append(("dry", {"end": end, "low": task.tank_low}))
    return tuple(found)


def _conflict(task: Task) -> tuple[tuple[str, dict[str, float]], ...]:
    """Name a rule without which the others could be kept."""
    looser = (
        ("ramp", replace(task, ramp=None), {"ramp": task.ramp or 0.0}),
        ("tank", replace(task, tank_start=None), {"low": task.tank_low, "high": task.tank_high or 0.0}),
    )
    named = tuple((code, numbers) for code, easier, numbers in looser if _solve(easier, even=False) is not None)
    return named or (("all", {}),)


def _solve(task: Task, *, even: bool) -> Plan | None:
    """Solve for the least cost, or for the evenest rates: the least sum of distances from their mean.

    Variables: the rates, the demand above what is paid already, and for `even` the distances.
    """
    from scipy.optimize import linprog

    n = len(task.prices)
    width = n + 1 + (n if even else 0)
    cost = np.zeros(width)
    rows: list[Array] = []
    ends: list[float] = []

    def row(entries: dict[int, float], end: float) -> None:
        line = np.zeros(width)
        for i, value in entries.items():
            line[i] = value
        rows.append(line)
        ends.append(end)

    if even:
        cost[n + 1 :] = 1.0
        mean = task.total / n
        for i in range(n):
            row({i: 1.0, n + 1 + i: -1.0}, mean)
            row({i: -1.0, n + 1 + i: -1.0}, -mean)
    else:
        cost[:n] = task.energy * np.asarray(task.prices)
        cost[n] = task.demand_price
    if task.demand_price > 0 and task.other:
        for i in range(n):
            row({i: task.energy, n: -1.0}, task.demand_so_far - task.other[i])
    if task.ramp is not None:
        first = [] if task.running is None else [(0, None)]
        for i, before in [*first, *((i, i - 1) for i in range(1, n))]:
            was = {} if before is None else {before: -1.0}
            now = task.running or 0.0 if before is None else 0.0
            row({i: 1.0, **was}, task.ramp + now)
            row({i: -1.0, **{k: -v for k, v in was.items()}}, task.ramp - now)
    if task.tank_start is not None and task.tank_high is not None:
        filled = task.tank_start
        for i in range(n):
            filled += task.inflow[i]
            drawn = dict.fromkeys(range(i + 1), task.feed)
            row(drawn, filled - task.tank_low)
            row({k: -v for k, v in drawn.items()}, task.tank_high - filled)
    total = np.zeros((1, width))
    total[0, :n] = 1.0
    bounds: list[tuple[float, float | None]] = [(task.low, task.high)] * n + [(0.0, None)] * (width - n)
    answer: Any = linprog(
        cost,
        A_ub=np.array(rows) if rows else None,
        b_ub=np.array(ends) if rows else None,
        A_eq=total,
        b_eq=[task.total],
        bounds=bounds,
        method="highs",
    )
    if not answer.success:
        return None
    return priced(task, tuple(float(rate) for rate in answer.x[:n]))


def priced(task: Task, rates: tuple[float, ...]) -> Plan:
    """Return what a schedule costs and how the tank runs."""
    tank = []
    if task.tank_start is not None and task.tank_high is not None:
        filled = task.tank_start
        for rate, inflow in zip(rates, task.inflow, strict=True):
            filled += inflow - task.feed * rate
            tank.append(filled)
    power = [task.energy * rate + other for rate, other in zip(rates, task.other, strict=True)] if task.other else []
    peak = max(power, default=None)
    above = max(0.0, peak - task.demand_so_far) if peak is not None else 0.0
    return Plan(
        rates=rates,
        tank=tuple(tank),
        energy_cost=sum(task.energy * rate * price for rate, price in zip(rates, task.prices, strict=True)),
        demand_cost=task.demand_price * above,
        peak=peak,
    )
