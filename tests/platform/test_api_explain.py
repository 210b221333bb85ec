"""Explain by REST: the same URL as an answer's, the same figures, and what they are made of."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from psycopg.types.json import Jsonb

DAY = datetime(2026, 3, 10, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WATER, WATER_A1 = "A6-UTIL.METER.WM-MAIN.tot", "A6-UTIL.METER.WM-A1.tot"
ACID = "A1-FEED.DISS.FIC-151.tot"
PH, TEMP = "A2-SX.SXA.MS-A01.ph", "A2-SX.SXA.MS-A01.temp"
RATE = {WATER: 1.2, WATER_A1: 0.3, "A6-UTIL.METER.WM-SX.tot": 0.3, ACID: 0.6}


@pytest.fixture(scope="module")
def client(site: Any) -> Iterator[TestClient]:
    """Six hours of registers, settled but for the last; that of A1 was silent for an hour, the acid's was swapped."""
    for tag, rate in RATE.items():
        readings = [(DAY + i * MINUTE, 500 + i * rate / 60, 192) for i in range(6 * 60 + 1)]
        if tag == WATER_A1:
            readings = [reading for reading in readings if not DAY + HOUR < reading[0] < DAY + 2 * HOUR]
        if tag == ACID:
            readings = [(ts, value - 490 if ts > DAY + 3 * HOUR else value, q) for ts, value, q in readings]
        site.record(tag, readings)
    site.record(PH, [(DAY + i * 20 * timedelta(seconds=1), 3 + i % 3, 192 if i % 7 else 64) for i in range(500)])
    site.record(TEMP, [(DAY, 20.0, 192), (DAY + MINUTE, None, 0)])
    site.execute(
        """
        INSERT INTO event (edge_id, epoch, seq, i, type, ts, subject, body)
        SELECT edge_id, 'e', 1, 0, 'meter_swap', %s, %s, %s FROM edge WHERE name = 'api'
        """,
        DAY + 3 * HOUR, ACID, Jsonb({"final": 501.8, "initial": 11.8}),
    )  # fmt: skip
    site.settle(DAY, DAY + 5 * HOUR)
    with site.client() as client:
        yield client


def ask(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params={"from": DAY.isoformat(), "to": (DAY + 6 * HOUR).isoformat()} | query)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "query",
    [
        {"carrier": "water"},
        {"carrier": "water", "by": "area"},
        {"carrier": "water", "by": "meter", "step": "1h"},
        {"material": "HCl", "by": "line", "step": "15m"},
        {"by": "area", "step": "1d"},
        {"carrier": "water", "by": "area", "step": "plantday", "from": "2026-03-10T00:17:00Z"},
    ],
)
def test_every_row_of_a_consumption_is_explained_by_the_same_question(
    client: TestClient, query: dict[str, Any]
) -> None:
    rows = ask(client, "/v1/consumption", **query)["rows"]
    told = ask(client, "/v1/explain/consumption", **query)
    names = (
        "key",
        "carrier",
        "material",
        "unit",
        "start",
        "end",
        "value",
        "measured",
        "estimated",
        "unknown",
        "coverage",
    )
    assert [{name: figure[name] for name in names} for figure in told["figures"]] == [
        {name: row[name] for name in names} for row in rows[:200]
    ]
    assert told["left_out"] == max(0, len(rows) - 200)
    for figure in told["figures"]:
        if figure["value"] is not None:
            made_of = [
                one["sign"] * one["factor"] * (one["measured"] + one["estimated"])
                for one in figure["inputs"]
                if one["measured"] is not None
            ]
            assert sum(made_of) == pytest.approx(figure["value"])
        assert all(one["tag"] in one["href"].replace("%2F", "/") for one in figure["inputs"])


