"""The calendar of a series: where each bucket of a step begins and ends, and which rollup can answer for it.

Pure. Every step, also the ones a database would not know (plant day, shift) and days of 23 or 25 hours, becomes a
list of instants here; SQL then only sorts rows between instants. One definition, one place to test.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

Step = Literal["1m", "15m", "1h", "1d", "plantday", "shift", "month"]
FIXED: dict[Step, timedelta] = {
    "1m": timedelta(minutes=1),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
}
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Range = tuple[datetime, datetime]


@dataclass(frozen=True)
class Calendar:
    """Local days, months, plant days and shifts of one zone."""

    zone: ZoneInfo
    plantday: time
    shifts: tuple[time, ...]

    def starts(self, step: Step, start: datetime, end: datetime) -> list[datetime]:
        """Starts of the buckets that [start, end) touches, in UTC, rising; a bucket ends where the next one starts.

        One more instant follows at the end: where the last bucket ends, at `end` or later.
        Minutes, quarters and hours are counted in UTC, so an hour of a 25-hour day occurs once.
        """
        if step in FIXED:
            width = FIXED[step]
            first, count = floor(start, width), -((floor(start, width) - end) // width)
            return [first + i * width for i in range(count + 1)]
        found: list[datetime] = []
        # From a bucket before the range to one after it; a shift may begin the evening before.
        day = start.astimezone(self.zone).date() - timedelta(days=2)
        day = day.replace(day=1) if step == "month" else day
        while not found or found[-1] < end:
            found += self._of_day(step, day)
            day = _next_month(day) if step == "month" else day + timedelta(days=1)
        # A clock change may lie on a boundary and fold two into one.
        found = sorted(set(found))
        return found[bisect_right(found, start) - 1 : bisect_left(found, end) + 1]

    def _of_day(self, step: Step, day: date) -> list[datetime]:
        clocks = {"plantday": (self.plantday,), "shift": self.shifts}.get(step, (time(0),))
        return [datetime.combine(day, clock, self.zone).astimezone(UTC) for clock in clocks]


@dataclass(frozen=True)
class Sources:
    """Which ranges are answered from hours, which from minutes and which are computed from readings now.

    The ranges are disjoint and together cover what was asked; every row of a range lies within one bucket.
    """

    hours: list[Range]
    minutes: list[Range]
    live: list[Range]


def fixed_width(starts: Sequence[datetime]) -> timedelta | None:
    """The width of buckets that are minutes, quarters or hours, and so begin with one in UTC; None for any others."""
    width = starts[1] - starts[0]
    even = width in FIXED.values() and floor(starts[0], width) == starts[0]
    return width if even and all(right - left == width for left, right in pairwise(starts)) else None


def sources(starts: Sequence[datetime], start: datetime, end: datetime, pending: list[Range]) -> Sources:
    """Split [start, end), in whole minutes, for the buckets `starts` (as of `Calendar.starts`).

    Whole hours are taken from the hour rollup, the rest from minutes. What is `pending`, disjoint ranges that no
    rollup has answered yet, is computed from readings.
    """
    width = fixed_width(starts)
    bounds = {floor(instant, MINUTE) for gap in pending for instant in gap} | {start, end}
    if width is None:
        bounds.update(starts)
    live: list[Range] = []
    hours: list[Range] = []
    minutes: list[Range] = []
    for left, right in pairwise(sorted(bound for bound in bounds if start <= bound <= end)):
        if any(first <= left < last for first, last in pending):
            _extend(live, left, right)
            continue
        first, last = -((_EPOCH - left) // HOUR) * HOUR + _EPOCH, floor(right, HOUR)
        if first >= last or (width is not None and width < HOUR):
            _extend(minutes, left, right)
        else:
            _extend(minutes, left, first)
            _extend(hours, first, last)
            _extend(minutes, last, right)
    return Sources(hours, minutes, live)


def floor(instant: datetime, width: timedelta) -> datetime:
    """The last multiple of `width` since the epoch at or before `instant`, in UTC."""
    return instant.astimezone(UTC) - (instant - _EPOCH) % width


def _extend(ranges: list[Range], start: datetime, end: datetime) -> None:
    if start >= end:
        return
    if ranges and ranges[-1][1] == start:
        ranges[-1] = (ranges[-1][0], end)
    else:
        ranges.append((start, end))


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
