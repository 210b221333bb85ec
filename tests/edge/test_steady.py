"""The plant at its operating point."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefa_contract.plant import Plant
from hefa_edge.plant.steady import ORIGIN, SteadyPlant, SteadyState

TS = 1_795_304_400_000_000
H = 3_600_000_000


@pytest.fixture(scope="module")
def steady(plant) -> SteadyPlant:
    return SteadyPlant(plant, seed=1)


def registers(steady: SteadyPlant) -> list[int]:
    return [i for i, tag in enumerate(steady.tags) if tag.kind == "counter"]


def run(steady: SteadyPlant, seconds: int, dt: int) -> np.ndarray:
    state, ts, truth = steady.initial(TS), TS, None
    while ts < TS + seconds * 1_000_000:
        state, truth, _ = steady.step(state, ts, dt)
        ts += dt * 1_000_000
    return truth


@pytest.mark.parametrize("dt", [7, 60, 420, 840])
def test_registers_show_the_same_whatever_the_step(steady: SteadyPlant, dt: int) -> None:
    start = np.array(steady.initial(TS).amounts)
    one, other = (run(steady, 840, step)[registers(steady)] - start for step in (1, dt))
    assert np.all(one > 0)
    assert other == pytest.approx(one, rel=1e-6, abs=1e-9)


def test_a_register_is_the_integral_of_its_flow(steady: SteadyPlant) -> None:
    at = {tag.name: i for i, tag in enumerate(steady.tags)}
    state = steady.initial(TS)
    before = state.amounts
    middles = [TS + k * 10_000_000 + 5_000_000 for k in range(720)]
    flows = [steady.step(state, middle - 1_000_000, 1.0).truth for middle in middles]
    after = steady.step(state, TS, 7200.0).state.amounts
    mean = np.mean(flows, axis=0)
    checked = 0
    for row, i in enumerate(registers(steady)):
        tag = steady.tags[i]
        if tag.integrates is not None and steady.tags[at[tag.integrates]].kind == "gauge":
            expected = mean[at[tag.integrates]] * 2.0 * tag.per_hour
            assert after[row] - before[row] == pytest.approx(expected, rel=1e-6), tag.name
            checked += 1
    assert checked > 80


def test_every_gauge_stays_near_its_normal_value_and_moves(steady: SteadyPlant) -> None:
    gauges = [i for i, tag in enumerate(steady.tags) if tag.kind == "gauge"]
    normal = np.array([steady.tags[i].normal for i in gauges])
    state = steady.initial(TS)
    seen = np.array([steady.step(state, TS + k * H // 3, 60.0).truth[gauges] for k in range(200)])
    swing = np.abs(seen - normal).max(axis=0)
    assert np.all(swing <= np.abs(normal) * 0.0101 + 1e-9)
    moving = np.abs(normal) > 0
    assert np.all(swing[moving] > 0)
    jump = np.abs(steady.step(state, TS, 1.0).truth[gauges] - steady.step(state, TS, 2.0).truth[gauges])
    assert np.all(jump <= np.abs(normal) * 1e-4)  # slow: a second moves nothing


def test_states_and_set_points_hold(steady: SteadyPlant) -> None:
    held = [i for i, tag in enumerate(steady.tags) if tag.kind in ("state", "setpoint")]
    assert [run(steady, 60, 60)[i] for i in held] == [steady.tags[i].normal for i in held]


def test_meters_that_belong_together_agree(plant, steady: SteadyPlant) -> None:
    """A parent's flow is its children's and the unmetered rest; a check meter sees the flow that it checks."""
    at = {tag.name: i for i, tag in enumerate(steady.tags)}
    state = steady.initial(TS)
    seen = np.array([steady.step(state, TS + k * H // 7, 1.0).truth for k in range(50)])

    def booked(name: str) -> np.ndarray:
        tag = plant.tags[name]
        return seen[:, at[tag.integrates]] * tag.per_hour * plant.meters[name].factor

    parents = {m.parent for m in plant.meters.values() if m.parent is not None and m.role == "billing"}
    assert {"A6-UTIL.ELEC.PM-MAIN.e", "A6-UTIL.METER.WM-MAIN.tot", "A6-UTIL.METER.GM-MAIN.tot"} <= parents
    for parent in parents:
        children = [n for n, m in plant.meters.items() if m.parent == parent and m.role == "billing"]
        rest = booked(parent) - sum(booked(child) for child in children)
        normal_rest = _normal(plant, parent) - sum(_normal(plant, child) for child in children)
        assert rest == pytest.approx(
            np.full(50, normal_rest), abs=0.0101 * abs(normal_rest) + 1e-6 * _normal(plant, parent)
        )
    checks = {n: m.parent for n, m in plant.meters.items() if m.role == "check" and m.parent is not None}
    assert checks
    for name, parent in checks.items():
        if plant.tags[parent].integrates is not None and plant.tags[name].integrates is not None:
            ratio = booked(name) / booked(parent)
            assert np.ptp(ratio) < 1e-9 * abs(ratio[0]), name


def _normal(plant: Plant, name: str) -> float:
    tag = plant.tags[name]
    return plant.tags[tag.integrates].normal * tag.per_hour * plant.meters[name].factor


def test_running_hours_count_while_running(plant) -> None:
    name, stopped = "A1-FEED.DISS.P-131.hrs", "A1-FEED.DISS.P-132.hrs"
    tags = dict(plant.tags)
    run_tag = tags[stopped].integrates
    tags[run_tag] = replace(tags[run_tag], normal=0)
    steady = SteadyPlant(replace(plant, tags=tags), 1)
    names = [steady.tags[i].name for i in registers(steady)]
    state = steady.initial(TS)
    grown = steady.step(state, TS, 7200.0).state.amounts - state.amounts
    assert grown[names.index(name)] == pytest.approx(2.0)
    assert grown[names.index(stopped)] == 0.0


def test_a_register_starts_at_its_normal_value_and_needs_no_memory(steady: SteadyPlant) -> None:
    starts = [steady.tags[i].normal for i in registers(steady)]
    assert steady.initial(ORIGIN).amounts.tolist() == starts
    went = steady.step(steady.initial(TS), TS, 3600.0).state.amounts
    assert steady.initial(TS + H).amounts == pytest.approx(went, rel=1e-9)


def test_a_state_survives_as_json_and_a_new_counter_finds_its_place(steady: SteadyPlant) -> None:
    state = SteadyState(steady.initial(TS).amounts + 123.456)
    written = steady.dump(state)
    assert np.array_equal(steady.restore(written, TS).amounts, state.amounts)
    lost = next(iter(written["amounts"]))
    del written["amounts"][lost]
    assert steady.restore(written, TS).amounts[0] == steady.initial(TS).amounts[0]


def test_a_step_changes_nothing_of_what_it_was_given(steady: SteadyPlant) -> None:
    state = steady.initial(TS)
    before = state.amounts.copy()
    one, two = (steady.step(state, TS, 60.0) for _ in range(2))
    assert np.array_equal(state.amounts, before)
    assert np.array_equal(one.truth, two.truth)


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 10**9), steps=st.lists(st.floats(0.001, 1e7), min_size=1, max_size=5))
def test_amounts_never_fall(steady: SteadyPlant, start: int, steps: list[float]) -> None:
    ts = TS + start * 1_000_000
    state = steady.initial(ts)
    for dt in steps:
        following = steady.step(state, ts, dt).state
        assert np.all(following.amounts >= state.amounts)
        state, ts = following, ts + round(dt * 1e6)
