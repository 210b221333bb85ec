"""Periods that people pick, as ranges in the site's calendar. Pure: the clock is an argument.

A range is [start, end) of aware datetimes in the site's zone. Lengths are elapsed time, days are wall-clock days, so
the 23 and 25 hour days of zones with summer time come out right. A plant day starts at `plantday` local time, a week
on the plant day of its Monday, a month at midnight. `back` counts periods: 0 is the running one, 1 the one before it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

NAMES = ("hour", "24h", "shift", "day", "plantday", "week", "month", "7d", "custom")
LONGEST = timedelta(days=800)
FARTHEST = 1000  # periods back
BARS = 70  # the most bars that a chart reads well with
_MOST_BARS = 400  # the most that may be asked for
_ROLLING = {"hour": timedelta(hours=1), "24h": timedelta(hours=24)}

# Steps that the platform buckets by, with about how long each is; `1d` is the calendar day of the site.
_STEPS = {
    "1m": timedelta(minutes=1),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "shift": timedelta(hours=8),
    "plantday": timedelta(days=1),
    "1d": timedelta(days=1),
    "month": timedelta(days=30),
}


class PeriodError(ValueError):
    """The period asked for makes no sense; `reason` is an id of the message catalogue."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Calendar:
    """What a site's clock says: its zone, when its plant day starts, and when its shifts do (none: no shifts)."""

    zone: ZoneInfo
    plantday: time = time(0)
    shifts: tuple[time, ...] = ()


@dataclass(frozen=True)
class Period:
    """A picked range, the step to draw it in, and the range before it that it is compared with."""

    name: str
    back: int
    start: datetime
    end: datetime
    before: tuple[datetime, datetime]
    step: str
    steps: tuple[str, ...]
    running: bool  # it ends now and grows

    @property
    def hours(self) -> float:
        """Elapsed length in hours."""
        return _elapsed(self.start, self.end) / timedelta(hours=1)


def resolve(
    name: str,
    now: datetime,
    calendar: Calendar,
    *,
    back: int = 0,
    start: str = "",
    end: str = "",
    step: str = "",
) -> Period:
    """Return the period called `name` at `now`, or the one `back` periods earlier.

    `start` and `end` count for `custom` only: ISO 8601, local time of the site when they carry no offset; no end
    means now. An unknown or unsuitable `step` is refused, an empty one is chosen. Raises `PeriodError`.
    """
    now = _floor(now.astimezone(UTC))
    if name not in NAMES or (name == "shift" and not calendar.shifts):
        raise PeriodError("period.error.name")
    if not 0 <= back <= FARTHEST:
        raise PeriodError("period.error.back")
    try:
        first, last, before = (
            _custom(start, end, now, calendar.zone) if name == "custom" else _named(name, now, calendar, back)
        )
    except OverflowError:
        raise PeriodError("period.error.back") from None
    if first >= last:
        raise PeriodError("period.error.order")
    if last - first > LONGEST:
        raise PeriodError("period.error.long")
    steps = choices(last - first, shifts=bool(calendar.shifts))
    if name in ("day", "month"):  # plant days would be cut by midnight at both ends
        steps = tuple(s for s in steps if s != "plantday") or steps
    if step and step not in steps:
        raise PeriodError("period.error.step")
    zone = calendar.zone
    return Period(
        name=name,
        back=back if name != "custom" else 0,
        start=first.astimezone(zone),
        end=last.astimezone(zone),
        before=(before[0].astimezone(zone), before[1].astimezone(zone)),
        step=step or _best(last - first, steps),
        steps=steps,
        running=last == now,
    )


def _named(
    name: str, now: datetime, calendar: Calendar, back: int
) -> tuple[datetime, datetime, tuple[datetime, datetime]]:
    """Return start, end and the range before. A running period is compared with as much of the one before it."""
    if name in _ROLLING:
        last = now - back * _ROLLING[name]
        first = last - _ROLLING[name]
        return first, last, (first - _ROLLING[name], first)
    first, last = began(name, now, calendar), now
    if first == last:  # the minute in which it starts has nothing to show yet
        first, before = last - timedelta(minutes=1), began(name, last - timedelta(minutes=1), calendar)
        if not back:
            return first, last, (before, before + timedelta(minutes=1))
        first = last
    for _ in range(back):
        first, last = began(name, first - timedelta(microseconds=1), calendar), first
    earlier = began(name, first - timedelta(microseconds=1), calendar)
    return first, last, (earlier, first if back else min(earlier + (last - first), first))


