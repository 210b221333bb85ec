"""The maths of the business app: unit prices, margin, shares, what-if, lights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_apps.business.model import Line, Wishes, shares, total, unit_price, what_if
from hefa_apps.metrics.targets import light

MONEY = st.floats(0, 1e9)


@pytest.mark.parametrize(
    ("value", "per", "unit", "strength", "each"),
    [
        (300, "t", "kg", 0.31, 0.3 / 0.31),
        (900, "t", "kg", 0.32, 2.8125),
        (3, "m3{n}", "m3{n}", 1, 3),
        (450, "kg", "kg", 1, 450),
        (2, "kg", "t", 1, 2000),
        (5, "m3", "kg", 1, None),
        (5, "t", "kg", 0, None),
    ],
)
def test_a_price_counts_pure_substance(value: float, per: str, unit: str, strength: float, each: float | None) -> None:
    assert unit_price(value, per, unit, strength) == (None if each is None else pytest.approx(each))


def _lines(sold: float | None = 1000.0) -> list[Line]:
    return [
        Line("A", "product", 10, "kg", 100, sold),
        Line("acid", "reagent", 50, "kg", 2, 100),
        Line("electricity", "energy", 400, "kW.h", 0.5, 200),
    ]


def test_the_margin_is_unknown_as_long_as_a_part_is() -> None:
    assert total(_lines()).margin == 700
    unknown = total(_lines(None))
    assert (unknown.revenue, unknown.cost, unknown.margin) == (None, 300, None)
    assert total([]).margin is None


@given(st.dictionaries(st.sampled_from("abcd"), st.tuples(st.floats(0, 1e5), st.floats(0, 1e4)), min_size=1))
def test_shares_add_up_to_one(products: dict[str, tuple[float, float]]) -> None:
    outputs: dict[str, float | None] = {name: made for name, (made, _) in products.items()}
    prices: dict[str, float | None] = {name: price for name, (_, price) in products.items()}
    for found in (shares(outputs, prices, "mass"), shares(outputs, prices, "economic")):
        if found is not None:
            assert sum(found.values()) == pytest.approx(1)
    assert shares(outputs | {"x": None}, prices, "mass") is None
    assert shares({"x": 1.0}, {}, "economic") is None


def test_by_value_the_dear_product_bears_more() -> None:
    outputs: dict[str, float | None] = {"PrNd": 284.1, "Ce": 637.6, "La": 340.9}
    prices: dict[str, float | None] = {"PrNd": 450, "Ce": 10, "La": 4}
    by_value, by_mass = shares(outputs, prices, "economic"), shares(outputs, prices, "mass")
    assert by_value is not None
    assert by_mass is not None
    assert by_mass["PrNd"] == pytest.approx(284.1 / 1262.6)
    assert by_value["PrNd"] == pytest.approx(127_845 / (127_845 + 6_376 + 1_363.6))


def test_what_if_by_hand() -> None:
    then = what_if(_lines(), Wishes({"A": 90.0}, electricity_pct=50, feed_pct=10))
    assert [line.money for line in then] == pytest.approx([990, 110, 330])
    assert total(then).margin == pytest.approx(550)
    assert what_if(_lines(None), Wishes({}))[0].money is None


@given(st.floats(-50, 200), st.floats(0, 1e3))
def test_without_a_wish_nothing_changes_and_feed_scales_the_margin(feed: float, sold: float) -> None:
    now = _lines(sold)
    assert what_if(now, Wishes({})) == now
    before, after = total(now).margin, total(what_if(now, Wishes({}, feed_pct=feed))).margin
    assert before is not None
    assert after == pytest.approx(before * (1 + feed / 100), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "better", "warn", "coverage", "colour"),
    [
        (85, "higher", 80, 1.0, "green"),
        (84.9, "higher", 80, None, "amber"),
        (80, "higher", 80, 1.0, "amber"),
        (79.9, "higher", 80, 1.0, "red"),
        (84, "higher", None, 1.0, "red"),
        (85, "lower", 90, 1.0, "green"),
        (86, "lower", 90, 0.95, "amber"),
        (91, "lower", 90, 0.95, "red"),
        (None, "higher", 80, None, "unknown"),
        (99, "higher", 80, 0.3, "unknown"),
    ],
)
def test_lights(value: float | None, better: str, warn: float | None, coverage: float | None, colour: str) -> None:
    assert light(value, 85, better, warn, coverage) == colour
