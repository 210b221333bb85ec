"""The calendar: where buckets begin and end, and which rollup answers for them."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_platform.store.buckets import MINUTE, Calendar, Step, floor, sources

SHIFTS = (time(0), time(8), time(16))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def calendar(zone: str) -> Calendar:
    return Calendar(ZoneInfo(zone), time(8), SHIFTS)


@pytest.mark.parametrize(
    ("zone", "step", "start", "end", "expected"),
    [
        ("UTC", "1m", "2026-03-01T00:00", "2026-03-01T00:02", ["03-01T00:00", "03-01T00:01", "03-01T00:02"]),
        ("UTC", "15m", "2026-03-01T00:07", "2026-03-01T00:16", ["03-01T00:00", "03-01T00:15", "03-01T00:30"]),
        ("Asia/Shanghai", "1d", "2026-03-01T00:00", "2026-03-01T17:00", ["02-28T16:00", "03-01T16:00", "03-02T16:00"]),
        ("Asia/Shanghai", "plantday", "2026-03-01T00:00", "2026-03-02T00:00", ["03-01T00:00", "03-02T00:00"]),
        ("Asia/Shanghai", "shift", "2026-03-01T00:00", "2026-03-01T16:00", ["03-01T00:00", "03-01T08:00", "03-01T16:00"]),
        ("Asia/Shanghai", "month", "2026-02-10T00:00", "2026-02-28T17:00", ["01-31T16:00", "02-28T16:00", "03-31T16:00"]),
        # 23 hours: clocks go forward on 29 March 2026; 25 hours: back on 25 October.
        ("Europe/Berlin", "1d", "2026-03-28T23:00", "2026-03-29T22:00", ["03-28T23:00", "03-29T22:00"]),
        ("Europe/Berlin", "1d", "2026-10-24T22:00", "2026-10-25T23:00", ["10-24T22:00", "10-25T23:00"]),
        ("Europe/Berlin", "plantday", "2026-10-24T22:00", "2026-10-25T07:00", ["10-24T06:00", "10-25T07:00"]),
        # Midnight does not exist there on that day: it begins at one.
        ("America/Havana", "1d", "2026-03-08T05:00", "2026-03-09T04:00", ["03-08T05:00", "03-09T04:00"]),
        ("Asia/Kolkata", "1d", "2026-03-01T00:00", "2026-03-01T01:00", ["02-28T18:30", "03-01T18:30"]),
        ("UTC", "month", "2026-12-31T23:59", "2027-01-01T00:01", ["12-01T00:00", "01-01T00:00", "02-01T00:00"]),
    ],
)  # fmt: skip
def test_starts(zone: str, step: str, start: str, end: str, expected: list[str]) -> None:
    found = calendar(zone).starts(step, utc(start), utc(end))
    assert [f"{instant:%m-%dT%H:%M}" for instant in found] == expected


def test_a_shift_that_a_clock_change_swallows_is_no_bucket() -> None:
    # Clocks go from two to three: both shifts would begin at the same instant.
    berlin = Calendar(ZoneInfo("Europe/Berlin"), time(8), (time(2), time(3), time(14)))
    found = berlin.starts("shift", utc("2026-03-29T00:30"), utc("2026-03-29T02:00"))
    assert [f"{instant:%dT%H:%M}" for instant in found] == ["28T13:00", "29T01:00", "29T12:00"]


INSTANT = st.integers(0, 2 * 365 * 1440).map(lambda minutes: utc("2025-01-01T00:00") + timedelta(minutes=minutes))
ZONE = st.sampled_from(
    ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Kolkata"]
)


@given(
    zone=ZONE,
    step=st.sampled_from([s for s in get_args(Step) if s != "1m"]),
    start=INSTANT,
    days=st.integers(1, 40),
    cut=st.floats(-0.1, 1.1),
    hole=st.floats(0, 1),
)
def test_buckets_tile_the_range_and_each_row_has_one_source(
    zone: str, step: str, start: datetime, days: int, cut: float, hole: float
) -> None:
    end = start + timedelta(days=days)
    starts = calendar(zone).starts(step, start, end)
    assert starts[0] <= start < starts[1]
    assert starts[-2] < end <= starts[-1]
    assert all(left < right for left, right in pairwise(starts))

    watermark = floor(start + (end - start) * cut, MINUTE)
    note = (floor(start + (end - start) * min(hole, cut), MINUTE), floor(start + (end - start) * cut, MINUTE))
    pending = [(note[0], min(note[0] + 90 * MINUTE, note[1])), (watermark, max(end, watermark))]
    split = sources(starts, start, end, pending)
    ranges = sorted(split.hours + split.minutes + split.live)
    assert ranges[0][0] == start
    assert ranges[-1][1] == end
    assert all(left[1] == right[0] for left, right in pairwise(ranges))
    for left, right in split.hours:
        assert left.minute == right.minute == 0
        assert right <= watermark
        assert right <= pending[0][0] or left >= pending[0][1] or pending[0][0] >= pending[0][1]
        # No boundary of a bucket may fall inside an hour that is taken whole.
        assert all(s.minute == 0 for s in starts if left < s < right)
    assert all(right <= watermark for _, right in split.minutes)
    assert sum(((right - left) for left, right in split.minutes), timedelta()) <= 2 * timedelta(hours=1) * len(starts)
