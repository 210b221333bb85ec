"""Area A3: a product liquor is precipitated as carbonate, filtered and washed; the mother liquor goes on.

One `Line` each for PrNd (with NH4HCO3), Ce and La (with Na2CO3). The dose follows the RE that come and is
corrected by the ratio r of base to RE that the reactors show. Filter presses run in cycles.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hefa_edge.plant import ph
from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.loops import Loop, Probe, Reagent
from hefa_edge.plant.nature import Fluctuations
from hefa_edge.plant.process import TANK, Layout
from hefa_edge.plant.substances import (
    CARBONATE,
    CL,
    H2O,
    NA,
    RE,
    VOLUME,
    WATER,
    WATER_OF_CRYSTAL,
    C,
    Floats,
    N,
    excess_base,
    oxide_kg,
    vector,
)

WASH = 3.5 / 3  # m3/h of fresh water to each line's wash
_REACTOR, _TANK = 13.0, 27.5  # m3 held
# Entrained chloride left is exp(-0.9 x wash ratio) for each of two stages that the water passes.
_WASH_SHARE = 2 * 0.9
# Share of a press cycle in which each phase ends: fill, press, wash, discharge.
_PHASES = (0.60, 0.80, 0.93, 1.0)


class Precipitated(NamedTuple):
    """What a minute of a line gave and took."""

    cake: Floats
    cake_kg: float
    mother: Floats
    reused_water: float  # m3
    load: float


class Press:
    """Tags of a filter press: its cycle runs with the filtrate, its pressure grows with the cake."""

    def __init__(self, name: str, board: Board, layout: Layout) -> None:
        self._done = layout.number(f"{name}.cycle", 0.4)
        self._filtrate, self._wash = board.column(name, "filtrate", "held"), board.column(name, "wash", "held")
        self._pres, self._moist = board.column(name, "pres"), board.column(name, "moist")
        self._phase = board.column(name, "phase")
        board.column(name, "cycles")
        self._normal = board.normal

    def run(self, minute: Minute, load: float) -> None:
        """Show a minute at a throughput by design throughput."""
        truth, number = minute.truth, minute.process.number
        filtrate = self._normal[self._filtrate] * load
        number[self._done] = (number[self._done] + filtrate * minute.hours / 8.0) % 1.0
        part = number[self._done]
        phase = next(k for k, end in enumerate(_PHASES, start=1) if part < end)
        truth[self._phase] = phase
        truth[self._filtrate], truth[self._wash] = filtrate, self._normal[self._wash] * load
        # dV/dt = A dP / (mu (alpha c V/A + Rm)): at this filtrate the pressure rises straight with the cake.
        truth[self._pres] = self._normal[self._pres] * load * (0.75 + 0.5 * part)
        truth[self._moist] = self._normal[self._moist] + 6 * (load - 1)


class Line:
    """The models of one precipitation line."""

    def __init__(
        self, name: str, reagent: Floats, supply: str, board: Board, layout: Layout, nature: Fluctuations
    ) -> None:
        self.name, self._reagent = name, reagent
        self._alkaline = 1.0 if reagent[N] > 0 else 0.5  # carbon per equivalent of dissolved base
        self._strength = float(reagent[NA] + reagent[N])
        self._reactors = [layout.vessel(f"R-{name}{k}") for k in (1, 2)]
        self._tank = layout.vessel(f"TK-{name}")
        self._loop = Loop(f"AIC-{name}", 2.0, board, layout, nature)
        self._control = Reagent(f"AIC-{name}", layout, 2.0, 3.0, 0.2)
        self._probes = [Probe(f"R-{name}{k}", layout) for k in (1, 2)]
        self._press = Press(f"FP-{name}1", board, layout)
        self._reagent_in = layout.inlet(supply)
        self._fresh, self._formed = layout.inlet("fresh water"), layout.inlet("formed water")
        self._co2 = layout.outlet("CO2 of precipitation")
        self._strength_wander = nature.add(f"strength of reagent for {name}", 4.0)
        self._temp_wander = nature.add(f"{name} temperature", 1.0)
        # Told by the warm minute: dose, RE and chloride at design, and what the tags' normals mean.
        self._ratio, self._design, self._chloride, self._shift = 1.03, 1.0, 1.0, 0.0
        names = [f"R-{name}{k}" for k in (1, 2)]
        self._ph, self._temp = board.columns(names, "ph", "exact"), board.columns(names, "temp")
        self._lvl, self._amp = board.columns(names, "lvl", "exact"), board.columns(names, "agit_amp")
        self._feed, self._rgt = board.columns(names, "feed", "held"), board.columns(names, "rgt", "held")
        self._resid, self._turb = board.columns(names, "re_resid"), board.columns(names, "turb")
        unit = f"WS-{name}"
        self._w = [board.column(unit, suffix, "held") for suffix in ("w1", "w2")]
        self._cl, self._wash_temp = board.column(unit, "cl"), board.column(unit, "temp")
        self._normal = board.normal

    def run(self, minute: Minute, liquor: Floats) -> Precipitated:
        """Run a minute on the liquor that comes."""
        process, hours, truth = minute.process, minute.hours, minute.truth
        re = float(liquor[RE].sum())
        if process.warm:
            self._design = re / hours
            self._ratio = (2.0 * self._strength * hours + excess_base(liquor)) / (3 * re)
        load = re / hours / self._design
        # The reactors hold hours of the liquor, its smoothed load dresses what has no model of its own.
        lead = max(3 * re * self._ratio - excess_base(liquor), 0.0) / self._strength / hours
        flow = self._loop.run(minute, lead * self._control.correct(minute, self._error(minute)))
        dose = self._reagent * (flow * hours)
        dose[NA : C + 1] *= 1 + 0.003 * minute.wander[self._strength_wander]
        water = float(dose[WATER])
        process.take_in(self._reagent_in, dose - vector(water=water, volume=float(dose[VOLUME])))
        slurry = sum(
            (process.through(vessel, (liquor + dose) / 2, _REACTOR, hours) for vessel in self._reactors),
            start=np.zeros(len(liquor)),
        )
        r = _ratio_of(slurry)
        solid = slurry[RE] * (1 - self._dissolved(slurry, r))
        alkaline = max(0.0, excess_base(slurry) - 3 * float(solid.sum()))
        gas = max(0.0, float(slurry[C]) - 1.5 * float(solid.sum()) - self._alkaline * alkaline)
        process.send_out(self._co2, vector(C=gas))
        slurry[C] -= gas
        if self._reagent[N] > 0:
            formed = process.take_in(self._formed, vector(water=gas * H2O))
            slurry = slurry + formed
        wash = WASH * hours * (0.5 + 0.5 * load)
        process.take_in(self._fresh, vector(water=wash, volume=wash))
        cake, cake_kg, mother = self._filter(slurry, solid, wash)
        mother = process.through(self._tank, mother, _TANK, hours, TANK)
        if process.warm:
            self._chloride = float(slurry[CL] / slurry[VOLUME])
            self._shift = self._normal[self._ph[0]] - ph.precipitating(r)

        shown = [_ratio_of(process.held[vessel]) for vessel in self._reactors]
        truth[self._ph] = [min(max(ph.precipitating(ratio) + self._shift, 0.0), 14.0) for ratio in shown]
        truth[self._resid] = [ph.residual_re(ratio) for ratio in shown]
        truth[self._lvl] = [65.0 * float(process.held[vessel][VOLUME]) / _REACTOR for vessel in self._reactors]
        truth[self._turb] = [15 * (1 + 25 * max(0.0, 1 - ratio)) for ratio in shown]
        warmth = 0.5 * minute.wander[self._temp_wander] + 0.03 * (minute.ambient - 8.0)
        truth[self._temp] = self._normal[self._temp] + warmth
        truth[self._amp] = 18.0 * (0.8 + 0.2 * load)
        truth[self._feed], truth[self._rgt] = 3.0 * load, 1.2 * flow / 2.0
        wash_load = 0.5 + 0.5 * load
        for column in self._w:
            truth[column] = self._normal[column] * wash_load
        truth[self._cl] = (
            80 * float(slurry[CL] / max(slurry[VOLUME], 1e-9)) / self._chloride * math.exp(2.0 * (load - wash_load))
        )
        truth[self._wash_temp] = self._normal[self._wash_temp] + 2 * warmth
        self._press.run(minute, load)
        return Precipitated(cake, cake_kg, mother, water, load)

    def washed(self, load: float) -> float:
        """Fresh water to the wash at a load, m3/h."""
        return WASH * (0.5 + 0.5 * load)

    def _error(self, minute: Minute) -> float:
        """Share of the dose that the reactors lack, as the probes see it."""
        if minute.process.warm:
            for probe in self._probes:
                probe.see(minute, self._ratio)
            return 0.0
        error = 0.0
        for k, (vessel, probe) in enumerate(zip(self._reactors, self._probes, strict=True), start=1):
            ratio = probe.see(minute, _ratio_of(minute.process.held[vessel]))
            bias = minute.acting.probe_bias.get(f"R-{self.name}{k}", 0.0)
            error += self._ratio - ratio - bias / ph.precipitating_slope(ratio)
        return error / 2

    def _dissolved(self, slurry: Floats, ratio: float) -> float:
        """Share of the RE that stays in solution."""
        total = oxide_kg(slurry[RE])
        return min(1.0, ph.residual_re(ratio) / 1000 * float(slurry[VOLUME]) / max(total, 1e-9))

    def _filter(self, slurry: Floats, solid: Floats, wash: float) -> tuple[Floats, float, Floats]:
        """Part a slurry into washed cake (with its mass, kg) and mother liquor with the wash water."""
        dry_kg = float(CARBONATE @ solid)
        moisture = dry_kg / 3 / 1000  # 25 % of the wet cake
        crystal = WATER_OF_CRYSTAL * float(solid.sum())
        liquid = slurry.copy()
        liquid[RE] -= solid
        liquid[C] -= 1.5 * float(solid.sum())
        liquid[WATER] -= crystal
        share = min(moisture / max(float(liquid[WATER]), 1e-9), 0.9)
        entrained = liquid * share * math.exp(-_WASH_SHARE * min(wash / max(moisture, 1e-9), 8.0))
        entrained[WATER] = float(liquid[WATER]) * share
        entrained[VOLUME] = entrained[WATER]
        cake = entrained.copy()
        cake[RE] += solid
        cake[C] += 1.5 * float(solid.sum())
        cake[WATER] += crystal
        mother = liquid - entrained + vector(water=wash, volume=wash)
        return cake, dry_kg * 4 / 3, mother


def _ratio_of(held: Floats) -> float:
    return excess_base(held) / max(3 * float(held[RE].sum()), 1e-9)
