"""Plant, instruments and reports together, on a grid of time."""

import msgspec
import numpy as np
import pytest

from hefa_edge.plant.steady import SteadyPlant
from hefa_edge.simulation import Simulation

S = 1_000_000
T0 = 1_795_298_400 * S


@pytest.fixture(scope="module")
def model(plant) -> SteadyPlant:
    return SteadyPlant(plant, seed=1)


def begin(model: SteadyPlant, tags=None, seed: int = 1) -> Simulation:
    return Simulation(model, tags or model.tags, seed, T0)


def readings(simulation: Simulation, ticks: range, step: int = S) -> dict[tuple[str, int], float]:
    out = {}
    for k in ticks:
        tick = simulation.advance(T0 + k * step)
        out.update({(simulation.tags[c].name, tick.ts): v for c, v in zip(tick.tag, tick.value.tolist(), strict=True)})
    return out


def test_every_tag_is_reported_at_the_start(model: SteadyPlant) -> None:
    first = begin(model).advance(T0 + S)
    assert first.tag.tolist() == list(range(1103))
    assert not np.isnan(first.value).any()
    second = begin(model).advance(T0 + 2 * S)
    assert second.tag.tolist() == list(range(1103))


def test_a_reading_is_the_same_in_every_profile_and_order(model: SteadyPlant) -> None:
    whole = readings(begin(model), range(1, 100))
    some = [tag for tag in model.tags if tag.core][::-3]
    part = readings(begin(model, some), range(1, 100))
    assert part == {key: value for key, value in whole.items() if key[0] in {tag.name for tag in some}}
    assert readings(begin(model), range(1, 100)) == whole
    other = readings(begin(model, seed=2), range(1, 100))
    assert sum(other.get(key) == value for key, value in whole.items()) < len(whole)


def test_it_goes_on_from_json_as_if_nothing_had_been(model: SteadyPlant) -> None:
    whole = readings(begin(model), range(1, 121), 60 * S)
    first = begin(model)
    part = readings(first, range(1, 61), 60 * S)
    document = msgspec.json.decode(msgspec.json.encode(first.dump()))
    second = begin(model)
    second.restore(document, reported=True)
    assert part | readings(second, range(61, 121), 60 * S) == whole


def test_after_a_pause_everything_is_reported_and_registers_have_advanced(model: SteadyPlant) -> None:
    first = begin(model)
    before = readings(first, range(1, 3))
    second = begin(model)
    second.restore(first.dump(), reported=False)
    second.skip(T0 + 7200 * S)
    assert second.ts == T0 + 7200 * S
    after = second.advance(T0 + 7201 * S)
    assert after.tag.tolist() == list(range(1103))
    name = "A6-UTIL.ELEC.PM-MAIN.e"
    column = [tag.name for tag in second.tags].index(name)
    grown = after.value[column] - before[name, T0 + S]
    assert grown == pytest.approx(2 * 1900, rel=0.02)
    second.skip(T0)
    assert second.ts == T0 + 7201 * S  # never back


def test_the_real_world_replaces_the_simulated(model: SteadyPlant) -> None:
    column = next(i for i, tag in enumerate(model.tags) if tag.name == "A6-UTIL.EDGE.GW-1.rtt")
    simulation = begin(model)
    first = simulation.advance(T0 + 30 * S, {column: 3.25})
    assert (first.value[column], first.quality[column]) == (3.25, 192)
    second = simulation.advance(T0 + 60 * S, {column: float("nan")})
    row = second.tag.tolist().index(column)
    assert np.isnan(second.value[row])
    assert second.quality[row] == 0


def test_what_happens_comes_as_events(model: SteadyPlant) -> None:
    simulation = begin(model)  # 2026-11-21 22:00 UTC: 06:00 in the plant
    events = [event for k in range(1, 181) for event in simulation.advance(T0 + k * 60 * S).events]
    assert [(event.ts, event.shift, event.subject) for event in events] == [(T0 + 7200 * S, "08:00", "HEFA-BT")]
