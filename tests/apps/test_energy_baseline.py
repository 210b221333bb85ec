"""The baseline: worked figures, refusals, and the saving estimator over a hundred generated plants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefa_apps.energy.answers import verdict
from hefa_apps.energy.baseline import MAX_OUTSIDE, NoFit, Saving, doubts, fit, judge, saving

PRODUCTION = [26, 28, 30, 31, 29, 27, 32, 30]
WARMTH = [-10, -5, 0, 5, 10, 15, 20, 25]
ENERGY = [42.6, 44.1, 45.6, 46.0, 43.6, 41.1, 45.8, 43.4]
NAMES = ("production", "temperature")


def plant(seed: int, saved: float, *, rho: float = 0.4, days: int = 90, frozen: int = 60) -> tuple[Saving, float]:
    """Daily totals of a made-up plant that saves a share after `frozen` days; the saving found, and the true one."""
    chance = np.random.default_rng(seed)
    production = 30 + 2 * chance.standard_normal(days)
    season = 8 * np.sin(2 * np.pi * (np.arange(days) + chance.uniform(0, 365)) / 365)
    warmth = 8 + season + 5 * chance.standard_normal(days)
    noise = np.zeros(days)
    for i in range(days):
        noise[i] = rho * noise[i - 1] + 0.9 * np.sqrt(1 - rho**2) * chance.standard_normal()
    usual = 15.7 + production - 0.09 * warmth + noise
    used = usual.copy()
    used[frozen:] *= 1 - saved
    then, now = slice(0, frozen), slice(frozen, days)
    found = fit(used[then], [production[then], warmth[then]], NAMES, range(frozen))
    told = saving(found, used[now], [production[now], warmth[now]], range(frozen, days))
    counted = ~np.array(told.outside)
    return told, float((usual[now] - used[now])[counted].sum())


def test_worked_example() -> None:
    found = fit(ENERGY, [PRODUCTION, WARMTH], NAMES, range(8))
    assert found.b == pytest.approx([15.66806, 0.99736, -0.09215], abs=5e-6)
    assert found.r2 == pytest.approx(0.99715, abs=5e-6)
    assert found.s == pytest.approx(0.10854, abs=5e-6)
    assert found.cv == pytest.approx(0.002465, abs=5e-7)
    told = saving(found, [43.5, 44.2, 42.4], [[30, 31, 29], [10, 12, 8]], [8, 9, 10])
    assert told.expected_by_day == pytest.approx([44.6673, 45.4804, 43.8543], abs=5e-5)
    assert told.cusum[-1] == pytest.approx(-3.9020, abs=5e-5)
    assert told.enpi == pytest.approx(0.97088, abs=5e-6)
    assert told.saving == pytest.approx(3.9020, abs=5e-5)
    assert [reason.code for reason in told.reasons] == ["few"]
    assert not told.claimed  # eight days are no baseline, however well they fit


def test_statistics_agree_with_the_textbook() -> None:
    """Coefficients, errors, p-values and R2 of Longley's kind of check: against numpy's own solver and scipy's t."""
    from scipy import stats

    chance = np.random.default_rng(3)
    x1, x2 = chance.normal(50, 10, 40), chance.normal(0, 4, 40)
    y = 7 + 0.5 * x1 - 2 * x2 + chance.normal(0, 3, 40)
    found = fit(y, [x1, x2], ("a", "b"), range(40))
    x = np.column_stack([np.ones(40), x1, x2])
    b = np.linalg.solve(x.T @ x, x.T @ y)
    e = y - x @ b
    s2 = e @ e / 37
    errors = np.sqrt(np.diag(s2 * np.linalg.inv(x.T @ x)))
    assert found.b == pytest.approx(b)
    assert [c.error for c in found.coefficients] == pytest.approx(errors)
    assert [c.p for c in found.coefficients] == pytest.approx(2 * stats.t.sf(np.abs(b / errors), 37))
    r2 = 1 - e @ e / ((y - y.mean()) ** 2).sum()
    assert (found.r2, found.r2_adjusted) == pytest.approx((r2, 1 - (1 - r2) * 39 / 37))
    assert found.durbin_watson == pytest.approx((np.diff(e) ** 2).sum() / (e @ e))
    one = stats.linregress(x1, y)
    assert fit(y, [x1], ("a",), range(40)).coefficients[1].p == pytest.approx(one.pvalue)


