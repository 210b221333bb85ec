"""The plant's own balances, water, salts, doses and advice, from a made-up day whose truth is known."""

from datetime import UTC, datetime, timedelta

import pytest

from hefa_apps.material.advice import Cascade, Prices, Steady, at, scrub, soap
from hefa_apps.material.balance import (
    ALL,
    balances,
    instruments,
    out_over_in,
    plant_yield,
    recovery,
    stored,
    suspected,
)
from hefa_apps.material.diagram import BOX, diagram
from hefa_apps.material.doses import doses, mean_oxide
from hefa_apps.material.measured import step_for
from hefa_apps.material.network import Network, Node, Stream
from hefa_apps.material.plant import plan
from hefa_apps.material.salts import salt
from hefa_apps.material.seen import Seen
from hefa_apps.material.water import water

HOURS = 24
BEGUN = datetime(2026, 3, 2, tzinfo=UTC)
SHARES = {  # % of REO by analyser: La, Ce, Pr, Nd
    "A1-FEED.DISS.AN-141": (27.0, 50.5, 5.5, 17.0),
    "A2-SX.SXA.AN-221": (34.8387, 65.1613, 0.0, 0.0),
    "A2-SX.SXA.AN-223": (0.0, 0.0, 24.4444, 75.5556),
    "A2-SX.SXB.AN-224": (100.0, 0.0, 0.0, 0.0),
    "A2-SX.SXB.AN-226": (0.0, 100.0, 0.0, 0.0),
}
# kg REO/h in each stream: what is fed is parted into La, Ce and PrNd, all of it
FLOWS = {
    "carbonate": 1260.0, "liquor": 1260.0, "raffinate": 976.5, "prnd": 283.5, "ce": 636.3, "la": 340.2,
    "prnd-burnt": 283.5, "ce-burnt": 636.3, "PrNd oxide": 283.5, "CeO2": 636.3, "brine": 0.36,
}  # fmt: skip
STRENGTH = {"liquor": 200.0, "raffinate": 91.0, "prnd": 229.0, "ce": 232.0, "la": 29.0, "brine": 30.0}


def day(wrong: dict[str, float] | None = None, more: dict[str, float] | None = None) -> Seen:
    """A steady day. `wrong` multiplies what an instrument shows, `more` are further instruments with their rate."""
    wrong, rates, gauges = wrong or {}, dict[str, float](), dict[str, float]()
    for flow in plan().flows:
        for i, term in enumerate(flow.terms):
            # a second meter of a stream (scrub acid) brings a tenth, two weighers a half each
            part = 0.5 if flow.name == "carbonate" else (0.9, 0.1)[i] if len(flow.terms) > 1 else 1.0
            rate = FLOWS[flow.name] * part / STRENGTH.get(flow.name, 1.0) / term.factor
            (gauges if term.rate else rates)[term.tag] = rate
        if flow.strength:
            gauges[flow.strength.tag] = STRENGTH[flow.name]
    feed_b = rates["A2-SX.SXB.FIC-B-feed.tot"] = FLOWS["raffinate"] / STRENGTH["raffinate"]
    rates["A2-SX.SXB.FIC-B-scrub.tot"] = FLOWS["la"] / STRENGTH["la"] - feed_b
    for analyser, shares in SHARES.items():
        gauges |= {f"{analyser}.{s}": v for s, v in zip(("la", "ce", "pr", "nd"), shares, strict=True)}
    for tag, value in (more or {}).items():
        (rates if tag.endswith(("tot", ".mass")) else gauges)[tag] = value
    levels = {tag: STRENGTH.get("liquor", 0) if tag.endswith("reo") else 55.0 for tag in instruments(plan())[2]}
    levels |= {"A5-WWT.WT.TK-531.lvl": 50.0, "A5-WWT.WT.TK-532.lvl": 50.0}
    hours = (1.0,) * HOURS
    return Seen(
        hours,
        tuple(BEGUN + timedelta(hours=k) for k in range(HOURS)),
        {tag: (rate * wrong.get(tag, 1.0),) * HOURS for tag, rate in rates.items()},
        {tag: (value * wrong.get(tag, 1.0),) * HOURS for tag, value in gauges.items()},
        dict.fromkeys((*rates, *gauges), hours),
        levels,
        levels,
        dict.fromkeys((*rates, *gauges), 1.0),
    )


def test_a_good_day_closes() -> None:
    by = balances(plan(), day())
    for species, told in by.items():
        assert told.found is not None
        assert told.found.accepted, species
        assert told.found.chi2 < 0.5
        assert suspected(told.found) == []
    assert sum(by[e.name].amounts["liquor"].value or 0.0 for e in plan().elements) == pytest.approx(24 * 1260)
    whole = by[ALL].found
    assert whole is not None
    assert whole.value["La carbonate"] == pytest.approx(24 * (340.2 - 0.36), rel=1e-3)  # nothing weighs it
    told = plant_yield(plan(), by[ALL])
    assert told.value == pytest.approx(1 - 0.36 / 1260, abs=2e-5)
    for of in plan().recoveries:
        assert recovery(of, by, "liquor").value == pytest.approx(1.0, abs=2e-3)
        raw = out_over_in(of, by, "liquor", ())
        assert raw.value == pytest.approx(1.0, abs=1e-3)
        assert raw.sd is not None
        assert 0 < raw.sd < 0.02


