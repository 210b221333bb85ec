"""What the simulator knows of the reference plant beyond the plant model: seeds/behaviour.toml, checked.

Takes text, does no I/O. Every table carries a `source`; an unknown key or a wrong type is an error.
"""

from __future__ import annotations

import itertools
import operator
import tomllib
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from hefa_edge.plant.cascade import Cascade, Flows

FILE = "behaviour.toml"
ELEMENTS = ("La", "Ce", "Pr", "Nd")
Floats = NDArray[np.float64]


class BehaviourError(ValueError):
    """The file cannot be used; the text says where and why."""


class Feed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """RE fed, kmol/h, and its mole fractions."""

    source: str
    rate: float
    shares: dict[str, float]

    @property
    def fractions(self) -> Floats:
        """Mole fractions in the order of ELEMENTS, sum 1."""
        f = np.array([self.shares.get(element, 0.0) for element in ELEMENTS])
        return np.asarray(f / f.sum())


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cascade and its design flows, kmol/h of RE."""

    n: int
    m: int
    extracted: list[str]
    feed: float
    soap: float
    aqueous: float
    organic: float
    efficiency: float
    watch: int

    @property
    def target(self) -> NDArray[np.intp]:
        """Columns of the elements that the organic is to take."""
        return np.array([ELEMENTS.index(element) for element in self.extracted], dtype=np.intp)

    def flows(self, fractions: Floats) -> Flows:
        """Design flows for a feed of these mole fractions: the scrub W = S - F z."""
        return Flows(self.feed, self.soap, self.soap - self.feed * float(fractions[self.target].sum()))


class Extraction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The chemistry of extraction and its lines."""

    source: str
    separation: dict[str, float]
    log_k_la: float
    loading: float
    saponification: float
    dimer: float
    lines: dict[str, Line]

    @property
    def beta(self) -> Floats:
        """Extractability by element, La 1."""
        steps = [self.separation[f"{above}_{below}"] for below, above in itertools.pairwise(ELEMENTS)]
        return np.array(list(itertools.accumulate([1.0, *steps], operator.mul)))

    def cascade(self, line: str) -> Cascade:
        built = self.lines[line]
        return Cascade(built.n, built.m, self.beta, built.aqueous, built.organic, built.efficiency)


class Kiln(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one kiln is: MJ/K, Cel, m3{n}/h, hours. `fire_zone` counts from 1."""

    zones: int
    fire_zone: int
    fire: float
    gas: float
    air: float
    flue: float
    capacity: float
    residence_h: float
    stages: int
    gain: float
    integral_h: float
    loi: float


class Kilns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The kilns by unit, and what they burn."""

    source: str
    heating_value: float
    duty: float
    air_ratio: float
    units: dict[str, Kiln]


class Evaporator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One evaporator: the tank that feeds it, temperatures in K, and the name of its salt in the books."""

    tank: str
    rise: float
    difference: float
    salt: str


class Evaporators(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The evaporators by unit, and how they foul."""

    source: str
    fouling_days: float
    cleaned_at: float
    units: dict[str, Evaporator]


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    feed: Feed
    extraction: Extraction
    kilns: Kilns
    evaporators: Evaporators


def read(texts: Mapping[str, str]) -> Behaviour:
    """Read the behaviour from the texts of the seeds, {path below seeds/: text}. Raises BehaviourError."""
    if FILE not in texts:
        raise BehaviourError(f"{FILE} is missing from the seeds: the dynamic plant needs it")
    try:
        behaviour = msgspec.convert(tomllib.loads(texts[FILE]), Behaviour)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BehaviourError(f"{FILE}: {error}") from None
    for name, line in behaviour.extraction.lines.items():
        unknown = set(line.extracted) - set(ELEMENTS)
        if unknown or not 1 <= line.watch <= line.n + line.m:
            raise BehaviourError(f"{FILE}: extraction.lines.{name}: extracted are some of {ELEMENTS}, watch is a stage")
    for key, units, needed in (
        ("kilns.units", behaviour.kilns.units, ("TKN-401", "RKN-402")),
        ("evaporators.units", behaviour.evaporators.units, ("MVR-511", "MVR-512")),
        ("extraction.lines", behaviour.extraction.lines, ("SXA", "SXB")),
    ):
        missing = sorted(set(needed) - set(units))
        if missing:
            raise BehaviourError(f"{FILE}: {key}: {', '.join(missing)} is missing; the flowsheet needs it")
    return behaviour
