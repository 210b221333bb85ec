"""The readings of a group as columns: flattened from its envelopes, told by what is known of their tags, and sorted.

Arithmetic only: no SQL, no clock, nothing is remembered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hefa_contract.envelope import BAD, UNCERTAIN, Envelope
from hefa_platform.store.arrival import Arrival, columns
from hefa_platform.store.binary_copy import Floats, Ints
from hefa_platform.store.registry import Registry

# Values beyond, or nearer to zero than, what sums and integrals of a month can be made of are nobody's measurement.
LARGEST, SMALLEST = 1e100, 1e-100


class Opened(NamedTuple):
    """An envelope of a group: the index of its message, the id of its gateway, and what it is."""

    n: int
    edge_id: int
    arrival: Arrival
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Rows:
    """Readings in columns; `tag` is -1 where the gateway `edge` may not write it, `origin` the index of the message."""

    tag: Ints
    ts: Ints
    value: Floats
    quality: Ints
    origin: Ints
    edge: Ints

    def __len__(self) -> int:
        return len(self.tag)

    def where(self, chosen: npt.NDArray[Any]) -> "Rows":
        """The rows of a mask, or in an order."""
        return Rows(*(getattr(self, name)[chosen] for name in self.__slots__))

    def sorted(self) -> "Rows":
        """By tag and time; of equal ones the first to come stays first."""
        return self.where(np.lexsort((self.ts, self.tag)))

    @property
    def repeats(self) -> npt.NDArray[np.bool_]:
        """Of sorted rows, which have the tag and the time of the one before."""
        same: npt.NDArray[np.bool_] = np.r_[False, (np.diff(self.tag) == 0) & (np.diff(self.ts) == 0)]
        return same[: len(self)]


_NONE = np.array([], np.int64)
NO_ROWS = Rows(_NONE, _NONE, _NONE.astype(np.float64), _NONE, _NONE, _NONE)


def opened(arrivals: Sequence[Arrival], edge_ids: Sequence[int | None], chosen: Sequence[int]) -> list[Opened]:
    """Those of the chosen messages that are envelopes."""
    found = []
    for n in chosen:
        arrival = arrivals[n]
        if arrival.decoded is not None and isinstance(arrival.decoded.message, Envelope):
            found.append(Opened(n, edge_ids[n] or 0, arrival, arrival.decoded.message))
    return found


def flatten(envelopes: Sequence[Opened], registry: Registry) -> tuple[Rows, bool]:
    """The readings of envelopes in their order, and whether there are some of tags that the registry does not know.

    A value outside its tag's range becomes uncertain, one that nobody can reckon with bad.
    """
    made = [one.arrival.columns for one in envelopes]
    ready = [part for part in made if part is not None]
    index, dt, value, quality = (
        map(np.concatenate, zip(*ready, strict=True))
        if len(ready) == len(made)
        else columns([one.envelope for one in envelopes])
    )
    counts = [len(one.envelope.value) for one in envelopes]
    # A gateway mostly sends one table of tags, whose names are looked up once.
    names: list[str] = []
    edges: list[int] = []
    starts: dict[tuple[int, tuple[str, ...]], int] = {}
    first: list[int] = []
    for one in envelopes:
        table = one.edge_id, tuple(one.envelope.tags)
        start = starts.setdefault(table, len(names))
        first.append(start)
        if start == len(names):
            names += one.envelope.tags
            edges += [one.edge_id] * len(one.envelope.tags)
    place, known, owner = registry.places(names), registry.known, np.array(edges, np.int64)
    may_write = (known.edge[place] == owner) | (owner == registry.entry)
    named = np.repeat(first, counts) + index
    size = np.abs(value)
    absurd = (size > LARGEST) | ((size < SMALLEST) & (size > 0))
    outside = (value < known.low[place][named]) | (value > known.high[place][named])  # false for NaN
    if outside.any() or absurd.any():
        quality = np.where(absurd, BAD, np.where(outside, np.minimum(quality, UNCERTAIN), quality))
    rows = Rows(
        tag=np.where(may_write, known.tag[place], -1)[named],
        ts=np.repeat([one.envelope.base for one in envelopes], counts) + dt,
        value=value,
        quality=quality,
        origin=np.repeat([one.n for one in envelopes], counts),
        edge=np.repeat([one.edge_id for one in envelopes], counts),
    )
    return rows, bool((place < 0).any() and (place[named] < 0).any())