@pytest.mark.parametrize(
    ("tag", "stream", "shows"),
    [
        ("A2-SX.SXA.FIC-A-feed.tot", "liquor", 1.03),
        ("A1-FEED.DISS.AN-141.reo", "liquor", 0.97),
        ("A2-SX.SXB.FIC-B-strip.tot", "ce", 1.05),
        ("A4-CALC.RK1.RKN-402.rate", "ce-burnt", 1.03),
        ("A4-CALC.PACK.PK-421.mass", "PrNd oxide", 1.03),
    ],
)
def test_a_meter_that_shows_too_much_is_suspected(tag: str, stream: str, shows: float) -> None:
    """A few percent on one instrument: the balance of all oxide names its stream in its first group."""
    told = balances(plan(), day({tag: shows}))[ALL]
    assert told.found is not None
    first = suspected(told.found)[0]
    assert stream in first.streams
    assert tag in [t for name in first.streams for t in _tags(name)]


def _tags(name: str) -> tuple[str, ...]:
    return next((flow.tags for flow in plan().flows if flow.name == name), ())


@pytest.mark.parametrize(("hours", "believed"), [(1, (0.0, 0.1)), (24, (0.8, 1.0))])
def test_a_stock_is_volume_and_as_much_strength_as_is_no_noise(hours: int, believed: tuple[float, float]) -> None:
    """An hour apart two analyses differ by their noise; a day apart the liquor is another one."""
    tanks = plan().stocks[0]

    def ends(level: float, strength: float) -> dict[str, float]:
        return dict.fromkeys(tanks.tanks, level) | {tanks.strength: strength}

    def rise(level: float, strength: float) -> tuple[float, float]:
        seen = Seen((1.0,) * hours, first=ends(55.0, 200.0), last=ends(level, strength))
        told = stored(tanks, seen, None)
        assert told.value is not None
        assert told.sd is not None
        return told.value, told.sd

    least, most = believed
    value, sd = rise(55.0, 202.0)
    assert least <= value / (3 * 27.5 * 2.0) <= most
    assert abs(value) <= 3 * sd
    assert rise(56.0, 200.0)[0] == pytest.approx(3 * 0.5 * 200.0)


def test_what_is_silent_is_not_nought() -> None:
    by = balances(plan(), Seen())
    assert {told.found for told in by.values()} == {None}
    assert {a.value for a in by[ALL].amounts.values()} == {None}
    assert all(a.why for a in by[ALL].amounts.values())
    assert plant_yield(plan(), by[ALL]).value is None
    assert [step_for(h) for h in (1, 24, 24 * 30)] == ["15m", "1h", "plantday"]


def test_the_plan_is_one_network() -> None:
    """Every name of a node is a stream, a stock or a hold-up, each at most once on a side; the drawing holds them all."""
    names = [x.name for x in (*plan().flows, *plan().stocks, *plan().holdups)]
    nodes = tuple(Node(p.name, p.enters, p.leaves) for p in plan().parts)
    assert Network(tuple(Stream(n, None) for n in names), nodes)
    drawn = diagram(plan().parts, [flow.name for flow in plan().flows])
    assert {link.name for link in drawn.links} == {flow.name for flow in plan().flows}
    for one in drawn.boxes:
        assert 0 <= one.x <= drawn.width - BOX[0]
        assert 0 <= one.y <= drawn.height - BOX[1]


def test_water_says_both_shares_and_what_limits_them() -> None:
    table = plan().more["water"]
    more = {
        table["fresh"]["tag"]: 10.5, table["reuse"]["tag"]: 16.0, table["discharge"]["tag"]: 2.0,
        table["loop"]["tag"]: 90.0, **dict(zip((u["tag"] for u in table["users"]), (1.5, 1.0, 3.5, 3.2), strict=True)),
    }  # fmt: skip
    told = water(table, day(more=more))
    assert told.process == pytest.approx(16 / 26.5)
    assert told.with_loop == pytest.approx(106 / 116.5)
    assert told.open == pytest.approx(24 * 8.5)
    assert told.unmetered == pytest.approx(24 * 1.3)
    assert told.process_sd == pytest.approx(2**0.5 * 0.01 * 16 * 10.5 / 26.5**2)
    worse = {**table, "fresh": {**table["fresh"], "u": 0.05}}
    assert water(worse, day(more=more)).limits == table["fresh"]["tag"]
    silent = water(table, day())
    assert (silent.process, silent.limits, silent.open) == (None, None, None)


