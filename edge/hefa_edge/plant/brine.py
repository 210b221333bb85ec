"""Area A5: wastewater is neutralised and evaporated to salt; condensate and permeate are used again.

The brine of the soap and the neutralised mother liquors of Ce and La go to MVR-511, that of PrNd to MVR-512;
reverse osmosis takes water out of the La liquor before. A fouled heating surface needs a higher temperature
difference, which the compressor pays for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hefa_edge.plant.behaviour import Evaporators
from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.loops import Loop, Probe, Reagent
from hefa_edge.plant.nature import Fluctuations
from hefa_edge.plant.process import TANK, Layout
from hefa_edge.plant.substances import (
    CL,
    H2O,
    NA,
    NACL,
    NAOH_10,
    NH4CL,
    OTHER,
    OTHER_CL,
    OXIDE,
    PURE_WATER,
    RE,
    VOLUME,
    WATER,
    C,
    Floats,
    N,
    excess_base,
    vector,
)

_TANK, _REACTOR = 27.5, 13.0
_MOIST = 0.03  # water in the centrifuged salt


class Treated(NamedTuple):
    """Flows for the utilities: waters in m3/h, compressor powers in kW, loads by design."""

    powers: tuple[float, float]
    loads: tuple[float, float]
    reuse: float
    ro_load: float
    ro_power: float


class Evaporator:
    """One evaporator with mechanical vapour recompression."""

    def __init__(self, unit: str, evaporators: Evaporators, board: Board, layout: Layout, nature: Fluctuations) -> None:
        build = evaporators.units[unit]
        self._unit, self._rise, self._gap = unit, build.rise, build.difference
        self._cleaned_at = evaporators.cleaned_at
        self._fouling = evaporators.cleaned_at / (24 * evaporators.fouling_days)  # an hour
        self._tank = layout.vessel(build.tank)
        self._inside = layout.vessel(unit)
        self._deposit = layout.number(f"{unit}.deposit")
        self._salt_out, self._vapour = layout.outlet(build.salt), layout.outlet("vapour")
        self._wander = nature.add(f"{unit} feed", 0.5)
        # Told by the warm minute: water and volume at design, and the share of the vapour that is condensate.
        self._water, self._feed_m3, self._condensed = 1.0, 1.0, 1.0
        column = board.column
        self._feed, self._evap = column(unit, "feed", "held"), column(unit, "evap", "held")
        self._pow, self._steam = column(unit, "comp_pow", "held"), column(unit, "steam", "held")
        self._salt = column(unit, "salt", "held")
        board.column(unit, "evap_tot"), board.column(unit, "e")
        names = (
            "comp_rpm",
            "comp_vib",
            "comp_btemp",
            "tsat",
            "tsteam",
            "pevap",
            "lvl",
            "dens",
            "cond_ec",
            "circ_amp",
            "u",
        )
        self._tag = {name: column(unit, name) for name in names}
        self._normal = board.normal
        self.design_power, self.design_evap = board.normal[self._pow], board.normal[self._evap]

    def run(self, minute: Minute, brine: Floats) -> tuple[float, float, float]:
        """Run a minute on the brine that comes. Returns condensate (m3), compressor power (kW) and load."""
        process, hours, truth = minute.process, minute.hours, minute.truth
        number, normal = process.number, self._normal
        feed = process.through(self._tank, brine, _TANK, hours, TANK)
        inside = process.delay(self._inside, feed, hours, 2.0)
        kg = salt_kg(inside)
        with_salt = min(_MOIST * kg / 1000, float(inside[WATER]))
        vapour = float(inside[WATER]) - with_salt
        if process.warm:
            self._water, self._feed_m3 = vapour / hours, float(feed[VOLUME]) / hours
            self._condensed = self.design_evap * hours / vapour
        condensate = min(self._condensed, 1.0) * vapour
        process.send_out(self._vapour, vector(water=vapour - condensate))
        salt = inside.copy()
        salt[WATER], salt[VOLUME] = with_salt, 0.0
        process.send_out(self._salt_out, salt)
        load = vapour / hours / self._water

        if not process.warm:
            number[self._deposit] += self._fouling * hours * load
            if number[self._deposit] >= self._cleaned_at:
                number[self._deposit] = 0.0  # cleaned in place
        deposit = number[self._deposit] + minute.acting.fouling.get(self._unit, 0.0)
        u = normal[self._tag["u"]] / (1 + deposit)
        difference = self._gap * load * (1 + deposit)
        lift = (self._rise + difference) / (self._rise + self._gap)
        power = self.design_power * load * lift
        truth[self._feed] = normal[self._feed] * float(feed[VOLUME]) / hours / self._feed_m3
        truth[self._evap] = condensate / hours
        truth[self._pow] = power
        truth[self._steam] = normal[self._steam] * load * (1 - 0.004 * (minute.ambient - 8.0))
        truth[self._salt] = kg / hours
        tag = self._tag
        truth[tag["u"]] = u
        truth[tag["tsat"]] = normal[tag["tsat"]] + 3 * (load - 1)
        truth[tag["tsteam"]] = normal[tag["tsteam"]] + 3 * (load - 1) + difference - self._gap
        truth[tag["pevap"]] = normal[tag["pevap"]] * (1 + 0.12 * (load - 1))
        truth[tag["comp_rpm"]] = normal[tag["comp_rpm"]] * (0.35 + 0.35 * np.sqrt(lift) + 0.3 * load)
        truth[tag["comp_vib"]] = normal[tag["comp_vib"]] * (0.6 + 0.4 * lift)
        truth[tag["comp_btemp"]] = normal[tag["comp_btemp"]] + 8 * (lift - 1) + 0.1 * (minute.ambient - 8.0)
        truth[tag["lvl"]] = normal[tag["lvl"]] + 20 * (load - 1)
        truth[tag["dens"]] = normal[tag["dens"]] + 60 * (load - 1)
        truth[tag["cond_ec"]] = normal[tag["cond_ec"]] * (0.5 + 0.5 * load**3)
        truth[tag["circ_amp"]] = normal[tag["circ_amp"]] * (0.85 + 0.15 * load)
        return condensate, power, load


class Wastewater:
    """The models of A5."""

    def __init__(self, evaporators: Evaporators, board: Board, layout: Layout, nature: Fluctuations) -> None:
        self.mvr1 = Evaporator("MVR-511", evaporators, board, layout, nature)
        self.mvr2 = Evaporator("MVR-512", evaporators, board, layout, nature)
        self._neutraliser = layout.vessel("R-501")
        self._clean, self._ro_feed = layout.vessel("TK-533"), layout.vessel("TK-534")
        self._effluent = layout.vessel("TK-535")
        self._loop = Loop("AIC-502", 0.3, board, layout, nature)
        self._control, self._probe = Reagent("AIC-502", layout, 1.0, 1.5, 0.9), Probe("R-501", layout)
        self._lead = layout.number("AIC-502.lead", 0.3)
        self._in = {name: layout.inlet(name) for name in ("NaOH", "formed water", "soda of scrubbers")}
        self._co2, self._vapour = layout.outlet("CO2 of neutralisation"), layout.outlet("vapour")
        self._outfall, self._export = layout.outlet("outfall"), layout.outlet("condensate sent out")
        # Told by the warm minute.
        self._soda, self._neutral, self._base, self._ro_share = 0.0, 0.0, 1.0, 0.8
        self._scrubber_water, self._surplus = 1.6, 0.0
        self._ro_wander, self._quality = nature.add("RO membrane", 24.0), nature.add("effluent quality", 5.0)
        u = "R-501"
        self._ph, self._lvl = board.column(u, "ph", "exact"), board.column(u, "lvl", "exact")
        self._feed, self._rgt = board.column(u, "feed", "held"), board.column(u, "rgt", "held")
        self._still = np.array([board.column(u, s) for s in ("temp", "agit_amp", "re_resid", "turb")], dtype=np.intp)
        u = "RO-521"
        self._ro = {s: board.column(u, s, "held") for s in ("feed", "perm", "pow")}
        self._ro_more = {s: board.column(u, s) for s in ("pin", "dp", "ec")}
        u = "EM-551"
        self._em = {s: board.column(u, s) for s in ("ph", "nh3n", "cod", "f", "pb", "thu")}
        self._em_flow = board.column(u, "flow", "held")
        board.column(u, "tot")
        self._normal = board.normal
        self._neut_m3 = 1.0

    def run(
        self,
        minute: Minute,
        brine: Floats,
        acid: Floats,
        mothers: tuple[Floats, Floats, Floats],
        uses: float,
        diluting: float,
    ) -> Treated:
        """Run a minute. `mothers` are those of PrNd, Ce and La; `uses` the m3 of the reuse header that others take,
        `diluting` the m3 of condensate that dilutes acid.
        """
        process, hours, truth, normal = minute.process, minute.hours, minute.truth, self._normal
        prnd, ce, la = mothers
        la = process.through(self._ro_feed, la, _TANK, hours, TANK)
        if process.warm:
            self._ro_share = 12.0 * hours / float(la[VOLUME])
        through_ro = float(la[VOLUME]) * min(self._ro_share, 0.95)
        permeate = min(0.75 * through_ro, 0.9 * float(la[WATER]))
        liquors = ce + la + acid - PURE_WATER * permeate

        if process.warm:
            self._neutral = 0.005 * float(liquors[VOLUME]) / hours  # a little hydrogen carbonate is left at pH 8.5
            self._soda = self._neutral - excess_base(liquors) / hours - 0.3 * float(NAOH_10[NA])
            self._neut_m3 = float(liquors[VOLUME]) / hours
        soda = process.take_in(self._in["soda of scrubbers"], vector(Na=max(self._soda, 0.0) * hours))
        load = float(liquors[VOLUME]) / hours / self._neut_m3
        mixed = liquors + soda
        lacking = (self._neutral * load * hours - excess_base(mixed)) / float(NAOH_10[NA]) / hours
        number = process.number
        # The dose is led by what lacked in the last half hour: nobody knows the minute's own.
        number[self._lead] += (lacking - number[self._lead]) * (1.0 if process.warm else -math.expm1(-hours / 0.5))
        flow = self._loop.run(minute, max(number[self._lead], 0.0) * self._control.correct(minute, self._error(minute)))
        base = process.take_in(self._in["NaOH"], NAOH_10 * (flow * hours))
        formed = process.take_in(self._in["formed water"], vector(water=float(base[NA]) * H2O))
        out = process.through(self._neutraliser, mixed + base + formed, _REACTOR, hours)
        gas = max(0.0, float(out[C]) - max(0.0, excess_base(out)))
        process.send_out(self._co2, vector(C=gas))
        out[C] -= gas
        condensate1, power1, load1 = self.mvr1.run(minute, out + brine)
        condensate2, power2, load2 = self.mvr2.run(minute, prnd)

        scrubbing = self._scrubber_water * hours
        process.send_out(self._vapour, vector(water=scrubbing))
        effluent = normal[self._em_flow] * (0.7 + 0.3 * load) * (1 + 0.05 * minute.wander[self._quality])
        recovered = permeate + condensate1 + condensate2
        taken = uses + diluting + scrubbing + effluent * hours
        row = process.held[self._clean]
        if process.warm:
            row[:] = PURE_WATER * _TANK
        else:
            row += PURE_WATER * (recovered - taken)
        if process.warm:
            self._surplus = (recovered - taken) / hours
        surplus = max(0.0, self._surplus * (1 + TANK * (float(row[VOLUME]) / _TANK - 1))) * hours
        surplus = 0.0 if process.warm else surplus
        row -= PURE_WATER * surplus
        process.send_out(self._export, PURE_WATER * surplus)
        discharged = process.through(self._effluent, PURE_WATER * (effluent * hours), _TANK, hours, TANK)
        process.send_out(self._outfall, discharged)

        held = process.held[self._neutraliser]
        truth[self._ph] = self._shown_ph(held, hours)
        truth[self._lvl] = 65.0 * float(held[VOLUME]) / _REACTOR
        truth[self._feed], truth[self._rgt] = 3.0 * load, 1.2 * flow / 0.3
        truth[self._still] = normal[self._still] * np.array([1.0, 0.8 + 0.2 * load, 1.0, load])
        ro_load = through_ro / hours / 12.0
        dirt = 1 + 0.03 * minute.wander[self._ro_wander]
        truth[self._ro["feed"]], truth[self._ro["perm"]] = through_ro / hours, permeate / hours
        ro_power = normal[self._ro["pow"]] * ro_load * dirt
        truth[self._ro["pow"]] = ro_power
        for suffix, factor in (("pin", ro_load * dirt), ("dp", ro_load**2 * dirt**2), ("ec", dirt / ro_load)):
            truth[self._ro_more[suffix]] = normal[self._ro_more[suffix]] * factor
        quality = 1 + 0.06 * minute.wander[self._quality] + 1.5 * (load2 - 1)
        for suffix, column in self._em.items():
            truth[column] = normal[column] + (0.0 if suffix == "ph" else normal[column] * (quality - 1))
        truth[self._em_flow] = float(discharged[VOLUME]) / hours
        reuse = (uses + scrubbing) / hours
        return Treated((power1, power2), (load1, load2), reuse, ro_load, ro_power)

    def _error(self, minute: Minute) -> float:
        """Share of the base that the neutraliser lacks, as its probe sees it."""
        wanted = self._neutral / self._neut_m3
        if minute.process.warm:
            self._probe.see(minute, wanted)
            return 0.0
        held = minute.process.held[self._neutraliser]
        seen = self._probe.see(minute, excess_base(held) / float(held[VOLUME]))
        seen += 0.01 * minute.acting.probe_bias.get("R-501", 0.0)
        return (wanted - seen) * self._neut_m3 / (0.3 * float(NAOH_10[NA]))

    def _shown_ph(self, held: Floats, _hours: float) -> float:
        """pH around 8.5, where hydrogen carbonate buffers."""
        wanted = self._neutral / self._neut_m3
        distance = excess_base(held) / float(held[VOLUME]) - wanted
        return float(8.5 + 3.5 * np.tanh(distance / 0.05))


def salt_kg(amounts: Floats) -> float:
    """Dry mass of what a brine leaves when its water has gone."""
    chloride = float(amounts[CL])
    sodium, ammonium, other = float(amounts[NA]), float(amounts[N]), float(amounts[OTHER])
    rest = max(0.0, sodium + ammonium + other - chloride)  # carbonates and hydroxide, counted as hydrogen carbonate
    salts = NACL * sodium + NH4CL * ammonium + OTHER_CL * other - 35.453 * rest + 61.0 * rest
    return max(salts, 0.0) + float(OXIDE @ amounts[RE])
