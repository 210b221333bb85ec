"""What the energy app says besides sums: the load behind a carrier's use. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hefa_apps.usage import Stack

# The order in which people name them; a site's other carriers follow.
CARRIERS = ("electricity", "water", "gas", "steam", "air")


@dataclass(frozen=True)
class Load:
    """Mean rates per hour in the whole bars of a period: the highest with its time, the lowest, and their mean.

    `factor` = mean / peak: 1 is a load without any peak.
    """

    peak: float
    peak_at: datetime
    base: float
    mean: float

    @property
    def factor(self) -> float | None:
        """Return the load factor, None when nothing was used."""
        return self.mean / self.peak if self.peak > 0 else None


def load(stack: Stack) -> Load | None:
    """Return the load of a stack, None without a whole bar. Bars that the period cuts or that nobody knows are left out.

    A bar counts when any of its keys is known; what none knows of it was never part of the use either.
    """
    rates: list[tuple[float, datetime, float]] = []
    for i, bar in enumerate(stack.bars):
        known = _known([cells[i] for cells in stack.values.values()])
        hours = (bar.end - bar.start) / timedelta(hours=1)
        if bar.whole and known and hours > 0:
            rates.append((sum(known) / hours, bar.start, hours))
    if not rates:
        return None
    peak, at, _ = max(rates, key=lambda rate: rate[0])
    mean = sum(rate * hours for rate, _, hours in rates) / sum(hours for _, _, hours in rates)
    return Load(peak, at, min(rate for rate, _, _ in rates), mean)


def _known(cells: Sequence[float | None]) -> list[float]:
    return [cell for cell in cells if cell is not None]


def rate_unit(unit: str) -> str:
    """Return the UCUM unit of `unit` per hour: energy per hour is power."""
    return unit.removesuffix(".h") if unit.endswith("W.h") else f"{unit}/h"
