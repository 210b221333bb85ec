from datetime import UTC, datetime

import pytest

from hefa_apps.client import Latest, Limits, Meter, Tag
from hefa_apps.live.model import flows, outside, points, search, standing, summary, telling

LIMITS = Limits(ll=1.0, l=2.0, h=8.0, hh=9.0)


def tag(
    name: str, *, line: str = "A1.L1", limits: Limits | None = None, users: str = "S", core: bool = True, **more
) -> Tag:
    more = {"kind": "gauge", "equipment": name.rpartition(".")[0], "description": name.rpartition(".")[2]} | more
    return Tag(tag=name, line=line, limits=limits, users=tuple(users), core=core, **more)


def reading(
    name: str, value: float | None, quality: int = 192, *, stale: bool = False, state: str | None = None
) -> Latest:
    return Latest(name, datetime(2026, 11, 22, tzinfo=UTC), value, quality, stale=stale, state=state)


@pytest.mark.parametrize(
    ("value", "beyond"),
    [(5.0, ""), (2.0, "l"), (2.01, ""), (1.0, "ll"), (-3.0, "ll"), (8.0, "h"), (7.99, ""), (9.0, "hh"), (99.0, "hh")],
)
def test_the_outermost_limit_counts(value: float, beyond: str) -> None:
    assert outside(value, LIMITS) == beyond


def test_limits_that_are_not_set_limit_nothing() -> None:
    assert outside(1e9, Limits()) == ""
    assert outside(1e9, None) == ""
    assert outside(0.0, Limits(l=0.0)) == "l"


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        (None, "silent"),
        (reading("t", None, 0), "bad"),
        (reading("t", 5.0, 0), "bad"),
        (reading("t", 99.0, stale=True), "stale"),
        (reading("t", 99.0), "hh"),
        (reading("t", 99.0, 64), "hh"),
        (reading("t", 5.0, 64), "uncertain"),
        (reading("t", 5.0), "ok"),
    ],
)
def test_standing(newest: Latest | None, expected: str) -> None:
    assert standing(tag("t", limits=LIMITS), newest) == expected


def test_summary_counts_what_is_there() -> None:
    tags = [tag("a", limits=LIMITS), tag("b"), tag("c"), tag("d", kind="state"), tag("e", kind="state"), tag("f")]
    latest = {
        "a": reading("a", 9.5), "b": reading("b", None, 0), "c": reading("c", 1.0, stale=True),
        "d": reading("d", 1.0, state="run"), "e": reading("e", 1.0, state="run", stale=True),
    }  # fmt: skip
    found = summary(points(tags, latest))
    assert (found.tags, found.heard, found.fresh, found.alarming, found.bad) == (6, 5, 3, 1, 1)
    assert found.states == (("run", 1),)
    assert found.freshness == 0.5
    assert summary([]).freshness is None


def test_the_wall_shows_alarms_first_and_every_line() -> None:
    tags = [tag(f"A1.L1.U{i}.ph", limits=LIMITS, users="SQ") for i in range(6)]
    tags += [tag("A1.L2.U1.flow", line="A1.L2"), tag("A1.L3.U1.temp", line="A1.L3", limits=LIMITS)]
    latest = {t.tag: reading(t.tag, 5.0) for t in tags} | {"A1.L3.U1.temp": reading("A1.L3.U1.temp", 9.5)}
    chosen = [p.tag.tag for p in telling(points(tags, latest), 4)]
    assert chosen[0] == "A1.L3.U1.temp"
    assert "A1.L2.U1.flow" in chosen
    assert len(chosen) == len(set(chosen)) == 4


def test_the_wall_shows_different_quantities_before_the_same_again() -> None:
    tags = [tag(f"A1.L1.R{i}.{what}", template="REACTOR") for what in ("ph", "temp") for i in (1, 2)]
    chosen = [p.tag.description for p in telling(points(tags, {}), 2)]
    assert sorted(chosen) == ["ph", "temp"]


def test_a_flood_of_alarms_leaves_room_for_the_rest() -> None:
    tags = [tag(f"A1.L1.U{i}.ph", limits=LIMITS) for i in range(20)] + [tag("A1.L2.U1.flow", line="A1.L2")]
    latest = {t.tag: reading(t.tag, 99.0 if t.limits else 1.0) for t in tags}
    chosen = telling(points(tags, latest), 8)
    assert sum(p.alarming for p in chosen[:4]) == 4
    assert any(p.tag.line == "A1.L2" for p in chosen)


def test_registers_states_and_secondary_tags_are_not_for_the_wall() -> None:
    tags = [tag("a", kind="counter"), tag("b", kind="state"), tag("c", core=False)]
    assert telling(points(tags, {}), 8) == []


def meter(**more: object) -> Meter:
    return Meter(
        **({"stream": "supply", "serves": "SITE", "role": "billing", "unit": "kW.h", "carrier": "electricity"} | more)
    )  # type: ignore[arg-type]


def test_a_flow_is_the_main_meter_with_its_rate() -> None:
    tags = {
        t.tag: t
        for t in (
            tag("A6.E.PM-1.e", kind="counter", unit="kW.h", meter=meter()),
            tag("A6.E.PM-1.p", unit="kW"),
            tag("A6.E.PM-2.e", kind="counter", unit="kW.h", meter=meter(parent="A6.E.PM-1.e")),
            tag("A6.E.PM-3.e", kind="counter", unit="kW.h", meter=meter(role="check")),
            tag("A6.W.WM-1.tot", kind="counter", unit="m3", meter=meter(carrier="water", unit="m3")),
            tag("A6.W.WM-2.tot", kind="counter", unit="m3", meter=meter(carrier="water", unit="m3", stream="reuse")),
            tag("A1.L.F.tot", kind="counter", unit="m3", meter=meter(carrier=None, material="HCl")),
        )
    }
    found = flows(tags, ("water", "electricity"))
    assert [(f.carrier, f.register.tag, f.rate and f.rate.tag) for f in found] == [
        ("water", "A6.W.WM-1.tot", None),
        ("electricity", "A6.E.PM-1.e", "A6.E.PM-1.p"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ph", ["A1.DISS.R-101.ph", "A1.DISS.R-102.ph"]),
        ("r-102 PH", ["A1.DISS.R-102.ph"]),
        ("dissolver 2", ["A1.DISS.R-102.ph", "A1.DISS.R-102.temp"]),
        ("Cel", ["A1.DISS.R-102.temp"]),
        ("nothing", []),
        ("", []),
        ("  ", []),
    ],
)
def test_search_needs_every_word(text: str, expected: list[str]) -> None:
    tags = [tag("A1.DISS.R-101.ph"), tag("A1.DISS.R-102.ph"), tag("A1.DISS.R-102.temp", unit="Cel")]
    names = {"A1.DISS.R-101": "Dissolver 1", "A1.DISS.R-102": "Dissolver 2"}
    assert [t.tag for t in search(tags, names, text, 10)] == expected
    assert search(tags, names, text, 0) == []
