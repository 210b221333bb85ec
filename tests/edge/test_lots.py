"""Lots: days in which every kg has one origin and every paper comes in time."""

from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from hefa_contract.envelope import Events, decode, encode
from hefa_contract.event import AnyEvent, LabResult, Lot, Shift
from hefa_contract.plant import load
from hefa_edge.config import read_seeds
from hefa_edge.plant import behaviour
from hefa_edge.plant.flowsheet import GRID, DynamicPlant
from hefa_edge.plant.lots import Lots
from hefa_edge.plant.nature import Fluctuations
from hefa_edge.plant.substances import ATOMIC, OXIDE

TEXTS = read_seeds(Path(__file__).resolve().parents[2] / "seeds")
PLANT = load(TEXTS)
START = 1_795_000_020_000_000 // GRID * GRID
MINUTES = 2 * 1440
GRAMS = 0.05  # kg that rounding may add up to over the parents of a lot


@cache
def days() -> tuple[DynamicPlant, dict[str, dict[str, dict[str, float]]], list[tuple[int, AnyEvent]]]:
    """Run the plant; returns it, its books, and the events with the end of the step that told of them."""
    model = DynamicPlant(PLANT, behaviour.read(TEXTS), 1)
    state, ts, told = model.initial(START), START, []
    for _ in range(MINUTES):
        step = model.step(state, ts, 60.0)
        state, ts = step.state, ts + GRID
        told += [(ts, event) for event in step.events]
    return model, model.ledger(state, ts), told


@cache
def lots() -> dict[str, Lot]:
    """The lots that are complete, by name."""
    return {e.lot: e for _, e in days()[2] if isinstance(e, Lot) and e.kg is not None}


def test_a_lot_is_the_sum_of_its_parents() -> None:
    made = [lot for lot in lots().values() if lot.parents]
    assert len(made) > 80
    for lot in made:
        assert sum(kg for _, kg in lot.parents) == pytest.approx(lot.kg, abs=1e-6)
        assert all(kg > 0 for _, kg in lot.parents)
        assert len({parent for parent, _ in lot.parents}) == len(lot.parents)


def test_no_lot_gives_more_than_it_has() -> None:
    taken: dict[str, float] = defaultdict(float)
    for lot in lots().values():
        for parent, kg in lot.parents:
            taken[parent] += kg
    for name, kg in taken.items():
        whole = lots()[name].kg if name in lots() else 1e9  # a campaign lot that is still open
        assert kg <= (whole or 0.0) + GRAMS, name


def test_every_parent_is_known_or_still_open() -> None:
    begun = {e.lot for _, e in days()[2] if isinstance(e, Lot)}
    for lot in lots().values():
        assert {parent for parent, _ in lot.parents} <= begun


@pytest.mark.parametrize(("prefix", "stages"), [("PK1", "PK1 TK PN"), ("PK2", "PK2 RK CE")])
def test_a_packed_lot_is_traced_back_to_its_origin(prefix: str, stages: str) -> None:
    packed = [lot for lot in lots().values() if lot.lot.startswith(prefix)]
    assert len(packed) > 5
    share = {packed[-1].lot: 1.0}
    for stage in stages.split():
        assert {name.split("-")[0] for name in share} == {stage}
        parts: dict[str, float] = defaultdict(float)
        for name, weight in share.items():
            lot = lots().get(name)
            if lot is None or not lot.parents:
                return  # opening stock, or a campaign that is still open: the trail ends here
            for parent, kg in lot.parents:
                parts[parent] += weight * kg / sum(part for _, part in lot.parents)
        share = parts
        assert sum(share.values()) == pytest.approx(1.0, rel=1e-9)
    assert {name.split("-")[0] for name in share} == {"CL"}


def as_oxide(masses: dict[str, float]) -> float:
    """Turn kg of elements into kg of their oxides."""
    pairs = zip(("La", "Ce", "Pr", "Nd"), OXIDE / ATOMIC[:4], strict=True)
    return float(sum(masses[element] * factor for element, factor in pairs))


@pytest.mark.parametrize(("stream", "prefix"), [("PrNd oxide", "PK1"), ("CeO2", "PK2")])
def test_what_was_packed_is_what_left_the_kiln(stream: str, prefix: str) -> None:
    burnt = as_oxide(days()[1]["out"][stream])
    packed = sum(lot.kg or 0.0 for lot in lots().values() if lot.lot.startswith(prefix))
    assert burnt - 2_000 < packed <= burnt * 1.001


def test_what_was_dissolved_came_in_lots() -> None:
    kg = as_oxide(days()[1]["in"]["carbonate"])
    received = sum(lot.kg or 0.0 for lot in lots().values() if lot.subject == "A1-FEED.RECV")
    assert kg <= received < kg + 10_500


def test_a_result_is_told_when_it_is_entered_with_the_time_of_its_sample() -> None:
    results = [(ts, e) for ts, e in days()[2] if isinstance(e, LabResult)]
    assert len(results) > 50
    for ts, result in results:
        assert result.ts + 3_600_000_000 < result.entered <= ts < result.entered + GRID
        assert result.sample in lots()
    purity = [e.value for _, e in results if e.quantity == "purity"]
    assert 99.0 < min(purity) <= max(purity) <= 100.0
    assert {e.quantity for _, e in results} == {"purity", "LOI"}


def test_shifts_change_three_times_a_day() -> None:
    shifts = [e for _, e in days()[2] if isinstance(e, Shift)]
    assert len(shifts) == 6
    assert {e.crew for e in shifts} <= set("ABCD")


def test_names_are_used_once_and_events_can_be_sent() -> None:
    ended = [e.lot for _, e in days()[2] if isinstance(e, Lot) and e.action in ("finished", "packed")]
    assert len(ended) == len(set(ended))
    events = [e for _, e in days()[2]]
    paths = set(PLANT.equipment)
    assert {e.subject for e in events} <= paths
    message = Events(epoch="0" * 16, seq=1, made=START, events=events[:200])
    assert decode(encode(message)).message.events == events[:200]  # type: ignore[union-attr]


def test_the_circuit_gives_by_share_and_runs_empty() -> None:
    book = Lots(PLANT, Fluctuations(1))
    circuit = {"CL-1": 100.0, "CL-2": 50.0}
    taken: dict[str, float] = defaultdict(float)
    for _ in range(4):
        for lot, kg in book._mixed(circuit, 45.0):
            taken[lot] += kg
    assert taken == pytest.approx({"CL-1": 100.0, "CL-2": 50.0}, abs=0.01)
    assert sum(circuit.values()) < 0.01
