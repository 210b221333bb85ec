"""Emissions and coal equivalent: worked figures, factors that change, uncertainty in quadrature."""

from datetime import UTC, datetime
from math import hypot

import pytest

from hefa_apps.energy.emissions import Factor, Used, emission, total

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
