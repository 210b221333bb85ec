"""Lots of material and their genealogy, as events: feed, liquor, campaign, kiln and packed lots, with lab results.

All masses are kg of RE oxide (REO), which dissolving, precipitating and burning conserve: what the lots made of a
lot take from it never exceeds its mass, and a lot's parents add up to it. Continuous extraction mixes: its product
lots take from the liquor lots in it by their share (an ideal mixer with the circuit's residence time).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from hefa_contract.event import AnyEvent, LabResult, Lot
from hefa_contract.plant import Plant
from hefa_edge.plant.nature import Fluctuations

FEED_LOT_KG = 10_449.6  # kg REO: 24 t of carbonate at 43.54 %
_LIQUOR_KG = 4_050.0  # kg REO in 20 m3 of liquor
_CAMPAIGN_KG = {"PN": 2_200.0, "CE": 5_000.0, "LA": 2_700.0}
_CAR_KG = 207.0  # a car of the tunnel kiln; the rotary kiln is cut each hour
_PACK_KG = 1_000.0
_HOUR = 3_600_000_000
_LEAST = 0.002  # smallest share of a lot in a genealogy; less is counted with the others

_PRODUCTS = (
    # prefix, material, kiln lot prefix, kiln, packed lot prefix, packer
    ("PN", "PrNd carbonate", "TK", "A4-CALC.TK1.TKN-401", "PK1", "A4-CALC.PACK.PK-421", "PrNd oxide"),
    ("CE", "Ce carbonate", "RK", "A4-CALC.RK1.RKN-402", "PK2", "A4-CALC.PACK.PK-422", "CeO2"),
)


class Made(NamedTuple):
    """Masses of a minute, kg REO: charged to dissolving, out of its filter, cakes of PN CE LA, out of the kilns.

    `purity` of the three products, mol % among RE; `loi` of the two oxides, %.
    """

    charged: float
    dissolved: float
    products: tuple[float, float, float]
    burnt: tuple[float, float]
    purity: tuple[float, float, float]
    loi: tuple[float, float]


class Lots:
    """The bookkeeper of lots. Its state is a dict of plain values; `run` does not change the one it is given."""

    def __init__(self, plant: Plant, nature: Fluctuations) -> None:
        self._zone = ZoneInfo(plant.timezone)
        self._nature = nature

    def initial(self, ts: int, kilns: Mapping[str, float], circuit: float) -> dict[str, Any]:
        """Begin at `ts` with what is in the circuit and the kilns as lots of their own, kg REO."""
        day = self._day(ts)
        opening = {name: f"{name}-{day}-00" for name in ("FD", "CL", "PN", "CE", "TK", "RK")}
        return {
            "announced": False,
            "count": {},
            "feed": [opening["FD"], 0.0],
            "dissolving": [[opening["FD"], 0.5 * _LIQUOR_KG]],
            "liquor": {},
            "liquor_kg": 0.0,
            "circuit": {opening["CL"]: circuit},
            "campaign": {name: ["", 0.0, 0] for name in _CAMPAIGN_KG},
            "to_kiln": {"PN": [[opening["PN"], kilns["TK"]]], "CE": [[opening["CE"], kilns["RK"]]]},
            "kiln": {"PN": ["", 0.0, 0], "CE": ["", 0.0, 0]},
            "to_pack": {"PN": [], "CE": []},
            "pack": {"PN": ["", 0.0, 0], "CE": ["", 0.0, 0]},
            "due": [],
        }

    def run(self, last: Mapping[str, Any], end: int, made: Made) -> tuple[dict[str, Any], list[AnyEvent]]:
        """Book the minute up to `end`; returns the new state and what happened in it."""
        state = _copied(last)
        events: list[AnyEvent] = []
        if not state["announced"]:
            state["announced"] = True
            self._announce(state, end, events)
        self._dissolve(state, end, made, events)
        self._campaigns(state, end, made, events)
        for nth, product in enumerate(_PRODUCTS):
            self._burn(state, end, product, nth, made, events)
        due = [entry for entry in state["due"] if entry["entered"] <= end]
        state["due"] = [entry for entry in state["due"] if entry["entered"] > end]
        events += [LabResult(**entry) for entry in due]
        return state, events

    def _announce(self, state: dict[str, Any], ts: int, events: list[AnyEvent]) -> None:
        """Tell of the stock that is there at the beginning."""
        for subject, lot, kg, material, kind in (
            ("A1-FEED.DISS", state["dissolving"][0][0], state["dissolving"][0][1], "RE carbonate", "feed"),
            ("A2-SX", *next(iter(state["circuit"].items())), "RE chloride liquor", "liquor"),
            ("A4-CALC.TK1.TKN-401", *state["to_kiln"]["PN"][0], "PrNd carbonate", "campaign"),
            ("A4-CALC.RK1.RKN-402", *state["to_kiln"]["CE"][0], "Ce carbonate", "campaign"),
        ):
            events.append(
                Lot(ts=ts, subject=subject, lot=lot, action="received", material=material, kg=_round(kg), kind=kind)
            )

    def _dissolve(self, state: dict[str, Any], ts: int, made: Made, events: list[AnyEvent]) -> None:
        kg = made.charged
        while kg > 0:
            lot, left = state["feed"]
            if left <= 1e-9:
                lot = self._name(state, "FD", ts)
                left = FEED_LOT_KG
                state["feed"] = [lot, left]
                events.append(
                    Lot(
                        ts=ts,
                        subject="A1-FEED.RECV",
                        lot=lot,
                        action="received",
                        material="RE carbonate",
                        kg=_round(left),
                        kind="feed",
                    )
                )
            used = min(kg, left)
            state["feed"][1] = left - used
            kg -= used
            _queue(state["dissolving"], lot, used)
            if state["feed"][1] <= 1e-9:
                events.append(
                    Lot(
                        ts=ts,
                        subject="A1-FEED.RECV",
                        lot=lot,
                        action="consumed",
                        material="RE carbonate",
                        kind="feed",
                    )
                )
        for lot, part in _draw(state["dissolving"], made.dissolved):
            state["liquor"][lot] = state["liquor"].get(lot, 0.0) + part
            state["liquor_kg"] += part
        if state["liquor_kg"] >= _LIQUOR_KG:
            lot, kg = self._name(state, "CL", ts), state["liquor_kg"]
            parents = [(parent, _round(part)) for parent, part in state["liquor"].items()]
            events.append(
                Lot(
                    ts=ts,
                    subject="A1-FEED.DISS.TK-121",
                    lot=lot,
                    action="finished",
                    material="RE chloride liquor",
                    kg=_round(sum(part for _, part in parents)),
                    parents=parents,
                    kind="liquor",
                )
            )
            state["circuit"][lot] = state["circuit"].get(lot, 0.0) + kg
            state["liquor"], state["liquor_kg"] = {}, 0.0

    def _campaigns(self, state: dict[str, Any], ts: int, made: Made, events: list[AnyEvent]) -> None:
        areas = {"PN": "A3-PPT.PN", "CE": "A3-PPT.CE", "LA": "A3-PPT.LA"}
        materials = {"PN": "PrNd carbonate", "CE": "Ce carbonate", "LA": "La carbonate"}
        for nth, (name, kg) in enumerate(zip(_CAMPAIGN_KG, made.products, strict=True)):
            entry = state["campaign"][name]
            if not entry[0]:
                entry[:] = [self._name(state, name, ts), 0.0, ts]
                events.append(
                    Lot(
                        ts=ts,
                        subject=areas[name],
                        lot=entry[0],
                        action="started",
                        material=materials[name],
                        kind="campaign",
                    )
                )
            entry[1] += kg
            if name in state["to_kiln"]:
                _queue(state["to_kiln"][name], entry[0], kg)
            if entry[1] >= _CAMPAIGN_KG[name]:
                parents = self._mixed(state["circuit"], entry[1])
                events.append(
                    Lot(
                        ts=ts,
                        subject=areas[name],
                        lot=entry[0],
                        action="finished" if name != "LA" else "packed",
                        material=materials[name],
                        kg=_round(sum(part for _, part in parents)),
                        parents=parents,
                        kind="campaign",
                    )
                )
                state["due"].append(
                    self._lab(ts, areas[name], entry[0], "purity", made.purity[nth], 0.01, "mol% of RE", "ICP-MS", 3.0)
                )
                entry[:] = ["", 0.0, 0]

    def _burn(
        self, state: dict[str, Any], ts: int, product: tuple[str, ...], nth: int, made: Made, events: list[AnyEvent]
    ) -> None:
        name, _, kiln_prefix, kiln, pack_prefix, packer, oxide = product
        entry = state["kiln"][name]
        if not entry[0]:
            entry[:] = [self._name(state, kiln_prefix, ts), 0.0, ts]
            events.append(Lot(ts=ts, subject=kiln, lot=entry[0], action="started", material=oxide, kind="kiln"))
        entry[1] += made.burnt[nth]
        if entry[1] >= _CAR_KG if name == "PN" else ts - entry[2] >= _HOUR:
            parents = [(lot, _round(part)) for lot, part in _merged(_draw(state["to_kiln"][name], entry[1]))]
            kg = sum(part for _, part in parents)
            events.append(
                Lot(
                    ts=ts,
                    subject=kiln,
                    lot=entry[0],
                    action="finished",
                    material=oxide,
                    kg=_round(kg),
                    parents=parents,
                    kind="kiln",
                )
            )
            _queue(state["to_pack"][name], entry[0], kg)
            entry[:] = ["", 0.0, 0]
        ready = sum(part for _, part in state["to_pack"][name])
        if ready >= _PACK_KG:
            lot = self._name(state, pack_prefix, ts)
            parents = [(parent, _round(part)) for parent, part in _merged(_draw(state["to_pack"][name], _PACK_KG))]
            events.append(
                Lot(
                    ts=ts,
                    subject=packer,
                    lot=lot,
                    action="packed",
                    material=oxide,
                    kg=_round(sum(part for _, part in parents)),
                    parents=parents,
                    kind="packed",
                )
            )
            state["due"] += [
                self._lab(ts, packer, lot, "purity", made.purity[nth], 0.005, "mol% of RE", "ICP-MS", 6.0),
                self._lab(ts, packer, lot, "LOI", made.loi[nth], 0.02, "%", "1000 Cel, 1 h", 4.0),
            ]

    def _mixed(self, circuit: dict[str, float], kg: float) -> list[tuple[str, float]]:
        """Take `kg` from the lots in the circuit by their share; lots that are as good as gone go entirely."""
        total = sum(circuit.values())
        parents = []
        for lot, there in sorted(circuit.items()):
            if there < _LEAST * total:
                continue
            parents.append((lot, there))
        most = sum(there for _, there in parents)
        share = min(kg / most, 1.0)
        taken = [(lot, _round(there * share)) for lot, there in parents]
        for lot, part in taken:
            circuit[lot] = max(circuit[lot] - part, 0.0)
        for lot in [lot for lot, there in circuit.items() if there < _LEAST * total]:
            del circuit[lot]  # a trace: it stays in the circuit for ever and is in no product's papers
        return [(lot, part) for lot, part in taken if part > 0]

    def _lab(
        self,
        ts: int,
        subject: str,
        lot: str,
        quantity: str,
        true: float,
        sd: float,
        unit: str,
        method: str,
        hours: float,
    ) -> dict[str, Any]:
        """A sample taken now whose result is typed in hours later."""
        number = ts // 60_000_000
        late = hours + 0.5 * abs(self._nature.draw(f"late {quantity}", number))
        value = true + sd * self._nature.draw(f"lab {quantity} {subject}", number)
        high = 100.0 if quantity == "purity" else float("inf")
        return {
            "ts": ts, "subject": subject, "sample": lot, "quantity": quantity,
            "value": round(min(max(value, 0.0), high), 4), "unit": unit, "entered": ts + round(late * _HOUR), "method": method,
        }  # fmt: skip

    def _name(self, state: dict[str, Any], prefix: str, ts: int) -> str:
        day = self._day(ts)
        counted_day, number = state["count"].get(prefix, ("", 0))
        number = number + 1 if counted_day == day else 1
        state["count"][prefix] = [day, number]
        return f"{prefix}-{day}-{number:02d}"

    def _day(self, ts: int) -> str:
        return f"{datetime.fromtimestamp(ts / 1e6, UTC).astimezone(self._zone):%Y%m%d}"


def _copied(last: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a state of dicts and lists down to the values."""

    def copy(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: copy(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [copy(inner) for inner in value]
        return value

    return {key: copy(value) for key, value in last.items()}


def _queue(queue: list[list[Any]], lot: str, kg: float) -> None:
    if queue and queue[-1][0] == lot:
        queue[-1][1] += kg
    else:
        queue.append([lot, kg])


def _draw(queue: list[list[Any]], kg: float) -> list[tuple[str, float]]:
    """Take `kg` from the head of a queue, or what there is."""
    taken = []
    while kg > 1e-9 and queue:
        lot, there = queue[0]
        part = min(there, kg)
        taken.append((lot, part))
        kg -= part
        if there - part <= 1e-9:
            queue.pop(0)
        else:
            queue[0][1] = there - part
    return taken


def _merged(parts: list[tuple[str, float]]) -> list[tuple[str, float]]:
    merged: dict[str, float] = {}
    for lot, part in parts:
        merged[lot] = merged.get(lot, 0.0) + part
    return list(merged.items())


def _round(kg: float) -> float:
    """Grams: what a scale shows."""
    return round(kg, 3)
