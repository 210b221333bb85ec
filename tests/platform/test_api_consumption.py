"""Consumption by REST over the site's real meters: sums, evidence, calendar, and what is not metered."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hefa_contract.plant import Plant

DAY = datetime(2026, 3, 10, tzinfo=UTC)
FIRST, LAST = DAY - timedelta(days=1), DAY + timedelta(days=2)
MINUTE = timedelta(minutes=1)
WATER = "A6-UTIL.METER.WM-MAIN.tot"
WATER_A1 = "A6-UTIL.METER.WM-A1.tot"
# Register units an hour. The children of the site's water meter see 0.9 of 1.2 m3/h.
RATE = {
    WATER: 1.2,
    WATER_A1: 0.3,
    "A6-UTIL.METER.WM-SX.tot": 0.3,
    "A6-UTIL.METER.WM-PPT.tot": 0.12,
    "A6-UTIL.METER.WM-UTIL.tot": 0.18,
    "A6-UTIL.METER.WM-REUSE.tot": 0.6,
    "A6-UTIL.METER.GM-MAIN.tot": 60.0,
    "A6-UTIL.METER.GM-TKN.tot": 30.0,
    "A4-CALC.TK1.TKN-401.gas_tot": 30.0,  # a check meter on the flow of GM-TKN
    "A1-FEED.DISS.FIC-151.tot": 0.6,
    "A2-SX.SXA.FIC-A-scrub.tot": 0.06,
}


@pytest.fixture(scope="module", params=["live", "settled", "half"])
def client(request: pytest.FixtureRequest, new_site: Any) -> Iterator[TestClient]:
    """Three days of registers read every minute; the meter of A1 was silent from 3 to 9 h on the second day."""
    site = new_site()
    for tag, rate in RATE.items():
        readings = [(FIRST + i * MINUTE, 500 + i * rate / 60, 192) for i in range(3 * 1440 + 1)]
        if tag == WATER_A1:
            silent = (DAY + timedelta(hours=3), DAY + timedelta(hours=9))
            readings = [reading for reading in readings if not silent[0] < reading[0] < silent[1]]
        site.record(tag, readings)
    site.watermark(FIRST)
    if request.param != "live":
        site.settle(FIRST, {"settled": LAST, "half": DAY + 437 * MINUTE}[request.param])
    with site.client() as client:
        yield client


def ask(client: TestClient, start: datetime, end: datetime, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/consumption", params={"from": start.isoformat(), "to": end.isoformat()} | query)
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


def values(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    return {row["key"]: row["value"] and round(row["value"], 6) for row in rows}


HOUR = (DAY, DAY + timedelta(hours=1))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"carrier": "water"}, {"site": 1.2}),
        ({"carrier": "water", "by": "area"},
         {"A1-FEED": 0.3, "A2-SX": 0.3, "A3-PPT": 0.12, "A6-UTIL": 0.18, "unaccounted": 0.3}),
        ({"carrier": "water", "by": "meter"},
         {WATER_A1: 0.3, "A6-UTIL.METER.WM-SX.tot": 0.3, "A6-UTIL.METER.WM-PPT.tot": 0.12,
          "A6-UTIL.METER.WM-UTIL.tot": 0.18, "unaccounted": 0.3}),
        # Reused water is not bought again.
        ({"carrier": "water", "stream": "reuse"}, {"site": 0.6}),
        # The kiln's own totaliser checks GM-TKN: the gas is booked once. GM-RKN and GM-BOIL are silent here.
        ({"carrier": "gas", "by": "line"},
         {"A4-CALC.TK1": 30.0, "A4-CALC.RK1": None, "A6-UTIL.STEAM": None, "unaccounted": 30.0}),
        ({"carrier": "gas", "by": "meter"},
         {"A6-UTIL.METER.GM-TKN.tot": 30.0, "A6-UTIL.METER.GM-RKN.tot": None, "A6-UTIL.METER.GM-BOIL.tot": None,
          "unaccounted": 30.0}),
    ],
)  # fmt: skip
def test_one_hour(client: TestClient, query: dict[str, str], expected: dict[str, float | None]) -> None:
    assert values(ask(client, *HOUR, **query)) == expected


def test_a_material_counts_in_kg_of_pure_substance(client: TestClient, plant: Plant) -> None:
    rows = ask(client, *HOUR, material="HCl", by="area")
    feed = plant.tags["A1-FEED.DISS.FIC-151.tot"].meter
    scrub = plant.tags["A2-SX.SXA.FIC-A-scrub.tot"].meter
    assert feed is not None
    assert scrub is not None
    assert values(rows) == {
        "A1-FEED": pytest.approx(0.6 * feed.factor), "A2-SX": pytest.approx(0.06 * scrub.factor),
    }  # fmt: skip
    assert {(row["material"], row["carrier"], row["unit"]) for row in rows} == {("HCl", None, "kg")}


def test_a_silence_is_estimated_not_lost(client: TestClient) -> None:
    (total,) = [
        row for row in ask(client, DAY, DAY + timedelta(days=1), carrier="water", by="area") if row["key"] == "A1-FEED"
    ]
    assert total["value"] == pytest.approx(24 * 0.3)
    assert total["estimated"] == pytest.approx(6 * 0.3)
    assert total["measured"] == pytest.approx(18 * 0.3)
    assert total["unknown"] == 0
    assert total["coverage"] == pytest.approx((18 + 1 / 3) / 24, abs=0.01)


def test_rows_add_up_to_the_total_by_hours_days_and_months(client: TestClient) -> None:
    span = (FIRST + 13 * MINUTE, LAST - 7 * MINUTE)
    total = ask(client, *span, carrier="water")[0]["value"]
    assert total == pytest.approx((3 * 1440 - 20) * 1.2 / 60)
    for by in ("total", "area", "meter"):
        for step in ("15m", "1h", "1d", "plantday", "shift", "month"):
            rows = ask(client, *span, carrier="water", by=by, step=step)
            assert sum(row["value"] or 0 for row in rows) == pytest.approx(total), (by, step)
            spans: dict[str, list[tuple[str, str]]] = defaultdict(list)
            for row in rows:
                spans[row["key"]].append((row["start"], row["end"]))
            # The rows of each key tile the range, without a gap or an overlap.
            for tiles in spans.values():
                assert tiles[0][0] == "2026-03-09T00:13:00Z"
                assert tiles[-1][1] == "2026-03-11T23:53:00Z"
                assert [end for _, end in tiles[:-1]] == [start for start, _ in tiles[1:]]


def test_neither_carrier_nor_material_means_all_carriers(client: TestClient) -> None:
    rows = ask(client, *HOUR)
    assert {row["carrier"]: row["value"] and round(row["value"], 6) for row in rows} == {
        "electricity": None, "gas": 60.0, "steam": None, "water": 1.2,
    }  # fmt: skip
    assert {row["material"] for row in rows} == {None}


def test_nothing_is_known_outside_the_readings(client: TestClient) -> None:
    (row,) = ask(client, FIRST - timedelta(days=9), FIRST - timedelta(days=8), carrier="water")
    assert (row["value"], row["measured"], row["estimated"], row["coverage"]) == (None, None, None, 0.0)


def test_csv_says_the_same(client: TestClient) -> None:
    query = {"from": DAY.isoformat(), "to": (DAY + timedelta(hours=1)).isoformat(), "carrier": "water", "by": "area"}
    answer = client.get("/v1/consumption", params=query, headers={"Accept": "text/csv, */*;q=0.1"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["key"] for row in rows] == ["A1-FEED", "A2-SX", "A3-PPT", "A6-UTIL", "unaccounted"]
    assert rows[0] | {"value": "", "measured": ""} == {
        "key": "A1-FEED", "carrier": "water", "material": "", "unit": "m3", "start": "2026-03-10T00:00:00Z",
        "end": "2026-03-10T01:00:00Z", "value": "", "measured": "", "estimated": "0.0", "unknown": "0.0",
        "coverage": "1.0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ({"carrier": "air"}, "not-metered", "Metered are: electricity, gas, steam, water."),
        ({"carrier": "eletricity"}, "not-metered", "Did you mean electricity?"),
        ({"material": "H2SO4"}, "not-metered", "No meter counts the material 'H2SO4'"),
        ({"material": "CeO2"}, "not-metered", "ask stream=export"),
        ({"carrier": "water", "by": "line"}, "not-metered", "water is not metered by line"),
        ({"carrier": "water", "by": "unit"}, "invalid", "'meter'"),
        ({"carrier": "water", "step": "raw"}, "invalid", "'1h'"),
        ({"carrier": "water", "to": "2026-03-10T00:00:30Z"}, "range", "same minute"),
        ({"carrier": "water", "from": "1970-01-01T00:00:00Z", "step": "1m"}, "too-many-points", "too long"),
        ({"carrier": "water", "tz": "Mars/Olympus"}, "invalid", "IANA"),
        ({"carier": "water"}, "invalid", "carier: is not a parameter"),
    ],
)
def test_a_bad_question_is_told_what_to_do(client: TestClient, query: dict[str, str], code: str, says: str) -> None:
    answer = client.get("/v1/consumption", params={"from": DAY.isoformat(), "to": "2026-03-10T01:00:00Z"} | query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"] == f"urn:hefa:problem:{code}"
    assert says in answer.json()["detail"]
