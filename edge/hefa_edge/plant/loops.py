"""Control loops of flows: set-point, valve, flow meter, and the flow that truly results.

A loop holds what its meter shows at the set-point. A meter that shows too much therefore lets too little flow:
`Loop.run` returns the true flow, the board gets what meter and register see.
"""

from __future__ import annotations

import math

from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.nature import Fluctuations
from hefa_edge.plant.process import Layout, Process

_HOUR = 3_600_000_000
_INTEGRAL_H = 5 / 60  # of the controller behind a valve that sticks


class Loop:
    """One loop; `design` is the flow at half open, m3/h."""

    def __init__(
        self, name: str, design: float, board: Board, layout: Layout, nature: Fluctuations, pump: str = ""
    ) -> None:
        """`pump` is the unit whose trouble stops or starves the flow."""
        self.name, self.design, self._pump = name, design, pump
        self._pv, self._op = board.column(name, "pv", "held"), board.column(name, "op")
        self._sp = board.column(name, "sp")
        board.column(name, "tot")
        self._setpoint = layout.number(f"{name}.sp", design)
        self._valve = layout.number(f"{name}.op", 50.0)
        self._hunt = layout.number(f"{name}.hunt")
        self._flow = layout.number(f"{name}.flow", design)
        self._wander = nature.add(f"{name} flow", 0.1)

    def run(self, minute: Minute, wanted: float) -> float:
        """Control the flow towards `wanted` for a minute; returns what truly flows, m3/h."""
        number, acting = minute.process.number, minute.acting
        wanted = min(max(wanted, 0.0), 2 * self.design)
        if not acting.automatic:
            # A person looks in each hour, and corrects half of what has to be corrected.
            last = number[self._setpoint]
            wanted = last + 0.5 * (wanted - last) if minute.start % _HOUR == 0 else last
        number[self._setpoint] = wanted
        scale = acting.flow_scale.get(self.name, 1.0)
        opening = 50.0 * wanted / scale / self.design
        output = self._move_valve(minute, opening)
        flow = self.design * number[self._valve] / 50.0
        # The wander passes through nothing twice: what flows is what all units receive.
        flow *= 1 + 0.0015 * minute.wander[self._wander]
        delivered = 1.0
        if self._pump:
            delivered = 0.0 if self._pump in acting.tripped else 1 - 0.15 * acting.cavitation.get(self._pump, 0.0)
        flow *= delivered
        number[self._flow] = flow
        minute.truth[self._sp] = wanted
        # Where the pump fails the controller opens, in vain: the valve is not what lacks.
        minute.truth[self._op] = min(max(output, 0.0) / max(delivered, 0.01), 100.0)
        minute.truth[self._pv] = flow * scale
        return flow

    def _move_valve(self, minute: Minute, opening: float) -> float:
        """Bring the valve to `opening`, %, as far as it goes; returns the controller's output.

        A valve that sticks leaves its place only when the output is a dead band ahead, and then slips past where it
        should be. So it is never right, and the controller's integral drives it to and fro.
        """
        number, band = minute.process.number, minute.acting.stiction.get(self.name, 0.0)
        if band <= 0:
            number[self._valve], number[self._hunt] = opening, 0.0
            return opening
        ahead = opening + number[self._hunt] - number[self._valve]
        if number[self._hunt] == 0 or abs(ahead) >= band:
            number[self._valve] = max(opening + math.copysign(band / 2, ahead), 0.0)
        number[self._hunt] += (opening - number[self._valve]) * minute.hours / _INTEGRAL_H
        return opening + number[self._hunt]

    def load(self, process: Process) -> float:
        """What flowed in the last minute, by the design flow."""
        return process.number[self._flow] / self.design


class Reagent:
    """Proportional-integral control of a reagent's dose, on the scale of the reagent's error.

    The error is what base or acid is missing, not a pH: the titration curve is steep where nobody wants to be, and
    a controller that works before the curve needs no gain schedule. Its own output is a share of the feed-forward.
    """

    def __init__(self, name: str, layout: Layout, gain: float, integral_h: float, limit: float) -> None:
        self._trim = layout.number(f"{name}.trim")
        self._gain, self._integral_h, self._limit = gain, integral_h, limit

    def correct(self, minute: Minute, error: float) -> float:
        """Take the missing share of the dose; returns the factor by which the dose is multiplied."""
        number = minute.process.number
        if minute.process.warm:
            number[self._trim] = 0.0
            return 1.0
        integral = number[self._trim] + self._gain * error * minute.hours / self._integral_h
        number[self._trim] = min(max(integral, -self._limit), self._limit)
        return 1.0 + min(max(number[self._trim] + self._gain * error, -self._limit), self._limit)


class Probe:
    """A pH electrode between the process and its controller: first-order lag and offset.

    It remembers the reagent's error as it sees it; the offset is turned into an error by the caller.
    """

    def __init__(self, name: str, layout: Layout) -> None:
        self._name = name
        self._seen = layout.number(f"{name}.probe")

    def see(self, minute: Minute, true: float) -> float:
        """Look at the true value for a minute; returns what the probe makes of it."""
        number = minute.process.number
        lag_h = max(minute.acting.probe_lag.get(self._name, 8.0), 0.1) / 3600
        share = 1.0 if minute.process.warm else minute.hours / (minute.hours + lag_h)
        number[self._seen] += share * (true - number[self._seen])
        return number[self._seen]
