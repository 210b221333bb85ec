from datetime import UTC, datetime, timedelta

import pytest

from hefa_apps.energy.model import Load, load, rate_unit
from hefa_apps.usage import Bar, Stack

START = datetime(2026, 11, 22, tzinfo=UTC)


def stack(*cells: tuple[float | None, float | None, bool], minutes: int = 15) -> Stack:
    step = timedelta(minutes=minutes)
    bars = tuple(Bar(START + i * step, START + (i + 1) * step, whole) for i, (_, _, whole) in enumerate(cells))
    return Stack(bars, {"A1": tuple(c[0] for c in cells), "A2": tuple(c[1] for c in cells)})


def test_load_is_a_rate_per_hour() -> None:
    found = load(stack((100.0, 300.0, True), (100.0, 400.0, True), (50.0, 250.0, True)))
    assert found == Load(2000.0, START + timedelta(minutes=15), 1200.0, 1600.0)
    assert found.factor == 0.8


@pytest.mark.parametrize(
    "cells",
    [[], [(1.0, 1.0, False)], [(None, None, True)], [(None, None, True), (5.0, 5.0, False)]],
)
def test_no_whole_known_bar_is_no_load(cells: list[tuple[float | None, float | None, bool]]) -> None:
    assert load(stack(*cells)) is None


def test_a_bar_that_the_period_cuts_is_no_lowest_load() -> None:
    found = load(stack((1.0, 1.0, True), (0.1, 0.1, False)))
    assert found is not None
    assert found.base == found.peak == 8.0


def test_nothing_used_has_no_load_factor() -> None:
    found = load(stack((0.0, 0.0, True)))
    assert found is not None
    assert found.factor is None


@pytest.mark.parametrize(
    ("unit", "rate"), [("kW.h", "kW"), ("MW.h", "MW"), ("m3", "m3/h"), ("m3{n}", "m3{n}/h"), ("t", "t/h")]
)
def test_energy_per_hour_is_power(unit: str, rate: str) -> None:
    assert rate_unit(unit) == rate
