"""What the material app says besides sums: masses and formulas as people write them, and use per t REO. Pure."""

from collections.abc import Iterable
from typing import Protocol

from hefa_apps.usage import Amount

# What the plant is fed, as oxide: the measure of everything else.
FEED = "REO"

# The order of the process: dissolve and extract, saponify, precipitate. A site's other materials follow.
MATERIALS = ("HCl", "NaOH", "Na2CO3", "NH4HCO3")

_TONNE = 1000.0


class Total(Protocol):
    """One material over a period."""

    @property
    def subject(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def amount(self) -> Amount: ...


def specific(totals: Iterable[Total]) -> dict[str, float]:
    """Return the use of each material in kg per t of oxide fed: sums divided, never a mean of ratios.

    Empty when the feed is not known; materials that are not counted in kg are left out, and so is the feed itself.
    """
    amounts = {t.subject: t.amount.value for t in totals if t.unit == "kg" and t.amount.value is not None}
    fed = amounts.pop(FEED, 0.0)
    return {subject: value / fed * _TONNE for subject, value in amounts.items()} if fed > 0 else {}


def mass(value: float | None, unit: str) -> tuple[float | None, str]:
    """Return a mass in t once it passes ten of them, else as it is; other units are left alone."""
    if unit == "kg" and value is not None and abs(value) >= 10 * _TONNE:
        return value / _TONNE, "t"
    return value, unit


def subscript(formula: str) -> list[tuple[str, bool]]:
    """Split a chemical formula into parts and whether each is set low: `Na2CO3` is Na₂CO₃.

    A number counts as an index only behind a letter or a bracket, so a name such as `31 % acid` stays as it is.
    """
    parts: list[tuple[str, bool]] = []
    for i, c in enumerate(formula):
        low = c.isdigit() and i > 0 and (formula[i - 1].isalpha() or formula[i - 1] == ")" or parts[-1][1])
        if parts and parts[-1][1] == low:
            parts[-1] = (parts[-1][0] + c, low)
        else:
            parts.append((c, low))
    return parts
