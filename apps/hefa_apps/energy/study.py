"""A baseline of this plant and what was saved against it: days from the platform, put through `baseline`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from hefa_apps.client import Refused, Setting
from hefa_apps.energy import baseline
from hefa_apps.energy.baseline import Fit, NoFit, Reason, Saving
from hefa_apps.energy.registers import Day, days, metered, thermometer
from hefa_apps.metrics import Reckoning

DRIVERS = ("production", "temperature")
BEFORE = 60  # days that an unfrozen baseline takes, up to the period reported on
LONGEST = timedelta(days=1100)
LEVELS = (0.5, 0.999)


@dataclass(frozen=True)
class Terms:
    """What a study is of. Without `first` and `last` the baseline is the days before the period: not frozen.

    `kept` is the setting that froze it, None where the question itself says which days.
    """

    carrier: str
    place: str | None
    drivers: tuple[str, ...]
    first: datetime | None
    last: datetime | None
    level: float
    kept: Setting | None = None


@dataclass(frozen=True)
class Study:
    """A fit over `past`, or `refused` why there is none; the days of the period, and the saving in them."""

    terms: Terms
    frozen: bool
    span: tuple[datetime, datetime]
    past: tuple[Day, ...]
    now: tuple[Day, ...]
    fit: Fit | None
    saving: Saving | None
    refused: tuple[Reason, ...]
    doubts: tuple[Reason, ...]

    @property
    def known_past(self) -> tuple[Day, ...]:
        """The days that the fit stands on."""
        return tuple(day for day in self.past if _usable(day, self.terms.drivers))

    @property
    def known_now(self) -> tuple[Day, ...]:
        """The days of the period that can be compared."""
        return tuple(day for day in self.now if _usable(day, self.terms.drivers))

    @property
    def accepted(self) -> bool:
        """Say whether the baseline may be used."""
        return self.fit is not None and not self.refused


def terms(
    r: Reckoning,
    *,
    carrier: str = "electricity",
    place: str = "",
    drivers: Sequence[str] | None = None,
    first: datetime | None = None,
    last: datetime | None = None,
    level: float = 0.95,
) -> Terms:
    """Check what is asked; what is not is as the site keeps it. Raises `Refused` with a sentence.

    A baseline that the site keeps holds for every period that begins after it; before that nothing is frozen.
    """
    metered(r.catalogue, carrier)
    if place and place not in {node.path for node in r.catalogue.root.below("area")}:
        known = ", ".join(node.path for node in r.catalogue.root.below("area"))
        raise Refused(422, "area", f"{place} is no area of this site; areas are {known}")
    if unknown := [d for d in drivers or () if d not in DRIVERS]:
        raise Refused(422, "drivers", f"{unknown[0]} is no driver; there are {', '.join(DRIVERS)}")
    if (first is None) != (last is None):
        raise Refused(422, "baseline", "a frozen baseline needs both baseline_from and baseline_to")
    if first and last and not timedelta(0) < last - first <= LONGEST:
        raise Refused(422, "baseline", "baseline_to must lie after baseline_from, by three years at most")
    if first and last and first < r.end and last > r.start:
        raise Refused(422, "baseline", "the baseline overlaps the period reported on: freeze one that ended before it")
    if not LEVELS[0] <= level <= LEVELS[1]:
        raise Refused(422, "level", f"level is a confidence from {LEVELS[0]} to {LEVELS[1]}, such as 0.95")
    found = kept(r, carrier, place) if first is None else None
    chosen = None
    if found is not None and found[1] <= r.start:
        first, last, chosen = found
        drivers = drivers if drivers is not None else (chosen.value or {}).get("drivers")
    wanted = DRIVERS if drivers is None else tuple(d for d in DRIVERS if d in drivers)
    return Terms(carrier, place or None, wanted, first, last, level, chosen)


def kept(r: Reckoning, carrier: str, place: str) -> tuple[datetime, datetime, Setting] | None:
    """Return the first and the last instant of the baseline that the site keeps now, and the setting; None: none."""
    name = setting_name(carrier, place)
    there: list[Setting] = r.once(("baseline kept", name), lambda: r.caller.settings("baseline", names=[name]))
    for one in there:
        if one.value:
            first, last = (_day(r, str(one.value[end])) for end in ("from", "to"))
            return first, last, one
    return None


def keep(r: Reckoning, asked: Terms, reason: str) -> Setting:
    """Keep the asked days as the baseline of the site, from now on and for everybody. Needs the role engineer."""
    if asked.first is None or asked.last is None:
        raise Refused(422, "baseline", "say which days: `from` and `to`")
    zone = r.catalogue.root.zone
    value: dict[str, Any] = {
        "carrier": asked.carrier,
        "from": asked.first.astimezone(zone).date().isoformat(),
        "to": asked.last.astimezone(zone).date().isoformat(),
        "drivers": list(asked.drivers),
    }
    value |= {"area": asked.place} if asked.place else {}
    name = setting_name(asked.carrier, asked.place or "")
    return r.caller.enter_setting("baseline", name, datetime.now(UTC), value, reason=reason)


def forget(r: Reckoning, carrier: str, place: str, reason: str) -> Setting:
    """Keep no baseline any more, from now on; what was kept stays on record. Needs the role engineer."""
    if kept(r, carrier, place) is None:
        raise Refused(422, "baseline", f"no baseline of {setting_name(carrier, place)} is kept")
    return r.caller.enter_setting("baseline", setting_name(carrier, place), datetime.now(UTC), None, reason=reason)


def setting_name(carrier: str, place: str) -> str:
    """Return what the site's setting for such a baseline is called."""
    return f"{carrier} {place}".strip()