def test_interval_of_one_driver_is_the_textbook_one() -> None:
    """For independent days: t * s * sqrt(m + m^2/n + (sum of distances)^2 / Sxx)."""
    from scipy import stats

    x = np.arange(20.0)
    y = 3 + 2 * x + np.tile([1.0, -1.0], 10)  # neighbours undo each other: no autocorrelation is credited
    found = fit(y, [x], ("x",), range(20))
    assert found.rho == 0
    new = np.array([4.0, 9.0, 17.0])
    told = saving(found, [10.0, 20.0, 36.0], [new], [20, 21, 22])
    spread = np.sqrt(3 + 9 / 20 + (new - x.mean()).sum() ** 2 / ((x - x.mean()) ** 2).sum())
    half = stats.t.ppf(0.975, 18) * found.s * spread
    assert told.high - told.saving == pytest.approx(half)
    assert told.saving - told.low == pytest.approx(half)


@pytest.mark.parametrize(
    ("energy", "drivers", "names", "code"),
    [
        ([1.0, 2.0], [[1, 2]], ("a",), "few"),
        ([1.0, 2, 3, 4], [[5, 5, 5, 5]], ("a",), "constant"),
        ([1.0, 2, 3, 4, 9], [[1, 2, 3, 4, 6], [3, 5, 7, 9, 13]], ("a", "b"), "same"),
    ],
)
def test_what_cannot_be_fitted_says_why(energy, drivers, names, code) -> None:
    with pytest.raises(NoFit) as told:
        fit(energy, drivers, names, range(len(energy)))
    assert told.value.reason.code == code


def test_weak_baselines_are_refused_with_every_reason() -> None:
    chance = np.random.default_rng(1)
    x = chance.normal(30, 2, 30)
    noise = chance.normal(0, 50, 30)
    assert [r.code for r in judge(fit(40 + noise, [x], ("production",), range(30)))] == ["r2", "cv"]
    twin = x + chance.normal(0, 0.01, 30)
    assert {r.code for r in judge(fit(2 * x, [x, twin], NAMES, range(30)))} == {"collinear"}
    assert [r.code for r in judge(fit(2 * x[:11] + 5, [x[:11]], ("production",), range(11)))] == ["few"]
    assert judge(fit(2 * x + 5, [x], ("production",), range(30))) == ()


def test_days_outside_the_baseline_are_left_out_and_too_many_are_refused() -> None:
    x = np.linspace(20, 30, 30)
    found = fit(5 + 2 * x + 0.1 * np.cos(9 * x), [x], ("production",), range(30))
    inside = [25.0] * 19
    told = saving(found, [40.0] * 20, [[*inside, 45.0]], range(30, 50))
    assert told.outside == (False,) * 19 + (True,)
    assert told.days == 19
    assert told.used == pytest.approx(19 * 40.0)
    assert told.cusum[-1] is None
    assert told.claimed
    assert MAX_OUTSIDE < 2 / 3
    told = saving(found, [40.0] * 3, [[25.0, 45.0, 46.0]], range(30, 33))
    assert not told.claimed
    assert [(r.code, r.fields["drivers"]) for r in told.reasons] == [("outside", "production")]


def test_no_days_is_no_saving() -> None:
    x = np.linspace(20, 30, 30)
    told = saving(fit(5 + 2 * x + np.cos(9 * x), [x], ("production",), range(30)), [], [[]], [])
    assert (told.saving, told.claimed, [r.code for r in told.reasons]) == (None, False, ["no_days"])


