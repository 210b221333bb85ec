"""Tomorrow's use by the hour, from the hours that have been, and how good such forecasts have been. Pure.

The model adds up a profile by the hour of the local day, a pattern of the week, and a level: that of the newest hours,
which fades into that of weeks. How much of each is believed is chosen anew for every day from the forecasts of the
days before it, so that the backtest judges each on hours that it has not seen. It is worth showing only when it beats
what anybody can guess: the same hour of the day before, and of the week before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

HORIZON = 24  # hours
WEEK = 168
LEAST = 10 * HORIZON  # hours of past without which there is nothing to learn from
ORIGINS = 14  # days that the backtest judges at most
_NEWEST = (6, 24, 72)  # hours that tell the level of now
_FADES = (0.0, 0.9, 0.97, 1.0)  # share of it that is left after each hour ahead; the rest is the level of weeks
_PROFILES = (0.0, 1.0)  # how much of the profile by hour is believed
_WEEKLY = (0.0, 0.5, 1.0)  # and of the pattern of the week
_CHOICES = tuple(product(_PROFILES, _WEEKLY, _NEWEST, _FADES))
_MEMORY = 28  # days that the model looks back
_LEARNT = 14  # days whose forecasts decide what is believed on the next
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
    tried = range(min(days + _LEARNT, len(y) // HORIZON - 3), 0, -1)  # days before the end, the oldest first
    guesses = {back: _guesses(y, clock, len(y) - HORIZON * back, clock[_day(y, back)]) for back in tried}
    missed = {back: np.abs(guess - y[_day(y, back)]) for back, guess in guesses.items()}
    errors: list[Array] = []
    naive: dict[int, list[Array]] = {HORIZON: [], WEEK: []}
    for back in range(days, 0, -1):
        truth, origin = y[_day(y, back)], len(y) - HORIZON * back
        errors.append(truth - guesses[back][_best(missed, back)])
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
    values = _guesses(y, clock, len(y), np.asarray(ahead, dtype=int))[_best(missed, 0)]
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


def _day(y: Array, back: int) -> slice:
    return slice(len(y) - HORIZON * back, len(y) - HORIZON * (back - 1))


def _best(missed: Mapping[int, Array], back: int) -> int:
    """The choice that forecast the days before the one `back` from the end best; the plainest where none is known."""
    told = [missed[day] for day in range(back + 1, back + 1 + _LEARNT) if day in missed]
    known = np.concatenate(told, axis=1) if told else np.empty((len(_CHOICES), 0))
    known = known[:, np.isfinite(known).all(axis=0)]
    return int(known.mean(axis=1).argmin()) if known.size else _CHOICES.index((1.0, 0.0, 24, 1.0))


def _guesses(y: Array, clock: npt.NDArray[np.int_], origin: int, ahead: npt.NDArray[np.int_]) -> Array:
    """Forecast the hours from `origin` on, of the local hours `ahead`, by every choice: (choices, hours)."""
    begin = max(0, origin - _MEMORY * HORIZON)
    past, hours = y[begin:origin], clock[begin:origin]
    if not np.isfinite(past).any():
        return np.full((len(_CHOICES), len(ahead)), np.nan)
    profile, later = _profile(past, hours), np.arange(1, len(ahead) + 1)
    rows = []
    for believed, weekly in product(_PROFILES, _WEEKLY):
        apart = past - believed * profile[hours]
        weeks = weekly * _weeks(apart)
        level = apart - np.tile(weeks, len(apart) // WEEK + 1)[-len(apart) :]
        shape = believed * profile[ahead] + weeks[np.arange(len(ahead)) % WEEK]
        whole = float(np.nanmean(level))
        for newest, fade in product(_NEWEST, _FADES):
            tail = level[-newest:]
            now = float(np.nanmean(tail)) if np.isfinite(tail).any() else whole
            rows.append(whole + (now - whole) * fade**later + shape)
    return np.array(rows)


def _profile(past: Array, hours: npt.NDArray[np.int_]) -> Array:
    """How far each hour of the local day lies from the mean of the 24 hours that it is in."""
    days = len(past) // HORIZON
    tail, clock = (x[len(past) - days * HORIZON :].reshape(days, HORIZON) for x in (past, hours))
    told = np.isfinite(tail).any(axis=1)
    tail, clock = tail[told], clock[told]
    apart = tail - np.nanmean(tail, axis=1, keepdims=True) if len(tail) else tail
    of_hour = [apart[(clock == hour) & np.isfinite(apart)] for hour in range(HORIZON)]
    return np.array([float(some.mean()) if len(some) else 0.0 for some in of_hour])


def _weeks(apart: Array) -> Array:
    """How far each hour of the week, counted on from the end, lies from its week; shrunk where weeks are few."""
    weeks = -(-len(apart) // WEEK)
    table = np.concatenate([np.full(weeks * WEEK - len(apart), np.nan), apart]).reshape(weeks, WEEK)
    table = table[np.isfinite(table).sum(axis=1) > WEEK // 2]
    if len(table) < 2:
        return np.zeros(WEEK)
    table = table - np.nanmean(table, axis=1, keepdims=True)
    count = np.isfinite(table).sum(axis=0)
    return np.asarray(np.nansum(table, axis=0) / np.maximum(count, 1) * count / (count + 1))