def _day(r: Reckoning, text: str) -> datetime:
    return datetime.combine(date.fromisoformat(text), time(0), r.catalogue.root.zone).astimezone(UTC)


def study(r: Reckoning, asked: Terms) -> Study:
    """Fit the baseline and compare the whole plant days of the range with it."""
    frozen = asked.first is not None and asked.last is not None
    last = asked.last if asked.last is not None else r.start
    first = asked.first if asked.first is not None else last - timedelta(days=BEFORE)
    past = tuple(days(r, asked.carrier, asked.place, first, min(last, datetime.now(UTC))))
    now = tuple(days(r, asked.carrier, asked.place, r.start, r.end))
    if "temperature" in asked.drivers and thermometer(r.catalogue) is None:
        reason = Reason("no_thermometer", {})
        return Study(asked, frozen, (first, last), past, now, None, None, (reason,), ())
    known = [day for day in past if _usable(day, asked.drivers)]
    try:
        fit = baseline.fit(_energy(known), _columns(known, asked.drivers), asked.drivers, _numbers(known))
    except NoFit as none:
        return Study(asked, frozen, (first, last), past, now, None, None, (none.reason,), ())
    told = [day for day in now if _usable(day, asked.drivers)]
    saved = baseline.saving(fit, _energy(told), _columns(told, asked.drivers), _numbers(told), level=asked.level)
    doubts = baseline.doubts(fit)
    return Study(asked, frozen, (first, last), past, now, fit, saved, baseline.judge(fit), doubts)


def _usable(day: Day, drivers: Sequence[str]) -> bool:
    return day.energy is not None and all(getattr(day, driver) is not None for driver in drivers)


def _energy(found: Sequence[Day]) -> list[float]:
    return [day.energy or 0.0 for day in found]


def _columns(found: Sequence[Day], drivers: Sequence[str]) -> list[list[float]]:
    return [[getattr(day, driver) for day in found] for driver in drivers]


def _numbers(found: Sequence[Day]) -> list[int]:
    """Number the days so that neighbours differ by one, whatever the clocks do."""
    return [day.start.toordinal() for day in found]
