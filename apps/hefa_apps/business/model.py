"""Money in figures: prices per unit used, what is left, who bears what, and what would be if. Pure.

Money is in one currency. What is not known stays None and is never taken for nought.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Allocation = Literal["economic", "mass"]

_KG_PER = {"kg": 1.0, "t": 1000.0}


def unit_price(value: float, per: str, unit: str, strength: float = 1.0) -> float | None:
    """Return the price of one `unit` of pure substance, bought at `value` for each `per` of that strength (0-1].

    None where the units cannot be brought together, or there is nothing of the substance in it.
    """
    if strength <= 0:
        return None
    if per == unit:
        return value / strength
    if per in _KG_PER and unit in _KG_PER:
        return value / _KG_PER[per] * _KG_PER[unit] / strength
    return None


@dataclass(frozen=True)
class Line:
    """One thing bought or sold: how much, at what mean price, and the money; `group` is that of its price."""

    name: str
    group: str
    amount: float | None
    unit: str
    price: float | None
    money: float | None

    @property
    def income(self) -> bool:
        """Say whether it brings money."""
        return self.group == "product"


@dataclass(frozen=True)
class Sum:
    """Revenue, cost and what is left; None as long as a part is not known."""

    revenue: float | None
    cost: float | None
    margin: float | None


def total(lines: Sequence[Line]) -> Sum:
    """Add up what was sold and what it cost."""
    revenue = _add([line.money for line in lines if line.income])
    cost = _add([line.money for line in lines if not line.income])
    return Sum(revenue, cost, None if revenue is None or cost is None else revenue - cost)


def _add(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if parts and len(known) == len(parts) else None


def shares(
    outputs: Mapping[str, float | None], prices: Mapping[str, float | None], how: Allocation
) -> dict[str, float] | None:
    """Return which part of a joint amount each product bears, by mass or by value; they add up to 1.

    None where an output or a needed price is not known, or nothing was made.
    """
    weights: dict[str, float] = {}
    for name, made in outputs.items():
        price = prices.get(name) if how == "economic" else 1.0
        if made is None or price is None:
            return None
        weights[name] = max(made, 0.0) * max(price, 0.0)
    whole = sum(weights.values())
    return {name: weight / whole for name, weight in weights.items()} if whole > 0 else None


@dataclass(frozen=True)
class Wishes:
    """What is asked in a what-if: other prices by name, electricity dearer by so many %, so many % more feed."""

    prices: Mapping[str, float]
    electricity_pct: float = 0.0
    feed_pct: float = 0.0


def what_if(lines: Sequence[Line], wishes: Wishes) -> list[Line]:
    """Return the lines as they would be. All amounts follow the feed in proportion: no fixed part, no limit of capacity."""
    more = 1 + wishes.feed_pct / 100
    found = []
    for line in lines:
        price = wishes.prices.get(line.name, line.price)
        if line.name == "electricity" and line.name not in wishes.prices and price is not None:
            price *= 1 + wishes.electricity_pct / 100
        amount = None if line.amount is None else line.amount * more
        money: float | None
        if line.money is None or price == line.price:
            money = None if line.money is None else line.money * more
        else:
            money = None if amount is None or price is None else amount * price
        found.append(replace(line, amount=amount, price=price, money=money))
    return found
