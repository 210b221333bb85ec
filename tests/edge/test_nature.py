"""Fluctuations and weather: pure functions of time with the size they say."""

import numpy as np
import pytest

from hefa_edge.plant import weather
from hefa_edge.plant.nature import Fluctuations

HOUR = 3_600_000_000
NOW = 1_795_000_000_000_000


def test_fluctuations_have_unit_size_and_no_state() -> None:
    nature = Fluctuations(3)
    fast, slow = nature.add("fast", 0.5), nature.add("slow", 24.0)
    series = np.array([nature.at(NOW + k * HOUR) for k in range(6000)])
    assert series.std(axis=0) == pytest.approx([1.0, 1.0], abs=0.25)
    assert nature.at(NOW) == series[0].tolist()
    # What remembers longer moves less from hour to hour.
    moves = np.abs(np.diff(series, axis=0)).mean(axis=0)
    assert moves[slow] < 0.3 * moves[fast]


def test_names_seeds_and_calm_are_told_apart() -> None:
    one, two, other, calm = Fluctuations(1), Fluctuations(1), Fluctuations(2), Fluctuations(1, calm=True)
    for nature in (one, other, calm):
        nature.add("x", 1.0)
    two.add("y", 1.0)
    two.add("x", 1.0)
    assert one.at(NOW)[0] == two.at(NOW)[1] != two.at(NOW)[0]
    assert one.at(NOW) != other.at(NOW)
    assert calm.at(NOW) == [0.0]
    assert calm.draw("lot", 3) == 0.0
    assert one.draw("lot", 3) == two.draw("lot", 3) != one.draw("lot", 4)


def test_a_year_has_the_mean_and_the_swing_of_the_site() -> None:
    year = np.array([weather.ambient(NOW + k * HOUR, 0.0, 0.0) for k in range(8766)])
    assert year.mean() == pytest.approx(8.0, abs=0.05)
    assert year.max() == pytest.approx(8 + 18 + 6, abs=0.3)
    assert year.min() == pytest.approx(8 - 18 - 6, abs=0.3)
    july = weather.ambient(1_784_600_000_000_000, 0.0, 0.0)  # 2026-07-21
    assert july > 20


@pytest.mark.parametrize(("utc", "local"), [(0, 8.0), (15, 23.0), (16, 0.0), (23, 7.0)])
def test_the_local_hour(utc: int, local: float) -> None:
    assert weather.local_hour(20_000 * 24 * HOUR + utc * HOUR) == pytest.approx(local)
