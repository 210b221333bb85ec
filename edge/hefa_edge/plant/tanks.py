"""Storage tanks: level and volume of those that the flowsheet fills, and of those whose content it need not know."""

from __future__ import annotations

import numpy as np

from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.nature import Fluctuations
from hefa_edge.plant.process import Layout
from hefa_edge.plant.substances import VOLUME

VOLUME_M3 = 50.0


class Tanks:
    """All tanks. One that is a vessel of the layout shows it."""

    def __init__(self, board: Board, layout: Layout, nature: Fluctuations) -> None:
        units = tuple(dict.fromkeys(tag.unit for tag in board.tags if tag.template == "TANK"))
        known = [unit for unit in units if unit in layout.vessels]
        supply = [unit for unit in units if unit not in layout.vessels]
        self._vessel = np.array([layout.vessels[unit] for unit in known], dtype=np.intp)
        self._units = (*known, *supply)
        self._lvl = board.columns(self._units, "lvl", "exact")
        self._vol, self._temp = board.columns(self._units, "vol", "exact"), board.columns(self._units, "temp")
        self._wander = [nature.add(f"{unit} level", 2.0) for unit in supply]
        self._normal = board.normal

    def run(self, minute: Minute) -> None:
        """Show a minute."""
        held = minute.process.held[self._vessel, VOLUME]
        supply = np.array([0.55 * VOLUME_M3 * (1 + 0.02 * minute.wander[i]) for i in self._wander])
        volume = np.append(held, supply)
        truth = minute.truth
        truth[self._vol] = volume
        truth[self._lvl] = np.clip(100 * volume / VOLUME_M3, 0.0, 100.0)
        truth[self._temp] = self._normal[self._temp] + 0.08 * (minute.ambient - 8.0)
