"""Machines that turn: pumps and fans under load, and what wear and cavitation make of them.

Head against a system H = Hs + k Q², affinity for the drive, power by head x flow / efficiency. A worn bearing
vibrates with the square of its wear, runs hot, and costs efficiency. Vectors over all machines.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.substances import Floats

_STATIC = 0.4  # share of the head that does not depend on the flow
_INDOORS = 0.15  # K of a bearing per K outside


class Machines:
    """All pumps and fans of the plant. Each follows one of the loads that the flowsheet names."""

    def __init__(self, board: Board, follows: Mapping[str, str], loads: tuple[str, ...]) -> None:
        """`follows` maps a unit to the load that drives it; `loads` orders them."""
        self.units = tuple(follows)
        self._load = np.array([loads.index(follows[unit]) for unit in self.units], dtype=np.intp)
        usual = board.usual
        self._flow = board.columns(self.units, "flow", "held")
        self._run, self._amp = board.columns(self.units, "run"), board.columns(self.units, "amp")
        self._vib = board.columns(self.units, "vib")
        self._freq, self._pres = board.columns(self.units, "freq"), board.columns(self.units, "pres")
        self._pow, self._btemp = board.columns(self.units, "pow", "held"), board.columns(self.units, "btemp")
        for unit in self.units:
            board.column(unit, "hrs")
        self._normal = board.normal
        # A small pump has no power signal: its current tells (1.9 A/kW, as the seeds have it).
        self.power = np.array([usual(unit, "amp") / 1.9 for unit in self.units])

    def run(self, minute: Minute, loads: Floats, voltage: float) -> Floats:
        """Run a minute at these loads (by design); returns active powers, kW, in the order of `units`."""
        acting, truth, normal = minute.acting, minute.truth, self._normal
        load = loads[self._load]
        run = np.ones(len(self.units))
        wear, cavitation = self._of(acting.wear), self._of(acting.cavitation)
        for unit in acting.tripped:
            if unit in self.units:
                run[self.units.index(unit)] = 2.0
        turning = run == 1.0
        head = _STATIC + (1 - _STATIC) * load**2
        efficiency = 1 - 0.12 * wear
        flow = np.where(turning, load, 0.0)
        power = np.where(turning, self.power * load * head / efficiency, 0.0)
        drive = np.where(turning, 1 + 0.35 * (head - 1) + 0.15 * (load - 1) + 0.05 * wear + 0.03 * cavitation, 0.0)
        truth[self._run] = run
        truth[self._flow] = normal[self._flow] * flow
        truth[self._pres] = normal[self._pres] * np.where(turning, head * (1 - 0.1 * cavitation), 0.0)
        truth[self._pow] = power
        truth[self._amp] = 1.9 * power * 395.0 / voltage
        truth[self._freq] = np.minimum(normal[self._freq] * drive, 50.0)
        truth[self._vib] = np.where(turning, normal[self._vib] + 6 * wear**2 + 3 * cavitation + 0.4 * (drive - 1), 0.1)
        warm = 25 * wear + 6 * (power / self.power - 1) + _INDOORS * (minute.ambient - 8.0)
        truth[self._btemp] = np.where(turning, normal[self._btemp] + warm, 15.0)
        return power

    def _of(self, severity: Mapping[str, float]) -> Floats:
        if not severity:
            return np.zeros(len(self.units))
        return np.array([severity.get(unit, 0.0) for unit in self.units])
