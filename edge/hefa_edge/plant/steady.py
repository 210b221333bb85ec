"""A plant at its operating point: every gauge wanders slowly and a little around its normal value.

The wander is a sum of sines whose phases are keyed by (seed, tag), so that value and amount are closed
formulas of time: a register is the exact integral of the flow beside it, whatever the step. Flows that
meters tie together stay tied: a parent's flow is that of its children plus the unmetered rest, a check
meter sees the flow that it checks. States and set-points hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hefa_contract.plant import Plant, Tag
from hefa_edge import keyed
from hefa_edge.plant import Step
from hefa_edge.plant.calendar import shift_changes

# Period (s) and share of the normal value of each sine: ≤ 0.9 % in all, and slower than any sampling.
WANDER = ((1_200.0, 0.002), (9_000.0, 0.003), (40_000.0, 0.004))
# Registers show their normal value at this time, and the amount since then: a lost checkpoint loses no register.
ORIGIN = 1_735_689_600_000_000  # 2025-01-01T00:00:00Z

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SteadyState:
    """Amounts of the counters since ever, (counters,), in each register's unit, neither wrapped nor quantised."""

    amounts: Floats


class SteadyPlant:
    """The plant model of a site without dynamics. Implements `PlantModel[SteadyState]`."""

    def __init__(self, plant: Plant, seed: int) -> None:
        self._plant = plant
        self.tags: Sequence[Tag] = tuple(plant.tags.values())
        self._normal = np.array([tag.normal for tag in self.tags])
        self._counters = np.array([i for i, tag in enumerate(self.tags) if tag.kind == "counter"], dtype=np.intp)
        at = {tag.name: i for i, tag in enumerate(self.tags)}
        self._flow, self._per_hour, self._constant = self._integrals(at)
        self._swing = np.where([tag.kind == "gauge" for tag in self.tags], np.abs(self._normal), 0.0)
        self._tied, self._ties = self._tie(at)
        names = [tag.name for tag in self.tags]
        phases = [keyed.uniform(keyed.keys(names, seed, f"wander phase {k}")) for k in range(len(WANDER))]
        stretch = [0.8 + 0.4 * keyed.uniform(keyed.keys(names, seed, f"wander period {k}")) for k in range(len(WANDER))]
        self._share = np.array([share for _, share in WANDER])[:, None]
        self._omega = 2 * np.pi / (np.array([period for period, _ in WANDER])[:, None] * np.array(stretch))  # rad/s
        self._phase = 2 * np.pi * np.array(phases)

    def initial(self, ts: int) -> SteadyState:
        amounts = self._normal[self._counters]
        if ts > ORIGIN:
            amounts = amounts + self._grown(ORIGIN, (ts - ORIGIN) / 1e6)
        return SteadyState(amounts)

    def step(self, state: SteadyState, ts: int, dt_s: float) -> Step:
        end = ts + round(dt_s * 1e6)
        state = SteadyState(state.amounts + self._grown(ts, dt_s))
        truth = self._normal + self._deviation(np.sum(self._share * np.sin(self._angle(end)), axis=0))
        truth[self._counters] = state.amounts
        return Step(state, truth, tuple(shift_changes(self._plant, ts, end)))

    def dump(self, state: SteadyState) -> dict[str, Any]:
        names = (self.tags[i].name for i in self._counters)
        return {"amounts": dict(zip(names, state.amounts.tolist(), strict=True))}

    def restore(self, document: Mapping[str, Any], ts: int) -> SteadyState:
        known = document.get("amounts", {})
        initial = self.initial(ts).amounts
        names = [self.tags[i].name for i in self._counters]
        return SteadyState(
            np.array([known.get(name, start) for name, start in zip(names, initial.tolist(), strict=True)])
        )

    def _angle(self, ts: int) -> Floats:
        """Angles of all sines at `ts`, (sines, tags)."""
        return np.asarray(self._omega * ((ts - ORIGIN) / 1e6) + self._phase)

    def _deviation(self, wander: Floats) -> Floats:
        """Turn each tag's own wander (tags,) into its distance from normal, with the tied flows tied."""
        deviation = self._swing * wander
        deviation[self._tied] = self._ties @ deviation
        return deviation

    def _grown(self, ts: int, dt_s: float) -> Floats:
        """What each counter gains from `ts` on in `dt_s`, (counters,); never negative."""
        start, turn = self._angle(ts), self._omega * dt_s
        # ∫ sin over the step, as a product: the difference of two cosines would lose the digits of a short step.
        integral = self._share * 2 / self._omega * np.sin(turn / 2) * np.sin(start + turn / 2)
        flows = (self._normal * dt_s + self._deviation(np.sum(integral, axis=0))) / 3600  # unit of the flow x h
        amount = np.where(self._flow >= 0, flows[self._flow], 0.0) * self._per_hour + self._constant * dt_s / 3600
        return np.maximum(amount, 0.0)

    def _integrals(self, at: Mapping[str, int]) -> tuple[NDArray[np.intp], Floats, Floats]:
        """For each counter: column of the gauge it integrates or -1, growth per unit of it, constant growth per h."""
        flow = np.full(len(self._counters), -1, dtype=np.intp)
        per_hour, constant = np.zeros(len(self._counters)), np.zeros(len(self._counters))
        for row, i in enumerate(self._counters):
            tag = self.tags[i]
            rate = tag.per_hour or 0.0
            source = None if tag.integrates is None else self.tags[at[tag.integrates]]
            if source is None or source.kind == "state":
                constant[row] = rate if source is None or source.normal == 1 else 0.0
            else:
                flow[row], per_hour[row] = at[source.name], rate
        return flow, per_hour, constant

    def _tie(self, at: Mapping[str, int]) -> tuple[NDArray[np.intp], Floats]:
        """Tie flows by the tree of meters.

        Returns the columns of tied flows (t,) and how each follows the tags' own deviations, (t, tags). Sets the own
        swing of a parent to that of its unmetered rest, and of a check meter to nothing.
        """
        amount: dict[int, float] = {}  # column of a metered flow: what one unit of it books per hour
        parent: dict[int, tuple[int, str]] = {}
        for tag in self.tags:
            if tag.meter is not None and tag.integrates is not None and self.tags[at[tag.integrates]].kind == "gauge":
                amount.setdefault(at[tag.integrates], (tag.per_hour or 0.0) * tag.meter.factor)
        for tag in self.tags:
            meter = tag.meter
            if meter is None or meter.parent is None or tag.integrates is None:
                continue
            child, above = at[tag.integrates], self.tags[at[meter.parent]].integrates
            if above is not None and at[above] in amount and child in amount and at[above] != child:
                parent[child] = (at[above], meter.role)
        children: dict[int, list[int]] = {}
        for child, (above_at, role) in parent.items():
            if role == "billing":
                children.setdefault(above_at, []).append(child)

        rows: dict[int, Floats] = {}

        def row(i: int) -> Floats:
            """Deviation of flow i as a combination of all tags' own deviations."""
            if i in rows:
                return rows[i]
            combined = np.zeros(len(self.tags))
            above_at, role = parent.get(i, (-1, ""))
            if role == "check" and self._normal[above_at]:
                self._swing[i] = 0.0
                combined += row(above_at) * (self._normal[i] / self._normal[above_at])
            elif i in children:
                metered = 0.0
                for child in children[i]:
                    combined += row(child) * (amount[child] / amount[i])
                    metered += self._normal[child] * amount[child] / amount[i]
                self._swing[i] = max(0.0, self._normal[i] - metered)
                combined[i] = 1.0
            else:
                combined[i] = 1.0
            rows[i] = combined
            return combined

        tied = sorted({child for child, (_, role) in parent.items() if role == "check"} | set(children))
        ties = np.array([row(i) for i in tied]).reshape(len(tied), len(self.tags))
        return np.array(tied, dtype=np.intp), ties
