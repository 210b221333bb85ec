"""From truth to what instruments show: noise, the end of the range, the digits of a display, quality.

Pure: a measured value is a function of (seed, tag, time, truth). A restart, another set of tags or
another sampling reads the same value at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hefa_contract.envelope import BAD, GOOD, UNCERTAIN
from hefa_contract.plant import Tag
from hefa_edge import keyed

Floats = NDArray[np.float64]
Qualities = NDArray[np.uint8]


class Sensors:
    """The instruments of some tags, in the order of their columns."""

    def __init__(self, tags: Sequence[Tag], seed: int) -> None:
        self._keys = keyed.keys((tag.name for tag in tags), seed, "noise")
        counter = np.array([tag.kind == "counter" for tag in tags], dtype=bool)
        self._noise = np.where(counter, 0.0, [tag.noise_sd for tag in tags])
        self._low = np.where(counter, -np.inf, [tag.low for tag in tags])
        self._high = np.where(counter, np.inf, [tag.high for tag in tags])
        # A display has the digits that its noise leaves: a tenth of a sigma. States and set-points are exact.
        self._digits = np.array([_digits(tag) for tag in tags])
        self._rounded = (self._noise > 0) & ~counter
        self._counters = np.flatnonzero(counter)
        steps = [tag.resolution or 1e-9 for tag in tags if tag.kind == "counter"]
        self._steps = np.array([round(1 / step) if step < 1 else 1 / step for step in steps])  # per unit
        wraps = [tag.modulus or 1e15 for tag in tags if tag.kind == "counter"]
        self._wraps = np.array(wraps) * self._steps

    def measure(self, truth: Floats, ts: int) -> tuple[Floats, Qualities]:
        """Read all instruments at `ts` (µs).

        `truth` (tags,) is as a PlantModel gives it. Returns values, NaN where the truth is NaN, and qualities:
        good; uncertain where the truth is outside the instrument's range and the value stays at its end; bad
        where there is no value.
        """
        with np.errstate(invalid="ignore"):
            value = truth + self._noise * keyed.normal(self._keys, ts)
            value = np.where(self._rounded, np.rint(value * self._digits) / self._digits, value)
            value = np.clip(value, self._low, self._high)
            outside = (truth < self._low) | (truth > self._high)
            value[self._counters] = np.floor(truth[self._counters] * self._steps) % self._wraps / self._steps
        quality = np.where(np.isnan(truth), BAD, np.where(outside, UNCERTAIN, GOOD)).astype(np.uint8)
        return value, quality


def _digits(tag: Tag) -> float:
    """Steps per unit of a display: the power of ten at or above ten a sigma."""
    if tag.noise_sd <= 0:
        return 1.0
    return float(10.0 ** max(0, int(np.ceil(np.log10(10 / tag.noise_sd)))))
