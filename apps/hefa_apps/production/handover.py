"""The log that one shift hands to the next: notes by shift and crew, each with the readings it speaks of."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hefa_apps.client import Note
from hefa_apps.metrics import Reckoning
from hefa_apps.period import began
from hefa_apps.production.downtime import REASON
from hefa_apps.production.model import crew
from hefa_apps.production.plant import works
from hefa_apps.question import calendar

SHIFT = "shift"  # the kind of note of a handover
KINDS = (SHIFT, REASON)
MOST = 100  # shifts
_RUNNING = timedelta(minutes=2)  # a running period ends at the whole minute


@dataclass(frozen=True)
class Watch:
    """One shift: its crew and whether that was told by the plant or reckoned from the cycle; its notes."""

    start: datetime
    end: datetime
    crew: str
    told: bool
    notes: tuple[Note, ...]


def watches(r: Reckoning, now: datetime) -> list[Watch]:
    """Return the shifts of the range, the latest first, at most a hundred. A range that ends now has today's last notes."""
    until = r.end + _RUNNING if now - r.end < _RUNNING else r.end
    notes, changes = r.caller.together(
        lambda: [n for kind in KINDS for n in r.caller.notes(r.start, until, kind=kind)],
        lambda: r.caller.crews(r.start - timedelta(days=1), r.end),
    )
    told = {when.astimezone(UTC): who for when, who in changes}
    found = []
    for start, end, number in shifts(r):
        day = start.astimezone(r.catalogue.root.zone).date()
        who = told.get(start.astimezone(UTC))
        last = until if end == r.end else end
        of = tuple(n for n in notes if start <= max(n.from_, r.start) < last)
        found.append(Watch(start, end, who or crew(works().crews, day, number), who is not None, of))
    return found


def shifts(r: Reckoning) -> list[tuple[datetime, datetime, int]]:
    """Return begin, end and number in its day of each shift that has a part in the range, the latest first."""
    clock = calendar(r.catalogue.root)
    found: list[tuple[datetime, datetime, int]] = []
    end = r.end
    while clock.shifts and end > r.start and len(found) < MOST:
        start = began("shift", end - timedelta(microseconds=1), clock)
        found.append((start, end, clock.shifts.index(start.astimezone(clock.zone).time())))
        end = start
    return found
