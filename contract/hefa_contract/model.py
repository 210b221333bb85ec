"""The plant model as both ends of the wire use it: equipment, tags, meters, edges. Values only, nothing mutable.

`hefa_contract.plant.load` makes a Plant from the texts in seeds/; nobody else constructs one.
Numbers carry the tag's own UCUM unit; times of day are local to `Plant.timezone`.
"""

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

Kind = Literal["gauge", "counter", "state", "setpoint"]
Level = Literal["enterprise", "site", "area", "line", "unit"]
Stream = Literal["supply", "reuse", "discharge", "export"]
Role = Literal["billing", "check"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Equipment:
    """One node of the ISA-95 tree. Paths start at the area: `A2-SX`, `A2-SX.SXA`, `A2-SX.SXA.MS-A01`;
    the site and the enterprise are known by their names. `position` orders the children of one parent.
    """

    path: str
    parent: str | None
    level: Level
    name: str
    description: str
    template: str | None
    position: int


@dataclass(frozen=True, slots=True)
class Edge:
    """Who may write tags: a gateway, or `api` for what comes in by REST."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Meter:
    """What a counter's register means to the books.

    Exactly one of `carrier` (electricity, water, gas, steam, air) and `material` (HCl, NaOH …) is set.
    Consumption = increment of the register x `factor`, in `unit`; a material counts in kg of pure substance.
    `serves` is the path of whoever used it, which is seldom where the meter hangs.

    A *billing* meter is in the books. Without a parent it counts towards the site's total of its carrier or
    material and stream; with a parent it tells which part of the parent's amount went to what it `serves`, and is
    never added to the total again. What the parent shows beyond its billing children is unaccounted.
    A *check* meter measures a flow that another meter has already booked (its parent): it is shown and compared,
    never added anywhere.
    """

    carrier: str | None
    material: str | None
    stream: Stream
    serves: str
    parent: str | None
    role: Role
    factor: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Tag:
    """One measured quantity. `name` is the path of its unit and a suffix: `A2-SX.SXA.MS-A01.ph`.

    `low`..`high` is the engineering range: a value outside it is stored as uncertain. `ll l h hh` are alarm limits,
    None where there is none. `noise_sd` is one sigma. `period_s` 0 means "when it changes". A gateway reports a
    change beyond `deadband`, and in any case every `heartbeat_s`. `states` names the codes of a state.

    A counter shows a register, quantised to `resolution`, that rolls over at `modulus` and starts at `normal`:
    it grows by `per_hour` for each hour and each unit of the tag it `integrates`; where that tag is a state, for
    each hour that it reads 1 (running); where it is None, for each hour. It never grows by more than `max_rate`
    an hour: a bigger step is a reset or a fault.
    """

    name: str
    equipment: str
    area: str
    line: str
    unit: str
    template: str
    suffix: str
    description: str
    ucum: str
    kind: Kind
    normal: float
    low: float
    high: float
    noise_sd: float
    period_s: float
    heartbeat_s: float
    deadband: float
    ll: float | None
    l: float | None  # noqa: E741 - the limits have these names in every control room
    h: float | None
    hh: float | None
    users: tuple[str, ...]
    core: bool
    edge: str
    source: str
    states: Mapping[int, str] | None = None
    integrates: str | None = None
    per_hour: float | None = None
    modulus: float | None = None
    max_rate: float | None = None
    resolution: float | None = None
    meter: Meter | None = None


@dataclass(frozen=True, slots=True)
class Plant:
    """The whole model. `equipment` is in tree order (parents first), `tags` in the order of the seeds.

    `hash` changes exactly when a seed file that this model was made from changes.
    """

    enterprise: str
    site: str
    timezone: str
    plantday: datetime.time
    shifts: tuple[datetime.time, ...]
    users: Mapping[str, str]
    equipment: Mapping[str, Equipment]
    tags: Mapping[str, Tag]
    edges: Mapping[str, Edge]
    hash: str
    _children: dict[str, tuple[Equipment, ...]] = field(init=False, repr=False, compare=False)
    _by_edge: dict[str, tuple[Tag, ...]] = field(init=False, repr=False, compare=False)
    _by_unit: dict[str, tuple[Tag, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Frozen to everybody else; these are indexes over the fields above.
        object.__setattr__(self, "_children", _grouped(self.equipment.values(), lambda item: item.parent or ""))
        object.__setattr__(self, "_by_edge", _grouped(self.tags.values(), lambda tag: tag.edge))
        object.__setattr__(self, "_by_unit", _grouped(self.tags.values(), lambda tag: tag.equipment))

    @property
    def areas(self) -> tuple[Equipment, ...]:
        return self._at("area")

    @property
    def lines(self) -> tuple[Equipment, ...]:
        return self._at("line")

    @property
    def units(self) -> tuple[Equipment, ...]:
        return self._at("unit")

    @property
    def meters(self) -> Mapping[str, Meter]:
        """The meters by the name of the tag that shows their register."""
        return {name: tag.meter for name, tag in self.tags.items() if tag.meter is not None}

    def children(self, path: str) -> tuple[Equipment, ...]:
        """The equipment directly below `path`, in order; empty for a unit. KeyError for an unknown path."""
        self.equipment[path]
        return self._children.get(path, ())

    def tags_of_edge(self, edge: str) -> tuple[Tag, ...]:
        """What this edge may write; empty for a spare gateway and for `api`. KeyError for an unknown edge."""
        self.edges[edge]
        return self._by_edge.get(edge, ())

    def tags_below(self, path: str) -> Iterator[Tag]:
        """Every tag of the equipment at `path` and of all below it, in tree order. KeyError for an unknown path."""
        yield from self._by_unit.get(self.equipment[path].path, ())
        for child in self.children(path):
            yield from self.tags_below(child.path)

    def _at(self, level: Level) -> tuple[Equipment, ...]:
        return tuple(item for item in self.equipment.values() if item.level == level)


def _grouped(items: Iterable[_T], key: Callable[[_T], str]) -> dict[str, tuple[_T, ...]]:
    groups: dict[str, list[_T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return {name: tuple(members) for name, members in groups.items()}
