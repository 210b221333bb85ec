"""The production app by REST and as a page, on the real platform with the made-up plant."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

NOW = datetime.now(UTC).replace(microsecond=0)
MINE = "PRODUCTION-TEST"


def _get(portal: Any, path: str, **query: Any) -> Any:
    with portal.client() as client:
        answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def lots(portal: Any) -> None:
    """A campaign in work, and a packed lot that it came into."""
    records = [
        {"lot": f"{MINE}-PN", "action": "started", "material": "PrNd carbonate", "kind": "campaign", "equipment": "A3-PPT.PN", "ts": NOW - timedelta(hours=3)},
        {"lot": f"{MINE}-PN", "action": "finished", "material": "PrNd carbonate", "kind": "campaign", "equipment": "A3-PPT.PN", "kg": 2200, "ts": NOW - timedelta(hours=2)},
        {"lot": f"{MINE}-PK", "action": "packed", "material": "PrNd oxide", "kind": "packed", "equipment": "A4-CALC.PACK.PK-421", "kg": 1000, "parents": [{"lot": f"{MINE}-PN", "kg": 1000}], "ts": NOW - timedelta(hours=1)},
    ]  # fmt: skip
    with httpx2.Client(base_url=portal.api, headers={"Authorization": f"Bearer {portal.key}"}, timeout=60) as api:
        for record in records:
            answer = api.post("/v1/lots", json=record | {"ts": record["ts"].isoformat()})  # type: ignore[attr-defined]
            assert answer.status_code in (200, 201), answer.text


def test_every_figure_of_the_site_and_of_each_product_is_told_with_its_unit(portal: Any) -> None:
    found = _get(portal, "/api/production/overview", period="hour")
    assert found["simulated"] is True
    assert found["tz"] == "Asia/Shanghai"
    figures = {f["metric"]: f for f in found["figures"]}
    assert {"oee", "production.output", "production.on_cut.SXA"} <= figures.keys()
    assert [p["product"] for p in found["products"]] == ["PrNd oxide", "CeO2", "La carbonate"]
    assert [p["evidence"] for p in found["products"]] == ["measured", "measured", "estimated"]
    for product in found["products"]:
        for name in ("availability", "effectiveness", "quality", "oee", "purity", "output"):
            figure = product[name]
            assert figure["unit"]
            assert figure["explain"] == f"/api/explain/{figure['metric']}"
            assert (figure["value"] is None) == bool(figure["reason"]), figure
    parts = [part["value"] for part in found["losses"]["parts"]]
    assert sum(parts) == pytest.approx(found["losses"]["possible"])
    factors = [
        figures[f"production.{name}.site"]["value"] / 100 for name in ("availability", "effectiveness", "quality")
    ]
    assert figures["oee"]["value"] / 100 == pytest.approx(factors[0] * factors[1] * factors[2])
    explained = _get(portal, "/api/explain/oee", period="hour")
    assert {"planned busy time", "rated rate"} <= {i["name"] for i in explained["inputs"]}


def test_output_is_what_the_registers_say(portal: Any) -> None:
    # A range that is over: a running one is longer at each question.
    end = NOW - timedelta(minutes=5)
    over = {"period": "custom", "from": (end - timedelta(hours=1)).isoformat(), "to": end.isoformat()}
    whole = _get(portal, "/api/production/overview", **over)["products"][0]["output"]["value"]
    used = _get(portal, "/api/explain/use.PrNd oxide", **over)["value"]
    assert whole == pytest.approx(used / 1000)
    steps = _get(portal, "/api/production/output", **over)
    assert steps["unit"] == "kg"
    assert sum(row["PrNd oxide"] or 0 for row in steps["rows"]) == pytest.approx(used, rel=0.01)


def test_lots_in_work_and_packed(portal: Any, lots: None) -> None:
    found = _get(portal, "/api/production/lots", period="24h")
    mine = next(lot for lot in found["in_work"] if lot["lot"] == f"{MINE}-PN")
    assert (mine["left_kg"], mine["product"], mine["verdict"]) == (1200, "PrNd oxide", "open")
    assert mine["age_h"] == pytest.approx((datetime.now(UTC) - NOW) / timedelta(hours=1) + 3, abs=0.1)
    packed = next(lot for lot in found["packed"] if lot["lot"] == f"{MINE}-PK")
    assert packed["kg"] == 1000
    assert packed["product"] == "PrNd oxide"
    with portal.client() as client:
        rows = list(csv.DictReader(io.StringIO(client.get("/api/production/lots.csv", params={"period": "24h"}).text)))
    assert {f"{MINE}-PN", f"{MINE}-PK"} <= {row["lot"] for row in rows}


def test_a_note_stays_with_its_readings_and_keeps_what_it_said(portal: Any) -> None:
    tag = "A2-SX.SXA.FIC-A-feed.pv"
    start = NOW - timedelta(minutes=50)
    with portal.client() as client:
        body = {"text": "Feed pump changed", "subject": tag, "from": start.isoformat(), "to": NOW.isoformat()}
        left = client.post("/api/production/log", json=body)
        assert left.status_code == 201, left.text
        changed = client.post(f"/api/production/log/{left.json()['note']}", json={"text": "Feed pump changed to B"})
        assert changed.json()["version"] == 2
    shifts = _get(portal, "/api/production/log", period="24h")["shifts"]
    notes = [n for s in shifts for n in s["notes"] if n["subject"] == tag]
    assert [n["text"] for n in notes] == ["Feed pump changed to B"]
    assert notes[0]["tag"] == tag
    assert all(s["crew"] in "ABCD" for s in shifts)


def test_a_trip_is_a_stop_and_a_note_gives_its_reason(portal: Any) -> None:
    machine = "A1-FEED.DISS.P-134"
    portal.execute(
        "INSERT INTO reading SELECT tag_id, now() - interval '20 seconds', 2, 192 FROM tag WHERE name = %s",
        f"{machine}.run",
    )
    with portal.client() as client:
        body = {"text": "Seal leaked", "subject": machine, "kind": "downtime"}
        span = {"from": (NOW - timedelta(hours=1)).isoformat(), "to": (NOW + timedelta(hours=1)).isoformat()}
        assert client.post("/api/production/log", json=body | span).status_code == 201
    found = _get(
        portal, "/api/production/downtime", period="custom", **{"from": (NOW - timedelta(minutes=30)).isoformat()}
    )
    assert found["unit"] == "h"
    assert isinstance(found["pareto"], list)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("overview", {"period": "year"}),
        ("overview.csv", {"from": "yesterday"}),
        ("output", {"back": "-1"}),
        ("downtime", {"period": "custom", "from": "2026-11-22", "to": "2026-11-01"}),
        ("lots", {"period": "custom"}),
        ("log", {"back": "x"}),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(portal: Any, path: str, query: dict[str, str]) -> None:
    with portal.client() as client:
        assert client.get(f"/api/production/{path}", params=query).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": "  "},
        {"text": "x", "from": "2026-11-22T10:00:00Z", "to": "2026-11-22T09:00:00Z"},
        {"text": "x", "from": "2026-11-22 10:00"},
        {"text": "x", "kind": "poem"},
        {"text": "x", "mood": "good"},
    ],
)
def test_a_note_that_says_nothing_is_refused(portal: Any, body: dict[str, str]) -> None:
    with portal.client() as client:
        assert client.post("/api/production/log", json=body).status_code == 422


def test_the_log_page_takes_a_note(portal: Any, page: Any) -> None:
    page.goto(f"{portal.url}/production/log?period=24h")
    page.get_by_label("What the next shift must know").fill("Tank 233 is being cleaned")
    page.get_by_role("button", name="Leave the note").click()
    expect(page.locator(".said-text", has_text="Tank 233 is being cleaned").first).to_be_visible()
