from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_apps import figures

N = "\u202f"


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (None, None, "–"),
        (float("nan"), None, "–"),
        (float("inf"), 2, "–"),
        (0.0, None, "0"),
        (-0.004, 2, "0.00"),
        (1234567.8, None, "1,234,568"),
        (432.15, None, "432.1"),
        (12.3456, None, "12.35"),
        (0.1234, None, "0.123"),
        (-5.0, 1, "\u22125.0"),
        (3.021, 2, "3.02"),
    ],
)
def test_number(value: float | None, places: int | None, text: str) -> None:
    assert figures.number(value, places) == text


@given(st.one_of(st.none(), st.floats()), st.one_of(st.none(), st.integers(0, 6)))
def test_every_number_can_be_shown(value: float | None, places: int | None) -> None:
    text = figures.number(value, places)
    assert text
    assert not text.startswith("-")


@pytest.mark.parametrize(
    ("ucum", "label"),
    [
        (None, ""), ("1", ""), ("kW.h", "kWh"), ("m3{n}", "Nm³"), ("Cel", "°C"), ("[pH]", "pH"), ("{NTU}", "NTU"),
        ("mm/s", "mm/s"), ("kV.A{reactive}", "kvar"), ("W/(m2.K)", "W/(m²·K)"), ("mol/m3", "mol/m³"), ("kg.s", "kg·s"),
    ],
)  # fmt: skip
def test_units_as_people_write_them(ucum: str | None, label: str) -> None:
    assert figures.unit(ucum) == label


def test_a_quantity_holds_number_and_unit_together() -> None:
    assert figures.quantity(1900, "kW") == f"1,900{N}kW"
    assert figures.quantity(3, "{count}") == "3.00"
    assert figures.quantity(None, "kW") == f"–{N}kW"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (60.0, "s", f"60{N}s"),
        (0.5, "s", f"0.5{N}s"),
        (None, "s", f"–{N}s"),
        (-20.0, None, "\u221220"),
        (1e7, None, "10,000,000"),
    ],
)
def test_what_was_set_is_shown_as_it_was_set(value: float | None, unit: str | None, text: str) -> None:
    assert figures.exact(value, unit) == text


@pytest.mark.parametrize(
    ("low", "high", "marks", "places"),
    [
        (0, 14, (), 2),
        (0, 110, (), 1),
        (0, 1300, (), 0),
        (0, 8, (), 3),
        (0, 0.5, (), 3),
        (None, 1, (), 2),
        (1, 1, (), 2),
        (0, 100, (49.8, 49.9, 50.0, 50.1), 2),
        (0, 1300, (925, 950, None, 975), 0),
        (0, 14, (0.5, 1.0, None, None), 2),
        (0, 100, (5.0, 5.0), 1),
        (0, 1000, (1.0, 1.0001), 3),
    ],
)
def test_decimals_of_a_range_and_its_limits(
    low: float | None, high: float | None, marks: tuple[float | None, ...], places: int
) -> None:
    assert figures.decimals(low, high, marks) == places


@pytest.mark.parametrize(
    ("part", "text"),
    [(1.0, f"100{N}%"), (0.9996, f"99{N}%"), (0.0, f"0{N}%"), (0.0004, f"<1{N}%"), (0.25, f"25{N}%"), (None, "–")],
)
def test_only_what_is_complete_reads_as_complete(part: float | None, text: str) -> None:
    assert figures.percent(part) == text


@pytest.mark.parametrize(("part", "text"), [(0.1, f"+10.0{N}%"), (-0.032, f"\u22123.2{N}%"), (None, "–")])
def test_a_change_has_a_sign(part: float | None, text: str) -> None:
    assert figures.change(part) == text


@pytest.mark.parametrize(
    ("seconds", "word"),
    [
        (None, ("age.never", 0)), (-3, ("age.now", 0)), (4.9, ("age.now", 0)), (42, ("age.s", 42)),
        (150, ("age.min", 2)), (7300, ("age.h", 2)), (200000, ("age.d", 2)),
    ],
)  # fmt: skip
def test_ages(seconds: float | None, word: tuple[str, int]) -> None:
    assert figures.age(seconds) == word


def test_times_are_those_of_the_site() -> None:
    moment = datetime(2026, 11, 21, 17, 41, 5, tzinfo=UTC)
    assert figures.clock(moment, ZoneInfo("Asia/Shanghai")) == "22 Nov 2026 01:41"
