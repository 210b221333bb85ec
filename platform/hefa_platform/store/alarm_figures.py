"""How good the alarms are (ISA-18.2, IEC 62682): rate, floods, chattering, the few that make the most. Pure."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

Point = TypeVar("Point", bound=Hashable)

FLOOD, FLOOD_SPAN = 10, timedelta(minutes=10)  # more than 10 in 10 minutes: more than a person can handle
CHATTER, CHATTER_SPAN = 3, timedelta(minutes=1)
TOP = 10
GOALS: Mapping[str, float] = {"high": 0.05, "medium": 0.15, "low": 0.80}


class Flood(NamedTuple):
    """A time in which every stretch of ten minutes had more than ten alarms; `peak` is the most of one stretch."""

    start: datetime
    end: datetime
    alarms: int
    peak: int


class Chatter(NamedTuple):
    """A limit that raised three alarms or more within a minute; `worst` is the most in one minute."""

    alarms: int
    worst: int


def floods(raised: Sequence[datetime]) -> list[Flood]:
    """Floods in times of raising, which are sorted."""
    found: list[tuple[int, int, int]] = []  # first, last alarm, peak
    first = 0
    for last, at in enumerate(raised):
        while at - raised[first] >= FLOOD_SPAN:
            first += 1
        count = last - first + 1
        if count <= FLOOD:
            continue
        if found and first <= found[-1][1]:
            start, _, peak = found[-1]
            found[-1] = start, last, max(peak, count)
        else:
            found.append((first, last, count))
    return [Flood(raised[a], raised[b], b - a + 1, peak) for a, b, peak in found]


def chattering(raised: Sequence[tuple[Point, datetime]]) -> dict[Point, Chatter]:
    """Limits that chatter, of (limit, time of raising) sorted by time."""
    times: dict[Point, list[datetime]] = defaultdict(list)
    for point, at in raised:
        times[point].append(at)
    found = {}
    for point, series in times.items():
        worst = first = 0
        for last, at in enumerate(series):
            while at - series[first] >= CHATTER_SPAN:
                first += 1
            worst = max(worst, last - first + 1)
        if worst >= CHATTER:
            found[point] = Chatter(len(series), worst)
    return found


def top(points: Sequence[Point]) -> list[tuple[Point, int]]:
    """The ten limits with the most alarms."""
    return Counter(points).most_common(TOP)
