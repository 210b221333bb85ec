"""How meters are booked: every part once, on the place it was used at, and what is left over said plainly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_platform.store.consumption import By, Meter, combine, keys, metered_by
from hefa_platform.store.series import Used

HOUR = 3600.0


def meter(
    tag_id: int,
    serves: str,
    parent: int | None = None,
    *,
    area: str | None = None,
    line: str | None = None,
    carrier: str = "water",
    factor: float = 1.0,
    unit: str = "m3",
) -> Meter:
    level = "line" if line else "area" if area else "site"
    return Meter(
        tag_id=tag_id, tag=f"M{tag_id}", carrier=carrier, material=None, stream="supply", serves=serves, level=level,
        area=area, line=line, parent=parent, role="billing", factor=factor, unit=unit,
    )  # fmt: skip


@dataclass
class Row:
    """What was used under a key in the one hour of these tests."""

    unit: str
    value: float | None
    measured: float | None
    estimated: float | None
    coverage: float


def counted(
    tag_id: int, measured: float, estimated: float = 0.0, covered_s: float = HOUR
) -> tuple[int, Sequence[float]]:
    return tag_id, (measured, estimated, 0.0, covered_s)


def rows(meters: list[Meter], by: By, told: list[tuple[int, Sequence[float]]]) -> dict[str, Row]:
    amounts = {meter.tag_id: [math.nan] * 4 for meter in meters} | dict(told)
    used = {tag_id: Used(*np.array(columns)[:, None]) for tag_id, columns in amounts.items()}
    return {
        use.key: Row(
            use.unit,
            *(None if math.isnan(v[0]) else v[0] for v in (use.value, use.measured, use.estimated)),
            use.coverage[0],
        )
        for use in combine(meters, keys(meters, by), used, [HOUR])
    }


#            10 MAIN (site)
#    4 SX (area A2)     3 A1 (area)     2 OFFICE (site)
#  1 SXA   2 SXB (lines)
SITE = [
    meter(1, "SITE"),
    meter(2, "A2", 1, area="A2"),
    meter(3, "A2.SXA", 2, area="A2", line="A2.SXA"),
    meter(4, "A2.SXB", 2, area="A2", line="A2.SXB"),
    meter(5, "A1", 1, area="A1"),
    meter(6, "SITE", 1),
]
USED = [counted(1, 10), counted(2, 4), counted(3, 1), counted(4, 2), counted(5, 3), counted(6, 2)]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("total", {"site": 10}),
        ("area", {"A1": 3, "A2": 4, "SITE": 2, "unaccounted": 1}),
        # 1 of the 4 that area A2 used went to none of its metered lines; area A1 has no meter by line.
        ("line", {"A2.SXA": 1, "A2.SXB": 2, "A1": 3, "SITE": 2, "unaccounted": 2}),
        ("meter", {"M3": 1, "M4": 2, "M5": 3, "M6": 2, "unaccounted": 2}),
    ],
)
def test_every_part_is_booked_once(by: By, expected: dict[str, float]) -> None:
    assert {key: row.value for key, row in rows(SITE, by, USED).items()} == expected


def test_what_a_silent_child_used_is_unaccounted() -> None:
    found = rows(SITE, "area", [told for told in USED if told[0] != 5])
    assert (found["A1"].value, found["unaccounted"].value) == (None, 4)
    assert found["A1"].coverage == 0.0


def test_nothing_is_known_of_the_rest_when_the_site_meter_is_silent() -> None:
    found = rows(SITE, "area", [told for told in USED if told[0] != 1])
    assert (found["A2"].value, found["unaccounted"].value) == (4, None)
    assert rows(SITE, "total", [])["site"].value is None


def test_classes_add_up_on_their_own() -> None:
    used = [counted(1, 8, 2), counted(2, 1, 3), counted(5, 3), counted(6, 2)]
    found = rows(SITE[:2] + SITE[4:], "area", used)
    assert sum(row.measured or 0 for row in found.values()) == 8
    assert sum(row.estimated or 0 for row in found.values()) == 2
    assert found["A2"].value == 4


def test_registers_count_in_the_unit_of_consumption() -> None:
    strong = [meter(1, "A1", area="A1", factor=359.04, unit="kg"), meter(2, "A2", area="A2", factor=0.5, unit="t")]
    found = rows(strong, "area", [counted(1, 2), counted(2, 3)])
    assert {key: (row.value, row.unit) for key, row in found.items()} == {
        "A1": (pytest.approx(718.08), "kg"),
        "A2": (pytest.approx(1500), "kg"),
    }


def test_coverage_is_that_of_all_meters_behind_a_row() -> None:
    used = [counted(1, 10, covered_s=HOUR), counted(2, 4, covered_s=HOUR / 2), counted(5, 3), counted(6, 2)]
    found = rows(SITE[:2] + SITE[4:], "area", used)
    assert found["A2"].coverage == 0.5
    assert found["unaccounted"].coverage == pytest.approx((1 + 0.5 + 1 + 1) / 4)


@pytest.mark.parametrize(("by", "told"), [("total", True), ("area", True), ("line", False), ("meter", True)])
def test_metered_by(by: By, told: bool) -> None:
    assert metered_by([SITE[0], SITE[4]], by) is told
    assert metered_by([], by) is False


@given(
    parents=st.lists(st.integers(0, 20), min_size=1, max_size=20),
    amounts=st.lists(st.integers(0, 1000), min_size=21, max_size=21),
    areas=st.lists(st.sampled_from([None, "A1", "A2"]), min_size=21, max_size=21),
)
def test_rows_add_up_to_the_total_whatever_the_tree(
    parents: list[int], amounts: list[int], areas: list[str | None]
) -> None:
    meters = [meter(0, "SITE")]
    for tag_id, parent in enumerate(parents, start=1):
        area = areas[tag_id]
        meters.append(meter(tag_id, area or "SITE", parent % tag_id, area=area))
    used = [counted(m.tag_id, amounts[m.tag_id]) for m in meters]
    for by in ("total", "area", "line", "meter"):
        assert sum(row.value or 0 for row in rows(meters, by, used).values()) == amounts[0]
