from dataclasses import dataclass

import pytest

from hefa_apps.material.model import mass, specific, subscript
from hefa_apps.usage import Amount


@dataclass(frozen=True)
class Total:
    subject: str
    value: float | None
    unit: str = "kg"

    @property
    def amount(self) -> Amount:
        return Amount(self.value)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (9999.0, "kg", (9999.0, "kg")),
        (10000.0, "kg", (10.0, "t")),
        (-12000.0, "kg", (-12.0, "t")),
        (None, "kg", (None, "kg")),
        (50000.0, "m3", (50000.0, "m3")),
    ],
)
def test_mass(value: float | None, unit: str, shown: tuple[float | None, str]) -> None:
    assert mass(value, unit) == shown


def test_specific_use_divides_sums() -> None:
    found = specific([Total("HCl", 1770.0), Total("NaOH", 1140.0), Total("REO", 1000.0), Total("water", 5.0, "m3")])
    assert found == {"HCl": 1770.0, "NaOH": 1140.0}


@pytest.mark.parametrize("fed", [[], [Total("REO", 0.0)], [Total("REO", None)], [Total("REO", -1.0)]])
def test_without_feed_there_is_no_specific_use(fed: list[Total]) -> None:
    assert specific([Total("HCl", 1.0), *fed]) == {}


@pytest.mark.parametrize(
    ("formula", "low"),
    [
        ("HCl", []), ("Na2CO3", ["2", "3"]), ("NH4HCO3", ["4", "3"]), ("RE2(CO3)3", ["2", "3", "3"]), ("C12H22", ["12", "22"]),
        ("31 % acid", []), ("PrNd oxide", []), ("", []),
    ],
)  # fmt: skip
def test_indices_are_set_low(formula: str, low: list[str]) -> None:
    parts = subscript(formula)
    assert "".join(text for text, _ in parts) == formula
    assert [text for text, is_low in parts if is_low] == low
