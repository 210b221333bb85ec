"""The truth ledger: what it answers, that it stays small, and that it agrees with the plant."""

import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from hefa_contract.event import Fault, Lot
from hefa_contract.plant import Plant, load
from hefa_edge.config import Settings, read_seeds
from hefa_edge.simulation import Account
from hefa_edge.site import simulate, troubles_of
from hefa_edge.truth import HOUR, MINUTE, TruthError, TruthLedger, told

SEEDS = Path(__file__).resolve().parents[2] / "seeds"
T0 = 1_795_273_200_000_000


@pytest.fixture(scope="module")
def plant() -> Plant:
    return load(read_seeds(SEEDS))


@pytest.fixture(scope="module")
def played(plant, tmp_path_factory) -> tuple[Path, dict]:
    """Two hours of a plant that leaks, in a ledger; and the registers that the gateways would have published."""
    path = tmp_path_factory.mktemp("truth") / "truth.sqlite"
    settings = Settings(seeds=SEEDS, scenario="night-water-leak")
    tags = list(plant.tags.values())
    simulation = simulate(plant, settings, tags, T0 - MINUTE, troubles_of(plant, settings))
    ledger, shown = TruthLedger(path), {}
    for k in range(121):
        tick = simulation.advance(T0 + k * MINUTE)
        ledger.record([(tick.ts, simulation.account())], tick.events)
        shown.update({(tags[c].name, tick.ts): v for c, v in zip(tick.tag, tick.value.tolist(), strict=True)})
    ledger.close()
    return path, shown


def test_energy_is_what_the_registers_show(played, plant) -> None:
    path, shown = played
    found = told(path, plant, T0, T0 + 2 * HOUR)
    assert set(found["energy"]) == {"electricity", "water", "gas", "steam"}
    for carrier, main in (("electricity", "A6-UTIL.ELEC.PM-MAIN.e"), ("gas", "A6-UTIL.METER.GM-MAIN.tot")):
        used = found["energy"][carrier]
        modulus = plant.tags[main].modulus or 1e15
        register = (shown[main, T0 + 2 * HOUR] - shown[main, T0]) % modulus
        assert used["value"] == pytest.approx(used["meters"][main])
        assert used["value"] == pytest.approx(register, abs=2.01 * (plant.tags[main].resolution or 0))
    assert 3000 < found["energy"]["electricity"]["value"] < 4500


def test_masses_close(played, plant) -> None:
    path, _ = played
    found = told(path, plant, T0, T0 + 2 * HOUR)
    assert {"La", "Ce", "Pr", "Nd", "Cl", "Na", "N", "C", "water"} <= set(found["masses"])
    for mass in found["masses"].values():
        assert abs(mass["unexplained"]) < 1e-6 * max(mass["held_to"], 1.0)
        assert mass["in"] >= 0
    assert 300 < found["masses"]["Nd"]["in"] < 450
    assert found["streams"]["in"]["HCl"]["Cl"] == pytest.approx(2 * 61.2 * 35.453, rel=0.1)


def test_spans_add_up_whatever_their_ends(played, plant) -> None:
    path, _ = played
    cuts = [T0, T0 + 17 * MINUTE + 12_345_678, T0 + HOUR, T0 + 2 * HOUR]
    parts = [told(path, plant, a, b)["masses"]["Ce"]["in"] for a, b in pairwise(cuts)]
    assert sum(parts) == pytest.approx(told(path, plant, T0, T0 + 2 * HOUR)["masses"]["Ce"]["in"])


def test_faults_have_a_beginning_and_an_end(played, plant) -> None:
    path, _ = played
    (leak,) = told(path, plant, T0, T0 + 2 * HOUR)["faults"]
    assert (leak["fault"], leak["target"], leak["severity"]) == ("water-leak", "HEFA-BT", 1.0)
    assert leak["start"] == T0 - MINUTE  # it was there when the plant was first looked at
    assert leak["end"] is None


def account(amount: float) -> Account:
    return Account({"A6-UTIL.ELEC.PM-MAIN.e": amount})


def test_told_twice_it_is_once_and_it_stays_small(tmp_path: Path, plant) -> None:
    path = tmp_path / "truth.sqlite"
    ledger = TruthLedger(path)
    lot = Lot(ts=T0 + 5, subject="A1-FEED.RECV", lot="FD-1", action="received", material="RE carbonate", kg=1.0)
    ends = [Fault(ts=T0 + 6, subject="X", fault="f", action="start", severity=0.5),
            Fault(ts=T0 + 9, subject="X", fault="f", action="end", severity=0.5)]  # fmt: skip
    for _ in range(2):
        ledger.record([(T0 + k * MINUTE, account(k)) for k in range(5 * 24 * 60 + 1)], [lot, *ends])
    ledger.close()
    (rows,) = sqlite3.connect(path).execute("SELECT count(*) FROM books").fetchone()
    assert rows == 48 * 60 + 1 + 3 * 24
    found = told(path, plant, T0, T0 + 5 * 24 * HOUR)
    assert found["energy"]["electricity"]["value"] == 5 * 24 * 60
    assert [one["lot"] for one in found["lots"]] == ["FD-1"]
    assert found["faults"] == [{"fault": "f", "target": "X", "start": T0 + 6, "end": T0 + 9, "severity": 0.5}]
    assert told(path, plant, T0 + 90 * MINUTE, T0 + 2 * HOUR)["energy"]["electricity"]["value"] == pytest.approx(30)


def test_what_it_cannot_answer(tmp_path: Path, plant) -> None:
    with pytest.raises(TruthError, match="not there"):
        told(tmp_path / "truth.sqlite", plant, T0, T0 + HOUR)
    ledger = TruthLedger(tmp_path / "truth.sqlite")
    ledger.record([(T0, account(1.0)), (T0 + HOUR, account(2.0))], [])
    ledger.close()
    with pytest.raises(TruthError, match="nothing of that time"):
        told(tmp_path / "truth.sqlite", plant, T0 + HOUR, T0 + 2 * HOUR)
    assert told(tmp_path / "truth.sqlite", plant, 0, T0 + 9 * HOUR)["to"] == T0 + HOUR
