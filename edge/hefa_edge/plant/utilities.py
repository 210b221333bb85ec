"""Area A6 and what hangs on it: meters of electricity, water, gas and steam, boiler, air, cooling, stack, fans.

The meters form trees: a parent shows the sum of its children and what nobody meters. Nothing here feeds back into
the process but the voltage.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hefa_edge.plant import weather
from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.machines import Machines
from hefa_edge.plant.nature import Fluctuations
from hefa_edge.plant.process import Layout
from hefa_edge.plant.substances import Floats, vector

_DOMESTIC = 1.3  # m3/h of fresh water that no sub-meter sees
_UTILITY = 3.2  # m3/h: boiler, cooling tower, laboratory
_GAS_PER_STEAM = 75.0  # m3{n}/t

# Which machines hang behind which meter; the rest of a meter's usual power is agitators, lights, small drives.
_BEHIND = {
    "PM-A1": [f"P-13{k}" for k in range(1, 9)],
    "PM-SXA": ["P-241", "P-243", "P-245"],
    "PM-SXB": ["P-242", "P-244", "P-246"],
    "PM-SAPO": [f"P-25{k}" for k in range(1, 7)],
    "PM-PN": ["P-PN1", "P-PN2"],
    "PM-CE": ["P-CE1", "P-CE2"],
    "PM-LA": ["P-LA1", "P-LA2"],
    "PM-TKN": ["FN-431"],
    "PM-RKN": ["FN-432", "FN-433"],
    "PM-MVR1": ["P-541", "P-542"],
    "PM-NEUT": [f"P-54{k}" for k in range(5, 9)],
    "PM-WATER": ["P-543", "P-544"],
}
# Which load the rest of a meter's power follows, and how much of it.
_RESTS = {
    "PM-A1": ("a1", 0.4),
    "PM-SXA": ("org-a", 0.3),
    "PM-SXB": ("org-b", 0.3),
    "PM-SAPO": ("org-a", 0.3),
    "PM-PN": ("pn", 0.4),
    "PM-CE": ("ce", 0.4),
    "PM-LA": ("la", 0.4),
    "PM-TKN": ("tunnel", 0.3),
    "PM-RKN": ("rotary", 0.3),
    "PM-PACK": ("rotary", 0.8),
    "PM-MVR1": ("mvr1", 0.6),
    "PM-MVR2": ("mvr2", 0.6),
    "PM-NEUT": ("neut", 0.3),
}


class Demand(NamedTuple):
    """What the process asks of the utilities in a minute; flows an hour."""

    loads: Floats
    fresh: tuple[float, float, float]  # water of A1, A2, A3, m3/h
    reuse: float  # m3/h
    kiln_gas: tuple[float, float]  # m3{n}/h
    compressors: tuple[float, float]  # kW of the vapour compressors
    ro_power: float  # kW


class Utilities:
    """The models of A6, of the gas cleaning of A4, and of the weather's tags."""

    def __init__(
        self, board: Board, layout: Layout, nature: Fluctuations, machines: Machines, loads: tuple[str, ...]
    ) -> None:
        self._loads = {name: i for i, name in enumerate(loads)}
        usual = board.usual
        self._fresh, self._vapour = layout.inlet("fresh water"), layout.outlet("vapour")
        self._sewer = layout.outlet("sewer")
        self.voltage = layout.number("voltage", 395.0)
        self._wander = {
            name: nature.add(name, hours)
            for name, hours in (
                ("voltage", 0.5),
                ("power factor", 2.0),
                ("domestic water", 0.6),
                ("steam", 0.4),
                ("air", 0.5),
                ("cooling", 1.0),
                ("stack", 1.5),
                ("humidity", 6.0),
                ("pressure", 30.0),
                ("harmonics", 1.0),
            )
        }
        self._calm = nature.calm

        meters = [unit for unit in _electric(board) if unit != "PM-MAIN"]
        self._meters = meters
        at = {unit: i for i, unit in enumerate(machines.units)}
        self._hangs = np.zeros((len(meters), len(machines.units)))
        for row, unit in enumerate(meters):
            for machine in _BEHIND.get(unit, []):
                if machine in at:
                    self._hangs[row, at[machine]] = 1.0
        self._drives = np.array([nature.add(f"drives of {unit}", 0.4) for unit in meters], dtype=np.intp)
        self._usual_p = np.array([usual(unit, "p") for unit in meters])
        self._rest = self._usual_p - self._hangs @ machines.power
        self._follow = np.array([self._loads[_RESTS[u][0]] if u in _RESTS else 0 for u in meters], dtype=np.intp)
        self._share = np.array([_RESTS[u][1] if u in _RESTS else 0.0 for u in meters])
        self._row = {unit: i for i, unit in enumerate(meters)}
        every = [*meters, "PM-MAIN"]
        self._p, self._q = board.columns(every, "p", "held"), board.columns(every, "q", "held")
        self._pf, self._u = board.columns(every, "pf"), board.columns(every, "u")
        self._i, self._thd = board.columns(every, "i"), board.columns(every, "thd")
        for unit in every:
            board.column(unit, "e"), board.column(unit, "er")

        self._flow = {
            unit: board.column(unit, "flow", "held")
            for unit in (
                "WM-MAIN",
                "WM-A1",
                "WM-SX",
                "WM-PPT",
                "WM-UTIL",
                "WM-REUSE",
                "GM-MAIN",
                "GM-TKN",
                "GM-RKN",
                "GM-BOIL",
                "SM-MAIN",
                "SM-A1",
                "SM-PPT",
                "SM-MVR",
            )
        }
        units = tuple(self._flow)
        for unit in units:
            board.column(unit, "tot")
        self._meter_temp, self._meter_pres = board.columns(units, "temp"), board.columns(units, "pres")
        # K of a meter's medium per K outside: water in the ground, gas, steam.
        self._meter_coupling = np.array([{"W": 0.3, "G": 0.8, "S": 0.0}[unit[0]] for unit in units])
        self._meter_flow = np.array([self._flow[unit] for unit in units], dtype=np.intp)

        tag = board.column
        self._boiler = {s: tag("BL-601", s) for s in ("pres", "lvl", "o2", "texh", "tfw", "eff", "nox")}
        self._boiler_flow = tag("BL-601", "flow", "held")
        air = ("AC-611", "AC-612")
        self._air = {s: board.columns(air, s) for s in ("pres", "flow", "pow", "toil", "vib")}
        board.columns(air, "hrs")
        self._cool = {s: tag("CT-621", s) for s in ("tsup", "tret", "flow", "fan_pow", "ec", "makeup")}
        self._stack = {s: tag("CEMS-631", s) for s in ("so2", "nox", "pm", "hcl", "o2", "temp", "flow")}
        self._weather = {s: tag("WX-641", s) for s in ("tamb", "rh", "patm")}
        scrubbers = ("SC-411", "SC-412")
        self._scrub = {s: board.columns(scrubbers, s) for s in ("dp", "ph", "pm", "flow", "temp")}
        self._fan = board.columns(scrubbers, "fan_pow", "held")
        self._normal = board.normal

    def run(self, minute: Minute, demand: Demand, machine_power: Floats) -> None:
        """Run a minute."""
        steam = self._water_and_gas(minute, demand)
        air_power = self._compressed_air(minute)
        fans = self._gas_cleaning(minute, demand)
        self._cooling(minute, demand)
        self._boiler_house(minute, steam)
        self._electricity(minute, demand, machine_power, air_power, fans)
        truth, wander = minute.truth, minute.wander
        truth[self._weather["tamb"]] = minute.ambient
        rh = weather.humidity(minute.ambient, wander[self._wander["humidity"]])
        truth[self._weather["rh"]] = rh
        truth[self._weather["patm"]] = self._normal[self._weather["patm"]] + 0.35 * wander[self._wander["pressure"]]

    def _water_and_gas(self, minute: Minute, demand: Demand) -> float:
        process, truth, wander, normal = minute.process, minute.truth, minute.wander, self._normal
        hour = weather.local_hour(minute.start)
        awake = 1.0 if self._calm else 1 + 0.35 * math.sin(2 * math.pi * (hour - 9) / 24)
        domestic = _DOMESTIC * awake * (1 + 0.03 * wander[self._wander["domestic water"]])
        cold = 8.0 - minute.ambient
        utility = _UTILITY * (1 - 0.008 * cold) * (1 + 0.01 * wander[self._wander["cooling"]])
        leak = minute.acting.water_leak
        total = sum(demand.fresh) + utility + domestic + leak
        amount = (utility + domestic + leak) * minute.hours
        process.take_in(self._fresh, vector(water=amount, volume=amount))
        process.send_out(self._vapour, vector(water=0.8 * utility * minute.hours))
        process.send_out(self._sewer, vector(water=amount - 0.8 * utility * minute.hours))

        loads = demand.loads
        unrest = 1 + 0.01 * wander[self._wander["steam"]]
        steams = (
            0.4 * (0.4 + 0.6 * loads[self._loads["a1"]]) * (1 + 0.006 * cold) * unrest,
            0.3 * (0.5 + 0.5 * loads[self._loads["ce"]]) * (1 + 0.006 * cold) * unrest,
            0.3 * (0.6 + 0.4 * loads[self._loads["mvr1"]]) * unrest,
        )
        steam = float(sum(steams))
        flow = self._flow
        boiler_gas = _GAS_PER_STEAM * steam / minute.acting.gas_heat
        for unit, value in (
            ("WM-MAIN", total),
            ("WM-A1", demand.fresh[0]),
            ("WM-SX", demand.fresh[1]),
            ("WM-PPT", demand.fresh[2]),
            ("WM-UTIL", utility),
            ("WM-REUSE", demand.reuse),
            ("GM-TKN", demand.kiln_gas[0]),
            ("GM-RKN", demand.kiln_gas[1]),
            ("GM-BOIL", boiler_gas),
            ("GM-MAIN", sum(demand.kiln_gas) + boiler_gas),
            ("SM-A1", steams[0]),
            ("SM-PPT", steams[1]),
            ("SM-MVR", steams[2]),
            ("SM-MAIN", steam),
        ):
            truth[flow[unit]] = value
        truth[self._boiler_flow] = steam
        truth[self._meter_temp] = normal[self._meter_temp] - self._meter_coupling * cold
        busy = truth[self._meter_flow] / normal[self._meter_flow]
        truth[self._meter_pres] = normal[self._meter_pres] * (1 - 0.03 * (busy - 1))
        return steam

    def _compressed_air(self, minute: Minute) -> Floats:
        truth, normal = minute.truth, self._normal
        use = (1 + 0.02 * minute.wander[self._wander["air"]]) * (1 + minute.acting.air_leak)
        share = min(use, 1.6)
        air = self._air
        truth[air["flow"]] = normal[air["flow"]] * share
        power = normal[air["pow"]] * (0.3 + 0.7 * share)
        truth[air["pow"]] = power
        truth[air["pres"]] = normal[air["pres"]] - 120 * (share - 1)
        truth[air["toil"]] = normal[air["toil"]] + 12 * (share - 1) + 0.1 * (minute.ambient - 8.0)
        truth[air["vib"]] = normal[air["vib"]] * (0.9 + 0.1 * share)
        return np.asarray(power / normal[air["pow"]])

    def _gas_cleaning(self, minute: Minute, demand: Demand) -> Floats:
        truth, normal, scrub = minute.truth, self._normal, self._scrub
        loads = np.array([demand.loads[self._loads["tunnel"]], demand.loads[self._loads["rotary"]]])
        truth[scrub["flow"]] = normal[scrub["flow"]] * (0.5 + 0.5 * loads)
        truth[scrub["dp"]] = normal[scrub["dp"]] * (0.5 + 0.5 * loads) ** 2
        truth[scrub["ph"]] = normal[scrub["ph"]]
        truth[scrub["pm"]] = normal[scrub["pm"]] * (0.6 + 0.4 * loads)
        truth[scrub["temp"]] = normal[scrub["temp"]] + 10 * (loads - 1) + 0.05 * (minute.ambient - 8.0)
        fans = normal[self._fan] * (0.5 + 0.5 * loads) ** 3
        truth[self._fan] = fans
        load = float(loads.mean())
        stir = minute.wander[self._wander["stack"]]
        stack = self._stack
        for suffix, factor in (
            ("so2", 1 + 0.05 * stir),
            ("nox", load * (1 + 0.03 * stir)),
            ("pm", 0.6 + 0.4 * load),
            ("hcl", demand.loads[self._loads["a1"]] * (1 + 0.04 * stir)),
            ("o2", 1 - 0.3 * (load - 1)),
            ("temp", 1 + 0.1 * (load - 1)),
            ("flow", 0.5 + 0.5 * load),
        ):
            truth[stack[suffix]] = normal[stack[suffix]] * factor
        return np.asarray(fans)

    def _cooling(self, minute: Minute, demand: Demand) -> None:
        truth, normal, cool = minute.truth, self._normal, self._cool
        heat = demand.loads[self._loads["mvr1"]] * (1 + 0.02 * minute.wander[self._wander["cooling"]])
        warm = minute.ambient - 8.0
        supply = normal[cool["tsup"]] + (0.2 * warm if warm > 0 else 0.18 * warm)
        truth[cool["tsup"]], truth[cool["tret"]] = supply, supply + 7.0 * heat
        truth[cool["flow"]] = normal[cool["flow"]]
        truth[cool["fan_pow"]] = normal[cool["fan_pow"]] * min(max(heat * (1 + 0.01 * warm), 0.2), 2.0)
        truth[cool["ec"]] = normal[cool["ec"]] * (1 + 0.004 * warm)
        truth[cool["makeup"]] = normal[cool["makeup"]] * heat * (1 + 0.012 * warm)

    def _boiler_house(self, minute: Minute, steam: float) -> None:
        truth, normal, boiler = minute.truth, self._normal, self._boiler
        for suffix, value in (
            ("pres", -25 * (steam - 1)),
            ("lvl", 4 * (steam - 1)),
            ("o2", -0.8 * (steam - 1)),
            ("texh", 20 * (steam - 1)),
            ("tfw", -3 * (steam - 1)),
            ("eff", -1.5 * (steam - 1)),
            ("nox", 10 * (steam - 1)),
        ):
            truth[boiler[suffix]] = normal[boiler[suffix]] + value

    def _electricity(self, minute: Minute, demand: Demand, machine_power: Floats, air: Floats, fans: Floats) -> None:
        truth, wander, normal, row = minute.truth, minute.wander, self._normal, self._row
        unrest = 1 + 0.02 * np.take(wander, self._drives)
        p = self._hangs @ machine_power + self._rest * unrest * (1 + self._share * (demand.loads[self._follow] - 1))
        hour = weather.local_hour(minute.start)
        dark = 1.0 if self._calm else 1.5 - _presence(hour, 7.0, 19.0, 0.15)
        office = 1.0 if self._calm else 0.5 + 1.2 * _presence(hour, 8.0, 18.0, 0.3)
        for unit, extra in (
            ("PM-MVR1", demand.compressors[0] - 720.0),
            ("PM-MVR2", demand.compressors[1] - 100.0),
            ("PM-RO", demand.ro_power - 22.0),
            ("PM-VENT", float(fans.sum()) - 30.0),
            ("PM-AIR1", 60.0 * (air[0] - 1)),
            ("PM-AIR2", 30.0 * (air[1] - 1)),
            ("PM-COOL", float(truth[self._cool["fan_pow"]]) - 11.0),
            ("PM-LIGHT", 20.0 * (dark - 1)),
            ("PM-OFFICE", 12.0 * (office - 1)),
            ("PM-BOIL", 6.0 * (truth[self._boiler_flow] - 1)),
        ):
            if unit in row:
                p[row[unit]] += extra
        p = np.maximum(p, 0.0)
        power = np.append(p, p.sum())
        tangent = 0.45 * (1 + 0.02 * wander[self._wander["power factor"]])
        voltage = 395.0 - 0.004 * (float(power[-1]) - 1900.0) + 1.2 * wander[self._wander["voltage"]]
        minute.process.number[self.voltage] = voltage
        factor = 1 / math.sqrt(1 + tangent * tangent)
        truth[self._p], truth[self._q] = power, power * tangent
        truth[self._pf], truth[self._u] = factor, voltage
        truth[self._i] = power * 1000 / (math.sqrt(3) * voltage * factor)
        truth[self._thd] = normal[self._thd] * (1 + 0.05 * wander[self._wander["harmonics"]])


def _presence(hour: float, comes: float, goes: float, slow_h: float) -> float:
    """Share of people (or daylight) that is there at an hour: they come and go around these hours."""
    return (math.tanh((hour - comes) / slow_h) - math.tanh((hour - goes) / slow_h)) / 2


def _electric(board: Board) -> list[str]:
    return list(dict.fromkeys(tag.unit for tag in board.tags if tag.template == "POWER_METER"))
