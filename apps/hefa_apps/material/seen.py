"""What instruments said over a period, as balances need it. Pure; `measured.py` asks the platform for it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

Values = tuple[float | None, ...]


@dataclass(frozen=True)
class Seen:
    """Readings of a period in buckets of equal length; `hours` of each bucket that lies in the period.

    `counted` are increments of registers, `means` means of gauges, `known` the hours of each bucket that a gauge was
    known for; `first` and `last` levels at both ends; `coverage` 0–1 by tag. A tag that the platform does not know is
    in none of them.
    """

    hours: tuple[float, ...] = ()
    starts: tuple[datetime, ...] = ()
    counted: dict[str, Values] = field(default_factory=dict)
    means: dict[str, Values] = field(default_factory=dict)
    known: dict[str, tuple[float, ...]] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)

    def total(self, tag: str) -> float | None:
        """Return what a register counted; None when nothing is known of it."""
        known = [v for v in self.counted.get(tag, ()) if v is not None]
        return sum(known) if known else None

    def mean(self, tag: str) -> float | None:
        """Return the mean of a gauge over what is known of it."""
        if tag not in self.means:
            return None
        pairs = [(v, h) for v, h in zip(self.means[tag], self.hours, strict=True) if v is not None and h > 0]
        return sum(v * h for v, h in pairs) / sum(h for _, h in pairs) if pairs else None

    def integral(self, tag: str) -> float | None:
        """Return a gauge per hour, added up over what is known of it; None when nothing is."""
        if self.mean(tag) is None:
            return None
        return sum((v or 0.0) * h for v, h in zip(self.means[tag], self.known[tag], strict=True))

    def change(self, tag: str) -> float | None:
        """Return how much a level rose over the period."""
        return self.last[tag] - self.first[tag] if tag in self.first and tag in self.last else None

    def least(self, tags: Iterable[str]) -> float | None:
        """Return the least coverage of some tags."""
        return min((self.coverage.get(tag, 0.0) for tag in tags), default=None)
