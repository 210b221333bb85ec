"""The extraction cascade: published and computed operating points, and balances that close at any step."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefa_edge.plant import behaviour, cascade
from hefa_edge.plant.cascade import Cascade, Flows, OperatingPointError

FILE = Path(__file__).resolve().parents[2] / "seeds" / behaviour.FILE
PLANT = behaviour.read({behaviour.FILE: FILE.read_text(encoding="utf-8")})
FEED = PLANT.feed.fractions
SXA = PLANT.extraction.cascade("SXA")
DESIGN = PLANT.extraction.lines["SXA"].flows(FEED)


def closes(built: Cascade, flows: Flows, feed: np.ndarray, profile: cascade.Profile) -> float:
    """Give the worst imbalance of an element over the whole cascade, kmol/h."""
    out = (flows.feed + flows.scrub - flows.soap) * profile.raffinate + (flows.soap - flows.scrub) * profile.product
    return float(np.abs(flows.feed * feed - out).max())


@pytest.mark.parametrize("efficiency", [1.0, 0.9, 0.6])
def test_a_steady_state_balances_every_element(efficiency: float) -> None:
    built = Cascade(SXA.n, SXA.m, SXA.beta, SXA.aqueous, SXA.organic, efficiency)
    profile = cascade.steady(built, DESIGN, FEED)
    assert closes(built, DESIGN, FEED, profile) < 1e-9
    assert profile.x.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    assert (profile.x > 0).all()


@settings(max_examples=10, deadline=None)
@given(
    n=st.integers(1, 24),
    m=st.integers(1, 16),
    soap=st.floats(2.0, 14.0),
    cut=st.floats(0.05, 0.95),
    share=st.lists(st.floats(0.02, 1.0), min_size=4, max_size=4),
)
def test_any_operating_point_that_can_be_has_a_steady_state(
    n: int, m: int, soap: float, cut: float, share: list[float]
) -> None:
    feed = np.array(share) / sum(share)
    flows = Flows(7.481, soap, soap - 7.481 * cut if soap > 7.481 * cut + 0.1 else soap / 2)
    built = Cascade(n, m, SXA.beta, SXA.aqueous, SXA.organic)
    if flows.feed + flows.scrub - flows.soap < 0.05:
        return
    profile = cascade.steady(built, flows, feed)
    assert closes(built, flows, feed, profile) < 1e-8
    # The organic prefers the heavier ones: the product is never poorer in Nd than the raffinate.
    assert profile.product[3] >= profile.raffinate[3]


def test_an_element_the_feed_has_not_is_nowhere() -> None:
    profile = cascade.steady(SXA, DESIGN, np.array([0.3, 0.4, 0.0, 0.3]))
    assert not profile.x[:, 2].any()
    assert not profile.y[:, 2].any()


@pytest.mark.parametrize(
    ("flows", "says"),
    [
        (Flows(7.481, 5.0, 5.0), "product S - W"),
        (Flows(7.481, 20.0, 5.0), "raffinate F \\+ W - S"),
        (Flows(7.481, 7.0, 0.0), "above 0"),
        (Flows(0.0, 7.0, 5.0), "above 0"),
        (Flows(float("nan"), 7.0, 5.0), "above 0"),
    ],
)
def test_flows_that_cannot_be_are_told(flows: Flows, says: str) -> None:
    with pytest.raises(OperatingPointError, match=says):
        cascade.steady(SXA, flows, FEED)


@pytest.mark.parametrize("seconds", [1.0, 7.0, 60.0, 600.0, 3600.0, 11_111.0])
@pytest.mark.parametrize("efficiency", [1.0, 0.9])
def test_a_step_creates_and_loses_nothing(seconds: float, efficiency: float) -> None:
    built = Cascade(SXA.n, SXA.m, SXA.beta, SXA.aqueous, SXA.organic, efficiency)
    profile = cascade.steady(built, DESIGN, FEED)
    held = cascade.holdup(built, profile)
    before = held.sum(axis=0)
    feed, hours = 7.3 * np.array([0.2, 0.5, 0.1, 0.2]), seconds / 3600
    fed, left = np.zeros(4), np.zeros(4)
    for k in range(20):
        # The flows change at every step, as under control and faults.
        flows = Flows(7.3, 7.0 + 0.3 * np.sin(k), 5.3 + 0.1 * np.cos(k))
        held, profile, out = cascade.step(built, held, profile, flows, feed, hours)
        fed += feed * hours
        left += out.raffinate + out.product
    assert fed - left - (held.sum(axis=0) - before) == pytest.approx(0.0, abs=1e-9 * fed.sum())
    assert (held > 0).all()
    assert held.sum(axis=1) == pytest.approx(built.aqueous + built.organic, rel=1e-9)


@pytest.mark.parametrize("efficiency", [1.0, 0.85])
def test_time_alone_does_not_move_a_steady_state(efficiency: float) -> None:
    built = Cascade(SXA.n, SXA.m, SXA.beta, SXA.aqueous, SXA.organic, efficiency)
    start = profile = cascade.steady(built, DESIGN, FEED)
    held = cascade.holdup(built, profile)
    for _ in range(200):
        held, profile, _ = cascade.step(built, held, profile, DESIGN, DESIGN.feed * FEED, 1 / 60)
    assert profile.x == pytest.approx(start.x, abs=1e-9)


def test_the_dynamics_lead_to_the_steady_state_of_the_new_flows() -> None:
    built = Cascade(6, 4, SXA.beta, SXA.aqueous, SXA.organic)
    flows = Flows(7.481, 7.0, 5.316)
    profile = cascade.steady(built, flows, FEED)
    held = cascade.holdup(built, profile)
    moved = flows._replace(scrub=5.2)
    for _ in range(4000):
        held, profile, _ = cascade.step(built, held, profile, moved, moved.feed * FEED, 0.1)
    assert profile.x == pytest.approx(cascade.steady(built, moved, FEED).x, abs=1e-6)


def test_stage_ph_meets_the_point_of_the_full_chemistry() -> None:
    fractions = np.array([[0.1999, 0.9581, 0.0014, 0.0]])
    total = fractions.sum()
    profile = cascade.Profile(fractions / total, fractions / total)
    ph = cascade.stage_ph(profile, PLANT.extraction.beta, -3.23, np.array([total]), 0.159, 0.75)
    assert ph[0] == pytest.approx(1.099, abs=0.01)


def test_more_acid_gives_a_purer_product_and_a_poorer_recovery() -> None:
    less = cascade.steady(SXA, DESIGN._replace(scrub=DESIGN.scrub * 0.99), FEED)
    more = cascade.steady(SXA, DESIGN._replace(scrub=DESIGN.scrub * 1.01), FEED)
    assert more.product[2:].sum() > less.product[2:].sum()
    assert more.raffinate[2:].sum() > less.raffinate[2:].sum()
