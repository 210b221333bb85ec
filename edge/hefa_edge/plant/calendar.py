"""The calendar of shifts: when they change, and which crew takes over.

Four crews in an eight-day cycle: two nights, two days, two evenings, two days off.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hefa_contract.event import Shift
from hefa_contract.plant import Plant

CREWS = "ABCD"


def shift_changes(plant: Plant, after: int, until: int) -> Iterator[Shift]:
    """Yield the shifts that begin in (after, until], µs since the epoch, in order of time."""
    zone = ZoneInfo(plant.timezone)
    day = _at(after).astimezone(zone).date() - timedelta(days=1)
    last = _at(until).astimezone(zone).date()
    while day <= last:
        for number, start in enumerate(plant.shifts):
            begins = round(datetime.combine(day, start, zone).timestamp()) * 1_000_000
            if after < begins <= until:
                yield Shift(ts=begins, subject=plant.site, shift=f"{start:%H:%M}", crew=crew(day.toordinal(), number))
        day += timedelta(days=1)


def crew(day: int, shift: int) -> str:
    """Say who works on day number `day` in shift `shift` (0 the first of the day)."""
    return CREWS[(day // 2 - shift) % len(CREWS)]


def _at(ts: int) -> datetime:
    return datetime.fromtimestamp(ts / 1_000_000, UTC)
