"""Periods that people pick, as ranges in the site's calendar. Pure: the clock is an argument.

A range is [start, end) of aware datetimes in the site's zone. Lengths are elapsed time, days are wall-clock days, so
the 23 and 25 hour days of zones with summer time come out right. A plant day starts at `plantday` local time.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

NAMES = ("hour", "today", "24h", "7d", "custom")
LONGEST = timedelta(days=800)
BARS = 70  # the most bars that a chart reads well with
_MOST_BARS = 400  # the most that may be asked for

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
class Period:
    """A picked range, the step to draw it in, and the range before it that it is compared with."""

    name: str
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
    zone: ZoneInfo,
    plantday: time,
    *,
    shifts: bool = True,
    start: str = "",
    end: str = "",
    step: str = "",
) -> Period:
    """Return the period called `name` at `now`.

    `start` and `end` count for `custom` only: ISO 8601, local time of the site when they carry no offset; no end
    means now. An unknown or unsuitable `step` is refused, an empty one is chosen. Raises `PeriodError`.
    """
    now = _floor(now.astimezone(UTC))
    if name == "hour":
        first, last = now - timedelta(hours=1), now
    elif name == "today":
        first, last = plant_day(now, zone, plantday), now
        if first == last:  # the minute in which the plant day starts has nothing to show yet
            first = last - timedelta(minutes=1)
    elif name == "24h":
        first, last = now - timedelta(hours=24), now
    elif name == "7d":  # whole plant days and the running one: bars of equal meaning
        first, last = plant_day(now, zone, plantday, back=6), now
    elif name == "custom":
        first = _parse(start, zone)
        last = _parse(end, zone) if end else now
        last = min(last, now)
    else:
        raise PeriodError("period.error.name")
    if first >= last:
        raise PeriodError("period.error.order")
    if last - first > LONGEST:
        raise PeriodError("period.error.long")
    steps = choices(last - first, shifts=shifts)
    if step and step not in steps:
        raise PeriodError("period.error.step")
    return Period(
        name=name,
        start=first.astimezone(zone),
        end=last.astimezone(zone),
        before=_before(name, first, last, zone, plantday),
        step=step or _best(last - first, steps),
        steps=steps,
        running=last == now,
    )


def plant_day(now: datetime, zone: ZoneInfo, plantday: time, *, back: int = 0) -> datetime:
    """Return the start, in UTC, of the plant day that `now` falls in, or of the one `back` days earlier."""
    local = now.astimezone(zone)
    day = local.date()
    if datetime.combine(day, plantday, zone) > local:
        day -= timedelta(days=1)
    return datetime.combine(day - timedelta(days=back), plantday, zone).astimezone(UTC)


def whole(
    step: str, start: datetime, end: datetime, zone: ZoneInfo, plantday: time, shifts: tuple[time, ...] = ()
) -> bool:
    """Say whether [start, end) is a whole bucket of this step, or one that the period cuts.

    A bar of twenty minutes must not pass for an hour. Days and shifts are judged by the clock on the wall, because
    they last 23 or 25 hours twice a year.
    """
    length = _STEPS.get(step)
    if step in ("1m", "15m", "1h") and length is not None:
        return _elapsed(start, end) >= length
    marks = {"plantday": (plantday,), "shift": shifts, "1d": (time(0),), "month": (time(0),)}.get(step, ())
    edges = [moment.astimezone(zone) for moment in (start, end)]
    return all(edge.time() in marks and (step != "month" or edge.day == 1) for edge in edges)


def choices(span: timedelta, *, shifts: bool = True) -> tuple[str, ...]:
    """Return the steps worth offering for a range of this length, finest first."""
    fit = [name for name, length in _STEPS.items() if 2 <= span / length <= _MOST_BARS and (shifts or name != "shift")]
    return tuple(fit) or ("1m",)


def _best(span: timedelta, steps: tuple[str, ...]) -> str:
    """Return the finest step that still reads well."""
    return next((name for name in steps if span / _STEPS[name] <= BARS), steps[-1])


def _before(name: str, first: datetime, last: datetime, zone: ZoneInfo, plantday: time) -> tuple[datetime, datetime]:
    """Return the range to compare with: as long, and at the same place of the plant day where there is one."""
    if name in ("today", "7d"):
        days = 1 if name == "today" else 7
        earlier = plant_day(first, zone, plantday, back=days)
        return earlier, earlier + (last - first)
    return first - (last - first), first


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
