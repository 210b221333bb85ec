"""Area A1: carbonate is weighed in, dissolved in hydrochloric acid, trimmed, filtered and stored as feed liquor.

The belts follow the level of the last tank, acid follows the belts and the pH of the dissolvers, base the pH of
the neutraliser. All carbon leaves as CO2; foreign metals that fall out leave with the filter's residue.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hefa_edge.plant import ph
from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.loops import Loop, Probe, Reagent
from hefa_edge.plant.nature import Fluctuations
from hefa_edge.plant.process import TANK, Layout
from hefa_edge.plant.substances import (
    CL,
    H2O,
    HCL_31,
    NA,
    NAOH_10,
    OTHER,
    OXIDE,
    PURE_WATER,
    RE,
    VOLUME,
    WATER,
    C,
    Floats,
    excess_base,
    oxide_kg,
    vector,
)

BELT = 1.45  # t/h of wet carbonate on each belt
REO_SHARE = 0.4354  # kg REO per kg of carbonate: that of the books
LOT = 24.0  # t
_MOISTURE = 0.39  # t water per t carbonate, crystal water included
_BULK = 0.407  # m3 of liquor that a t of carbonate makes
# Equivalents of foreign cations per t of carbonate: 5 % more acid than RE need, less what is left at pH 1.5.
_OTHER = 0.3132
_HYDROLYSABLE = 0.2563  # share of them that falls out below pH 4.5
_DISSOLVER_PH, _TRIM_PH = 1.5, 4.3
_REACTOR, _TANK = 13.0, 27.5  # m3 held
_ACID_RATIO = 2.4 / (2 * BELT)  # m3 of 31 % acid per t
_WATER_RATIO, _FRESH_RATIO = 2.85 / (2 * BELT), 1.5 / (2 * BELT)
_VAPOUR = 0.3 / (2 * BELT)  # t boiled off per t


class Dissolved(NamedTuple):
    """What a minute of A1 gave: the liquor drawn for extraction, waters used (m3), and masses for the books."""

    liquor: Floats
    reused_water: float
    fresh_water: float
    charged_kg: float  # kg REO
    made_kg: float  # kg REO that left the filter
    load: float  # throughput by design throughput


class Dissolution:
    """The models of A1."""

    def __init__(self, board: Board, layout: Layout, nature: Fluctuations, fractions: Floats) -> None:
        self._nature, self._fractions = nature, fractions
        self._mean_oxide = float(OXIDE @ fractions)
        self.design = 2 * BELT * REO_SHARE * 1000 / self._mean_oxide  # kmol RE/h
        self._tons = layout.number("carbonate used")
        self._belt_wander = [nature.add(f"WT-16{k} rate", 0.3) for k in (1, 2)]
        self._composition = [nature.add("PrNd in carbonate", 24.0), nature.add("Ce in carbonate", 24.0)]
        self._strength = nature.add("strength of 31 % acid", 8.0)
        self._base_strength = nature.add("strength of 10 % base", 3.0)
        self._reactors = [layout.vessel(name) for name in ("R-101", "R-102")]
        self._trim = layout.vessel("R-103")
        self._tanks = [layout.vessel(name) for name in ("TK-121", "TK-122", "TK-123")]
        self._tank_seen = layout.number("TK-123.level", 55.0)
        self._acid = Loop("FIC-151", 2.4, board, layout, nature)
        self._base = Loop("AIC-152", 0.15, board, layout, nature)
        self._probes = [Probe(name, layout) for name in ("R-101", "R-102")]
        self._trim_probe = Probe("R-103", layout)
        self._acid_control = Reagent("FIC-151", layout, 8.0, 3.0, 0.3)
        self._base_control = Reagent("AIC-152", layout, 2.0, 2.0, 0.9)
        self._in = {name: layout.inlet(name) for name in ("carbonate", "HCl", "NaOH", "fresh water", "formed water")}
        self._co2, self._residue = layout.outlet("CO2 of dissolution"), layout.outlet("residue")
        self._vapour = layout.outlet("vapour")

        names = ("R-101", "R-102", "R-103")
        self._ph = board.columns(names, "ph", "exact")
        self._temp, self._lvl = board.columns(names, "temp"), board.columns(names, "lvl", "exact")
        self._amp, self._feed = board.columns(names, "agit_amp"), board.columns(names, "feed", "held")
        self._rgt = board.columns(names, "rgt", "held")
        self._resid, self._turb = board.columns(names, "re_resid"), board.columns(names, "turb")
        self._rate = board.columns(("WT-161", "WT-162"), "rate", "held")
        board.columns(("WT-161", "WT-162"), "tot")
        self._shares = [board.column("AN-141", s, "exact") for s in ("la", "ce", "pr", "nd")]
        self._reo = board.column("AN-141", "reo", "exact")
        self._normal = board.normal

    def run(self, minute: Minute, draw: float) -> Dissolved:
        """Run a minute; `draw` is the liquor that extraction takes, m3."""
        process, hours, truth = minute.process, minute.hours, minute.truth
        number, wander = process.number, minute.wander
        pull = minute.acting.pace * (1.0 + 1.5 * (0.55 - number[self._tank_seen] / 100))
        rates = [BELT * pull * (1 + 0.004 * wander[i]) for i in self._belt_wander]
        tons = sum(rates) * hours
        carbonate = process.take_in(self._in["carbonate"], self.carbonate(minute, number[self._tons]) * tons)
        number[self._tons] += tons
        load = sum(rates) / (2 * BELT)

        strength = (1 + 0.002 * wander[self._strength]) * minute.acting.acid_strength
        seen = [self._error(minute, i) for i in (0, 1)]
        acid_flow = self._acid.run(minute, _ACID_RATIO * sum(rates) * self._acid_control.correct(minute, sum(seen) / 2))
        acid = HCL_31 * (acid_flow * hours)
        acid[CL] *= strength
        process.take_in(self._in["HCl"], acid)
        water = PURE_WATER * (_WATER_RATIO * tons)
        fresh = _FRESH_RATIO * tons
        process.take_in(self._in["fresh water"], PURE_WATER * fresh)
        formed = vector(water=1.5 * float(carbonate[RE].sum()) * H2O)
        process.take_in(self._in["formed water"], formed)
        # The acid drives out all carbon at once.
        gas = vector(C=float(carbonate[C]))
        process.send_out(self._co2, gas)
        steam = PURE_WATER * (_VAPOUR * tons)
        process.send_out(self._vapour, vector(water=float(steam[WATER])))
        slurry = carbonate + acid + water + formed - gas - steam
        liquor = sum(
            (
                process.through(vessel, slurry * (rate / sum(rates)), _REACTOR, hours)
                for vessel, rate in zip(self._reactors, rates, strict=True)
            ),
            start=np.zeros(len(slurry)),
        )

        row = process.held[self._trim]
        metals = _HYDROLYSABLE * float(liquor[OTHER])
        trim_error = self._trim_error(minute, row)
        base_wanted = (
            (
                ph.trimmed_excess(_TRIM_PH, 0.0) * float(liquor[VOLUME])
                + metals * ph.hydrolysed(_TRIM_PH)
                - excess_base(liquor)
            )
            / float(NAOH_10[NA])
            / hours
        )
        base_flow = self._base.run(minute, base_wanted * self._base_control.correct(minute, trim_error))
        base = NAOH_10 * (base_flow * hours)
        base[NA] *= 1 + 0.01 * wander[self._base_strength]
        process.take_in(self._in["NaOH"], base)
        made = process.take_in(self._in["formed water"], vector(water=float(base[NA]) * H2O))
        trimmed = process.through(self._trim, liquor + base + made, _REACTOR, hours)
        trim_ph = self._trim_ph(trimmed)
        fallen = _HYDROLYSABLE * float(trimmed[OTHER]) * ph.hydrolysed(trim_ph)
        residue = vector(other=fallen, water=0.05 * tons / (2 * BELT))
        residue[WATER] = min(float(residue[WATER]), 0.5 * float(trimmed[WATER]))
        process.send_out(self._residue, residue)
        residue[VOLUME] = residue[WATER]
        clear = trimmed - residue
        made_kg = oxide_kg(clear[RE])
        for tank in self._tanks[:-1]:
            clear = process.through(tank, clear, _TANK, hours, TANK)
        out = process.supply(self._tanks[-1], clear, draw, _TANK)
        last = process.held[self._tanks[-1]]
        number[self._tank_seen] = 100 * float(last[VOLUME]) / 50.0

        truth[self._rate] = rates
        for i, vessel in enumerate((*self._reactors, self._trim)):
            held = process.held[vessel]
            truth[self._lvl[i]] = 65.0 * float(held[VOLUME]) / _REACTOR
            truth[self._ph[i]] = self.dissolver_ph(held) if i < 2 else self._trim_ph(held)
        truth[self._temp] = self._normal[self._temp] + 0.04 * (minute.ambient - 8.0) + 2.0 * (load - 1)
        truth[self._amp] = self._normal[self._amp] * (0.8 + 0.2 * load)
        truth[self._feed] = self._normal[self._feed] * load
        truth[self._rgt] = self._normal[self._rgt] * [acid_flow / 2.4, acid_flow / 2.4, base_flow / 0.15]
        truth[self._resid], truth[self._turb] = self._normal[self._resid], self._normal[self._turb] * load
        oxides = OXIDE * last[RE]
        truth[self._shares] = 100 * oxides / oxides.sum()
        truth[self._reo] = oxides.sum() / last[VOLUME]
        return Dissolved(out, float(water[VOLUME]) - fresh, fresh, oxide_kg(carbonate[RE]), made_kg, load)

    def carbonate(self, minute: Minute, tons_before: float) -> Floats:
        """Give the vector of one t of the carbonate on the belts, by its lot and the minute's composition."""
        lot = int(tons_before / LOT)
        prnd = 1 + 0.012 * minute.wander[self._composition[0]] + 0.008 * self._nature.draw("PrNd of a lot", lot)
        ce = 1 + 0.006 * minute.wander[self._composition[1]]
        f = self._fractions * np.array([1.0, ce, 1.0, 1.0])
        z = float(self._fractions[2:].sum()) * prnd * minute.acting.prnd_factor
        f[:2] *= (1 - z) / f[:2].sum()
        f[2:] *= z / f[2:].sum()
        share = REO_SHARE * (1 + 0.003 * self._nature.draw("REO of a lot", lot))
        re = f * (share * 1000 / float(OXIDE @ f))
        amounts = vector(other=_OTHER, water=_MOISTURE, volume=_BULK, C=1.5 * float(re.sum()))
        amounts[RE] = re
        return amounts

    @staticmethod
    def dissolver_ph(held: Floats) -> float:
        """pH of a dissolver: its free acid."""
        return ph.strong(excess_base(held) / float(held[VOLUME])) if held[VOLUME] > 0 else 7.0

    def _trim_ph(self, held: Floats) -> float:
        volume = float(held[VOLUME])
        return ph.trimmed(excess_base(held) / volume, _HYDROLYSABLE * float(held[OTHER]) / volume)

    def _error(self, minute: Minute, i: int) -> float:
        """Share of the acid that dissolver `i` lacks, as its probe sees it."""
        held = minute.process.held[self._reactors[i]]
        if minute.process.warm:
            self._probes[i].see(minute, 10.0**-_DISSOLVER_PH)
            return 0.0
        name = f"R-10{i + 1}"
        acid = -excess_base(held) / float(held[VOLUME])
        # A probe that shows too high a pH sees less acid than there is.
        seen = self._probes[i].see(minute, acid) * 10.0 ** -minute.acting.probe_bias.get(name, 0.0)
        # What is missing in the vessel, against what a residence time brings.
        return float(10.0**-_DISSOLVER_PH - seen) / 3.78

    def _trim_error(self, minute: Minute, held: Floats) -> float:
        """Share of the base that the neutraliser lacks, as its probe sees it."""
        if minute.process.warm:
            return 0.0
        volume = float(held[VOLUME])
        metals = _HYDROLYSABLE * float(held[OTHER]) / volume
        shown = self._trim_ph(held) + minute.acting.probe_bias.get("R-103", 0.0)
        lacking = ph.trimmed_excess(_TRIM_PH, metals) - ph.trimmed_excess(min(max(shown, 0.5), 9.0), metals)
        return float(self._trim_probe.see(minute, lacking) / 0.067)
