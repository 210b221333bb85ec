"""Figures by their metric: one formula each, reckoned once per reader and period.

An app registers formulas for metrics of the catalogue; every page, every JSON answer and every other app then asks
for the figure by its id, so that it cannot be different in two places. A formula asks for what it needs the same way.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from hefa_apps.client import Caller, Catalogue, Latest, Missing, Refused
from hefa_apps.metrics.catalogue import Metric


@dataclass(frozen=True)
class Input:
    """One thing that a figure was reckoned from.

    `metric` where it is a figure itself, `tag` where it is a register or a gauge, `source` where the number was got
    (a path of the platform's API, or a setting with its date).
    """

    name: str
    value: float | None
    unit: str
    coverage: float | None = None
    metric: str = ""
    tag: str = ""
    source: str = ""


Inputs = tuple[Input, ...] | Callable[[], tuple[Input, ...]]


@dataclass(frozen=True)
class Outcome:
    """What a formula says. `value` None needs a `reason`, a sentence; `coverage` 0–1 of the time, None: no such thing.

    `inputs` may be a function where finding them asks the platform again; `tags` are the readings behind the figure,
    the main one first. The unit is the catalogue's.
    """

    value: float | None
    inputs: Inputs = ()
    coverage: float | None = None
    reason: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A metric's value over [start, end). `newest`: when the slowest register behind it was last read."""

    metric: Metric
    value: float | None
    coverage: float | None
    start: datetime
    end: datetime
    reason: str = ""
    tags: tuple[str, ...] = ()
    newest: datetime | None = None
    _inputs: Inputs = field(default=(), repr=False)

    @property
    def id(self) -> str:
        return self.metric.id

    @property
    def name(self) -> str:
        return self.metric.name

    @property
    def unit(self) -> str:
        return self.metric.unit

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What it was reckoned from; may ask the platform."""
        return self._inputs() if callable(self._inputs) else self._inputs


Formula = Callable[..., Outcome]  # (r), of a family (r, subject)
Formulas = Mapping[str, Formula]
Members = Callable[[Catalogue], Mapping[str, str]]  # the unit of each subject


class Need(NamedTuple):
    """A question to the platform that formulas ask by `Reckoning.once`, with the place of its answer."""

    place: tuple[Any, ...]
    ask: Callable[[], Any]


@dataclass(frozen=True)
class Basis:
    """What the figures of an app are reckoned from: questions to the platform, and tags whose freshness they tell."""

    needs: Callable[["Reckoning"], list[Need]]
    watched: Callable[["Reckoning"], list[str]]


class Desk:
    """Everything that can be reckoned: the catalogue with the formulas of all apps, and what they are based on.

    `members` names the subjects of each family at a site. Raises `ValueError` when catalogue and formulas differ.
    """

    def __init__(
        self,
        catalogue: Mapping[str, Metric],
        formulas: Formulas,
        members: Mapping[str, Members] | None = None,
        bases: Sequence[Basis] = (),
    ) -> None:
        self.bases = tuple(bases)
        self._metrics, self._formulas, self._members = dict(catalogue), dict(formulas), dict(members or {})
        self._told: tuple[Catalogue | None, list[Metric]] = None, []
        if odd := self._metrics.keys() ^ self._formulas.keys():
            raise ValueError(f"metrics without a formula, or formulas without a metric: {', '.join(sorted(odd))}")
        families = {id for id in self._metrics if self._metrics[id].family}
        if families != self._members.keys():
            raise ValueError(f"families and their members differ: {sorted(families ^ self._members.keys())}")

    def metrics(self, plant: Catalogue) -> list[Metric]:
        """Return every metric of a site, families as their members. What was told of a catalogue is kept."""
        known, told = self._told
        if known is plant:
            return list(told)
        found: list[Metric] = []
        for id, metric in self._metrics.items():
            members = self._members[id](plant).items() if metric.family else ()
            found += [metric.member(subject, unit) for subject, unit in members] if metric.family else [metric]
        self._told = plant, found
        return list(found)

    def find(self, id: str, plant: Catalogue) -> tuple[Metric, Formula]:
        """Return the metric with this id and how it is reckoned. Raises `Missing`."""
        if id in self._metrics and not self._metrics[id].family:
            return self._metrics[id], self._formulas[id]
        for name, metric in self._metrics.items():
            subject = metric.subject(id)
            unit = self._members[name](plant).get(subject) if subject else None
            if subject and unit is not None:
                return metric.member(subject, unit), partial(self._formulas[name], subject=subject)
        raise Missing(404, "no such metric", f"there is no metric {id}; GET /api/metrics lists all of them")

    def over(self, caller: Caller, plant: Catalogue, start: datetime, end: datetime) -> "Reckoning":
        """Return what one reader reckons over [start, end)."""
        return Reckoning(self, caller, plant, start, end, {})


class Reckoning:
    """The figures of one reader over one range. Each is reckoned once; not thread-safe."""

    def __init__(
        self, desk: Desk, caller: Caller, plant: Catalogue, start: datetime, end: datetime, memo: dict[Any, Any]
    ) -> None:
        self.desk, self.caller, self.catalogue, self.start, self.end = desk, caller, plant, start, end
        self._memo = memo

    @property
    def hours(self) -> float:
        """Elapsed length of the range in hours."""
        return (self.end - self.start).total_seconds() / 3600

    def figure(self, id: str) -> Figure:
        """Return the figure of a metric. Raises `Missing`, and `ValueError` for formulas that need each other."""
        found: Figure = self.once(("figure", id), lambda: self._reckon(id))
        return found

    def over(self, start: datetime, end: datetime) -> "Reckoning":
        """Return the figures of the same reader over another range."""
        return Reckoning(self.desk, self.caller, self.catalogue, start, end, self._memo)

    def input(self, id: str) -> Input:
        """Return the figure of a metric as an input of another one."""
        figure = self.figure(id)
        return Input(figure.name, figure.value, figure.unit, figure.coverage, metric=id)

    def once(self, key: tuple[Any, ...], ask: Callable[[], Any]) -> Any:
        """Return the answer to a question of this range that several formulas ask; it is asked once."""
        return self.answer(self.need(key, ask))

    def need(self, key: tuple[Any, ...], ask: Callable[[], Any]) -> Need:
        """Return a question of this range as `ahead` and `answer` take it."""
        return Need((*key, self.start, self.end), ask)

    def answer(self, need: Need) -> Any:
        """Return the answer to a question; it is asked once."""
        place, ask = need
        if place not in self._memo:
            self._memo[place] = _ASKED
            try:
                self._memo[place] = ask()
            except BaseException:
                del self._memo[place]
                raise
        found = self._memo[place]
        if found is _ASKED:
            raise ValueError(f"{place} is needed to reckon itself")
        if isinstance(found, Refused):
            raise found
        return found

    def ahead(self, needs: Iterable[Need]) -> None:
        """Ask side by side what formulas would ask one after the other; they find it answered.

        The questions ask the platform themselves and nothing `ahead`. What the platform refuses is refused to the
        formula that needs it, not to the page.
        """
        wanted = {need.place: need.ask for need in needs if need.place not in self._memo}
        answers = self.caller.together(*(partial(_or_refused, ask) for ask in wanted.values()))
        self._memo |= zip(wanted, answers, strict=True)

    def prepare(self, *bases: Basis) -> None:
        """Ask ahead for all that the figures of some apps, or without any of all apps, are reckoned from."""
        chosen = bases or self.desk.bases
        tags = (tag for basis in chosen for tag in basis.watched(self))
        self.ahead((*(need for basis in chosen for need in basis.needs(self)), self.looking(tags)))

    def looking(self, tags: Iterable[str]) -> Need:
        """Return the question for the newest readings of tags."""
        names = tuple(dict.fromkeys(tags))
        return Need(("looked", names), partial(self.look, names))

    def newest(self, tags: tuple[str, ...]) -> datetime | None:
        """Return when the slowest of these tags was last read; None when one never was."""
        self.look(tags)
        times = [self._memo["latest", tag] for tag in tags]
        return min((r.ts for r in times), default=None) if all(times) else None

    def look(self, tags: Sequence[str]) -> None:
        """Ask for the newest readings of tags that are not known yet, all at once: a formula may do it beforehand."""
        wanted = [tag for tag in dict.fromkeys(tags) if ("latest", tag) not in self._memo]
        for i in range(0, len(wanted), 200):
            some = wanted[i : i + 200]
            found: dict[str, Latest] = {r.tag: r for r in self.caller.latest(tags=some)}
            self._memo |= {("latest", tag): found.get(tag) for tag in some}

    def _reckon(self, id: str) -> Figure:
        metric, formula = self.desk.find(id, self.catalogue)
        said = formula(self)
        return Figure(
            metric=metric,
            value=said.value,
            coverage=said.coverage,
            start=self.start,
            end=self.end,
            reason=said.reason,
            tags=said.tags,
            newest=self.newest(said.tags) if said.tags else None,
            _inputs=said.inputs,
        )


_ASKED = object()


def _or_refused(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Refused as refused:
        return refused


def plain(figure: Figure) -> dict[str, Any]:
    """Return a figure as every JSON answer of the portal writes it."""
    return {
        "metric": figure.id,
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "coverage": figure.coverage,
        "from": figure.start,
        "to": figure.end,
        "newest": figure.newest,
        "reason": figure.reason or None,
    }
