"""What stood still and why: feed stops, kilns and machines by their states, with the reasons that people noted."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hefa_apps.client import Alarm, Note, Tag
from hefa_apps.metrics import Need, Reckoning
from hefa_apps.production.measured import running, step
from hefa_apps.production.model import Stop, stops
from hefa_apps.production.plant import works

REASON = "downtime"  # the kind of note that tells the reason of a stop
_SHORT = timedelta(hours=49)  # up to this long states are read one by one
_TRIP = "trip"
_KILN = ("off", "heat-up", "cool")


@dataclass(frozen=True)
class Stood:
    """The stops of a range, the notes on them, and the alarms of it."""

    stops: tuple[Stop, ...]
    alarms: tuple[Alarm, ...]


def states(r: Reckoning) -> dict[str, tuple[Tag, dict[float, str]]]:
    """Return the tags of state that can tell a stop, each with the codes that mean one."""
    found = {}
    for tag in r.catalogue.tags.values():
        names = {float(code): name for code, name in (tag.states or {}).items()}
        bad = {
            code: name
            for code, name in names.items()
            if name == _TRIP or (name in _KILN and _TRIP not in names.values())
        }
        if tag.kind == "state" and bad and ("heat-up" in names.values() or _TRIP in names.values()):
            found[tag.tag] = (tag, bad)
    return found


def stood(r: Reckoning) -> Stood:
    """Return everything that stood still in the range."""
    found: Stood = r.once(("production stood",), lambda: _ask(r))
    return found


def needs(r: Reckoning) -> list[Need]:
    """Return the first questions of `stood`: the highest states, the notes, the alarms."""
    names = list(states(r))[:200]
    width = step(r.start, r.end)
    return [
        r.need(
            ("production states",),
            lambda: r.caller.series(names, r.start, r.end, width, agg="max", max_points=10_000).series if names else (),
        ),
        r.need(("production reasons",), lambda: r.caller.notes(r.start, r.end, kind=REASON)),
        r.need(("production alarms",), lambda: r.caller.alarms_over(r.start, r.end)),
    ]


def _ask(r: Reckoning) -> Stood:
    told = states(r)
    width = step(r.start, r.end)
    asked = needs(r)
    r.ahead(asked)
    highest, notes, alarms = (r.answer(need) for need in asked)
    found = feed_stops(r)
    suspects = []
    for one in highest:
        tag, bad = told[one.tag]
        # The highest code of a bucket tells a trip; a kiln's stop may be a lower code than running, so it is always read.
        if _TRIP not in bad.values() or any(value in bad for value in one.value):
            suspects.append(tag)
    if suspects and r.end - r.start <= _SHORT:
        raw = r.caller.series([t.tag for t in suspects], r.start, r.end, "1m", agg="last", max_points=10_000).series
    elif suspects:
        raw = r.caller.series([t.tag for t in suspects], r.start, r.end, width, agg="last", max_points=10_000).series
    else:
        raw = ()
    for one in raw:
        tag, bad = told[one.tag]
        readings = [
            (datetime.fromtimestamp(ts / 1e6, UTC), bad.get(value) if value is not None else None)
            for ts, value in zip(one.ts, one.value, strict=True)
        ]
        found += stops(tag.equipment or tag.tag, tag.tag, readings, r.end)
    return Stood(tuple(reasoned(found, notes)), alarms)


def feed_stops(r: Reckoning) -> list[Stop]:
    """Return when extraction was not fed."""
    tag = works().runs
    about = r.catalogue.tags.get(tag)
    readings = [(slot.start, "no feed" if slot.ok is False else None) for slot in running(r, tag)]
    return stops((about.equipment if about else None) or tag, tag, readings, r.end)


def reasoned(found: Iterable[Stop], notes: Iterable[Note]) -> list[Stop]:
    """Return stops with the newest note on the same equipment or tag that speaks of their time."""
    there = sorted(notes, key=lambda note: note.entered, reverse=True)
    return [
        replace(
            stop,
            reason=next(
                (
                    note.text
                    for note in there
                    if note.subject in (stop.cause, stop.tag)
                    and note.from_ < (stop.end or datetime.max.replace(tzinfo=UTC))
                    and (note.to or note.from_ + timedelta(seconds=1)) > stop.start
                ),
                "",
            ),
        )
        for stop in found
    ]


def in_alarm(r: Reckoning, alarms: Iterable[Alarm]) -> list[Stop]:
    """Return the part of each alarm that lies in the range, as something that was not as it should be."""
    return [
        Stop(
            alarm.of,
            f"{alarm.limit} {alarm.priority}",
            max(alarm.raised, r.start),
            min(alarm.returned or r.end, r.end),
            alarm.of,
        )
        for alarm in alarms
        if alarm.raised < r.end and (alarm.returned or r.end) > r.start
    ]
