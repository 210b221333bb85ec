"""The figures of a template: `base * times + plus`, and nothing else. Seeds are data, they are never run.

A field is a number, the name of a parameter of the unit, or a table `{of = parameter, times, plus, decimals}`.
Several figures (a range, the limits) are a list of numbers, or a table whose `times` or `plus` is the list. Where `of`
is not said it is the tag's own normal value.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hefa_contract.seedfile import Table

NORMAL = "normal"
ABSENT = "-"


@dataclass(frozen=True, slots=True)
class Formula:
    """`of` is a parameter's name, `normal`, or None: then the base is 0 and `plus` is the figure."""

    of: str | None = None
    times: float = 1.0
    plus: float = 0.0
    decimals: int | None = None

    def value(self, bases: Mapping[str, float]) -> float:
        """The figure for one unit; NaN where the base is not known (somebody has noted why)."""
        exact = (bases.get(self.of, math.nan) if self.of else 0.0) * self.times + self.plus
        if not math.isfinite(exact):
            return math.nan
        # Twelve digits: 1.4 - 0.6 is 0.8 to those who write and read seeds.
        return round(exact, self.decimals) if self.decimals is not None else float(f"{exact:.12g}")


class Formulas:
    """Reads the figures of one row. Mistakes are noted in the row's list; what cannot be read becomes NaN or None."""

    def __init__(self, row: Table, parameters: Collection[str]) -> None:
        """`parameters` are the names a formula may start from, besides `normal`."""
        self._row = row
        self._parameters = list(parameters)

    def one(self, key: str, default: Formula | None = None) -> Formula:
        """The figure at `key`; without a default it must be there."""
        value = self._row.raw(key)
        if value is None:
            if default is None:
                self._row.note(key, "is missing; it must be a number, a parameter or a formula")
            return default or Formula(plus=math.nan)
        if isinstance(value, str):
            return Formula(of=self._base(key, value, allow_normal=False))
        if not isinstance(value, dict):
            return Formula(plus=self._figure(key, value))
        of, entry = self._table(key, value, allow_normal=key != NORMAL)
        decimals = entry.raw("decimals")
        if decimals is not None and (type(decimals) is not int or not 0 <= decimals <= 12):
            entry.note("decimals", f"{decimals!r} is not a whole number from 0 to 12")
            decimals = None
        made = Formula(of, entry.number("times", 1.0), entry.number("plus", 0.0), decimals)
        entry.close()
        return made

    def pair(self, key: str, default: tuple[Formula, Formula] | None) -> tuple[Formula, Formula]:
        """Lowest and highest value at `key`."""
        if default is not None and not self._row.has(key):
            return default
        low, high = self._several(key, 2)
        return low or Formula(plus=math.nan), high or Formula(plus=math.nan)

    def limits(self, key: str, default: tuple[Formula | None, ...]) -> tuple[Formula | None, ...]:
        """LL, L, H and HH at `key`, None where the seeds say "-"."""
        self._row.allow(key)
        return self._several(key, 4) if self._row.has(key) else default

    def _several(self, key: str, count: int) -> tuple[Formula | None, ...]:
        value = self._row.raw(key)
        of, entry, field, figures = None, self._row, key, value
        if isinstance(value, dict):
            of, entry = self._table(key, value, allow_normal=True)
            field = "plus" if entry.has("plus") else "times"
            figures = entry.raw(field)
            entry.allow("times", "plus")
            entry.close()
            if entry.has("plus") and entry.has("times"):
                entry.note("times", "give either times or plus")
        if not isinstance(figures, list) or len(figures) != count:
            absent = f', "{ABSENT}" where there is none' if count == 4 else ""
            entry.note(field, f"must be a list of {count} figures{absent}")
            return (None,) * count
        made: list[Formula | None] = []
        for figure in figures:
            if figure == ABSENT and count == 4:
                made.append(None)
            elif field == "times":
                made.append(Formula(of, times=self._figure(f"{key}.times", figure)))
            else:
                made.append(Formula(of, plus=self._figure(key, figure)))
        return tuple(made)

    def _table(self, key: str, value: Mapping[str, Any], allow_normal: bool) -> tuple[str | None, Table]:
        entry = self._row.inline(key, value)
        name = entry.text("of", NORMAL if allow_normal else None)
        return self._base(f"{key}.of", name, allow_normal) if name else None, entry

    def _base(self, key: str, name: str, allow_normal: bool) -> str | None:
        allowed = [NORMAL, *self._parameters] if allow_normal else self._parameters
        if name in allowed:
            return name
        self._row.note(key, f"{name!r} is no number to start from; allowed: {', '.join(allowed) or 'numbers only'}")
        return None

    def _figure(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self._row.note(key, f"{value!r} is not a number")
            return math.nan
        return float(value)