def _custom(
    start: str, end: str, now: datetime, zone: ZoneInfo
) -> tuple[datetime, datetime, tuple[datetime, datetime]]:
    first = _parse(start, zone)
    last = min(_parse(end, zone) if end else now, now)
    return first, last, (first - (last - first), first)


def began(name: str, moment: datetime, calendar: Calendar) -> datetime:
    """Return the start, in UTC, of the shift, day, plant day, week, month or seven days that `moment` falls in."""
    zone = calendar.zone
    if name == "shift":
        local = moment.astimezone(zone)
        starts = (
            datetime.combine(local.date() - timedelta(days=days), at, zone).astimezone(UTC)
            for days in (0, 1)
            for at in calendar.shifts
        )
        return max(each for each in starts if each <= moment)
    if name == "7d":  # whole plant days and the running one: bars of equal meaning
        return plant_day(moment, zone, calendar.plantday, back=6)
    if name == "day":
        return plant_day(moment, zone, time(0))
    if name == "week":
        day = plant_day(moment, zone, calendar.plantday).astimezone(zone)
        return plant_day(moment, zone, calendar.plantday, back=day.weekday())
    if name == "month":
        return datetime.combine(moment.astimezone(zone).date().replace(day=1), time(0), zone).astimezone(UTC)
    return plant_day(moment, zone, calendar.plantday)


def plant_day(now: datetime, zone: ZoneInfo, plantday: time, *, back: int = 0) -> datetime:
    """Return the start, in UTC, of the plant day that `now` falls in, or of the one `back` days earlier."""
    local = now.astimezone(zone)
    day = local.date()
    if datetime.combine(day, plantday, zone) > local:
        day -= timedelta(days=1)
    return datetime.combine(day - timedelta(days=back), plantday, zone).astimezone(UTC)


def whole(step: str, start: datetime, end: datetime, calendar: Calendar) -> bool:
    """Say whether [start, end) is a whole bucket of this step, or one that the period cuts.

    A bar of twenty minutes must not pass for an hour. Days and shifts are judged by the clock on the wall, because
    they last 23 or 25 hours twice a year.
    """
    length = _STEPS.get(step)
    if step in ("1m", "15m", "1h") and length is not None:
        return _elapsed(start, end) >= length
    marks = {"plantday": (calendar.plantday,), "shift": calendar.shifts, "1d": (time(0),), "month": (time(0),)}.get(
        step, ()
    )
    edges = [moment.astimezone(calendar.zone) for moment in (start, end)]
    return all(edge.time() in marks and (step != "month" or edge.day == 1) for edge in edges)


def choices(span: timedelta, *, shifts: bool = True) -> tuple[str, ...]:
    """Return the steps worth offering for a range of this length, finest first."""
    fit = [name for name, length in _STEPS.items() if 2 <= span / length <= _MOST_BARS and (shifts or name != "shift")]
    return tuple(fit) or ("1m",)


def _best(span: timedelta, steps: tuple[str, ...]) -> str:
    """Return the finest step that still reads well."""
    return next((name for name in steps if span / _STEPS[name] <= BARS), steps[-1])


def _elapsed(start: datetime, end: datetime) -> timedelta:
    """Subtract in UTC: within one zone Python subtracts what the clock on the wall shows."""
    return end.astimezone(UTC) - start.astimezone(UTC)


def _floor(when: datetime) -> datetime:
    """Whole minutes: the same question within a minute is the same range."""
    return when.replace(second=0, microsecond=0)


def _parse(text: str, zone: ZoneInfo) -> datetime:
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise PeriodError("period.error.time") from None
    try:
        return (when if when.tzinfo else when.replace(tzinfo=zone)).astimezone(UTC)
    except (OverflowError, ValueError):
        raise PeriodError("period.error.time") from None
