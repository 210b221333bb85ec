"""Chance in the plant: slow fluctuations, each a pure function of (seed, name, time). No state, no stream.

A fluctuation is a sum of sines with keyed phases and periods around its own time scale: it looks like a random
process with that memory, and any instant of it can be asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hefa_edge import keyed

Floats = NDArray[np.float64]

# Periods in units of the time scale, equally strong: sd 1 in all.
_PERIODS = (2.3, 4.1, 7.7, 13.0, 29.0)


class Fluctuations:
    """Named fluctuations of sd 1, or none at all in a calm plant."""

    def __init__(self, seed: int, calm: bool = False) -> None:
        self._seed = seed
        self.calm = calm
        self._amplitude = 0.0 if calm else 1.0
        self._names: list[str] = []
        self._keys: dict[str, keyed.Keys] = {}
        self._scales: list[float] = []
        self._frozen: tuple[Floats, Floats] | None = None

    def add(self, name: str, hours: float) -> int:
        """Ask for a fluctuation with a memory of `hours`; returns its place in `at`."""
        self._names.append(name)
        self._scales.append(hours)
        self._frozen = None
        return len(self._names) - 1

    def at(self, ts: int) -> list[float]:
        """All fluctuations at `ts` (µs), in the order asked for."""
        if self._frozen is None:
            self._frozen = waves(self._names, self._seed, [hours * 3600 for hours in self._scales])
        return [float(v) for v in self._amplitude * swing(*self._frozen, ts)]

    def draw(self, name: str, number: int) -> float:
        """Give the standard normal number that belongs to the `number`-th thing of a name."""
        if name not in self._keys:
            self._keys[name] = keyed.keys([name], self._seed, "draw")
        return self._amplitude * float(keyed.normal(self._keys[name], number)[0])


def waves(names: Sequence[str], seed: int, seconds: Sequence[float]) -> tuple[Floats, Floats]:
    """Make angular velocities (rad/s) and phases, (sines, names), of fluctuations with these memories."""
    stretch = [0.8 + 0.4 * keyed.uniform(keyed.keys(names, seed, f"period {k}")) for k in range(len(_PERIODS))]
    phases = [2 * np.pi * keyed.uniform(keyed.keys(names, seed, f"phase {k}")) for k in range(len(_PERIODS))]
    period = np.array(_PERIODS)[:, None] * np.array(stretch) * np.asarray(seconds)
    return 2 * np.pi / period, np.array(phases)


def swing(omega: Floats, phase: Floats, ts: int) -> Floats:
    """Give the fluctuations at `ts` (µs), (names,), sd 1."""
    return np.asarray(np.sqrt(2 / len(_PERIODS)) * np.sin(omega * (ts / 1e6) + phase).sum(axis=0))
