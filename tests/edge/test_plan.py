"""The production plan of a scenario: a pure function of seed and calendar, and a plant that follows it."""

from pathlib import Path
from statistics import fmean, pstdev

import pytest

from hefa_contract.plant import Plant, load
from hefa_edge import catalogue, episodes
from hefa_edge.catalogue import FaultError
from hefa_edge.config import read_seeds
from hefa_edge.plan import Plan, Planned, Window
from hefa_edge.plant import behaviour
from hefa_edge.plant.disturbances import Disturbances
from hefa_edge.plant.flowsheet import DynamicPlant

TEXTS = read_seeds(Path(__file__).resolve().parents[2] / "seeds")
HOUR = 3_600_000_000
DAY = 24 * HOUR
MONDAY = 1_795_363_200_000_000  # 2026-11-23, 00:00 in Shanghai
MINUTE = 60_000_000


@pytest.fixture(scope="module")
def plant() -> Plant:
    return load(TEXTS)


@pytest.fixture(scope="module")
def busy(plant: Plant) -> Planned:
    plan = episodes.scenarios(TEXTS)["busy-month"].plan
    assert plan is not None
    return Planned(plan, plant, 1)


def test_days_differ_and_stay_within_what_pumps_can_do(busy: Planned, plant: Plant) -> None:
    noon = [busy.pace(MONDAY + day * DAY + 23 * HOUR) for day in range(60)]
    assert 0.02 < pstdev(noon) < 0.1
    assert 0.9 < fmean(noon) < 1.05
    assert all(0.3 <= pace <= 1.25 for pace in noon)
    again = Planned(busy.plan, plant, 1)
    assert [again.pace(MONDAY + day * DAY + 23 * HOUR) for day in reversed(range(60))] == noon[::-1]
    other = Planned(busy.plan, plant, 2)
    assert [other.pace(MONDAY + day * DAY + 23 * HOUR) for day in range(60)] != noon


@pytest.mark.parametrize(("hour", "share"), [(0, 1.0), (7.9, 1.0), (10.1, 0.5), (15.9, 0.5), (18.1, 1.0), (48, 1.0)])
def test_a_window_opens_by_the_clock_of_the_plant(plant: Plant, hour: float, share: float) -> None:
    """Paces change within two hours."""
    plan = Plan(source="test", windows=[Window(every="7d", first="2d8h", lasts="8h", pace=0.5, rests=["RKN-402"])])
    planned = Planned(plan, plant, 1)
    for week in (0, 1, 60):
        ts = MONDAY + week * 7 * DAY + 2 * DAY + round(hour * HOUR)
        assert planned.pace(ts) == pytest.approx(share)
        assert planned.resting(ts) == (frozenset({"RKN-402"}) if 8 <= hour < 16 else frozenset())
    eased = [planned.pace(MONDAY + 2 * DAY + 8 * HOUR + k * 15 * MINUTE) for k in range(8)]
    assert eased == sorted(eased, reverse=True)


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ('campaign="36h"', "whole days"),
        ("low=0.1", "between 0.3 and 1.25"),
        ("low=1.1\nhigh=1.0", "low not above high"),
        ("daily=0.5", "between 0 and 0.2"),
        ('windows=[{every="1d",lasts="2d"}]', "is not up to every"),
        ('windows=[{every="1d",lasts="1h",pace=0.1}]', "between 0.3 and 1"),
        ('windows=[{every="1d",lasts="1h",rests=["P-241"]}]', "may be one of RKN-402, TKN-401"),
        ("speed=1", "unknown field"),
    ],
)
def test_a_bad_plan_is_told_what_is_wrong(plant: Plant, plan: str, says: str) -> None:
    text = f'title="t"\ndescription="d"\nsource="s"\n[plan]\nsource="s"\n{plan}'
    known = catalogue.read(TEXTS, plant)
    with pytest.raises(FaultError, match=says) as error:
        episodes.troubles({"scenarios/mine.toml": text}, plant, known, 1, "mine")
    assert "scenarios/mine.toml" in str(error.value)


def test_the_plant_follows_its_plan_and_products_stay_pure(plant: Plant) -> None:
    """Turned down to 0.7 for eight hours, with the rotary kiln at rest: it makes less of the same."""
    window = Window(every="7d", first="0h", lasts="8h", pace=0.7, rests=["RKN-402"])
    planned = Planned(Plan(source="test", windows=[window]), plant, 1)

    def acting(ts: int) -> Disturbances:
        return Disturbances(pace=planned.pace(ts), resting=planned.resting(ts))

    model = DynamicPlant(plant, behaviour.read(TEXTS), 1, acting, calm=True)
    at = {tag.name: i for i, tag in enumerate(model.tags)}
    state, ts, rows = model.initial(MONDAY), MONDAY, {}
    for _ in range(16 * 60):
        step = model.step(state, ts, 60.0)
        state, ts = step.state, ts + MINUTE
        rows[ts] = step.truth

    def seen(tag: str, hour: float) -> float:
        return float(rows[MONDAY + round(hour * HOUR)][at[tag]])

    feed, kiln = "A2-SX.SXA.FIC-A-feed.pv", "A4-CALC.RK1.RKN-402"
    assert seen(feed, 7) == pytest.approx(0.7 * 6.23, rel=0.01)
    assert seen(feed, 12) == pytest.approx(6.23, rel=0.01)
    assert seen("A6-UTIL.ELEC.PM-MAIN.p", 7) < 0.9 * seen("A6-UTIL.ELEC.PM-MAIN.p", 0.1)
    assert seen(f"{kiln}.rate", 7.9) < 0.3 * seen(f"{kiln}.rate", 0.1)
    assert (seen(f"{kiln}.mode", 7.9), seen(f"{kiln}.mode", 9)) == (1.0, 2.0)
    assert seen(f"{kiln}.z04", 7.9) == pytest.approx(850, abs=15)  # kept hot
    assert seen(f"{kiln}.rate", 15.9) > 1.05 * seen(f"{kiln}.rate", 0.1)  # what waited is worked off
    for hour in (4, 8, 12, 16):
        assert seen("A2-SX.SXA.AN-223.pr", hour) + seen("A2-SX.SXA.AN-223.nd", hour) > 99.8
