"""Load shifting: the optimum, the rules it keeps, what it says when there is nothing to advise."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefa_apps.energy.loadshift import Task, advise

PRICES = (.25,) * 8 + (.45,) * 2 + (.68,) * 2 + (.45,) * 5 + (.68,) * 5 + (.45,) * 2  # fmt: skip
PLAIN = Task(PRICES, total=480, low=10, high=28, energy=48)
TANK = replace(
    PLAIN, ramp=4, running=20, tank_start=400, tank_high=800, inflow=(25,) * 24, feed=1.25, other=(1100,) * 24
)


def test_the_valley_is_filled_first() -> None:
    found = advise(PLAIN)
    assert found.outcome == "advised"
    assert found.best.rates[:8] == pytest.approx([28] * 8)
    assert all(rate == pytest.approx(10) for rate, price in zip(found.best.rates, PRICES, strict=True) if price == 0.68)
    assert found.best.cost == pytest.approx(48 * (224 * 0.25 + 186 * 0.45 + 70 * 0.68))
    assert found.usual.cost == pytest.approx(48 * 20 * sum(PRICES))
    assert found.saving == pytest.approx(1387.2)


def test_a_new_peak_is_weighed_against_the_cheap_hours() -> None:
    free = advise(TANK)
    assert free.best.peak == pytest.approx(1100 + 28 * 48)
    dear = advise(replace(TANK, demand_price=28.0, demand_so_far=1100 + 20 * 48))
    assert dear.outcome == "nothing"  # a month's price for each kW leaves nothing of it
    assert dear.saving == 0
    some = advise(replace(TANK, demand_price=28 / 30, demand_so_far=1100 + 20 * 48))
    assert 0 < some.saving < free.saving
    assert some.best.demand_cost == pytest.approx(28 / 30 * (some.best.peak - 1100 - 960))


@pytest.mark.parametrize(
    ("task", "codes"),
    [
        (replace(PLAIN, total=700), ["much"]),
        (replace(PLAIN, total=200), ["little"]),
        (replace(PLAIN, low=30), ["bounds", "little"]),
        (replace(TANK, tank_start=900), ["start", "over"]),
        (replace(TANK, tank_high=450, inflow=(40,) * 24), ["over"]),
        (replace(TANK, inflow=(1,) * 24), ["dry"]),
        (replace(TANK, tank_start=10, inflow=(0,) * 12 + (50,) * 12), ["tank"]),
        (replace(PLAIN, ramp=0.5, running=10), ["ramp"]),
    ],
)
def test_rules_that_cannot_all_be_kept_are_named(task: Task, codes: list[str]) -> None:
    found = advise(task)
    assert found.outcome == "infeasible"
    assert [code for code, _ in found.reasons] == codes
    assert found.best is None


def test_one_price_is_no_reason_to_shift() -> None:
    found = advise(replace(TANK, prices=(0.4,) * 24))
    assert (found.outcome, found.saving) == ("nothing", 0.0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.1, 1.0), min_size=24, max_size=24),
    st.floats(12, 26),
    st.floats(100, 700),
    st.floats(1, 12),
)
def test_every_schedule_keeps_the_rules_and_never_costs_more(
    prices: list[float], mean: float, filled: float, ramp: float
) -> None:
    task = replace(
        TANK, prices=tuple(prices), total=24 * mean, ramp=ramp, running=mean, tank_start=filled,
        inflow=(1.25 * mean,) * 24, demand_price=1.0, demand_so_far=1100 + 48 * mean,
    )  # fmt: skip
    found = advise(task)
    assert found.outcome in ("advised", "nothing")
    for plan in (found.best, found.usual):
        assert sum(plan.rates) == pytest.approx(task.total)
        assert all(task.low - 1e-6 <= rate <= task.high + 1e-6 for rate in plan.rates)
        steps = zip((task.running, *plan.rates), plan.rates, strict=False)
        assert all(abs(b - a) <= ramp + 1e-6 for a, b in steps)
        assert all(-1e-6 <= level <= task.tank_high + 1e-6 for level in plan.tank)
    assert found.best.cost <= found.usual.cost + 1e-6
