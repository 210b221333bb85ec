"""The forecast is shown when it beats what anybody can guess, and only then."""

import numpy as np
import pytest

from hefa_apps.energy.forecast import LEAST, forecast


def run(y, ahead=range(24)):
    return forecast(list(y), [i % 24 for i in range(len(y))], list(ahead))


def wave(days: int, noise: float, seed: int = 1) -> np.ndarray:
    chance = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    return 1900 + 100 * np.sin(hours / 24 * 2 * np.pi) + noise * chance.standard_normal(len(hours))


def test_a_daily_wave_under_noise_is_forecast_better_than_naive() -> None:
    found = run(wave(40, 30.0))
    assert found.shown
    assert found.skill > 0.1
    truth = 1900 + 100 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    assert found.values == pytest.approx(truth, abs=30)
    assert all(low < value < high for low, value, high in zip(found.low, found.values, found.high, strict=True))
    assert found.model.hours == found.day_before.hours == 14 * 24


def test_the_band_holds_about_nine_in_ten() -> None:
    kept = []
    for seed in range(8):
        y = wave(41, 30.0, seed)
        found = run(y[:-24])
        kept += [low <= v <= high for low, v, high in zip(found.low, y[-24:], found.high, strict=True)]
    assert 0.8 < np.mean(kept) < 0.98


@pytest.mark.parametrize("now", [0, 9, 17])
def test_days_of_a_plan_and_hours_of_maintenance_are_forecast_better_than_naive(now: int) -> None:
    """Each day at eight another load, within campaigns of six days; on Wednesdays eight hours at little load."""
    chance = np.random.default_rng(4)
    hours = np.arange(29 * 24) - 8
    campaign, day = chance.uniform(0.9, 1.07, 6), 0.03 * chance.standard_normal(31)
    load = campaign[hours // (24 * 6)] + day[hours // 24]
    load = np.where((hours // 24 % 7 == 2) & (hours % 24 < 8), 0.6 * load, load)
    y = 500 + 1400 * np.convolve(load, np.full(3, 1 / 3), mode="same") + 10 * chance.standard_normal(len(load))
    found = run(y[: 28 * 24 + now], ahead=[(now + i) % 24 for i in range(24)])
    assert found.shown
    assert found.skill > 0.2


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (wave(9, 30.0), "past"),
        (np.full(24 * 30, 1900.0), "naive"),  # the day before says it already
        (np.tile(np.random.default_rng(2).normal(1900, 200, 24), 30), "naive"),  # every day is the same to the kWh
        (np.tile(wave(7, 200.0), 6), "naive"),  # every week is the same to the kWh
    ],
)
def test_no_better_than_naive_is_not_shown(y, reason: str) -> None:
    found = run(y)
    assert not found.shown
    assert found.reason == reason
    assert found.values == ()


def test_gaps_are_left_out_of_the_judgement() -> None:
    y = wave(30, 30.0)
    holes: list[float | None] = [None if 300 <= i < 330 or i % 50 == 0 else float(v) for i, v in enumerate(y)]
    found = run(holes)
    assert found.shown
    assert found.model.hours < 14 * 24
    assert found.model.hours == found.day_before.hours
    assert not run([None] * LEAST).shown
