"""What goes wrong when: episodes of faults, those of a scenario and those that somebody injected.

A pure function of time: asked twice, or after a restart, it says the same. A scenario recurs on the plant's own
calendar, so that history and present join, and any two days have it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from hefa_contract.event import Fault as Label
from hefa_contract.plant import Plant, Tag
from hefa_edge.catalogue import Catalogue, Fault, FaultError, duration
from hefa_edge.plan import Plan, Planned
from hefa_edge.plant.disturbances import CALM, Disturbances
from hefa_edge.plant.nature import Floats, swing, waves

FOLDER = "scenarios/"
NONE = "none"  # the name of no story: the plant at its design feed
_EVER = 1 << 62
# Where a mapping of `Disturbances` is neutral, for those that are not at 0; and what multiplies instead of adding up.
_NEUTRAL = {"flow_scale": 1.0, "probe_lag": 8.0}
_DAY_US = 86_400e6
_FROZEN_S = 1e12  # lag of an electrode that has stopped to move
_FACTORS = ("prnd_factor", "acid_strength", "gas_heat", "pace")


class Episode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault on a target from `start` until `end` (µs; no end: until it is cleared). `ramp`: it grows to its severity."""

    fault: str
    target: str
    severity: float
    start: int
    end: int | None = None
    ramp: bool = False

    def at(self, ts: int) -> float:
        """Its severity at `ts`, 0 when it is not there."""
        if not self.start <= ts < (_EVER if self.end is None else self.end):
            return 0.0
        if self.ramp and self.end is not None:
            return self.severity * (ts - self.start) / (self.end - self.start)
        return self.severity


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault of a scenario: for ever, or each `every` for `lasts`, first at `first` after a Monday's midnight."""

    fault: str
    unit: str = ""
    severity: float = 1.0
    every: str = ""
    first: str = ""
    lasts: str = ""
    course: Literal["step", "ramp"] = "step"


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A story of the plant: what goes wrong, and what is planned."""

    title: str
    description: str
    source: str
    faults: list[Rule] = []
    plan: Plan | None = None


class Strike(NamedTuple):
    """An episode as it acts at a moment: `severity` now, `since` when (µs)."""

    kind: Fault
    fault: str
    target: str
    severity: float
    since: int


@dataclass(slots=True)
class _Recurring:
    episode: Episode
    every: int  # µs, 0: always there
    lasts: int

    def during(self, after: int, until: int) -> Iterator[Episode]:
        """Yield those that touch [after, until]."""
        if not self.every:
            yield self.episode
            return
        first = self.episode.start
        number = (after - first - self.lasts) // self.every
        while first + number * self.every <= until:
            start = first + number * self.every
            if start + self.lasts >= after:
                yield msgspec.structs.replace(self.episode, start=start, end=start + self.lasts)
            number += 1


@dataclass(slots=True)
class Troubles:
    """All that goes wrong at a site. `injected` may be replaced at any time."""

    catalogue: Catalogue
    plant: Plant
    seed: int
    scenario: Scenario | None = None
    injected: Sequence[Episode] = ()
    _rules: list[_Recurring] = field(init=False)
    _planned: Planned | None = field(init=False, default=None)
    _waves: dict[str, tuple[Floats, Floats]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        rules = [] if self.scenario is None else self.scenario.faults
        self._rules = [_recurring(self.catalogue, self.plant, rule) for rule in rules]
        if self.scenario is not None and self.scenario.plan is not None:
            self._planned = Planned(self.scenario.plan, self.plant, self.seed)

    def hear(self, injected: Sequence[Episode]) -> None:
        """Take what was injected; what the catalogue does not know any more is left out."""
        self.injected = [one for one in injected if one.fault in self.catalogue.faults]

    def episodes(self, after: int, until: int) -> list[Episode]:
        """List those that touch [after, until]."""
        found = [episode for rule in self._rules for episode in rule.during(after, until)]
        found += [one for one in self.injected if one.start <= until and (one.end is None or one.end >= after)]
        return found

    def active(self, ts: int) -> list[Strike]:
        """Say what acts at `ts`."""
        strikes = []
        for episode in self.episodes(ts, ts):
            kind = self.catalogue.faults[episode.fault]
            severity = episode.at(ts)
            if severity > 0 and kind.wander_h:
                severity *= self._chance(episode.fault, kind.wander_h, ts)
            if severity != 0:
                strikes.append(Strike(kind, episode.fault, episode.target, severity, episode.start))
        return strikes

    def disturbances(self, ts: int) -> Disturbances:
        """What acts on the plant in the minute that begins at `ts`, and what is planned: its `Schedule`."""
        strikes = [strike for strike in self.active(ts) if strike.kind.acts in ("plant", "sensor")]
        acting = combined(strikes, self.plant, ts) if strikes else CALM
        if self._planned is None:
            return acting
        pace, resting = self._planned.pace(ts), self._planned.resting(ts)
        return replace(acting, pace=acting.pace * pace, resting=acting.resting | resting)

    def missed(self, after: int, until: int) -> list[Strike]:
        """Say which registers were changed in (after, until] with nobody looking: the last change of each."""
        found: dict[str, Strike] = {}
        for one in sorted(self.episodes(after, until), key=lambda episode: episode.start):
            kind = self.catalogue.faults[one.fault]
            if kind.acts == "register" and after < one.start <= until:
                found[one.target] = Strike(kind, one.fault, one.target, one.severity, one.start)
        return list(found.values())

    def labels(self, after: int, until: int) -> list[Label]:
        """Tell what begins or ends in (after, until], by time."""
        found = []
        for one in self.episodes(after, until):
            for ts, action in ((one.start, "start"), (one.end, "end")):
                if ts is not None and after < ts <= until:
                    found.append(_label(one, ts, action))
        return sorted(found, key=lambda label: label.ts)

    def present(self, ts: int) -> list[Label]:
        """Tell of all that is there at `ts` as if it began there: for one who looks for the first time."""
        return [_label(one, ts, "start") for one in self.episodes(ts, ts) if one.start <= ts < (one.end or _EVER)]

    def _chance(self, name: str, hours: float, ts: int) -> float:
        """A fluctuation between -1 and 1."""
        if name not in self._waves:
            self._waves[name] = waves([f"fault {name}"], self.seed, [hours * 3600])
        return min(max(float(swing(*self._waves[name], ts)[0]), -1.0), 1.0)


def combined(strikes: Sequence[Strike], plant: Plant, ts: int) -> Disturbances:
    """Put the faults of a moment together: factors multiply, amounts add up, what trips is tripped."""
    changed: dict[str, Any] = {}
    for kind, _, target, severity, since in strikes:
        name, on = target.rsplit(".", 1)[-1], kind.on
        if kind.acts == "sensor":
            reached = _control(kind, plant.tags[target], severity, ts - since)
            if reached is None:
                continue
            on, name, value = reached
            there = changed.get(on, {})
            changed[on] = {**there, name: value + (there.get(name, 0.0) if on == "probe_bias" else 0.0)}
        elif on in _FACTORS:
            changed[on] = changed.get(on, 1.0) * (1 + severity * (kind.full - 1))
        elif on == "automatic":
            changed[on] = False
        elif on in ("tripped", "resting"):
            changed[on] = changed.get(on, frozenset()) | frozenset(kind.trips or [name])
        elif isinstance(getattr(CALM, on), float):
            changed[on] = changed.get(on, 0.0) + severity * kind.full
        else:
            neutral = _NEUTRAL.get(on, 0.0)
            there = changed.get(on, {})
            changed[on] = {**there, name: there.get(name, neutral) + severity * (kind.full - neutral)}
    return Disturbances(**changed)


def _control(kind: Fault, tag: Tag, severity: float, age: int) -> tuple[str, str, float] | None:
    """What a sensor's fault does to a controller that relies on it: those of the reactors' pH do.

    Noise, spikes and missing values do nothing: a controller filters, and holds what it saw last.
    """
    if tag.suffix != "ph" or tag.template != "REACTOR":
        return None
    if kind.on == "fouling":
        return "probe_lag", tag.unit, 8.0 + severity * (kind.full - 8.0)
    if kind.on == "stuck":
        return "probe_lag", tag.unit, _FROZEN_S
    if kind.on == "bias":
        return "probe_bias", tag.unit, severity * kind.full * tag.noise_sd
    if kind.on == "drift":
        return "probe_bias", tag.unit, severity * kind.full * tag.noise_sd * age / _DAY_US
    return None


def scenarios(texts: Mapping[str, str]) -> dict[str, Scenario]:
    """Read all scenarios of the seeds, by name. Raises FaultError."""
    found = {}
    for path, text in texts.items():
        if path.startswith(FOLDER):
            try:
                found[path.removeprefix(FOLDER).removesuffix(".toml")] = msgspec.convert(tomllib.loads(text), Scenario)
            except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
                raise FaultError(f"{path}: {error}") from None
    return found


def troubles(
    texts: Mapping[str, str], plant: Plant, catalogue: Catalogue, seed: int, name: str | None = None
) -> Troubles:
    """Make the troubles of a site that plays a scenario, or none. Raises FaultError."""
    if name is None or name == NONE:
        return Troubles(catalogue, plant, seed)
    known = scenarios(texts)
    if name not in known:
        raise FaultError(f"there is no scenario {name!r}; there are {', '.join(sorted(known)) or 'none'}")
    try:
        return Troubles(catalogue, plant, seed, known[name])
    except FaultError as error:
        raise FaultError(f"{FOLDER}{name}.toml: {error}") from None


def _recurring(catalogue: Catalogue, plant: Plant, rule: Rule) -> _Recurring:
    target = catalogue.target(rule.fault, rule.unit)
    if not 0 < rule.severity <= 1:
        raise FaultError(f"{rule.fault}: severity = {rule.severity:g} is not above 0 and up to 1")
    if not rule.every:
        if rule.first or rule.lasts or rule.course == "ramp":
            raise FaultError(f"{rule.fault}: first, lasts and a ramp need every; without it the fault is always there")
        return _Recurring(Episode(fault=rule.fault, target=target, severity=rule.severity, start=0), 0, 0)
    every, lasts = duration(rule.every), duration(rule.lasts or catalogue.faults[rule.fault].lasts or rule.every)
    if lasts > every:
        raise FaultError(f"{rule.fault}: lasts = {rule.lasts!r} is longer than every = {rule.every!r}")
    monday = datetime(2024, 1, 1, tzinfo=ZoneInfo(plant.timezone))
    start = round(monday.timestamp() * 1e6) + (duration(rule.first) if rule.first else 0)
    ramp = rule.course == "ramp"
    return _Recurring(
        Episode(fault=rule.fault, target=target, severity=rule.severity, start=start, ramp=ramp), every, lasts
    )


def _label(episode: Episode, ts: int, action: Any) -> Label:
    return Label(ts=ts, subject=episode.target, fault=episode.fault, action=action, severity=episode.severity)
