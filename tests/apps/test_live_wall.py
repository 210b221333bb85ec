"""Flowsheet, cascades and tanks: what is drawn and what is said of it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_apps.client import Catalogue, Latest, Limits, Node, Root, Series, Tag
from hefa_apps.live.cascade import medians, moves, profile, trailing
from hefa_apps.live.flowsheet import LayoutError, checked, rounded, sheet
from hefa_apps.live.model import Point, points
from hefa_apps.live.tanks import slope, tanks
from hefa_apps.live.wall import read_layout

NOW = datetime(2026, 11, 22, 9, 40, tzinfo=UTC)
MINUTE = 60_000_000


def tag(name: str, **more: Any) -> Tag:
    area, line, unit, _ = name.split(".")
    about = {"kind": "gauge", "unit": "[pH]", "area": area, "line": f"{area}.{line}", "template": "MS_STAGE"}
    return Tag(name, equipment=f"{area}.{line}.{unit}", **{**about, **more})


def joined(*found: tuple[Tag, float | None]) -> dict[str, Point]:
    latest = {t.tag: Latest(t.tag, NOW, v, 192 if v is not None else 0) for t, v in found}
    return {p.tag.tag: p for p in points([t for t, _ in found], latest)}


def plant(*tags: Tag) -> Catalogue:
    lines = tuple(Node(n, "line", f"A2.{n}", f"line {n}") for n in ("SXA", "SXB"))
    site = Node("S", "site", "S", children=(Node("A2", "area", "A2", children=lines),))
    return Catalogue(Root("E", "enterprise", "E", children=(site,)), {t.tag: t for t in tags})


def series(name: str, values: list[float | None], step: int = 15) -> Series:
    return Series(name, "mean", tuple(i * step * MINUTE for i in range(len(values))), tuple(values))


STAGES = {"at": "A2.SXA", "template": "MS_STAGE", "stages": 5, "feed": 3, "key": ["nd"], "analysers": {"AN-1": 5}}


def stage(number: int, normal: float = 1.0) -> Tag:
    return tag(f"A2.SXA.MS-A{number:02}.ph", normal=normal, limits=Limits(0.4, 0.7, normal + 0.2, normal + 0.6))


def test_a_profile_counts_deviations_in_tolerances() -> None:
    one, two, three = stage(1), stage(3), stage(5)
    there = plant(one, two, three)
    found = profile("A", STAGES, there, joined((one, 1.2), (two, 1.0), (three, None)))
    assert found
    assert [s.number for s in found.stages] == [1, 2, 3, 4, 5]
    assert (found.measured, found.known) == (3, 2)
    assert found.stages[0].deviation == pytest.approx(1.0)
    assert found.stages[4].deviation is None
    assert found.distance == pytest.approx((1.0 / 2) ** 0.5)
    assert found.farthest is found.stages[0]


def test_the_reference_may_be_a_period() -> None:
    one = stage(1)
    reference = medians([series(one.tag, [1.1, None, 1.3, 1.2]), series("other", [None])])
    assert reference == {one.tag: 1.2}
    found = profile("A", STAGES, plant(one), joined((one, 1.2)), reference)
    assert found
    assert found.distance == pytest.approx(0)


def test_a_cascade_that_the_plant_does_not_have_is_none_and_an_unknown_one_has_no_distance() -> None:
    assert profile("A", {**STAGES, "at": "A9.SXA"}, plant(), {}) is None
    found = profile("A", STAGES, plant(), {})
    assert found
    assert found.distance is None
    assert found.farthest is None


def test_composition_is_told_only_when_every_part_is_known() -> None:
    shares = {e: tag(f"A2.SXA.AN-1.{e}", template="ANALYSER", unit="%", normal=n) for e, n in (("pr", 25), ("nd", 74))}
    found = profile("A", STAGES, plant(*shares.values()), joined((shares["pr"], 24.0), (shares["nd"], 75.0)))
    assert found
    assert found.samples[0].share(("pr", "nd")) == 99.0
    assert found.samples[0].normal(("pr", "nd")) == 99
    assert found.samples[0].share(("la",)) is None


QUIET = [1.0, 1.01, 0.99, 1.0, 1.01, 0.99, 1.0, 1.0]


@pytest.mark.parametrize(
    ("values", "since"),
    [
        ([*QUIET, 1.3, 1.3, 1.3, 1.31], 8),  # a step that stays
        ([*QUIET, 1.3, 1.3, 1.0, 1.0], None),  # it came back
        ([*QUIET, 1.0, 1.0, 1.3, 1.3], None),  # too short to be told from an accident
        ([*QUIET, None, 1.3, 1.3, 1.3], 9),
        ([*QUIET, 1.02, 1.01, 1.02, 1.02], None),  # within its noise
        ([1.0, 1.3], None),
        ([None] * 12, None),
    ],
)
def test_a_stage_moved_when_it_left_and_stays_away(values: list[float | None], since: int | None) -> None:
    found = moves([series("a", values)], {"a": 4})
    assert [(m.number, m.ts) for m in found] == ([] if since is None else [(4, since * 15 * MINUTE)])


def test_the_first_to_leave_comes_first() -> None:
    found = moves(
        [series("a", [*QUIET, 1.0, 1.3, 1.3, 1.3]), series("b", [*QUIET, 0.6, 0.6, 0.6, 0.6])], {"a": 3, "b": 9}
    )
    assert [m.number for m in found] == [9, 3]
    assert found[0].before == pytest.approx(1.0)
    assert found[0].now == 0.6


@pytest.mark.parametrize(("name", "number"), [("A2.SXA.MS-A27", 27), ("MS-B01", 1), ("weir", 0), ("", 0)])
def test_the_number_of_a_stage(name: str, number: int) -> None:
    assert trailing(name) == number


def level(name: str = "TK-1", **more: Any) -> Tag:
    about = {"template": "TANK", "unit": "%", "low": 0.0, "high": 100.0, "limits": Limits(10, 20, 85, 93)}
    return tag(f"A2.SXA.{name}.lvl", **{**about, **more})


@pytest.mark.parametrize(
    ("now", "rate", "hours", "limit"), [(53.0, 4.0, 10.0, 93), (50.0, -2.0, 20.0, 10), (50.0, 0.0, None, None), (95.0, 4.0, 0.0, 93)]
)  # fmt: skip
def test_hours_to_full_and_empty(now: float, rate: float, hours: float | None, limit: float | None) -> None:
    one, volume = level(), tag("A2.SXA.TK-1.vol", template="TANK", unit="m3", high=50.0)
    trend = series(one.tag, [now - rate * (60 - i) / 60 for i in range(60)], step=1)
    (tank,) = tanks(joined((one, now), (volume, now / 2)), [trend])
    assert tank.hours == (None if hours is None else pytest.approx(hours, rel=1e-6))
    assert tank.limit == limit
    assert tank.flow == pytest.approx(rate / 2, abs=1e-9)
    assert tank.filling == (rate > 0)


def test_a_tank_without_limits_fills_to_its_range_and_one_without_readings_has_no_hours() -> None:
    one, two = level(limits=None), level("TK-2")
    found = tanks(
        joined((one, 50.0), (two, None)),
        [series(one.tag, [40.0, 42.5, 45.0, 47.5, 50.0]), series(two.tag, [1.0, 2.0, 3.0, 4.0, 5.0])],
    )
    assert [(t.name, t.limit) for t in found if t.hours] == [("TK-1", 100.0)]


@given(st.lists(st.floats(0, 100), min_size=5, max_size=40), st.floats(-5, 5))
def test_a_slope_is_that_of_the_whole_not_of_one_reading(noise: list[float], rate: float) -> None:
    values: list[float | None] = [50 + rate * i for i in range(24)]
    values[11] = noise[0]  # one wild reading
    found = slope(series("a", values, step=60))
    assert found == pytest.approx(rate, abs=max(1e-6, abs(rate) * 0.2))


def test_a_level_that_only_trembles_stands() -> None:
    levels: list[float | None] = [50.0, 50.4, 49.8, 50.5, 49.9, 50.3, 50.1, 50.6, 49.7, 50.4, 50.0, 50.5]
    assert slope(series("a", levels)) == 0.0
    assert slope(series("a", [50.0 + i for i in range(12)])) > 0


def test_too_few_levels_say_nothing() -> None:
    assert slope(series("a", [1.0, None, 2.0, 3.0, 4.0])) is None


def test_pipes_turn_round() -> None:
    assert rounded([[0, 0], [100, 0], [100, 50]]) == "M0 0L91 0Q100 0 100 9L100 50"
    assert rounded([[0, 0], [10, 0], [10, 50]]) == "M0 0L5 0Q10 0 10 9L10 50"  # at most half way
    with pytest.raises(LayoutError):
        rounded([[0, 0]])


def test_the_layout_draws_what_the_plant_has() -> None:
    ph = tag("A2.SXA.R-1.ph")
    layout = {
        "sheet": [400, 300],
        "blocks": {
            "A": {"at": "A2.SXA", "x": 1, "y": 2, "show": ["R-1.ph", "R-1.nothing"]},
            "B": {"at": "A2.SXB", "x": 3, "y": 4},
            "C": {"at": "A9.NONE", "x": 5, "y": 6},
        },
        "pipes": [{"of": "la", "ends": ["A", "B"], "points": [[0, 0], [1, 0]]}, {"of": "ce", "ends": ["B", "C"], "points": [[0, 0], [1, 0]]}],
    }  # fmt: skip
    drawn = sheet(layout, plant(ph), joined((ph, 7.0)))
    assert [b.name for b in drawn.blocks] == ["A", "B"]
    assert [p.tag.tag for p in drawn.blocks[0].points] == ["A2.SXA.R-1.ph"]
    assert [pipe.of for pipe in drawn.pipes] == ["la"]
    assert drawn.carriers == ("la",)


def test_a_plant_that_the_layout_does_not_know_is_drawn_by_its_lines() -> None:
    ph = tag("A2.SXA.R-1.ph", core=True)
    drawn = sheet(read_layout(), plant(ph), joined((ph, 7.0)))
    assert [b.path for b in drawn.blocks] == ["A2.SXA", "A2.SXB"]
    assert drawn.blocks[0].points
    assert drawn.pipes == ()


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ({"blocks": {"A": {"at": "A2.SXA", "y": 2}}}, "block A needs a whole number as x"),
        ({"blocks": {"A": {"at": "A2.SXA", "x": 1, "y": 2}}, "pipes": [{"ends": ["A", "Z"]}]}, "pipe 1 needs two ends"),
        ({"blocks": {"A": {"at": "A9.NONE", "x": 1, "y": 2}}, "pipes": [{"ends": ["A", "A"]}]}, "two points or more"),
        ({"blocks": [1]}, "blocks must be tables"),
        ({"cascades": {"SXA": {"at": "A2.SXA", "stages": 9}}}, "cascade SXA needs template, feed, key"),
    ],
)
def test_a_wrong_layout_says_what_is_wrong(layout: dict[str, Any], says: str) -> None:
    """Whether or not the plant has the places that it speaks of."""
    with pytest.raises(LayoutError, match=says):
        checked(layout)


def test_every_place_of_the_layout_is_in_the_plant(plant) -> None:
    layout = read_layout()
    paths = {".".join(name.split(".")[:2]) for name in plant.tags}
    for name, block in layout["blocks"].items():
        assert block["at"] in paths, name
        assert {f"{block['at']}.{show}" for show in block.get("show", ())} <= set(plant.tags), name
    for said in layout["cascades"].values():
        assert {f"{said['at']}.{unit}.nd" for unit in said["analysers"]} <= set(plant.tags)
