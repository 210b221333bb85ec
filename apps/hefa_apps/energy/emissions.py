"""Greenhouse gas of what was used: GHG Protocol scopes 1 and 2. Pure.

Each figure is an amount times a factor that was in force when the amount was used. Relative uncertainties of amount and
factor combine in quadrature; figures that share a factor share its error, so that error adds up in full among them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import hypot


@dataclass(frozen=True)
class Factor:
    """kg (or kgce) per unit of an amount, valid from a day on; `uncertainty` is relative, at one standard deviation."""

    name: str
    value: float
    unit: str
    since: datetime
    uncertainty: float = 0.0
    source: str = ""


@dataclass(frozen=True)
class Used:
    """An amount used in some time; `uncertainty` relative, None as value where nothing is known."""

    subject: str
    start: datetime
    value: float | None
    unit: str
    uncertainty: float = 0.0


@dataclass(frozen=True)
class Emission:
    """What one subject gave off: `value` ± `u` (one standard deviation), by which factors."""

    subject: str
    amount: float | None
    amount_unit: str
    value: float | None
    u: float | None
    factors: tuple[Factor, ...]
    missing: bool = False  # there is no factor: the value is not known, not nought


def in_force(factors: Sequence[Factor], when: datetime) -> Factor | None:
    """Return the newest factor that had begun; the oldest one for times before any, None when there is none."""
    ordered = sorted(factors, key=lambda f: f.since)
    return next((f for f in reversed(ordered) if f.since <= when), ordered[0] if ordered else None)


def emission(subject: str, unit: str, used: Iterable[Used], factors: Sequence[Factor]) -> Emission:
    """Apply dated factors to what one subject used."""
    by_factor: dict[Factor, list[Used]] = {}
    amount: float | None = None
    for part in used:
        if part.value is None:
            continue
        amount = (amount or 0.0) + part.value
        factor = in_force(factors, part.start)
        if factor is not None:
            by_factor.setdefault(factor, []).append(part)
    if amount is None or not by_factor:
        return Emission(subject, amount, unit, None, None, (), missing=amount is not None)
    value = variance = 0.0
    for factor, parts in by_factor.items():
        size = sum(part.value or 0.0 for part in parts)
        # One meter counted all parts: its error is the same in each, so relative errors do not average out.
        error = sum((part.value or 0.0) * part.uncertainty for part in parts)
        value += size * factor.value
        variance += (size * factor.value * factor.uncertainty) ** 2 + (error * factor.value) ** 2
    return Emission(subject, amount, unit, value, variance**0.5, tuple(by_factor))


def total(parts: Iterable[Emission]) -> tuple[float | None, float | None]:
    """Add emissions of different subjects up: values add, independent uncertainties combine in quadrature."""
    known = [part for part in parts if part.value is not None]
    if not known:
        return None, None
    return sum(part.value or 0.0 for part in known), hypot(*(part.u or 0.0 for part in known))
