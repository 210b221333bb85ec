"""Vessels and books: whatever is done with them, nothing appears and nothing vanishes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_edge.plant.process import TANK, WEIR, Layout
from hefa_edge.plant.substances import CONSERVED, PURE_WATER, VOLUME, vector

LIQUOR = vector(La=0.3, Nd=0.2, Cl=1.5, water=0.9, volume=1.0)
flows = st.floats(0.0, 3.0)


def emptied() -> tuple[Layout, int]:
    layout = Layout()
    return layout, layout.vessel("a")


@given(steps=st.lists(st.tuples(st.sampled_from(["through", "supply", "delay"]), flows, flows), max_size=12))
def test_a_vessel_gives_what_it_was_given(steps: list[tuple[str, float, float]]) -> None:
    layout, a = emptied()
    process = layout.process()
    process.held[a] = LIQUOR * 5
    balance = process.total()
    for kind, inflow, draw in steps:
        into = LIQUOR * inflow + PURE_WATER * 0.1
        if kind == "through":
            out = process.through(a, into, 4.0, 0.5)
        elif kind == "supply":
            out = process.supply(a, into, draw, 4.0)
        else:
            out = process.delay(a, into, 0.5, 2.0)
        balance = balance + into - out
        assert (out >= 0).all()
    assert process.held[a][CONSERVED] == pytest.approx(balance[CONSERVED], abs=1e-12)
    assert (process.held >= 0).all()


@pytest.mark.parametrize("kind", ["through", "supply", "delay"])
def test_the_warm_vessel_is_the_steady_one(kind: str) -> None:
    layout, a = emptied()
    process = layout.process()
    process.warm = True
    into = LIQUOR * 0.1

    def run() -> np.ndarray:
        if kind == "through":
            return process.through(a, into, 4.0, 1 / 60)
        if kind == "supply":
            return process.supply(a, into, float(into[VOLUME]), 4.0)
        return process.delay(a, into, 1 / 60, 3.0)

    out = run()
    assert out == pytest.approx(into)
    process.warm = False
    held = process.held.copy()
    for _ in range(50):
        assert run() == pytest.approx(into, rel=1e-9)
    assert process.held == pytest.approx(held, rel=1e-9)


@pytest.mark.parametrize(("gain", "level"), [(TANK, 4.0 * 1.05), (WEIR, 4.0 * 1.005)])
def test_a_level_follows_the_flow_as_much_as_its_outlet_lets_it(gain: float, level: float) -> None:
    layout, a = emptied()
    process = layout.process()
    process.warm = True
    process.through(a, LIQUOR * 0.1, 4.0, 1 / 60, gain)
    process.warm = False
    for _ in range(2000):
        process.through(a, LIQUOR * 0.11, 4.0, 1 / 60, gain)
    assert process.held[a, VOLUME] == pytest.approx(level, rel=1e-6)


def test_names_are_kept_and_what_is_new_starts_anew() -> None:
    old = Layout()
    a, number = old.vessel("a"), old.number("x", 3.0)
    inlet = old.inlet("in")
    assert old.vessel("a") == a
    process = old.process()
    process.held[a], process.number[number] = LIQUOR, 7.0
    process.take_in(inlet, LIQUOR)
    document = process.dump(old)

    new = Layout()
    b, a, y, x = new.vessel("b"), new.vessel("a"), new.number("y", 5.0), new.number("x", 3.0)
    inlet = new.inlet("in")
    fresh = new.process()
    restored = fresh.restored(new, document)
    assert restored.held[a] == pytest.approx(LIQUOR)
    assert not restored.held[b].any()
    assert (restored.number[x], restored.number[y]) == (7.0, 5.0)
    assert restored.came_in[inlet] == pytest.approx(LIQUOR)
    assert not fresh.held.any()
