"""Area A4: kilns burn carbonate cake to oxide. Heat balance, zones, flue gas, loss on ignition.

C dT/dt = gas x heating value - flue - wall - duty; what the burner brings is booked to the four to the last joule.
The gas follows the firing temperature; the air follows the gas; false air costs heat and shows as oxygen.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hefa_edge.plant.behaviour import Kilns
from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.nature import Fluctuations
from hefa_edge.plant.process import Layout
from hefa_edge.plant.substances import CO2, OXIDE, RE, WATER, C, Floats, vector

_MEAN_AMBIENT = 8.0
_KJ_PER_MINUTE = 60.0
_WORKED_OFF_H = 36.0  # what waited in the bunker while a kiln rested goes in on top of what comes


class Burnt(NamedTuple):
    """What a minute of a kiln gave: the oxide with its mass (kg), and the gas it took (m3{n}/h)."""

    oxide: Floats
    kg: float
    gas: float
    load: float
    loi: float  # %


class Kiln:
    """The model of one kiln."""

    def __init__(self, unit: str, kilns: Kilns, board: Board, layout: Layout, nature: Fluctuations) -> None:
        build = kilns.units[unit]
        self._unit, self._build, self._kilns = unit, build, kilns
        self._fire_zone = build.fire_zone - 1
        self.design_gas = build.gas
        self._usual_excess = build.air / (kilns.air_ratio * build.gas)
        self._inside = [layout.vessel(f"{unit} part {k}") for k in range(build.stages)]
        self._bunker = layout.vessel(f"{unit} bunker")
        self._fire = layout.number(f"{unit}.fire", build.fire)
        self._integral = layout.number(f"{unit}.gas", build.gas)
        zone_units = [f"z{k:02d}" for k in range(1, build.zones + 1)]
        self._zone = np.array([board.column(unit, suffix) for suffix in zone_units], dtype=np.intp)
        usual = board.normal[self._zone]
        self._zone_state = f"{unit}.zones"
        self._usual = usual
        self._rise = (usual - _MEAN_AMBIENT) / (build.fire - _MEAN_AMBIENT)
        # Zones far from the fire follow it late: 10 to 30 minutes.
        self._lag_h = (10 + 20 * np.abs(np.arange(build.zones) - self._fire_zone) / build.zones) / 60
        self.energy = {
            name: layout.number(f"{unit}.{name}") for name in ("heat in", "duty", "flue", "wall", "accumulated")
        }
        self._co2, self._vapour = layout.outlet("CO2 of calcination"), layout.outlet("vapour")
        self._design_kg, self._wall = 1.0, 1.0  # told by the warm minute
        self._heat = nature.add("heating value", 12.0)
        self._push_wander = nature.add(f"{unit} feeding", 1.0)
        self._gas, self._air = board.column(unit, "gas", "held"), board.column(unit, "air", "held")
        self._o2, self._rate = board.column(unit, "o2"), board.column(unit, "rate", "held")
        self._cake = board.column(unit, "feed", "held")
        for suffix in ("gas_tot", "cars"):
            board.column(unit, suffix)
        self._mode = board.column(unit, "mode")
        self._loi = board.column(unit, "loi")
        names = ("texh", "shell", "draft", "push", "cool_air", "tcar", "rpm", "drv_amp", "drv_vib", "d50", "tprod")
        self._tag = {name: board.column(unit, name) for name in names}
        self._normal = board.normal

    def run(self, minute: Minute, cake: Floats, cake_kg: float) -> Burnt:
        """Run a minute on the cake that comes."""
        process, hours, truth, build = minute.process, minute.hours, minute.truth, self._build
        number, acting = process.number, minute.acting
        resting = self._unit in acting.resting
        bunker = process.held[self._bunker]
        bunker += cake
        inside = np.zeros(len(cake))
        if not resting:
            inside = cake + (bunker - cake) * -math.expm1(-hours / _WORKED_OFF_H)
            bunker -= inside
        for vessel in self._inside:
            inside = process.delay(vessel, inside, hours, build.residence_h / build.stages)
        re = inside[RE]
        oxide_kg = float(OXIDE @ re)
        if process.warm:
            self._design_kg = oxide_kg / hours
        load = oxide_kg / hours / self._design_kg

        fire = number[self._fire]
        heat_value = self._kilns.heating_value * acting.gas_heat * (1 + 0.004 * minute.wander[self._heat])
        false_air = acting.false_air.get(self._unit, 0.0)
        error = build.fire - fire
        integral = number[self._integral] + build.gain * error * hours / build.integral_h
        number[self._integral] = min(max(integral, 0.3 * build.gas), 1.8 * build.gas)
        gas = build.gas if process.warm else number[self._integral] + build.gain * error
        # Duty is known from the feeding: it leads the gas.
        lead = 0.0 if process.warm else self._kilns.duty * 1000 / 3600 * (oxide_kg / hours - self._design_kg)
        gas += lead * 3.6 / self._kilns.heating_value / (1 - build.flue)
        gas = min(max(gas, 0.2 * build.gas), 2.0 * build.gas)

        leaking = 1 + false_air / (21.0 - min(_oxygen(self._usual_excess), 20.0) - false_air)
        flue_share = min(build.flue * leaking, 0.6)
        brought = gas * heat_value / 3.6  # kW
        duty = self._kilns.duty * 1000 / 3600 * oxide_kg / hours
        if process.warm:
            self._wall = (brought * (1 - flue_share) - duty) / (build.fire - _MEAN_AMBIENT)
        flue, wall = brought * flue_share, self._wall * (fire - minute.ambient)
        stored = brought - duty - flue - wall
        if not process.warm:
            number[self._fire] = fire + stored * _KJ_PER_MINUTE / (build.capacity * 1000)
        for name, power in (("heat in", brought), ("duty", duty), ("flue", flue), ("wall", wall)):
            number[self.energy[name]] += power * hours
        number[self.energy["accumulated"]] += build.capacity / 3.6 * (number[self._fire] - fire)

        indoors = _MEAN_AMBIENT + 0.3 * (minute.ambient - _MEAN_AMBIENT)
        wanted = indoors + self._rise * (number[self._fire] - indoors)
        zones = self._usual if process.warm else process.arrays[self._zone_state]
        zones = zones + (wanted - zones) * -np.expm1(-hours / self._lag_h)
        process.arrays[self._zone_state] = zones

        push = self._normal[self._tag["push"]] / max(load, 0.2) * (1 + 0.002 * minute.wander[self._push_wander])
        hot = float(zones[self._fire_zone])
        loi = min(build.loi * math.exp((build.fire - hot) / 95), 12.0)
        kept = loi / 100 * oxide_kg / CO2
        carbon = max(0.0, float(inside[C]) - kept)
        process.send_out(self._co2, vector(C=carbon))
        process.send_out(self._vapour, vector(water=float(inside[WATER])))
        product = inside.copy()
        product[C] -= carbon
        product[WATER] = 0.0

        air = build.air * gas / build.gas
        truth[self._zone] = zones
        truth[self._gas], truth[self._air] = gas, air
        excess = air / (self._kilns.air_ratio * gas)
        truth[self._o2] = min(self._normal[self._o2] + _oxygen(excess) - _oxygen(self._usual_excess) + false_air, 20.9)
        truth[self._rate] = oxide_kg / hours
        truth[self._cake] = 0.0 if resting else cake_kg / hours
        truth[self._mode] = 1.0 if resting else 2.0  # kept hot without feed, as when it heats up
        truth[self._loi] = loi
        tag, normal = self._tag, self._normal
        truth[tag["push"]] = push
        firing = gas * leaking / build.gas
        truth[tag["texh"]] = normal[tag["texh"]] * (0.4 + 0.6 * firing) + 0.3 * (indoors - 8.0)
        truth[tag["shell"]] = indoors + (normal[tag["shell"]] - 8.0) * (hot - indoors) / (build.fire - 8.0)
        truth[tag["draft"]] = normal[tag["draft"]] * (2 - firing)
        truth[tag["cool_air"]] = normal[tag["cool_air"]] * (0.7 + 0.3 * load)
        truth[tag["tcar"]] = normal[tag["tcar"]] * (0.6 + 0.4 * load) + 0.5 * (indoors - 8.0)
        truth[tag["tprod"]] = normal[tag["tprod"]] * (0.6 + 0.4 * load) + 0.5 * (indoors - 8.0)
        truth[tag["rpm"]] = normal[tag["rpm"]] * (0.4 + 0.6 * load)
        truth[tag["drv_amp"]] = normal[tag["drv_amp"]] * (0.7 + 0.3 * load)
        truth[tag["drv_vib"]] = normal[tag["drv_vib"]] * (0.9 + 0.1 * load)
        truth[tag["d50"]] = normal[tag["d50"]] * (1 + (hot - build.fire) / 400)
        return Burnt(product, oxide_kg, gas, load, loi)


def _oxygen(excess: float) -> float:
    """O2 of dry flue gas, %, at an air ratio."""
    return 21 * (excess - 1) / max(excess - 0.1, 0.1)
