"""Emissions and coal equivalent: worked figures, factors that change, uncertainty in quadrature."""

from datetime import UTC, datetime
from math import hypot

import pytest

from hefa_apps.energy.emissions import Factor, Used, coal_equivalent, emission, market_based, total

OLD, NEW = datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
GRID = Factor("CO2 electricity", 0.5366, "kg/kW.h", OLD)
GAS = Factor("CO2 gas", 2.1622, "kg/m3{n}", OLD)


def used(value: float | None, when: datetime = OLD, u: float = 0.0) -> Used:
    return Used("x", when, value, "", u)


def test_worked_example() -> None:
    assert emission("gas", "m3{n}", [used(9192)], [GAS]).value == pytest.approx(19_875, abs=1)
    assert emission("electricity", "kW.h", [used(45_600)], [GRID]).value == pytest.approx(24_469, abs=1)


def test_each_amount_meets_the_factor_of_its_day() -> None:
    newer = Factor("CO2 electricity", 0.5, "kg/kW.h", NEW)
    found = emission("electricity", "kW.h", [used(100, OLD), used(100, NEW)], [newer, GRID])
    assert found.value == pytest.approx(103.66)
    assert set(found.factors) == {GRID, newer}
    assert emission("electricity", "kW.h", [used(100, datetime(2019, 1, 1, tzinfo=UTC))], [newer, GRID]).value == 53.66


def test_uncertainty_combines_in_quadrature() -> None:
    unsure = Factor("f", 2.0, "kg/x", OLD, uncertainty=0.05)
    one = emission("a", "x", [used(60, u=0.02), used(40, u=0.02)], [unsure])
    assert one.u == pytest.approx(200 * hypot(0.05, 0.02))  # one meter: its error does not average out
    both = total([one, emission("b", "x", [used(100)], [unsure])])
    assert both == (pytest.approx(400), pytest.approx(hypot(one.u, 10)))


def test_nothing_known_is_not_nought() -> None:
    assert emission("a", "x", [used(None)], [GRID]).value is None
    alone = emission("a", "x", [used(5)], [])
    assert (alone.value, alone.amount, alone.missing) == (None, 5, True)
    assert total([alone]) == (None, None)
    assert emission("a", "x", [used(0.0)], [GRID]).value == 0.0


def test_market_based() -> None:
    assert market_based(53.66, 100, 25, 0.6) == pytest.approx(45)
    assert market_based(53.66, 100, 25, None) == pytest.approx(53.66 * 0.75)
    assert market_based(53.66, 100, 250, 0.6) == 0
    assert market_based(None, None, 0, 0.6) is None


def test_coal_equivalent_of_a_tonne() -> None:
    found = coal_equivalent({"electricity": 1505, "gas": 303.3, "steam": 0.79}, {"electricity": 0.1229, "gas": 1.33})
    assert sum(v for v in found.values() if v is not None) == pytest.approx(588, abs=1)
    assert coal_equivalent({"gas": None}, {"gas": 1.33}) == {"gas": None}
