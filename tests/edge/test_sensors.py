"""From truth to what instruments show."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_contract.envelope import BAD, GOOD, UNCERTAIN
from hefa_contract.plant import Tag
from hefa_edge.sensors import Sensors

TS = 1_795_304_450_000_000


@pytest.fixture(scope="module")
def ph(plant) -> Tag:
    return plant.tags["A1-FEED.DISS.R-101.ph"]


@pytest.fixture(scope="module")
def register(plant) -> Tag:
    return plant.tags["A6-UTIL.ELEC.PM-MAIN.e"]


def test_noise_is_as_large_as_the_model_says_and_the_same_again(plant) -> None:
    tags = list(plant.tags.values())
    truth = np.array([tag.normal for tag in tags])
    sensors = Sensors(tags, seed=1)
    gauges = np.array([tag.kind == "gauge" and tag.low + 8 * tag.noise_sd < tag.normal < tag.high - 8 * tag.noise_sd
                       and tag.noise_sd > 0 for tag in tags])  # fmt: skip
    times = [TS + k * 1_000_000 for k in range(500)]
    z = np.array([(sensors.measure(truth, ts)[0] - truth) for ts in times])[:, gauges] / [
        tag.noise_sd for tag, is_gauge in zip(tags, gauges, strict=True) if is_gauge
    ]
    assert gauges.sum() > 500
    assert np.all(np.abs(z.mean(axis=0)) < 0.3)
    assert np.all(np.abs(z.std(axis=0) - 1) < 0.2)
    again = Sensors(tags, seed=1)
    assert np.array_equal(again.measure(truth, TS)[0], sensors.measure(truth, TS)[0])
    some = Sensors(tags[100:200], seed=1)
    assert np.array_equal(some.measure(truth[100:200], TS)[0], sensors.measure(truth, TS)[0][100:200])
    assert not np.array_equal(Sensors(tags, seed=2).measure(truth, TS)[0], sensors.measure(truth, TS)[0])


def test_states_and_set_points_are_exact(plant) -> None:
    tags = [tag for tag in plant.tags.values() if tag.kind in ("state", "setpoint")]
    truth = np.array([tag.normal for tag in tags])
    value, quality = Sensors(tags, 1).measure(truth, TS)
    assert np.array_equal(value, truth)
    assert set(quality.tolist()) == {GOOD}


@pytest.mark.parametrize(
    ("truth", "value", "quality"),
    [
        (7.0, 7.0, GOOD),
        (14.0, 14.0, GOOD),
        (14.2, 14.0, UNCERTAIN),
        (-0.1, 0.0, UNCERTAIN),
        (np.inf, 14.0, UNCERTAIN),
        (np.nan, np.nan, BAD),
    ],
)
def test_the_range_of_an_instrument(ph: Tag, truth: float, value: float, quality: int) -> None:
    measured, qualities = Sensors([replace(ph, noise_sd=0.0)], 1).measure(np.array([truth]), TS)
    assert np.array_equal(measured, [value], equal_nan=True)
    assert qualities.tolist() == [quality]


def test_a_gauge_shows_the_digits_that_its_noise_leaves(ph: Tag) -> None:
    sensors = Sensors([ph], 1)
    for k in range(50):
        value = float(sensors.measure(np.array([1.5]), TS + k)[0][0])
        assert value == round(value, 3)  # a sigma of 0.02: thousandths
        assert len(repr(value)) <= 5


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0.0, 0.0),
        (12.3456, 12.3),
        (9_999_999.95, 9_999_999.9),
        (10_000_000.0, 0.0),
        (10_000_015.0, 15.0),
        (30_000_000.1, 0.1),
    ],
)
def test_a_register_is_quantised_and_rolls_over(register: Tag, amount: float, shown: float) -> None:
    assert register.modulus == 1e7
    assert register.resolution == 0.1
    value, quality = Sensors([register], 1).measure(np.array([amount]), TS)
    assert value.tolist() == [shown]
    assert quality.tolist() == [GOOD]


@given(start=st.floats(0, 3e7), steps=st.lists(st.floats(0, 5e3), min_size=1, max_size=50))
def test_increments_of_a_register_add_up_to_the_amount(register: Tag, start: float, steps: list[float]) -> None:
    sensors = Sensors([register], 1)
    amounts = np.cumsum([start, *steps])
    shown = [float(sensors.measure(np.array([amount]), TS)[0][0]) for amount in amounts]
    grown = 0.0
    for before, after in pairwise(shown):
        step = after - before if after >= before else after - before + 1e7
        assert 0 <= step <= 5e3 + 0.2
        grown += step
    assert grown == pytest.approx(amounts[-1] - amounts[0], abs=0.11)
