from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_apps.period import LONGEST, PeriodError, choices, plant_day, resolve, whole

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
EIGHT = time(8)


def at(text: str, zone: ZoneInfo = SHANGHAI) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("name", "now", "start", "before"),
    [
        ("hour", "2026-11-22T09:41:30", "2026-11-22T08:41", "2026-11-22T07:41"),
        ("24h", "2026-11-22T09:41", "2026-11-21T09:41", "2026-11-20T09:41"),
        ("today", "2026-11-22T09:41", "2026-11-22T08:00", "2026-11-21T08:00"),
        ("today", "2026-11-22T07:59", "2026-11-21T08:00", "2026-11-20T08:00"),
        ("today", "2026-11-22T00:00", "2026-11-21T08:00", "2026-11-20T08:00"),
        ("7d", "2026-11-22T09:41", "2026-11-16T08:00", "2026-11-09T08:00"),
    ],
)
def test_named_periods_in_the_site_calendar(name: str, now: str, start: str, before: str) -> None:
    period = resolve(name, at(now), SHANGHAI, EIGHT)
    assert period.start == at(start)
    assert period.end == at(now).replace(second=0)
    assert period.before[0] == at(before)
    assert period.before[1] - period.before[0] == period.end - period.start
    assert period.running
    assert str(period.start.tzinfo) == "Asia/Shanghai"


def test_the_minute_in_which_the_plant_day_starts_shows_something() -> None:
    period = resolve("today", at("2026-11-22T08:00:20"), SHANGHAI, EIGHT)
    assert period.start < period.end


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [("2026-03-28T08:00", "2026-03-29T08:00", 23), ("2026-10-24T08:00", "2026-10-25T08:00", 25)],
)
def test_days_of_23_and_25_hours(start: str, end: str, hours: int) -> None:
    period = resolve("custom", at("2026-11-01T00:00", BERLIN), BERLIN, EIGHT, start=start, end=end)
    assert period.hours == hours
    assert not period.running
    yesterday = plant_day(at(end, BERLIN) + timedelta(hours=1), BERLIN, EIGHT, back=1)
    assert yesterday == at(start, BERLIN)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "year"}, "period.error.name"),
        ({"name": "custom"}, "period.error.time"),
        ({"name": "custom", "start": "yesterday"}, "period.error.time"),
        ({"name": "custom", "start": "0001-01-01T00:00"}, "period.error.time"),
        ({"name": "custom", "start": "2026-11-22T09:00", "end": "2026-11-22T09:00"}, "period.error.order"),
        ({"name": "custom", "start": "2027-01-01T00:00"}, "period.error.order"),
        ({"name": "custom", "start": "2020-01-01T00:00"}, "period.error.long"),
        ({"name": "hour", "step": "1d"}, "period.error.step"),
        ({"name": "hour", "step": "fortnight"}, "period.error.step"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_word(fields: dict[str, str], reason: str) -> None:
    with pytest.raises(PeriodError) as refused:
        resolve(**{"now": at("2026-11-22T09:41"), "zone": SHANGHAI, "plantday": EIGHT} | fields)  # type: ignore[arg-type]
    assert refused.value.reason == reason


def test_a_custom_time_with_an_offset_is_that_instant() -> None:
    period = resolve("custom", at("2026-11-22T09:41"), SHANGHAI, EIGHT, start="2026-11-21T23:00Z")
    assert period.start == at("2026-11-22T07:00")
    assert period.running


@pytest.mark.parametrize(("name", "step"), [("hour", "1m"), ("24h", "1h"), ("7d", "shift")])
def test_the_step_is_the_finest_that_reads_well(name: str, step: str) -> None:
    assert resolve(name, at("2026-11-22T09:41"), SHANGHAI, EIGHT).step == step


def test_a_site_without_shifts_is_not_offered_any() -> None:
    assert "shift" in choices(timedelta(days=7))
    assert "shift" not in choices(timedelta(days=7), shifts=False)


@given(st.timedeltas(min_value=timedelta(minutes=1), max_value=LONGEST))
def test_every_length_has_a_step(span: timedelta) -> None:
    assert choices(span)


@given(st.integers(0, 15 * 365 * 1440), st.sampled_from([SHANGHAI, BERLIN]))
def test_now_is_in_its_plant_day(minutes: int, zone: ZoneInfo) -> None:
    now = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    start = plant_day(now, zone, EIGHT)
    assert start <= now < start + timedelta(hours=25)
    assert start.astimezone(zone).time() == EIGHT


@pytest.mark.parametrize(
    ("step", "start", "end", "is_whole"),
    [
        ("1h", "2026-11-22T09:00", "2026-11-22T10:00", True),
        ("1h", "2026-11-22T09:00", "2026-11-22T09:41", False),
        ("15m", "2026-11-22T09:00", "2026-11-22T09:15", True),
        ("plantday", "2026-11-21T08:00", "2026-11-22T08:00", True),
        ("plantday", "2026-11-22T08:00", "2026-11-22T09:41", False),
        ("plantday", "2026-11-21T00:00", "2026-11-22T00:00", False),
        ("1d", "2026-11-21T00:00", "2026-11-22T00:00", True),
        ("shift", "2026-11-22T00:00", "2026-11-22T08:00", True),
        ("shift", "2026-11-22T08:00", "2026-11-22T09:41", False),
        ("month", "2026-10-01T00:00", "2026-11-01T00:00", True),
        ("month", "2026-11-01T00:00", "2026-11-22T00:00", False),
    ],
)
def test_a_bucket_that_the_period_cuts_is_no_whole_one(step: str, start: str, end: str, is_whole: bool) -> None:
    assert whole(step, at(start), at(end), SHANGHAI, EIGHT, (time(0), time(8), time(16))) is is_whole
