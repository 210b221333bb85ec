"""Tomorrow's use by the hour, from the hours that have been, and how good such forecasts have been. Pure.

The model is a level that follows the newest days and a profile by the hour of the local day, both smoothed; how much
is chosen on the older part of the past, so that the backtest judges it on days it has not seen. It is worth showing
only when it beats what anybody can guess: the same hour of the day before, and of the week before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

HORIZON = 24  # hours
WEEK = 168
LEAST = 10 * HORIZON  # hours of past without which there is nothing to learn from
ORIGINS = 14  # days that the backtest judges at most
_LEVELS = (0.0, 0.15, 0.3, 0.6, 1.0)  # weight of the newest day in the level; 0 = the mean of all
_PROFILES = (0.0, 0.3, 0.6, 1.0)  # how much of the profile by hour is believed
_MEMORY = 28  # days that the profile looks back
_BETTER = 0.02  # what beats naive by less than this is no better


@dataclass(frozen=True)
class Score:
    """Mean absolute error over the backtest, in the series' unit, and the number of hours judged."""

    mae: float | None
    hours: int


@dataclass(frozen=True)
class Forecast:
    """The next hours with a band that nine in ten of the backtest's errors keep, and the scores beside naive.

    `shown` is False when the model is not better than either naive guess or there is too little past: then `reason`
    is an id below `energy.why` and there are no values.
    """

    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    model: Score
    day_before: Score
    week_before: Score
    skill: float | None  # 1 - model error / best naive error
    days: int
    shown: bool
    reason: str | None


def forecast(energy: Sequence[float | None], hours: Sequence[int], ahead: Sequence[int]) -> Forecast:
    """Forecast the hours that follow `energy`, an unbroken run of hours with None where nothing is known.

    `hours` is the local hour of the day (0–23) of each, `ahead` that of each hour to come.
    """
    y = np.array([np.nan if e is None else e for e in energy], dtype=float)
    clock = np.asarray(hours, dtype=int)
    empty = Score(None, 0)
    if int(np.isfinite(y).sum()) < LEAST:
        return Forecast((), (), (), empty, empty, empty, None, 0, shown=False, reason="past")
    days = min(ORIGINS, len(y) // HORIZON - 7)
    origins = [len(y) - HORIZON * back for back in range(days, 0, -1)]
    learnt = _best(y[: origins[0]], clock[: origins[0]])
    errors: list[Array] = []
    naive: dict[int, list[Array]] = {HORIZON: [], WEEK: []}
    for origin in origins:
        truth = y[origin : origin + HORIZON]
        guess = _model(y[:origin], clock[:origin], clock[origin : origin + HORIZON], *learnt)
        errors.append(truth - guess)
        for lag, kept in naive.items():
            kept.append(truth - y[origin - lag : origin - lag + HORIZON] if origin >= lag else np.full(HORIZON, np.nan))
    # All three are judged on the same hours, or the one with gaps would have the easier task.
    parts = [np.concatenate(errors), np.concatenate(naive[HORIZON]), np.concatenate(naive[WEEK])]
    judged = np.isfinite(parts[0]) & np.isfinite(parts[1])
    weekly = judged & np.isfinite(parts[2])
    model, before = _score(parts[0], judged), _score(parts[1], judged)
    week = _score(parts[2], weekly)
    rivals = [s.mae for s in (before, week) if s.mae is not None]
    if model.mae is None or not rivals:
        return Forecast((), (), (), model, before, week, None, days, shown=False, reason="gaps")
    best = min(rivals)
    skill = 1 - model.mae / best if best > 0 else 0.0
    if skill < _BETTER:
        return Forecast((), (), (), model, before, week, skill, days, shown=False, reason="naive")
    values = _model(y, clock, np.asarray(ahead, dtype=int), *learnt)
    low, high = np.quantile(parts[0][judged], (0.05, 0.95))
    return Forecast(
        tuple(map(float, values)),
        tuple(map(float, values + min(low, 0.0))),
        tuple(map(float, values + max(high, 0.0))),
        model,
        before,
        week,
        float(skill),
        days,
        shown=True,
        reason=None,
    )


def _score(errors: Array, judged: npt.NDArray[np.bool_]) -> Score:
    count = int(judged.sum())
    return Score(float(np.abs(errors[judged]).mean()) if count else None, count)


def _best(y: Array, clock: npt.NDArray[np.int_]) -> tuple[float, float]:
    """The smoothing that forecast the older past best."""

    def error(pair: tuple[float, float]) -> float:
        missed = []
        for origin in range(len(y) - HORIZON, max(3 * HORIZON, len(y) - ORIGINS * HORIZON) - 1, -HORIZON):
            ahead = clock[origin : origin + HORIZON]
            missed.append(np.abs(y[origin : origin + HORIZON] - _model(y[:origin], clock[:origin], ahead, *pair)))
        found = np.concatenate(missed) if missed else np.array([np.nan])
        found = found[np.isfinite(found)]
        return float(found.mean()) if len(found) else float("inf")

    return min(product(_LEVELS, _PROFILES), key=error)


def _model(y: Array, clock: npt.NDArray[np.int_], ahead: npt.NDArray[np.int_], newest: float, believed: float) -> Array:
    """Level of the newest days plus the profile by hour."""
    days = min(_MEMORY, len(y) // HORIZON)
    tail, hours = y[len(y) - days * HORIZON :].reshape(days, HORIZON), clock[len(y) - days * HORIZON :]
    with np.errstate(invalid="ignore"):
        known = np.isfinite(tail)
        counts = known.sum(axis=1)
        means = np.where(counts > 0, np.nansum(tail, axis=1) / np.maximum(counts, 1), np.nan)
    usable = np.flatnonzero(np.isfinite(means))
    if not len(usable):
        return np.full(len(ahead), np.nan)
    level = float(means[usable].mean())
    if newest > 0:
        level = float(means[usable[0]])
        for i in usable[1:]:
            level += newest * (float(means[i]) - level)
    apart = (tail - means[:, None]).ravel()
    profile = np.zeros(24)
    for hour in range(24):
        of_hour = apart[(hours == hour) & np.isfinite(apart)]
        profile[hour] = of_hour.mean() if len(of_hour) else 0.0
    return level + believed * profile[ahead]
