"""The business app by REST and as a page, on the real platform with the made-up plant."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from playwright.sync_api import expect

NOW = datetime.now(UTC).replace(microsecond=0)
# An hour that is over: what is asked twice of the running one differs by what happened between.
PAST = {
    "period": "custom",
    "from": (NOW - timedelta(minutes=90)).replace(second=0).isoformat(),
    "to": (NOW - timedelta(minutes=30)).replace(second=0).isoformat(),
}
FD, CL, PN, TK, PK = (f"BUSINESS-TEST-{name}" for name in ("FD", "CL", "PN", "TK", "PK"))
CHAIN = [
    # lot, action, kind, material, where, hours ago, kg, parents
    (FD, "received", "feed", "RE carbonate", "A1-FEED.RECV", 12, 10_000.0, {}),
    (CL, "finished", "liquor", "RE chloride liquor", "A1-FEED.DISS.TK-121", 10, 4_000.0, {FD: 4_000.0}),
    (PN, "finished", "campaign", "PrNd carbonate", "A3-PPT.PN", 6, 2_000.0, {CL: 2_000.0}),
    (TK, "finished", "kiln", "PrNd oxide", "A4-CALC.TK1.TKN-401", 3, 1_500.0, {PN: 1_500.0}),
    (PK, "packed", "packed", "PrNd oxide", "A4-CALC.PACK.PK-421", 1, 1_000.0, {TK: 1_000.0}),
]


def _get(portal: Any, path: str, **query: Any) -> Any:
    with portal.client() as client:
        answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def chain(portal: Any) -> None:
    """A feed lot and what became of it, as gateways or people would book it."""
    with httpx2.Client(base_url=portal.api, headers={"Authorization": f"Bearer {portal.key}"}, timeout=60) as api:
        for lot, action, kind, material, where, ago, kg, parents in CHAIN:
            body = {
                "lot": lot, "action": action, "kind": kind, "material": material, "equipment": where, "kg": kg,
                "ts": (NOW - timedelta(hours=ago)).isoformat(),
                "parents": [{"lot": parent, "kg": part} for parent, part in parents.items()],
            }  # fmt: skip
            answer = api.post("/v1/lots", json=body)
            assert answer.status_code in (200, 201), answer.text


def test_from_the_receipt_of_a_feed_lot_to_the_margin_of_what_became_of_it(portal: Any, chain: None) -> None:
    stages = {"feed", "liquor", "campaign", "kiln", "packed"}
    in_work = _get(portal, "/api/production/lots", period="24h")
    assert {lot["lot"] for lot in in_work["in_work"]} >= {FD, CL, PN, TK}  # each still holds something
    received = _get(portal, f"/api/business/lots/{FD}")
    assert received["kg"] == 10_000
    assert {step["kind"] for step in received["forward"]} | {received["kind"]} == stages
    step = FD
    for following in (CL, PN, TK, PK):  # every step names the next one
        there = {n["lot"]: n for n in _get(portal, f"/api/business/lots/{step}")["forward"]}
        assert there[following]["kg"], (step, following)
        step = following
    packed = _get(portal, f"/api/business/lots/{PK}")
    assert {n["lot"] for n in packed["back"]} == {FD, CL, PN, TK}
    assert packed["reason"] is None
    assert packed["revenue"] == pytest.approx(1_000 * 450)
    assert packed["margin"] == pytest.approx(packed["revenue"] - packed["cost"])
    assert sum(cost["money"] for cost in packed["costs"]) == pytest.approx(packed["cost"])
    assert [row["lot"] for row in received["products"]] == [PK]
    assert received["margin"] is not None
    by_mass = _get(portal, f"/api/business/lots/{PK}", allocation="mass")
    assert by_mass["cost"] != pytest.approx(packed["cost"])


@pytest.mark.parametrize(
    "name", ["PK/2026/11-01", "95 %25 pure 50%", "..dots./..", "镨钕 №1 é", "a+b&c=d;e?f#g", "'quoted' \"<b>\""]
)
def test_a_lot_may_have_any_name(portal: Any, name: str) -> None:
    lot = f"BUSINESS-ODD {name}"
    with httpx2.Client(base_url=portal.api, headers={"Authorization": f"Bearer {portal.key}"}, timeout=60) as api:
        body = {"lot": lot, "action": "packed", "kind": "packed", "material": "PrNd oxide", "kg": 10.0, "parents": []}
        body |= {"equipment": "A4-CALC.PACK.PK-421", "ts": (NOW - timedelta(hours=2)).isoformat()}
        assert api.post("/v1/lots", json=body).status_code in (200, 201)
    path = f"/api/business/lots/{quote(lot, safe='')}"
    found = _get(portal, path)
    assert (found["lot"], found["kg"]) == (lot, 10.0)
    with portal.client() as client:
        rows = list(csv.DictReader(io.StringIO(client.get(f"{path}/margin.csv").text)))
        shown = client.get("/business/lots", params={"lot": lot})
    assert [(row["lot"], row["product"]) for row in rows] == [(lot, "PrNd oxide")]
    assert shown.status_code == 200
    assert 'id="lot-margin"' in shown.text


def test_the_margin_is_made_of_the_figures_of_the_other_apps(portal: Any) -> None:
    found = _get(portal, "/api/business/margin", **PAST)
    assert (found["simulated"], found["currency"]) == (True, "CNY")
    lines = {line["name"]: line for line in found["lines"]}
    assert {
        "PrNd oxide",
        "CeO2",
        "La carbonate",
        "RE carbonate",
        "HCl",
        "NaOH",
        "gas",
        "water",
        "electricity",
    } <= lines.keys()
    for name in ("HCl", "gas", "water"):
        used = _get(portal, f"/api/explain/use.{name}", **PAST)
        assert lines[name]["amount"] == pytest.approx(used["value"])
    assert lines["electricity"]["money"] == pytest.approx(_get(portal, "/api/explain/energy.cost", **PAST)["value"])
    figures = {f["metric"]: f["value"] for f in found["figures"]}
    sold = sum(line["money"] for line in lines.values() if line["group"] == "product")
    spent = sum(line["money"] for line in lines.values() if line["group"] != "product")
    assert figures["business.margin"] == pytest.approx(sold - spent)
    with portal.client() as client:
        text = client.get("/api/business/margin.csv", params=PAST).text
    assert {row["name"] for row in csv.DictReader(io.StringIO(text))} == lines.keys()


def test_each_light_says_what_it_stands_for_and_where_to_look(portal: Any) -> None:
    found = {one["metric"]: one for one in _get(portal, "/api/business/lights", **PAST)["lights"]}
    assert {"oee", "yield", "electricity.per_t", "purity.CeO2", "production.attainment.site"} <= found.keys()
    for one in found.values():
        assert one["light"] in ("green", "amber", "red", "unknown")
        assert (one["light"] == "unknown") == (one["reason"] is not None), one
        assert one["explain"] == f"/api/explain/{one['metric']}"
    assert found["electricity.per_t"]["tags"][0]["link"].startswith("/live/tags/")


def test_both_ways_to_share_out_add_up_to_what_the_site_gave_off(portal: Any) -> None:
    found = _get(portal, "/api/business/footprint", **PAST)["products"]
    water = _get(portal, "/api/explain/use.water", **PAST)["value"] * 1000
    for how in ("economic", "mass"):
        borne = 0.0
        for product in found:
            made = _get(portal, f"/api/explain/production.output.{product['product']}", **PAST)["value"] * 1000
            borne += product[f"water_{how}"]["value"] * made
        assert borne == pytest.approx(water)


def test_what_if_changes_the_answer_and_nothing_else(portal: Any) -> None:
    usual = _get(portal, "/api/business/what-if", **PAST)
    assert usual["change"] == 0
    dear = _get(portal, "/api/business/what-if", **PAST, price=["PrNd oxide:500", ""], electricity_pct=10)
    line = next(line for line in dear["lines"] if line["name"] == "PrNd oxide")
    power = next(line for line in usual["lines"] if line["name"] == "electricity")
    gained = line["money_then"] - line["money_now"]
    assert gained > 0
    assert dear["change"] == pytest.approx(gained - 0.1 * power["money_now"])
    assert _get(portal, "/api/business/what-if", **PAST)["change"] == 0


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("margin", {"period": "year"}, 422),
        ("lights", {"back": "-1"}, 422),
        ("what-if", {"price": "gold:3"}, 422),
        ("what-if", {"price": "PrNd oxide:dear"}, 422),
        ("what-if", {"price": "PrNd oxide:-1"}, 422),
        ("what-if", {"price": "PrNd oxide:nan"}, 422),
        ("what-if", {"feed_pct": "1e99"}, 422),
        ("what-if", {"electricity_pct": "inf"}, 422),
        ("lots/NO-SUCH-LOT", {}, 404),
        ("lots/NO-SUCH-LOT", {"allocation": "guess"}, 422),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(portal: Any, path: str, query: dict[str, str], status: int) -> None:
    with portal.client() as client:
        assert client.get(f"/api/business/{path}", params=query).status_code == status


def test_the_page_reckons_a_what_if_and_shows_a_lot(portal: Any, chain: None, page: Any) -> None:
    page.goto(f"{portal.url}/business/what-if?period=hour")
    expect(page.locator("#change")).to_have_text("0")
    page.get_by_label("New price PrNd oxide").fill("900")
    page.get_by_role("button", name="Reckon").click()
    expect(page.locator("#change")).not_to_have_text("0")
    expect(page.get_by_label("New price PrNd oxide")).to_have_value("900.0")
    page.goto(f"{portal.url}/business/lots?lot={PK}")
    expect(page.locator("#lot-margin")).to_contain_text("CNY")
    expect(page.get_by_role("link", name=FD)).to_be_visible()
