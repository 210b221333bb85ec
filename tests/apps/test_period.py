from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_apps.period import LONGEST, Calendar, PeriodError, began, choices, plant_day, resolve, whole

SHANGHAI = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
EIGHT = time(8)
SITE = Calendar(SHANGHAI, EIGHT, (time(0), time(8), time(16)))
ELSEWHERE = Calendar(BERLIN, EIGHT, (time(6), time(14), time(22)))


def at(text: str, zone: ZoneInfo = SHANGHAI) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("name", "now", "start", "before"),
    [
        ("hour", "2026-11-22T09:41:30", "2026-11-22T08:41", "2026-11-22T07:41"),
        ("24h", "2026-11-22T09:41", "2026-11-21T09:41", "2026-11-20T09:41"),
        ("plantday", "2026-11-22T09:41", "2026-11-22T08:00", "2026-11-21T08:00"),
        ("plantday", "2026-11-22T07:59", "2026-11-21T08:00", "2026-11-20T08:00"),
        ("plantday", "2026-11-22T00:00", "2026-11-21T08:00", "2026-11-20T08:00"),
        ("day", "2026-11-22T09:41", "2026-11-22T00:00", "2026-11-21T00:00"),
        ("shift", "2026-11-22T09:41", "2026-11-22T08:00", "2026-11-22T00:00"),
        ("shift", "2026-11-22T07:59", "2026-11-22T00:00", "2026-11-21T16:00"),
        ("week", "2026-11-22T09:41", "2026-11-16T08:00", "2026-11-09T08:00"),
        ("week", "2026-11-16T07:00", "2026-11-09T08:00", "2026-11-02T08:00"),
        ("month", "2026-11-22T09:41", "2026-11-01T00:00", "2026-10-01T00:00"),
        ("7d", "2026-11-22T09:41", "2026-11-16T08:00", "2026-11-09T08:00"),
    ],
)
def test_running_periods_in_the_site_calendar(name: str, now: str, start: str, before: str) -> None:
    period = resolve(name, at(now), SITE)
    assert period.start == at(start)
    assert period.end == at(now).replace(second=0)
    assert period.before[0] == at(before)
    assert period.before[1] - period.before[0] == period.end - period.start
    assert period.running
    assert str(period.start.tzinfo) == "Asia/Shanghai"


@pytest.mark.parametrize(
    ("name", "back", "start", "end", "before"),
    [
        ("hour", 2, "2026-11-22T06:41", "2026-11-22T07:41", "2026-11-22T05:41"),
        ("plantday", 1, "2026-11-21T08:00", "2026-11-22T08:00", "2026-11-20T08:00"),
        ("shift", 1, "2026-11-22T00:00", "2026-11-22T08:00", "2026-11-21T16:00"),
        ("shift", 4, "2026-11-21T00:00", "2026-11-21T08:00", "2026-11-20T16:00"),
        ("week", 1, "2026-11-09T08:00", "2026-11-16T08:00", "2026-11-02T08:00"),
        ("month", 1, "2026-10-01T00:00", "2026-11-01T00:00", "2026-09-01T00:00"),
        ("month", 9, "2026-02-01T00:00", "2026-03-01T00:00", "2026-01-01T00:00"),
    ],
)
def test_periods_that_are_over(name: str, back: int, start: str, end: str, before: str) -> None:
    period = resolve(name, at("2026-11-22T09:41"), SITE, back=back)
    assert (period.start, period.end) == (at(start), at(end))
    assert period.before == (at(before), at(start))
    assert not period.running


def test_a_running_month_is_compared_with_as_much_of_the_one_before_as_that_had() -> None:
    period = resolve("month", at("2026-03-31T12:00"), SITE)
    assert period.before == (at("2026-02-01T00:00"), at("2026-03-01T00:00"))


@given(
    st.sampled_from(["shift", "day", "plantday", "week", "month"]), st.integers(0, 6 * 365 * 1440), st.integers(0, 40)
)
def test_periods_follow_each_other_without_gap(name: str, minutes: int, back: int) -> None:
    now = datetime(2021, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    later, earlier = (resolve(name, now, ELSEWHERE, back=b) for b in (back + 1, back + 2))
    assert earlier.end == later.start < later.end
    assert later.before[0] == earlier.start
    assert later.start == began(name, later.start, ELSEWHERE)


def test_the_minute_in_which_the_plant_day_starts_shows_something() -> None:
    period = resolve("plantday", at("2026-11-22T08:00:20"), SITE)
    assert period.start < period.end


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [("2026-03-28T08:00", "2026-03-29T08:00", 23), ("2026-10-24T08:00", "2026-10-25T08:00", 25)],
)
def test_days_of_23_and_25_hours(start: str, end: str, hours: int) -> None:
    period = resolve("custom", at("2026-11-01T00:00", BERLIN), ELSEWHERE, start=start, end=end)
    assert period.hours == hours
    assert not period.running
    yesterday = plant_day(at(end, BERLIN) + timedelta(hours=1), BERLIN, EIGHT, back=1)
    assert yesterday == at(start, BERLIN)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "year"}, "period.error.name"),
        ({"name": "shift", "calendar": Calendar(SHANGHAI)}, "period.error.name"),
        ({"name": "month", "back": -1}, "period.error.back"),
        ({"name": "month", "back": 1001}, "period.error.back"),
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
        resolve(**{"now": at("2026-11-22T09:41"), "calendar": SITE} | fields)  # type: ignore[arg-type]
    assert refused.value.reason == reason


def test_a_custom_time_with_an_offset_is_that_instant() -> None:
    period = resolve("custom", at("2026-11-22T09:41"), SITE, start="2026-11-21T23:00Z")
    assert period.start == at("2026-11-22T07:00")
    assert period.running


@pytest.mark.parametrize(
    ("name", "step"), [("hour", "1m"), ("24h", "1h"), ("7d", "shift"), ("month", "shift"), ("day", "15m")]
)
def test_the_step_is_the_finest_that_reads_well(name: str, step: str) -> None:
    assert resolve(name, at("2026-11-22T09:41"), SITE).step == step


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
    assert whole(step, at(start), at(end), SITE) is is_whole
