"""Scenarios and injected faults as functions of time."""

from pathlib import Path

import pytest

from hefa_contract.plant import Plant, load
from hefa_edge import catalogue, episodes
from hefa_edge.catalogue import Catalogue, FaultError
from hefa_edge.config import read_seeds
from hefa_edge.episodes import Episode, Troubles
from hefa_edge.plant.disturbances import CALM

TEXTS = read_seeds(Path(__file__).resolve().parents[2] / "seeds")
HOUR = 3_600_000_000
MIDNIGHT = 1_795_276_800_000_000  # 2026-11-22, 00:00 in Shanghai


@pytest.fixture(scope="module")
def plant() -> Plant:
    return load(TEXTS)


@pytest.fixture(scope="module")
def known(plant) -> Catalogue:
    return catalogue.read(TEXTS, plant)


@pytest.fixture
def tell(plant, known):
    def make(name: str, texts: dict | None = None, seed: int = 1) -> Troubles:
        return episodes.troubles(texts or TEXTS, plant, known, seed, name)

    return make


def test_all_scenarios_of_the_issue_can_be_played(tell) -> None:
    wanted = {
        "normal-month", "feed-swing", "bad-acid", "kiln-air-leak", "mvr-fouling", "night-water-leak", "meter-swap",
        "gateway-outage", "digital-off", "digital-on", "busy-month",
    }  # fmt: skip
    assert set(episodes.scenarios(TEXTS)) == wanted
    month = [tell(name).labels(MIDNIGHT, MIDNIGHT + 30 * 24 * HOUR) for name in sorted(wanted)]
    assert all(labels for labels in month)


@pytest.mark.parametrize(("hour", "leak"), [(0, 2.0), (5.99, 2.0), (6, 0.0), (12, 0.0), (21.99, 0.0), (22, 2.0)])
def test_water_leaks_at_night_by_the_clock_of_the_plant(tell, hour: float, leak: float) -> None:
    for day in (0, 3, 400):
        ts = MIDNIGHT + round((24 * day + hour) * HOUR)
        assert tell("night-water-leak").disturbances(ts).water_leak == leak


def test_labels_tell_the_truth(tell) -> None:
    labels = tell("night-water-leak").labels(MIDNIGHT, MIDNIGHT + 24 * HOUR)
    assert [(label.ts, label.action, label.fault, label.subject) for label in labels] == [
        (MIDNIGHT + 6 * HOUR, "end", "water-leak", "HEFA-BT"),
        (MIDNIGHT + 22 * HOUR, "start", "water-leak", "HEFA-BT"),
    ]
    apart = [
        x for k in range(24) for x in tell("night-water-leak").labels(MIDNIGHT + k * HOUR, MIDNIGHT + (k + 1) * HOUR)
    ]
    assert apart == labels
    assert [label.action for label in tell("digital-off").present(MIDNIGHT)].count("start") >= 2


def test_by_hand_and_automatic_differ_in_nothing_else(tell) -> None:
    off, on = tell("digital-off"), tell("digital-on")
    for hour in range(0, 96, 5):
        one, two = off.disturbances(MIDNIGHT + hour * HOUR), on.disturbances(MIDNIGHT + hour * HOUR)
        assert (one.automatic, two.automatic) == (False, True)
        assert (one.prnd_factor, one.acid_strength) == (two.prnd_factor, two.acid_strength)
        assert 0.95 <= one.prnd_factor <= 1.05
    other = tell("digital-on", seed=2)
    assert other.disturbances(MIDNIGHT).prnd_factor != on.disturbances(MIDNIGHT).prnd_factor


def test_a_ramp_grows(tell) -> None:
    leaks = [
        tell("kiln-air-leak").disturbances(MIDNIGHT + h * HOUR).false_air.get("TKN-401", 0.0) for h in (12, 22, 31)
    ]
    assert leaks == pytest.approx([0.0, 1.5, 2.85])


def test_faults_add_up(plant, known) -> None:
    def one(fault: str, unit: str, severity: float) -> Episode:
        return Episode(fault=fault, target=known.target(fault, unit), severity=severity, start=0)

    troubles = Troubles(known, plant, 1)
    assert troubles.disturbances(MIDNIGHT) is CALM
    troubles.hear([
        one("feed-rich", "", 1.0), one("feed-lean", "", 1.0), one("pump-bearing-wear", "P-241", 0.3),
        one("pump-bearing-wear", "P-131", 0.6), one("flow-meter-scale", "FIC-A-feed", 0.5), one("power-dip", "", 1.0),
        one("pump-trip", "P-131", 1.0), one("ph-fouling", "A1-FEED.DISS.R-101.ph", 1.0),
        one("ph-fouling", "A2-SX.SXA.MS-A10.ph", 1.0), Episode(fault="gone", target="x", severity=1.0, start=0),
    ])  # fmt: skip
    acting = troubles.disturbances(MIDNIGHT)
    assert acting.prnd_factor == pytest.approx(1.05 * 0.95)
    assert acting.wear == {"P-241": 0.3, "P-131": 0.6}
    assert acting.flow_scale == {"FIC-A-feed": pytest.approx(1.015)}
    assert acting.tripped == {"P-131", "P-241", "P-242", "P-243", "P-244", "P-245", "P-246"}
    assert acting.probe_lag == {"R-101": 90.0}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('fault="rust"', "there is no fault 'rust'"),
        ('fault="mvr-fouling"', "needs to know what it strikes; it may strike MVR-511, MVR-512"),
        ('fault="weak-acid",severity=2', "severity"),
        ('fault="weak-acid",lasts="1h"', "need every"),
        ('fault="weak-acid",every="1h",lasts="2h"', "longer than every"),
        ('fault="weak-acid",every="daily"', "no duration"),
        ('fault="weak-acid",when="noon"', "unknown field"),
        ('fault="weak-acid",every="1d",course="slide"', "slide"),
    ],
)
def test_a_bad_scenario_is_told_what_is_wrong(tell, rule: str, said: str) -> None:
    text = f'title="t"\ndescription="d"\nsource="s"\nfaults=[{{{rule}}}]'
    with pytest.raises(FaultError, match=said) as error:
        tell("mine", {"scenarios/mine.toml": text})
    assert "scenarios/mine.toml" in str(error.value)


def test_a_scenario_that_is_not_there(tell) -> None:
    with pytest.raises(FaultError, match="no scenario 'holiday'; there are bad-acid, busy-month"):
        tell("holiday")
    assert tell(None).scenario is None
    assert tell("none").scenario is None
