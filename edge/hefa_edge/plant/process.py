"""The state of the process and what may be done with it: vessels are filled and drawn, nothing appears or vanishes.

A `Layout` is built once: units ask it for vessels, numbers and boundary streams by name. A `Process` is the state
that belongs to a layout, copied before a minute and changed within it by the units. What crosses the plant's
boundary is booked, so that in - out - held is the same for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hefa_edge.plant.substances import SPECIES, VOLUME, Floats

DESIGN = "design flow"  # array of a process: m3/h that flowed through each vessel in the warm minute
WEIR, TANK = 20.0, 2.0  # what `Process.through` calls gain, of an overflow and of slow level control


class Layout:
    """What a flowsheet consists of, by name. Numbers start as given."""

    def __init__(self) -> None:
        self.vessels: dict[str, int] = {}
        self.numbers: dict[str, int] = {}
        self.starts: list[float] = []
        self.inlets: dict[str, int] = {}
        self.outlets: dict[str, int] = {}

    def vessel(self, name: str) -> int:
        """Ask for a vessel that holds a vector of substances."""
        return self.vessels.setdefault(name, len(self.vessels))

    def number(self, name: str, start: float = 0.0) -> int:
        """Ask for a number that is remembered from minute to minute."""
        if name not in self.numbers:
            self.numbers[name] = len(self.starts)
            self.starts.append(start)
        return self.numbers[name]

    def inlet(self, name: str) -> int:
        """Ask for a stream into the plant."""
        return self.inlets.setdefault(name, len(self.inlets))

    def outlet(self, name: str) -> int:
        """Ask for a stream out of the plant."""
        return self.outlets.setdefault(name, len(self.outlets))

    def process(self) -> Process:
        """Make the empty state."""
        size = len(SPECIES)
        return Process(
            np.zeros((len(self.vessels), size)),
            list(self.starts),
            np.zeros((len(self.inlets), size)),
            np.zeros((len(self.outlets), size)),
            {DESIGN: np.zeros(len(self.vessels))},
        )


@dataclass(slots=True)
class Process:
    """Vessels (vessels, species), numbers, and amounts that came in and went out since the beginning.

    While `warm` is set a minute finds the steady state instead of moving through time: every vessel takes the
    composition of what flows through it.
    """

    held: Floats
    number: list[float]
    came_in: Floats
    went_out: Floats
    arrays: dict[str, Floats] = field(default_factory=dict)
    warm: bool = False

    def copy(self) -> Process:
        """Copy what a minute changes. Entries of `arrays` are replaced, never changed in place."""
        return Process(
            self.held.copy(),
            self.number.copy(),
            self.came_in.copy(),
            self.went_out.copy(),
            self.arrays.copy(),
            self.warm,
        )

    def take_in(self, inlet: int, amounts: Floats) -> Floats:
        """Book what enters the plant; returns it."""
        self.came_in[inlet] += amounts
        return amounts

    def send_out(self, outlet: int, amounts: Floats) -> None:
        """Book what leaves the plant."""
        self.went_out[outlet] += amounts

    def through(self, vessel: int, inflow: Floats, volume: float, hours: float, gain: float = WEIR) -> Floats:
        """Fill a mixed vessel and let it flow on, the more the fuller it is.

        It is at `volume` (m3) when the design flow, that of the warm minute, comes in. `gain` is the share by which
        the outflow rises per share of volume: a weir keeps its level, a tank under slow level control breathes.
        """
        row = self.held[vessel]
        if self.warm:
            row[:] = inflow * (volume / inflow[VOLUME])
            self.arrays[DESIGN] = self.arrays[DESIGN].copy()
            self.arrays[DESIGN][vessel] = inflow[VOLUME] / hours
            return inflow
        leave = self.arrays[DESIGN][vessel] * hours * (1 + gain * (row[VOLUME] / volume - 1))
        row += inflow
        out = np.asarray(row * min(max(leave / row[VOLUME], 0.0), 0.95))
        row -= out
        return out

    def supply(self, vessel: int, inflow: Floats, draw: float, volume: float) -> Floats:
        """Fill a mixed vessel and draw `draw` m3 from it, or what there is."""
        row = self.held[vessel]
        if self.warm:
            row[:] = inflow * (volume / inflow[VOLUME])
            return np.asarray(row * (draw / volume))
        row += inflow
        out = np.asarray(row * min(max(draw / row[VOLUME], 0.0), 0.95))
        row -= out
        return out

    def delay(self, vessel: int, inflow: Floats, hours: float, residence_h: float) -> Floats:
        """Fill a mixed vessel and let everything in it leave with a mean residence time."""
        row = self.held[vessel]
        share = -math.expm1(-hours / residence_h)
        if self.warm:
            row[:] = inflow * ((1 - share) / share)
            return inflow
        row += inflow
        out = np.asarray(row * share)
        row -= out
        return out

    def total(self) -> Floats:
        """All that the vessels hold, by species."""
        return np.asarray(self.held.sum(axis=0))

    def dump(self, layout: Layout) -> dict[str, Any]:
        """Write the state as JSON-able values by name."""
        return {
            "vessels": {name: self.held[i].tolist() for name, i in layout.vessels.items()},
            "numbers": {name: float(self.number[i]) for name, i in layout.numbers.items()},
            "in": {name: self.came_in[i].tolist() for name, i in layout.inlets.items()},
            "out": {name: self.went_out[i].tolist() for name, i in layout.outlets.items()},
            "arrays": {name: values.tolist() for name, values in self.arrays.items()},
        }

    def restored(self, layout: Layout, document: Mapping[str, Any]) -> Process:
        """Take over what `dump` wrote; what the layout has gained since stays as here."""
        taken = self.copy()
        for rows, names, key in (
            (taken.held, layout.vessels, "vessels"),
            (taken.came_in, layout.inlets, "in"),
            (taken.went_out, layout.outlets, "out"),
        ):
            for name, values in document.get(key, {}).items():
                if name in names and len(values) == len(SPECIES):
                    rows[names[name]] = values
        for name, value in document.get("numbers", {}).items():
            if name in layout.numbers:
                taken.number[layout.numbers[name]] = value
        for name, values in document.get("arrays", {}).items():
            if name in taken.arrays and np.shape(values) == taken.arrays[name].shape:
                taken.arrays[name] = np.array(values, dtype=np.float64)
        return taken
