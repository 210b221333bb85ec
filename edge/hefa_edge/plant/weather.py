"""Weather at the site: season and hour of the day, with fluctuations. Pure functions of time."""

from __future__ import annotations

import math

MEAN = 8.0  # Cel over the year
_SEASON, _DAY = 18.0, 6.0  # amplitudes, K
_WARMEST_DAY, _WARMEST_HOUR = 201.0, 15.0
_YEAR = 365.2425
_DAY_US = 86_400_000_000
# Local mean time stands for the time zone: it never jumps.
_OFFSET_H = 8.0


def local_hour(ts: int) -> float:
    """Hour of the local day, 0 up to 24."""
    return (ts % _DAY_US) / _DAY_US * 24 + _OFFSET_H - (24 if (ts % _DAY_US) / _DAY_US * 24 + _OFFSET_H >= 24 else 0)


def ambient(ts: int, wander: float, gusts: float) -> float:
    """Temperature outside at `ts` (µs), Cel; `wander` and `gusts` are a slow and a quick fluctuation of sd 1."""
    day = ts / _DAY_US - 20_089.0  # since 2025-01-01
    season = math.cos(2 * math.pi * (day - _WARMEST_DAY) / _YEAR)
    hour = math.cos(2 * math.pi * (local_hour(ts) - _WARMEST_HOUR) / 24)
    return MEAN + _SEASON * season + _DAY * hour + 2.0 * wander + 0.6 * gusts


def humidity(temperature: float, wander: float) -> float:
    """Relative humidity, %: lower on a warm day."""
    return min(max(45.0 - 1.2 * (temperature - MEAN) * 0.5 + 8.0 * wander, 5.0), 100.0)
