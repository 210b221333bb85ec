"""Pumps: affinity, power and wear as the textbook has them."""

from pathlib import Path

import numpy as np
import pytest

from hefa_contract.plant import load
from hefa_edge.config import read_seeds
from hefa_edge.plant.board import Board, Minute
from hefa_edge.plant.disturbances import Disturbances
from hefa_edge.plant.machines import Machines
from hefa_edge.plant.process import Layout

PLANT = load(read_seeds(Path(__file__).resolve().parents[2] / "seeds"))


def run(load_: float, acting: Disturbances) -> tuple[dict[str, float], np.ndarray]:
    board = Board(PLANT)
    machines = Machines(board, {"P-241": "x", "P-251": "x"}, ("x",))
    minute = Minute(0, 60_000_000, 1 / 60, acting, [], 8.0, Layout().process(), board.normal.copy())
    power = machines.run(minute, np.array([load_]), 395.0)
    names = [tag.name for tag in board.tags]
    return {
        suffix: float(minute.truth[names.index(f"A2-SX.SXT.P-241.{suffix}")])
        for suffix in ("run", "flow", "pres", "freq", "pow", "amp", "vib", "btemp")
    }, power


def test_at_design_a_pump_is_at_its_normal() -> None:
    shown, power = run(1.0, Disturbances())
    assert shown == pytest.approx(
        {"run": 1, "flow": 38.9, "pres": 250, "freq": 42, "pow": 5.1, "amp": 9.69, "vib": 1.8, "btemp": 48}
    )
    assert power == pytest.approx([5.1, 1.1])


def test_more_flow_takes_more_than_its_share_of_power() -> None:
    shown, _ = run(1.2, Disturbances())
    assert shown["flow"] == pytest.approx(1.2 * 38.9)
    assert shown["pow"] > 1.2 * 1.2 * 5.1
    assert shown["freq"] > 42


@pytest.mark.parametrize("wear", [0.2, 0.6, 1.0])
def test_wear_shows_as_published(wear: float) -> None:
    shown, power = run(1.0, Disturbances(wear={"P-241": wear}))
    assert shown["vib"] == pytest.approx(1.8 + 6 * wear**2, abs=0.05)
    assert shown["btemp"] >= 48 + 25 * wear
    assert shown["pow"] == pytest.approx(5.1 / (1 - 0.12 * wear))
    assert power[1] == pytest.approx(1.1)  # its neighbour does not know


def test_cavitation_shakes_and_a_tripped_pump_stands() -> None:
    shown, _ = run(1.0, Disturbances(cavitation={"P-241": 1.0}))
    assert shown["vib"] == pytest.approx(4.8, abs=0.1)
    shown, power = run(1.0, Disturbances(tripped=frozenset({"P-241"})))
    assert shown["run"] == 2
    assert shown["flow"] == shown["pow"] == shown["freq"] == power[0] == 0