def test_salts_add_up() -> None:
    table = plan().more["salts"]["NH4Cl"]
    rates = {table["salt"]: 270.0, table["feed"]: 2.5, "A5-WWT.OUT.EM-551.tot": 2.0, "A5-WWT.OUT.EM-551.nh3n": 6.0}
    told = salt("NH4Cl", table, {"NH4HCO3": 9600.0}, day(more=rates))
    assert told.generated == pytest.approx(9600 * 53.49 / 79.056, rel=1e-3)
    assert told.recovered == pytest.approx(24 * 270)
    assert told.stored == 0
    assert told.discharged == pytest.approx(48 * 6 / 1000 * 53.49 / 14.007, rel=1e-3)
    parts = [told.recovered, told.stored, told.discharged, told.open]
    assert sum(p or 0.0 for p in parts) == pytest.approx(told.generated)
    assert salt("NH4Cl", table, {}, day(more=rates)).open is None


def test_doses_against_stoichiometry() -> None:
    """Three mol of hydrogen carbonate per mol of PrNd and five percent more, shift by shift."""
    seen = day()
    oxide = mean_oxide(plan(), seen, "A2-SX.SXA.AN-223")
    assert oxide == pytest.approx(168.73, abs=0.05)
    need = 283.5 / (oxide or 1) * 3 * 79.056
    seen = day(more={"A3-PPT.PN.AIC-PN.tot": 1.05 * need / 209.5})
    zone = timedelta(hours=8)

    def shift(moment: datetime) -> datetime:
        local = moment + zone
        return local.replace(hour=local.hour // 8 * 8, minute=0) - zone

    found = [one for one in doses(plan(), seen, shift, BEGUN + timedelta(hours=24)) if one.name == "bicarbonate"]
    assert [(one.end - one.start) / timedelta(hours=1) for one in found] == [8, 8, 8]
    for one in found:
        assert one.ratio == pytest.approx(1.05)
        assert one.over == pytest.approx(0.05 * 8 * need)
    assert all(one.over is None for one in doses(plan(), seen, shift, BEGUN) if one.name == "soda-la")


STEADY = Steady((5.0, 6.0, 7.0), (1.0315, 0.1341, 0.0340), (96.449, 99.538, 99.883), 99.5)
PRICES = Prices(900 / 1000 / 0.32, 300 / 1000 / 0.31, 450.0)


def cascade(w: float = 5.316, fz: float = 1.684, sd: float = 0.01, s: float = 7.0) -> Cascade:
    return Cascade((s, sd), (fz, sd), 5.797, (w, sd), 3 * w / 3.5, 3.5, 168.7)


@pytest.mark.parametrize(
    ("now", "verdict", "reason"),
    [
        (cascade(), "no_change", "within"),
        (cascade(fz=1.600, sd=0.1), "no_change", "within"),
        (cascade(fz=1.600), "change", "too_little"),
        (cascade(fz=1.768), "change", "too_much"),
        (cascade(w=5.310, sd=0.0001), "no_change", "still_pure"),
        (cascade(fz=8.0), "unknown", "no_soap"),
    ],
)
def test_scrub_law(now: Cascade, verdict: str, reason: str) -> None:
    told = scrub(now, PRICES, 99.5)
    assert (told.verdict, told.reason) == (verdict, reason)


def test_scrub_law_worked_example() -> None:
    """Five percent less PrNd in the feed: W* 5.400, 4.63 m3/h."""
    told = scrub(cascade(fz=1.600), PRICES, 99.5)
    assert told.advised == pytest.approx(4.629, abs=1e-3)
    assert told.low is not None
    assert told.high is not None
    assert told.low < told.advised < told.high


def test_less_soap_is_even_at_these_prices() -> None:
    """The worked example: 120 kg of caustic and 109 of acid saved against a kilogram of PrNd oxide lost."""
    told = soap(cascade(), STEADY, PRICES)
    money = {side.what: side.money for side in told.sides}
    assert money["naoh_saved"] == pytest.approx(337, abs=1)
    assert money["acid_saved"] == pytest.approx(106, abs=1)
    assert money["metal_lost"] == pytest.approx(-440, abs=2)
    assert told.sides[2].kg == pytest.approx(-0.98, abs=0.005)
    assert (told.verdict, told.reason) == ("no_change", "even")
    # the loss is known within a third of it, reagents within a hundredth, all at one standard deviation
    spread = 1.96 * ((439.8 / 3) ** 2 + 3.37**2 + 1.06**2) ** 0.5
    assert (told.net_low, told.net_high) == pytest.approx((2.6 - spread, 2.6 + spread), abs=2)
    assert soap(cascade(), STEADY, Prices(2.8, 1.0, 45.0)).verdict == "change"  # when the metal is cheap
    assert soap(cascade(s=6.5), STEADY, PRICES).reason == "off_spec"
    assert soap(cascade(s=5.5), STEADY, PRICES).verdict == "unknown"
    assert soap(cascade(), STEADY, Prices(None, 1.0, 1.0)).reason == "no_price"


def test_steady_states_are_met_and_joined() -> None:
    for s, loss in zip(STEADY.soap, STEADY.loss, strict=True):
        assert at(STEADY.soap, STEADY.loss, s) == pytest.approx(loss)
    assert 0.0340 < at(STEADY.soap, STEADY.loss, 6.5) < 0.1341
