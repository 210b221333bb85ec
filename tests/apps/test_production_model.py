"""The maths of production: effectiveness by vectors and properties, on-cut time, stops, crews, verdicts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hefa_apps.production.model import (
    Limit,
    Slot,
    Stop,
    busy,
    crew,
    effectiveness,
    first_pass,
    judged,
    on_spec,
    pareto,
    purity,
    stops,
    verdict,
)

T = datetime(2026, 11, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
OXIDES = {"la": 162.905, "ce": 172.115, "pr": 170.241, "nd": 168.242}


@pytest.mark.parametrize(
    ("busy_h", "ran", "rated", "made", "good", "factors"),
    [
        (24, 22.5, 1.2626, 28.1, 27.8, (0.9375, 0.98914, 0.98932, 0.91742)),
        (24, 24, 1.2626, 30.3024, 30.3024, (1, 1, 1, 1)),
        (8, 6, 0.6376, 3.4, 1.7, (0.75, 3.4 / (6 * 0.6376), 0.5, 1.7 / (8 * 0.6376))),
        (720, 700, 0.2841, 190.5, 188, (700 / 720, 190.5 / (700 * 0.2841), 188 / 190.5, 188 / (720 * 0.2841))),
    ],
)
def test_effectiveness_by_hand(
    busy_h: float, ran: float, rated: float, made: float, good: float, factors: tuple[float, ...]
) -> None:
    found = effectiveness(busy_h, ran, rated, made, good)
    assert (found.availability, found.effectiveness, found.quality, found.oee) == pytest.approx(factors, abs=5e-6)


@given(
    st.floats(1, 800), st.floats(0.01, 1), st.floats(0.01, 5), st.floats(0.01, 1.2), st.floats(0, 1), st.floats(0, 0.3)
)
def test_the_factors_multiply_and_the_losses_add_up(
    busy_h: float, available: float, rated: float, speed: float, quality: float, heating: float
) -> None:
    ran = busy_h * available
    made = ran * rated * speed
    found = effectiveness(busy_h, ran, rated, made, made * quality, setup=busy_h * heating)
    assert found.availability
    assert found.effectiveness
    assert found.quality is not None
    assert found.oee is not None
    assert found.nee is not None
    assert found.oee == pytest.approx(found.availability * found.effectiveness * found.quality)
    assert found.nee == pytest.approx(found.oee * (available + heating) / available)
    parts = (found.stopped, found.slow, found.off_spec, found.good)
    assert None not in parts
    assert sum(p for p in parts if p is not None) == pytest.approx(found.possible)


def test_what_is_unknown_stays_unknown_and_a_stop_is_nought() -> None:
    nothing = effectiveness(24, 0.0, 1.0, 0.0, 0.0)
    assert (nothing.availability, nothing.effectiveness, nothing.oee, nothing.stopped) == (0, None, 0, 24)
    unseen = effectiveness(24, None, 1.0, 20.0, None)
    assert (unseen.availability, unseen.quality, unseen.oee, unseen.stopped, unseen.good) == (None,) * 5
    planned_stop = effectiveness(0, 0.0, 1.0, 0.0, 0.0)
    assert (planned_stop.availability, planned_stop.oee) == (None, None)


def test_purity_is_in_mol_not_in_mass() -> None:
    assert purity({"la": 50, "ce": 50, "pr": 0, "nd": 0}, OXIDES, ["la"]) == pytest.approx(
        100 * (50 / 162.905) / (50 / 162.905 + 50 / 172.115)
    )
    assert purity({"la": 0, "ce": 0, "pr": 24.3, "nd": 75.7}, OXIDES, ["pr", "nd"]) == pytest.approx(100)
    assert purity({"la": None, "ce": 1, "pr": 1, "nd": 1}, OXIDES, ["ce"]) is None
    assert purity(dict.fromkeys(OXIDES, 0.0), OXIDES, ["ce"]) is None


def test_hours_are_judged_only_as_far_as_they_are_known() -> None:
    slots = [Slot(T, 1, 1, True, 100), Slot(T, 1, 0.5, False, 100), Slot(T, 1, 0.7, None, 50), Slot(T, 0.25, 1, True)]
    found = judged(slots)
    assert (found.good, found.bad, found.unknown) == pytest.approx((1.25, 0.5, 1.5))
    assert found.coverage == pytest.approx(1.75 / 3.25)
    assert on_spec(slots) == 0.5
    assert judged([]).share is None
    assert on_spec([]) is None


def test_planned_stops_are_not_busy_time() -> None:
    assert busy(T, T + 24 * HOUR, []) == 24
    assert busy(T, T + 24 * HOUR, [(T - HOUR, T + 6 * HOUR), (T + 3 * HOUR, T + 8 * HOUR)], 12) == 8
    assert busy(T, T + HOUR, [(T - HOUR, T + 2 * HOUR)]) == 0


def test_stops_join_and_the_worst_cause_comes_first() -> None:
    seen = [(T, None), (T + HOUR, "trip"), (T + 2 * HOUR, "trip"), (T + 3 * HOUR, None), (T + 5 * HOUR, "off")]
    found = stops("P-1", "P-1.run", seen, T + 6 * HOUR)
    assert [(s.kind, s.hours(T)) for s in found] == [("trip", 2), ("off", 1)]
    bars = pareto([*found, Stop("K-2", "off", T, None, reason="relining")], T + 4 * HOUR)
    assert [(b.cause, b.kind, b.hours, b.count) for b in bars] == [
        ("K-2", "off", 4, 1),
        ("P-1", "trip", 2, 1),
        ("P-1", "off", 1, 1),
    ]
    assert [b.cumulative for b in bars] == pytest.approx([4 / 7, 6 / 7, 1])
    assert bars[0].reasons == ("relining",)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_in_eight_days_every_crew_has_two_of_each_shift(day: date) -> None:
    plan = [[crew("ABCD", day + timedelta(days=d), shift) for shift in range(3)] for d in range(8)]
    assert all(len(set(one)) == 3 for one in plan)
    for name in "ABCD":
        assert [sum(one[shift] == name for one in plan) for shift in range(3)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ({"purity": 99.6, "loi": 0.4}, "on spec"),
        ({"purity": 99.6}, "open"),
        ({"purity": 99.4}, "off spec"),
        ({"loi": 1.01, "purity": 99.9}, "off spec"),
        ({"moisture": 3.0}, "open"),
        ({}, "open"),
    ],
)
def test_a_lot_is_on_spec_when_each_limit_has_a_result_that_meets_it(results: dict[str, float], said: str) -> None:
    assert verdict(results, {"purity": Limit(99.5, "higher"), "loi": Limit(1.0, "lower")}) == said
    assert verdict(results, {}) == "open"


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.sampled_from(["on spec", "off spec", "open"])), max_size=20))
def test_first_pass_yield_is_a_share_of_what_was_judged(lots: list[tuple[float, str]]) -> None:
    found = first_pass(lots)
    assume(found is not None)
    assert found is not None
    good = sum(kg for kg, said in lots if said == "on spec")
    assert 0 <= found <= 1
    assert found == pytest.approx(good / sum(kg for kg, said in lots if said != "open"))
