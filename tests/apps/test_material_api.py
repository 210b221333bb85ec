"""The material app by REST, in front of the real platform."""

from typing import Any

import pytest

NETWORK: dict[str, Any] = {
    "streams": [
        {"name": "in", "value": 100, "sd": 1},
        {"name": "left", "value": 61, "sd": 1},
        {"name": "right", "value": 40, "sd": 1},
        {"name": "lost", "value": None},
    ],
    "nodes": [
        {"name": "split", "in": ["in"], "out": ["left", "right"]},
        {"name": "sink", "in": ["right"], "out": ["lost"]},
    ],
}


def test_reconcile_any_network(portal: Any) -> None:
    with portal.client() as client:
        answer = client.post("/api/material/reconcile", json=NETWORK)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["reconciled"] == pytest.approx(
            {"in": 100 + 1 / 3, "left": 61 - 1 / 3, "right": 40 - 1 / 3, "lost": 40 - 1 / 3}
        )
        assert found["chi2"] == pytest.approx(1 / 3)
        assert found["accepted"] is True
        assert found["suspects"] == []
        assert found["z"] == {
            "in": pytest.approx(3**-0.5),
            "left": pytest.approx(3**-0.5),
            "right": pytest.approx(3**-0.5),
            "lost": None,
        }
        off = client.post(
            "/api/material/reconcile",
            json=NETWORK | {"streams": [{"name": "in", "value": 110, "sd": 1}, *NETWORK["streams"][1:]]},
        )
        assert off.json()["accepted"] is False
        assert set(off.json()["suspects"]) == {"in", "left", "right"}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b"{}", b'{"streams": 1, "nodes": 2}', b'{"streams": [], "nodes": []}',
        b'{"streams": [{"name": "a", "value": NaN, "sd": 1}], "nodes": []}',
        b'{"streams": [{"name": "a", "value": 1e999, "sd": 1}], "nodes": []}',
        b'{"streams": [{"name": "a", "value": true, "sd": []}], "nodes": [{}]}',
        b'{"streams": [{"name": "\\ud800", "value": 1, "sd": 1}], "nodes": []}',
        b'{"streams": [{"name": "a"}], "nodes": [{"name": "n", "in": ["a"], "out": ["a"]}]}',
        b'{"streams": [{"name": "a", "value": ' + b"9" * 5000 + b', "sd": 1}], "nodes": []}',
        b"[" * 20000,
        b"\xff\xfe",
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused_with_a_sentence(portal: Any, content: bytes) -> None:
    with portal.client() as client:
        answer = client.post("/api/material/reconcile", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["detail"]


def test_nobody_reckons_without_a_key(portal: Any) -> None:
    with portal.client() as client:
        assert client.post("/api/material/reconcile", json=NETWORK, headers={"Authorization": ""}).status_code == 401
        wrong = client.post("/api/material/reconcile", json=NETWORK, headers={"Authorization": "Bearer hefa_wrong"})
        assert wrong.status_code == 401


def test_balance_yield_and_their_tables(portal: Any) -> None:
    """The made-up plant of the tests does not balance: what is told must still be whole and consistent."""
    with portal.client() as client:
        told = client.get("/api/material/balance?period=hour").json()
        assert [one["species"] for one in told["elements"]] == ["REO", "La", "Ce", "Pr", "Nd"]
        assert told["accepted"] is (told["chi2"] <= told["chi2_limit"])
        reconciled = {s["name"]: s["reconciled"] for s in told["streams"]}
        for node in told["nodes"]:
            if all(reconciled[n] is not None for n in (*node["in"], *node["out"])):
                closing = sum(reconciled[n] for n in node["in"]) - sum(reconciled[n] for n in node["out"])
                assert closing == pytest.approx(0, abs=1e-6 * max(abs(v) for v in reconciled.values() if v))
        assert all(s["measured"] is not None or s["reason"] for s in told["streams"])
        yields = client.get("/api/material/yield?period=hour").json()
        assert yields["rows"][0]["metric"] == "yield"
        assert all(row["value"] is not None or row["reason"] for row in yields["rows"])
        for path in ("balance.csv?period=hour&element=Ce", "nodes.csv?period=hour", "yield.csv?period=hour"):
            answer = client.get(f"/api/material/{path}")
            assert answer.status_code == 200, answer.text
            assert len(answer.text.splitlines()) > 3
        assert client.get("/api/material/balance?element=Au").status_code == 422


PATHS = ("water", "ledger", "stock", "doses", "advice")


@pytest.mark.parametrize("path", PATHS)
def test_every_table_is_json_and_csv(portal: Any, path: str) -> None:
    with portal.client() as client:
        told = client.get(f"/api/material/{path}?period=24h")
        assert told.status_code == 200, told.text
        assert told.json()["simulated"] is True
        answer = client.get(f"/api/material/{path}.csv?period=24h")
        assert answer.status_code == 200, answer.text
        assert answer.text.startswith("from,to,")
        assert client.get(f"/api/material/{path}?period=never").status_code == 422


def test_water_of_the_made_up_plant_is_its_registers(portal: Any) -> None:
    with portal.client() as client:
        told = client.get("/api/material/water?period=hour").json()
        by = {m["role"]: m["value"] for m in told["meters"]}
        share = {f["metric"]: f["value"] for f in told["figures"]}
        assert share["water.reuse.process"] == pytest.approx(100 * by["reuse"] / (by["reuse"] + by["fresh"]))
        around = by["reuse"] + by["loop"]
        assert share["water.reuse"] == pytest.approx(100 * around / (around + by["fresh"]))
        assert {t["metric"]: t["value"] for t in told["targets"]} == {"water.reuse": 85, "water.reuse.process": 60}


def test_accepting_what_is_not_advised_is_refused(portal: Any) -> None:
    with portal.client() as client:
        told = {one["name"]: one for one in client.get("/api/material/advice?period=hour").json()["advice"]}
        for name, one in told.items():
            answer = client.post("/api/material/advice/accept?period=hour", json={"advice": name, "text": "done"})
            assert answer.status_code == (200 if one["verdict"] == "change" else 422), answer.text
        assert client.post("/api/material/advice/accept", json={"advice": "rain"}).status_code == 422
