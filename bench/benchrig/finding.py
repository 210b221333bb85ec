"""What a benchmark found: a line of its result, told as soon as it is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Finding(NamedTuple):
    """A line of the result. `gate`: `measured` must be at least that (or at most, with `most`); None is not gated."""

    what: str
    measured: float
    unit: str
    budget: str = ""
    limit: str = ""
    gate: float | None = None
    most: bool = False

    @property
    def held(self) -> bool:
        if self.gate is None:
            return True
        return self.measured <= self.gate if self.most else self.measured >= self.gate

    def __str__(self) -> str:
        figure = f"{self.measured:,.0f}" if abs(self.measured) >= 100 else f"{self.measured:.2f}"
        gate = "" if self.gate is None else f"gate {'<=' if self.most else '>='} {self.gate:g}"
        line = f"{self.what:<58}{figure:>10} {self.unit:<12}{self.budget:<14}{gate:<14}{self.limit}"
        return line.rstrip() + ("" if self.held else "   MISSED")


def tell(findings: Iterable[Finding]) -> int:
    """Print each finding when it comes; return how many missed their gate."""
    missed = 0
    for finding in findings:
        missed += not finding.held
        print(finding, flush=True)
    return missed
