"""What the balances of the plant are made of: `plant.toml`, read once. Which streams, which instruments, how sure."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Term:
    """A register, or with `rate` a gauge per hour; `u` its relative standard deviation."""

    tag: str
    u: float
    factor: float = 1.0
    rate: bool = False


@dataclass(frozen=True)
class Flow:
    """One stream of oxide: the sum of its terms times the strength; no terms: nothing measures it."""

    name: str
    title: str
    terms: tuple[Term, ...] = ()
    strength: Term | None = None
    analyser: str = ""
    product: bool = False
    loss: bool = False

    @property
    def tags(self) -> tuple[str, ...]:
        """Every instrument whose error would be the stream's."""
        return (*(term.tag for term in self.terms), *((self.strength.tag,) if self.strength else ()))


@dataclass(frozen=True)
class Stock:
    """Tanks of one liquor by their levels in %; `capacity` in m3 of each, `sd` in m3 of each difference of volume."""

    name: str
    title: str
    tanks: tuple[str, ...]
    strength: str
    analyser: str
    capacity: float
    sd: float


@dataclass(frozen=True)
class Holdup:
    """What an apparatus may have gained unseen: 0 ± `share` of what stream `of` brings in `hours`.

    Of one element: 0 ± `mix` of the whole, where elements may change places, else its share of the same.
    """

    name: str
    title: str
    of: str
    hours: float
    share: float
    mix: float | None = None


@dataclass(frozen=True)
class Part:
    """One node of the plant."""

    name: str
    title: str
    area: str
    at: tuple[float, float]  # column and row in the diagram
    enters: tuple[str, ...]
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class Element:
    """An element by its oxide: g per mol of RE, the analysers' suffix, and their sd in % of REO."""

    name: str
    oxide: float
    suffix: str
    u: float


@dataclass(frozen=True)
class Recovery:
    """Elements that one stream is meant to carry; in those `lost` they are lost to it."""

    name: str
    title: str
    elements: tuple[str, ...]
    into: str
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The plant's network; names are unique over streams, stocks and hold-ups."""

    source: str
    elements: tuple[Element, ...]
    flows: tuple[Flow, ...]
    stocks: tuple[Stock, ...]
    holdups: tuple[Holdup, ...]
    parts: tuple[Part, ...]
    recoveries: tuple[Recovery, ...]
    more: dict[str, Any]

    def flow(self, name: str) -> Flow:
        """Return a stream by its name. Raises `KeyError`."""
        found = next((flow for flow in self.flows if flow.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    @property
    def feeds(self) -> tuple[str, ...]:
        """The streams that come from outside."""
        made = {name for part in self.parts for name in part.leaves}
        return tuple(flow.name for flow in self.flows if flow.name not in made)

    def title(self, name: str) -> str:
        """Return what to call a stream, a stock or a hold-up."""
        titles = {flow.name: flow.title for flow in self.flows} | {stock.name: stock.title for stock in self.stocks}
        return (titles | {holdup.name: holdup.title for holdup in self.holdups})[name]


@cache
def plan() -> Plan:
    """Return the plan of the reference plant."""
    return parse(tomllib.loads(Path(__file__).with_name("plant.toml").read_text("utf-8")))


def parse(found: dict[str, Any]) -> Plan:
    """Read a plan. Raises `KeyError` or `TypeError` where a table lacks a field or has an odd one."""
    return Plan(
        source=found["source"],
        elements=tuple(Element(name, **table) for name, table in found["elements"].items()),
        flows=tuple(_flow(name, dict(table)) for name, table in found["streams"].items()),
        stocks=tuple(
            Stock(name, **table | {"tanks": tuple(table["tanks"])}) for name, table in found["stocks"].items()
        ),
        holdups=tuple(Holdup(name, **table) for name, table in found["holdups"].items()),
        parts=tuple(
            Part(name, table["title"], table["area"], tuple(table["at"]), tuple(table["in"]), tuple(table["out"]))
            for name, table in found["nodes"].items()
        ),
        recoveries=tuple(
            Recovery(name, table["title"], tuple(table["elements"]), table["into"], tuple(table["lost"]))
            for name, table in found["recovery"].items()
        ),
        more={name: found.get(name, {}) for name in ("stores", "water", "salts", "doses", "advice")},
    )


def _flow(name: str, table: dict[str, Any]) -> Flow:
    strength = table.pop("strength", None)
    terms = tuple(Term(**term) for term in table.pop("terms", ()))
    return Flow(name, terms=terms, strength=Term(**strength) if strength else None, **table)