def test_a_driver_that_explains_nothing_is_named() -> None:
    chance = np.random.default_rng(5)
    x, idle = chance.normal(30, 2, 60), np.tile([0.0, 0.0, 1.0, 1.0], 15)
    found = fit(3 * x + chance.normal(0, 1, 60), [x, idle], NAMES, range(60))
    assert [(r.code, r.fields["driver"]) for r in doubts(found)] == [("idle", "temperature")]


def test_an_injected_saving_is_found() -> None:
    """22 % within two points, its interval covers the truth nine times in ten."""
    told = [plant(seed, 0.22) for seed in range(100)]
    assert sum(abs(found.share - 0.22) <= 0.02 for found, _ in told) >= 95
    assert sum(found.low <= true <= found.high for found, true in told) >= 90
    assert sum(found.share_low <= 0.22 <= found.share_high for found, _ in told) >= 90
    assert all(found.claimed for found, _ in told if not found.reasons)
    assert sum(not found.reasons for found, _ in told) >= 50


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_no_saving_is_not_claimed(rho: float) -> None:
    """The interval misses nought at its level, one in twenty; hardly a plant of 200 that saved nothing claims a saving."""
    told = [plant(seed, 0.0, rho=rho)[0] for seed in range(200)]
    assert sum(found.claimed for found in told) <= (2 if rho else 0)
    likely = [found for found in told if verdict(found) == "likely"]
    assert all(found.low > 0 for found in likely)
    assert len(likely) <= 10
    assert sum(found.low <= 0 <= found.high for found in told) >= 180


def test_a_small_saving_is_claimed_once_it_is_known_well_enough() -> None:
    """2 % of a plant that scatters by 2 % a day: after a month often, after three days hardly ever."""
    month = [plant(seed, 0.02, rho=0.0, days=90)[0] for seed in range(60)]
    days = [plant(seed, 0.02, rho=0.0, days=63)[0] for seed in range(60)]
    assert sum(verdict(found) == "saving" for found in month) > 15 > 5 >= sum(found.claimed for found in days)
    assert all(found.saving > found.high - found.low for found in month if found.claimed)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 1e6), st.floats(-1e3, 1e3), st.integers(0, 10_000))
def test_units_and_offsets_change_nothing(scale: float, shift: float, seed: int) -> None:
    """A fit in other units is the same fit: R2, CV, p and the saving in per cent stay."""
    chance = np.random.default_rng(seed)
    x, t = chance.normal(30, 2, 24), chance.normal(8, 9, 24)
    y = 20 + x - 0.1 * t + chance.normal(0, 0.3, 24)
    plain = fit(y, [x, t], NAMES, range(24))
    other = fit(y * scale, [x * scale, t + shift], NAMES, range(24))
    assert other.r2 == pytest.approx(plain.r2, rel=1e-6)
    assert other.cv == pytest.approx(plain.cv, rel=1e-6)
    a = saving(plain, y[:5] * 0.9, [x[:5], t[:5]], range(24, 29))
    b = saving(other, y[:5] * 0.9 * scale, [x[:5] * scale, t[:5] + shift], range(24, 29))
    assert b.share == pytest.approx(a.share, rel=1e-5)
    assert b.low / scale == pytest.approx(a.low, rel=1e-4, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_the_baseline_saves_nothing_against_itself(seed: int, drivers: int) -> None:
    chance = np.random.default_rng(seed)
    columns = chance.normal(30, 3, (drivers, 20))
    y = 50 + columns.sum(axis=0) + chance.normal(0, 1, 20)
    found = fit(y, columns, NAMES[:drivers], range(20))
    assert saving(found, y, columns, range(20)).saving == pytest.approx(0, abs=1e-6)
    assert found.residuals.sum() == pytest.approx(0, abs=1e-6)