@pytest.mark.parametrize(
    "query",
    [
        {"tag": [PH, TEMP], "step": "1h"},
        {"tag": PH, "step": "15m", "agg": "max"},
        {"tag": PH, "step": "1m", "agg": "count", "max_points": 400},
        {"tag": TEMP, "step": "1h", "unit": "K"},
        {"tag": WATER_A1, "step": "1h", "unit": "L"},
        {"tag": WATER_A1, "step": "1h", "agg": "last"},
        {"tag": [TEMP, PH], "to": "2026-03-10T00:20:00Z"},
        {"tag": PH, "step": "raw", "to": "2026-03-10T01:00:00Z"},
    ],
)
def test_every_point_of_a_series_is_explained_by_the_same_question(client: TestClient, query: dict[str, Any]) -> None:
    answer = ask(client, "/v1/series", **query)
    told = ask(client, "/v1/explain/series", **query)
    assert [(figure["key"], figure["value"], figure["coverage"], figure["quality"]) for figure in told["figures"]] == [
        (one["tag"], *point)
        for one in answer["series"]
        for point in zip(one["value"], one["coverage"], one["quality"], strict=True)
    ][:200]
    assert told["step"] == answer["step"]
    assert {figure["unit"] for figure in told["figures"]} == {one["unit"] for one in answer["series"]}


def test_what_is_behind_a_silence(client: TestClient) -> None:
    (figure,) = ask(client, "/v1/explain/consumption", carrier="water", by="area", step="1h", key="A1-FEED",
                    at="2026-03-10T01:30:00Z")["figures"]  # fmt: skip
    assert (figure["value"], figure["estimated"], figure["unknown_share"]) == (
        pytest.approx(0.3), pytest.approx(0.3), 0.0,
    )  # fmt: skip
    (source,) = figure["inputs"]
    assert source["tag"] == WATER_A1
    assert (source["readings"], source["rows"]) == (1, {"hours": 1, "minutes": 0, "readings": 0})
    assert (source["before"]["ts"], source["first"]["ts"]) == ("2026-03-10T00:59:00Z", "2026-03-10T01:00:00Z")
    assert (source["last"]["ts"], source["after"]["ts"]) == ("2026-03-10T01:00:00Z", "2026-03-10T02:00:00Z")
    assert source["modulus"] == 1e7
    readings = client.get(source["href"]).json()["series"][0]
    assert readings["ts"][-1] == 1_773_104_400_000_000


def test_a_rest_is_told_with_what_is_taken_off(client: TestClient) -> None:
    told = ask(client, "/v1/explain/consumption", carrier="water", by="area", key="unaccounted")
    (figure,) = told["figures"]
    assert {one["tag"]: one["sign"] for one in figure["inputs"]}[WATER] == 1
    assert {one["tag"]: one["sign"] for one in figure["inputs"]}[WATER_A1] == -1
    assert "less what meters below them counted" in figure["formula"]
    assert {one["rows"]["hours"] for one in figure["inputs"]} <= {0, 5}
    assert "rollover" in told["about"]


def test_a_swap_a_factor_and_its_source_are_told(client: TestClient) -> None:
    (figure,) = ask(client, "/v1/explain/consumption", material="HCl", by="area", key="A1-FEED")["figures"]
    (source,) = figure["inputs"]
    assert source["swaps"] == [{"ts": "2026-03-10T03:00:00Z", "final": 501.8, "initial": 11.8}]
    assert (source["unit"], figure["unit"]) == ("m3", "kg")
    assert source["factor"] == pytest.approx(1154 * 0.31)
    assert "density" in source["source"]
    assert figure["value"] == pytest.approx(6 * 0.6 * 1154 * 0.31)


@pytest.mark.parametrize(
    ("path", "query", "status", "says"),
    [
        ("consumption", {"carrier": "water", "by": "area", "key": "A1-FED"}, 404, "A1-FEED"),
        ("consumption", {"carrier": "water", "at": "2027-03-10T00:00:00Z"}, 404, "no figure"),
        ("consumption", {"carrier": "air"}, 422, "Metered are"),
        ("series", {"tag": PH, "step": "1h", "agg": "increment"}, 422, "gauge"),
        ("series", {"tag": "A2-SX.SXA.MS-A01.pg"}, 404, PH),
        ("series", {"tag": PH, "step": "raw", "from": "2026-03-09T00:00:00Z", "to": "2026-03-09T01:00:00Z"}, 404, "no fig"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_told(
    client: TestClient, path: str, query: dict[str, Any], status: int, says: str
) -> None:
    range_ = {"from": DAY.isoformat(), "to": (DAY + HOUR).isoformat()}
    answer = client.get(f"/v1/explain/{path}", params=range_ | query)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
