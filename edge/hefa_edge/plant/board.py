"""Where models write what is true: one column a tag, found by unit and suffix.

A tag that the plant model lacks has a column nobody reads, so that a smaller plant runs on the same models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hefa_contract.plant import Plant, Tag
from hefa_edge.plant.disturbances import Disturbances
from hefa_edge.plant.process import Process

Floats = NDArray[np.float64]
# How a gauge moves within a minute. held: it stays, and amounts are its product with time. exact: straight from
# minute to minute. lively: straight, and around it a little unrest that no model explains.
Manner = Literal["held", "exact", "lively"]


class Board:
    """The columns of truth. `claimed` tells which tags some model writes."""

    def __init__(self, plant: Plant) -> None:
        self.tags: Sequence[Tag] = tuple(plant.tags.values())
        self._at = {tag.name: i for i, tag in enumerate(self.tags)}
        self._path = {unit.name: unit.path for unit in plant.units}
        self.size = len(self.tags) + 1  # the last column is nobody's
        self.normal = np.array([*(tag.normal for tag in self.tags), 1.0])
        self.claimed = np.zeros(self.size, dtype=bool)
        self.held = np.array([*(tag.kind != "gauge" for tag in self.tags), True])
        self.lively = np.array([*(tag.kind == "gauge" for tag in self.tags), False])  # until a model says otherwise

    def column(self, unit: str, suffix: str, manner: Manner = "lively") -> int:
        """Claim the column of a unit's tag."""
        column = self._at.get(f"{self._path.get(unit, unit)}.{suffix}", len(self.tags))
        self.claimed[column] = True
        if column < len(self.tags) and self.tags[column].kind == "gauge":
            self.held[column] = manner == "held"
            self.lively[column] = manner == "lively"
        return column

    def columns(self, units: Sequence[str], suffix: str, manner: Manner = "lively") -> NDArray[np.intp]:
        """Claim the columns of one suffix of several units."""
        return np.array([self.column(unit, suffix, manner) for unit in units], dtype=np.intp)

    def usual(self, unit: str, suffix: str) -> float:
        """The normal value of a unit's tag; 1 where there is none."""
        return float(self.normal[self._at.get(f"{self._path.get(unit, unit)}.{suffix}", len(self.tags))])


@dataclass(slots=True)
class Minute:
    """One minute of the plant: what acts in it, the process that it changes, and the truth at its end.

    `wander` are the fluctuations, by their place; `ambient` is the temperature outside, Cel.
    """

    start: int
    end: int
    hours: float
    acting: Disturbances
    wander: list[float]
    ambient: float
    process: Process
    truth: Floats
