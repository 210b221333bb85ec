"""The whole plant, minute by minute: units joined to a flowsheet that implements `PlantModel`.

The plant moves on an absolute grid of minutes. Within a minute flows stay and amounts grow straight; other gauges
go straight from minute to minute. So a minute of one second or of sixty leads to the same, whatever the steps, and
what was asked between does not matter. A disturbance acts from the next minute on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from hefa_contract.event import AnyEvent
from hefa_contract.plant import Plant, Tag
from hefa_edge.plant import Step, weather
from hefa_edge.plant.behaviour import Behaviour
from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.brine import Wastewater
from hefa_edge.plant.calcination import Kiln
from hefa_edge.plant.calendar import shift_changes
from hefa_edge.plant.dissolution import Dissolution
from hefa_edge.plant.disturbances import CALM, Schedule, undisturbed
from hefa_edge.plant.extraction import Extraction
from hefa_edge.plant.lots import Lots, Made
from hefa_edge.plant.machines import Machines
from hefa_edge.plant.nature import Fluctuations, swing, waves
from hefa_edge.plant.precipitation import Line, Press
from hefa_edge.plant.process import Layout, Process
from hefa_edge.plant.steady import ORIGIN
from hefa_edge.plant.substances import ATOMIC, BICARBONATE, LA, RE, SODA_CE, SODA_LA, SPECIES, WATER, Floats, oxide_kg
from hefa_edge.plant.tanks import Tanks
from hefa_edge.plant.utilities import Demand, Utilities

GRID = 60_000_000  # µs
_HOURS = 1 / 60
_FEED_M3 = 6.23  # m3/h of feed liquor by design
_LIVELINESS = 0.7  # unrest of a lively gauge, in its noise sigma
_LIVELY_HOURS = 0.25

_LOADS = (
    "a1",
    "org-a",
    "org-b",
    "feed-a",
    "feed-b",
    "scrub-a",
    "sx",
    "pn",
    "ce",
    "la",
    "tunnel",
    "rotary",
    "mvr1",
    "mvr2",
    "ro",
    "neut",
)
_FOLLOWS = {
    **{f"P-13{k}": "a1" for k in range(1, 9)},
    "P-241": "org-a",
    "P-242": "org-b",
    "P-243": "feed-a",
    "P-244": "feed-b",
    "P-245": "scrub-a",
    "P-246": "sx",
    **{f"P-25{k}": "sx" for k in range(1, 7)},
    "P-PN1": "pn",
    "P-PN2": "pn",
    "P-CE1": "ce",
    "P-CE2": "ce",
    "P-LA1": "la",
    "P-LA2": "la",
    "FN-431": "tunnel",
    "FN-432": "rotary",
    "FN-433": "rotary",
    "P-541": "mvr1",
    "P-542": "mvr1",
    "P-543": "ro",
    "P-544": "mvr1",
    **{f"P-54{k}": "neut" for k in range(5, 9)},
}


class Books(NamedTuple):
    """What came in and went out since the beginning, by stream, and what the plant holds, by species."""

    came_in: Floats
    went_out: Floats
    held: Floats


@dataclass(frozen=True, slots=True)
class DynamicState:
    """The plant through one minute that ends at `end` (µs): truth, amounts and books at its begin and end.

    `process` is the state at the end; `events` are those of this minute.
    """

    end: int
    process: Process
    before: Floats
    after: Floats
    amounts: tuple[Floats, Floats]
    books: tuple[Books, Books]
    lots: Mapping[str, Any]
    events: tuple[AnyEvent, ...] = ()


class DynamicPlant:
    """The plant model with dynamics. Implements `PlantModel[DynamicState]`."""

    def __init__(
        self, plant: Plant, behaviour: Behaviour, seed: int, schedule: Schedule = undisturbed, calm: bool = False
    ) -> None:
        """Build the plant and find its steady state. `calm`: nothing fluctuates, the weather is the yearly mean."""
        self._plant, self._schedule, self._calm = plant, schedule, calm
        board = Board(plant)
        layout = Layout()
        nature = Fluctuations(seed, calm)
        self.tags: Sequence[Tag] = board.tags
        self._board, self.layout, self._nature = board, layout, nature
        self._weather = nature.add("weather", 30.0), nature.add("clouds and wind", 2.0)
        fractions = behaviour.feed.fractions
        self._dissolution = Dissolution(board, layout, nature, fractions)
        self._feed_presses = [Press(name, board, layout) for name in ("FP-111", "FP-112")]
        self._extraction = Extraction(board, layout, nature, behaviour, _FEED_M3)
        self._lines = (
            Line("PN", BICARBONATE, "NH4HCO3", board, layout, nature),
            Line("CE", SODA_CE, "Na2CO3", board, layout, nature),
            Line("LA", SODA_LA, "Na2CO3", board, layout, nature),
        )
        self._tunnel, self._rotary = (
            Kiln(unit, behaviour.kilns, board, layout, nature) for unit in ("TKN-401", "RKN-402")
        )
        self._wastewater = Wastewater(behaviour.evaporators, board, layout, nature)
        self._machines = Machines(board, _FOLLOWS, _LOADS)
        self._utilities = Utilities(board, layout, nature, self._machines, _LOADS)
        self._tanks = Tanks(board, layout, nature)
        self._product_out = [layout.outlet(name) for name in ("PrNd oxide", "CeO2", "La carbonate")]
        self._bags = [(board.column(unit, "wt", "exact"), unit) for unit in ("PK-421", "PK-422")]
        board.columns(("PK-421", "PK-422"), "mass")
        board.columns(("PK-421", "PK-422"), "bags")
        for tag in board.tags:
            if tag.template == "GATEWAY":
                board.column(tag.unit, tag.suffix)
        self.lots = Lots(plant, nature)

        self._counters = np.array([i for i, tag in enumerate(self.tags) if tag.kind == "counter"], dtype=np.intp)
        self._source, self._per_hour, self._by_state = self._integrals()
        self._always = self._source == len(self.tags)  # hours that a clock counts: the column itself is a waste bin
        self._moves = ~board.held[:-1]
        self._lively = np.flatnonzero(board.lively[:-1])
        names = [self.tags[int(i)].name for i in self._lively]
        self._unrest = waves(names, seed, [_LIVELY_HOURS * 3600] * len(names))
        self._noise = np.array([self.tags[int(i)].noise_sd for i in self._lively]) * (0.0 if calm else _LIVELINESS)
        span = np.array([(tag.low, tag.high) for tag in self.tags]).reshape(-1, 2)
        bounded = np.array([tag.ucum in ("[pH]", "%") and tag.kind == "gauge" for tag in self.tags])
        self._low = np.where(bounded, span[:, 0], -np.inf)
        self._high = np.where(bounded, span[:, 1], np.inf)
        self._origin, self._origin_truth = self._warm()

    @property
    def unmodelled(self) -> tuple[str, ...]:
        """Tags that no model writes: they stay at their normal value."""
        return tuple(tag.name for tag, claimed in zip(self.tags, self._board.claimed, strict=False) if not claimed)

    def initial(self, ts: int) -> DynamicState:
        """The state of a plant that is first looked at, at `ts`: its steady state, registers run on since 2025."""
        begin = ts // GRID * GRID
        hours = max(begin - ORIGIN, 0) / 3.6e9
        amounts = self._board.normal[self._counters] + self._growth(self._board.normal) * hours
        process = self._origin.copy()
        process.came_in[:], process.went_out[:] = 0.0, 0.0
        books = self._books(process)
        lots = self.lots.initial(
            begin,
            {"TK": self._held_oxide("TKN-401"), "RK": self._held_oxide("RKN-402")},
            self._extraction_oxide(process),
        )
        state = DynamicState(
            begin, process, self._origin_truth, self._origin_truth, (amounts, amounts), (books, books), lots
        )
        return state if begin == ts else self._next(state)

    def step(self, state: DynamicState, ts: int, dt_s: float) -> Step:
        target = ts + round(dt_s * 1e6)
        events = [event for event in state.events if ts < event.ts <= target]
        while state.end < target:
            state = self._next(state)
            events += [event for event in state.events if event.ts <= target]
        return Step(state, self.truth(state, target), tuple(events))

    def truth(self, state: DynamicState, ts: int) -> Floats:
        """What is true at each tag at `ts`, within the state's minute."""
        share = 1.0 - (state.end - ts) / GRID
        truth = np.where(self._moves, state.before + share * (state.after - state.before), state.after)
        first, last = state.amounts
        truth[self._counters] = first + share * (last - first)
        return truth

    def books(self, state: DynamicState, ts: int) -> Books:
        """What came in, went out and is held at `ts`, within the state's minute."""
        share = 1.0 - (state.end - ts) / GRID
        return Books(*(a + share * (b - a) for a, b in zip(*state.books, strict=True)))

    def ledger(self, state: DynamicState, ts: int) -> dict[str, dict[str, dict[str, float]]]:
        """The books at `ts` by name of stream, kg of each element and of water, since the beginning."""
        came_in, went_out, held = self.books(state, ts)

        def named(amounts: Floats) -> dict[str, float]:
            elements = zip(SPECIES, (ATOMIC * amounts[: len(ATOMIC)]).tolist(), strict=False)
            return {**dict(elements), "water": 1000 * float(amounts[WATER])}

        return {
            "in": {name: named(came_in[i]) for name, i in self.layout.inlets.items()},
            "out": {name: named(went_out[i]) for name, i in self.layout.outlets.items()},
            "held": {"plant": named(held)},
        }

    def energy(self, state: DynamicState) -> dict[str, dict[str, float]]:
        """Heat of the kilns since the beginning, kW.h, at the end of the state's minute."""
        number = state.process.number
        return {
            unit: {name: number[i] for name, i in kiln.energy.items()}
            for unit, kiln in (("TKN-401", self._tunnel), ("RKN-402", self._rotary))
        }

    def dump(self, state: DynamicState) -> dict[str, Any]:
        names = [tag.name for tag in self.tags]
        counters = [names[i] for i in self._counters]
        return {
            "end": state.end,
            "process": state.process.dump(self.layout),
            "truth": {
                name: pair for name, *pair in zip(names, state.before.tolist(), state.after.tolist(), strict=True)
            },
            "registers": {
                name: pair for name, *pair in zip(counters, *(a.tolist() for a in state.amounts), strict=True)
            },
            "books": [[part.tolist() for part in books] for books in state.books],
            "lots": state.lots,
            "events": msgspec.to_builtins(list(state.events)),
        }

    def restore(self, document: Mapping[str, Any], ts: int) -> DynamicState:
        fresh = self.initial(ts)
        if "process" not in document or not fresh.end - GRID <= document["end"] <= fresh.end + GRID:
            return fresh
        process = fresh.process.restored(self.layout, document["process"])
        before, after = fresh.before.copy(), fresh.after.copy()
        for i, tag in enumerate(self.tags):
            if tag.name in document["truth"]:
                before[i], after[i] = document["truth"][tag.name]
        first, last = (amount.copy() for amount in fresh.amounts)
        for row, i in enumerate(self._counters):
            if self.tags[i].name in document["registers"]:
                first[row], last[row] = document["registers"][self.tags[i].name]
        books = tuple(
            Books(*(np.array(part) for part in parts))
            if [np.shape(part) for part in parts] == [part.shape for part in fresh.books[0]]
            else self._books(process)
            for parts in document["books"]
        )
        events = tuple(msgspec.convert(document["events"], list[AnyEvent]))
        return DynamicState(
            document["end"], process, before, after, (first, last), (books[0], books[1]), document["lots"], events
        )

    def _next(self, state: DynamicState) -> DynamicState:
        """Run the minute after the state's."""
        start, end = state.end, state.end + GRID
        process = state.process.copy()
        wander = self._nature.at(end)
        acting = self._schedule(start)
        outside = weather.MEAN if self._calm else weather.ambient(end, *(wander[i] for i in self._weather))
        minute = Minute(
            start, end, _HOURS, acting, wander, outside + acting.ambient, process, self._board.normal.copy()
        )
        made = self._run(minute)
        truth = minute.truth[:-1]
        truth[self._lively] += self._noise * swing(*self._unrest, end)
        np.clip(truth, self._low, self._high, out=truth)
        amounts = state.amounts[1] + self._growth(minute.truth) * _HOURS
        lots, lot_events = self.lots.run(state.lots, end, made)
        events = sorted((*shift_changes(self._plant, start, end), *lot_events), key=lambda event: event.ts)
        books = self._books(process)
        return DynamicState(
            end, process, state.after, truth, (state.amounts[1], amounts), (state.books[1], books), lots, tuple(events)
        )

    def _warm(self) -> tuple[Process, Floats]:
        """Find the steady state: a minute in which every vessel takes the composition of what flows through."""
        process = self.layout.process()
        process.warm = True
        zero = [0.0] * len(self._nature.at(0))
        minute = Minute(0, GRID, _HOURS, CALM, zero, weather.MEAN, process, self._board.normal.copy())
        self._run(minute)
        process.warm = False
        # Once more, now as a minute in time: tags that speak of what a vessel holds now speak of the steady state.
        again = replace(minute, process=process.copy(), truth=self._board.normal.copy())
        self._run(again)
        return process, again.truth[:-1]

    def _run(self, minute: Minute) -> Made:
        """Run all units for a minute, upstream first."""
        process, hours = minute.process, minute.hours
        extraction = self._extraction
        dissolved = self._dissolution.run(minute, extraction.feed_draw(minute))
        for press in self._feed_presses:
            press.run(minute, dissolved.load)
        parts = extraction.run(minute, dissolved.liquor)
        pn, ce, la = (
            line.run(minute, x) for line, x in zip(self._lines, (parts.prnd, parts.ce, parts.la), strict=True)
        )
        tunnel = self._tunnel.run(minute, pn.cake, pn.cake_kg)
        rotary = self._rotary.run(minute, ce.cake, ce.cake_kg)
        for outlet, product in zip(self._product_out, (tunnel.oxide, rotary.oxide, la.cake), strict=True):
            process.send_out(outlet, product)
        reused = dissolved.reused_water + parts.reused_water + pn.reused_water + ce.reused_water + la.reused_water
        treated = self._wastewater.run(
            minute, parts.brine, parts.acid_wash, (pn.mother, ce.mother, la.mother), reused, parts.dilution_water
        )
        a, b = extraction.lines

        loads = np.array([
            dissolved.load, a.loop["org"].load(process), b.loop["org"].load(process), a.loop["feed"].load(process),
            b.loop["feed"].load(process), a.loop["scrub"].load(process), parts.load, pn.load, ce.load, la.load,
            tunnel.gas / self._tunnel.design_gas, rotary.gas / self._rotary.design_gas,
            treated.loads[0], treated.loads[1], treated.ro_load, treated.loads[0],
        ])  # fmt: skip
        power = self._machines.run(minute, loads, process.number[self._utilities.voltage])
        washes = sum(line.washed(x.load) for line, x in zip(self._lines, (pn, ce, la), strict=True))
        demand = Demand(
            loads, (dissolved.fresh_water / hours, parts.fresh_water / hours, washes), treated.reuse,
            (tunnel.gas, rotary.gas), treated.powers, treated.ro_power,
        )  # fmt: skip
        self._utilities.run(minute, demand, power)
        self._tanks.run(minute)
        truth = minute.truth
        for (weight, unit), burnt in zip(self._bags, (tunnel, rotary), strict=True):
            truth[weight] = 50.0 + 0.02 * self._nature.draw(f"bag of {unit}", int(minute.end // GRID * burnt.kg // 50))
        return Made(
            charged=dissolved.charged_kg, dissolved=dissolved.made_kg,
            products=tuple(oxide_kg(x.cake[RE]) for x in (pn, ce, la)),  # type: ignore[arg-type]
            burnt=(tunnel.kg, rotary.kg),
            purity=tuple(_purity(x, wanted) for x, wanted in ((tunnel.oxide, (2, 3)), (rotary.oxide, (1,)), (la.cake, (LA,)))),  # type: ignore[arg-type]
            loi=(tunnel.loi, rotary.loi),
        )  # fmt: skip

    def _books(self, process: Process) -> Books:
        held = process.total()
        held[RE] += process.arrays["SXA.z"].sum(axis=0) + process.arrays["SXB.z"].sum(axis=0)
        return Books(process.came_in.copy(), process.went_out.copy(), held)

    def _held_oxide(self, unit: str) -> float:
        rows = [i for name, i in self.layout.vessels.items() if name.startswith(unit)]
        return oxide_kg(self._origin.held[rows].sum(axis=0)[RE])

    def _extraction_oxide(self, process: Process) -> float:
        return oxide_kg(process.arrays["SXA.z"].sum(axis=0) + process.arrays["SXB.z"].sum(axis=0))

    def _growth(self, truth: Floats) -> Floats:
        """What each counter gains in an hour, (counters,), at this truth."""
        flow = np.where(self._always, 1.0, truth[self._source])
        flow = np.where(self._by_state, flow == 1.0, flow)
        return np.asarray(np.maximum(flow * self._per_hour, 0.0))

    def _integrals(self) -> tuple[Any, Floats, Any]:
        """For each counter: the column it integrates (or the last: none), its factor, whether that is a state."""
        at = {tag.name: i for i, tag in enumerate(self.tags)}
        sources = [at.get(self.tags[i].integrates or "", len(self.tags)) for i in self._counters]
        for column in sources:
            self._board.held[column] = True
            self._board.lively[column] = False
        state = [i < len(self.tags) and self.tags[i].kind == "state" for i in sources]
        per_hour = [self.tags[i].per_hour or 0.0 for i in self._counters]
        return np.array(sources, dtype=np.intp), np.array(per_hour), np.array(state)


def _purity(amounts: Floats, wanted: tuple[int, ...]) -> float:
    """Share of the wanted RE, mol %."""
    re = amounts[RE]
    total = float(re.sum())
    return 100 * float(re[list(wanted)].sum()) / total if total > 0 else 100.0
