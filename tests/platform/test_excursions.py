"""When a value is beyond its limits: the domain's vectors, and any cutting of the time gives the same."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefa_platform.store.excursions import Active, Change, Excursion, Rule, Zones, excursions, rules_of

S = 1_000_000
HIGH = Rule("h", 10.0, 1.0, 5 * S, 10 * S, "low")


def found(*readings: tuple[float, float | None], rules: tuple[Rule, ...] = (HIGH,), end: float = 100) -> list[tuple]:
    """Excursions of (second, value) readings as (level, crossed, raised, returned) in seconds."""
    zones = Zones.of(rules)
    changes = [
        Change(round(t * S), None if v is None else zones.zone(v), math.nan if v is None else v) for t, v in readings
    ]
    return [
        (e.level, e.crossed / S, e.raised / S, None if e.returned is None else e.returned / S)
        for e in excursions(zones, changes, 0, round(end * S), {})
    ]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([(0, 9), (20, 11), (23, 9)], []),  # 3 s with a delay of 5 s
        ([(0, 9), (20, 11), (26, 9)], [("h", 20, 25, 36)]),  # 6 s; inside by the deadband for 10 s
        ([(0, 9), (20, 11), (26, 9.5)], [("h", 20, 25, None)]),  # below the limit, not by the deadband
        ([(0, 9), (20, 11), (30, 9), (35, 9.5), (40, 9)], [("h", 20, 25, 50)]),  # out of the deadband: counted anew
        ([(0, 9), (20, 11), (24, 9.9), (25, 11)], [("h", 25, 30, None)]),  # interrupted: counted anew
        ([(0, 9), (20, 10.0)], []),  # on the limit is not beyond it
        ([(0, 9), (20, 11), (22, None), (24, 11)], [("h", 24, 29, None)]),  # unknown: counted anew
        ([(0, 9), (20, 11), (30, None), (60, 9)], [("h", 20, 25, 70)]),  # unknown ends nothing
        ([(0, 11)], [("h", 0, 5, None)]),
        ([(98, 11)], []),  # 2 s before the end: not yet
        ([], []),
    ],
)
def test_one_limit(readings: list[tuple[float, float | None]], expected: list[tuple]) -> None:
    assert found((-1, 9), *readings) == expected


def test_each_limit_is_an_alarm_of_its_own() -> None:
    rules = (
        Rule("ll", 1, 0.5, 0, 0, "medium"), Rule("l", 2, 0.5, 0, 0, "low"),
        Rule("h", 8, 0.5, 0, 0, "low"), Rule("hh", 9, 0.5, 0, 0, "medium"),
    )  # fmt: skip
    assert found((0, 5), (10, 8.5), (20, 9.5), (30, 8.6), (40, 8.4), (50, 7.5), (60, 0.5), (70, 1.5), (80, 2.5), rules=rules) == [
        ("ll", 60, 60, 70), ("l", 60, 60, 80), ("h", 10, 10, 50), ("hh", 20, 20, 40),
    ]  # fmt: skip


numbers = st.one_of(st.none(), st.floats(7, 12), st.sampled_from([9.0, 9.5, 10.0, 10.5, 11.0]))
series = st.lists(st.tuples(st.integers(1, 12), numbers), max_size=40)


@settings(max_examples=150, deadline=None)
@given(series, st.lists(st.integers(0, 300), max_size=6), st.integers(0, 8), st.integers(0, 15))
def test_any_cutting_of_the_time_gives_the_same(
    steps: list[tuple[int, float | None]], cuts: list[int], on_s: int, off_s: int
) -> None:
    """As maintain does it: begin with what was active, and with the readings of the longest delay before."""
    zones = Zones.of([Rule("h", 10, 1, on_s * S, off_s * S, "low"), Rule("l", 8, 0.5, off_s * S, on_s * S, "low")])
    changes, now = [], 0
    for wait, value in steps:
        now += wait * S
        changes.append(Change(now, None if value is None else zones.zone(value), math.nan if value is None else value))
    end = now + 30 * S
    whole = excursions(zones, changes, 0, end, {})
    memory = max(on_s, off_s) * S
    pieces: list[Excursion] = []
    edges = sorted({0, end, *(cut * S for cut in cuts if cut * S < end)})
    for start, stop in pairwise(edges):
        active = {
            e.level: Active(e.crossed, e.raised, e.value)
            for e in pieces
            if e.raised <= start and (e.returned is None or e.returned > start)
        }
        first = max((n for n, change in enumerate(changes) if change.ts <= start - memory), default=0)
        seen = [change for change in changes[first:] if change.ts <= stop]
        for e in excursions(zones, seen, start, stop, active):
            same = [n for n, p in enumerate(pieces) if p.level == e.level and p.crossed == e.crossed]
            if same:
                pieces[same[0]] = e
            else:
                pieces.append(e)

    def plain(excursions: list[Excursion]) -> list[tuple]:
        return sorted((e.level, e.crossed, e.raised, e.returned) for e in excursions if e.raised < end)

    assert plain(pieces) == plain(whole)


@given(st.floats(-20, 20, allow_nan=False), st.floats(0, 4), st.sampled_from(["ll", "l", "h", "hh"]))
def test_zones_say_what_the_rule_says(limit: float, deadband: float, level: str) -> None:
    rule = Rule(level, limit, deadband, 0, 0, "low")
    zones = Zones.of([rule, Rule("h", 3.0, 1.0, 0, 0, "low")])
    edge = limit - deadband if level in ("h", "hh") else limit + deadband
    for value in (limit, edge, limit + 1e-9, limit - 1e-9, edge + 1e-9, edge - 1e-9, -1e9, 1e9, 3.0):
        assert zones.statuses[0][zones.zone(value)] == rule.status(value)


TAG = {"name": "A.T.lvl", "template": "TANK", "suffix": "lvl", "area": "A", "ll": None, "l": 20.0, "h": 85.0, "hh": 93.0,
       "low": 0.0, "high": 100.0, "normal": 55.0}  # fmt: skip
NONE = dict.fromkeys(
    ("tag", "template", "suffix", "area", "priority", "on_delay_s", "off_delay_s", "deadband_percent", "enabled")
)


def test_rules_come_from_the_limits_and_the_setting() -> None:
    setting = {
        "on_delay_s": 5, "off_delay_s": 10, "deadband_percent": 2, "priorities": {"hh": "medium"},
        "rules": [
            {**NONE, "limits": ["hh"], "template": "TA*", "priority": "high"},
            {**NONE, "limits": ["hh", "h"], "suffix": "lvl", "priority": "low", "on_delay_s": 60.0},
            {**NONE, "limits": ["l"], "tag": "A.T.*", "enabled": False},
            {**NONE, "limits": ["h"], "area": "B", "enabled": False},
        ],
    }  # fmt: skip
    assert rules_of(TAG, setting) == [
        Rule("h", 85, 2, 60 * S, 10 * S, "low"), Rule("hh", 93, 2, 60 * S, 10 * S, "high"),
    ]  # fmt: skip
    assert [rule.deadband for rule in rules_of({**TAG, "normal": 84.0}, setting)] == [0.5, 2], (
        "an alarm must be able to end"
    )
    assert [rule.deadband for rule in rules_of({**TAG, "low": None}, setting)] == [0, 0]
