"""Dated settings by REST: what holds when, corrections, withdrawal, the history, the audit; seeds and people."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from hefa_contract.setting import Seed, load
from hefa_platform.store import settings as store


def gas(value: float, valid_from: str, **more: Any) -> dict[str, Any]:
    price = {"group": "energy", "value": value, "currency": "CNY", "per": "m3{n}"}
    return {"name": "gas", "valid_from": valid_from, "value": price, **more}


def at(client: TestClient, when: str, name: str = "gas") -> list[float]:
    answer = client.get("/v1/settings/price", params={"name": name, "at": when})
    assert answer.status_code == 200, answer.text
    return [item["value"]["value"] for item in answer.json()["items"]]


def enter(client: TestClient, body: dict[str, Any], status: int = 201) -> dict[str, Any]:
    answer = client.post("/v1/settings/price", json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_what_holds_when(site: Any, client: TestClient) -> None:
    enter(client, gas(3.0, "2026-01-01T00:00:00+08:00"))
    enter(client, gas(3.4, "2026-06-01T00:00:00+08:00", valid_to="2026-07-01T00:00:00+08:00", source="summer"))
    assert at(client, "2025-12-31T15:59:59Z") == []
    assert at(client, "2025-12-31T16:00:00Z") == [3.0]
    assert at(client, "2026-06-10T00:00:00Z") == [3.4]
    assert at(client, "2026-07-10T00:00:00Z") == [3.0], "what ran out gives way to what held before"
    items = client.get("/v1/settings/price?name=gas&from=2026-05-01T00:00:00Z&to=2026-08-01T00:00:00Z").json()["items"]
    assert [(item["value"]["value"], item["start"], item["end"]) for item in items] == [
        (3.0, "2026-05-01T00:00:00Z", "2026-05-31T16:00:00Z"),
        (3.4, "2026-05-31T16:00:00Z", "2026-06-30T16:00:00Z"),
        (3.0, "2026-06-30T16:00:00Z", "2026-08-01T00:00:00Z"),
    ]


def test_the_same_start_again_corrects_and_nothing_is_lost(site: Any, client: TestClient) -> None:
    first = enter(client, gas(5.0, "2027-01-01T00:00:00Z"))
    assert enter(client, gas(5.0, "2027-01-01T00:00:00Z"), 200) == first
    second = enter(client, gas(5.5, "2027-01-01T00:00:00Z", reason="typing mistake"))
    assert at(client, "2027-02-01T00:00:00Z") == [5.5]
    enter(client, {"name": "gas", "valid_from": "2027-01-01T00:00:00Z", "withdrawn": True})
    assert at(client, "2027-02-01T00:00:00Z") == []
    page = client.get("/v1/settings/price?name=gas&history=true&limit=2").json()
    assert [(item["value"] or {}).get("value") for item in page["items"]] == [None, 5.5]
    rest = client.get("/v1/settings/price", params={"name": "gas", "history": True, "cursor": page["next"]}).json()
    assert rest["items"][0]["id"] == first["id"]
    ((by, body),) = site.execute(
        "SELECT key_id, body FROM audit WHERE action = 'setting.enter' AND (body->>'id')::bigint = %s", second["id"]
    )
    assert (by, body["before"]["value"], body["after"]["value"], body["reason"]) == (
        second["by"], 5.0, 5.5, "typing mistake"
    )  # fmt: skip


def test_who_may(site: Any, client: TestClient) -> None:
    with site.client("operator") as operator:
        assert operator.post("/v1/settings/price", json=gas(1, "2026-01-01T00:00:00Z")).status_code == 403
        assert operator.get("/v1/settings/price").status_code == 200
    with site.client("engineer", "ELSEWHERE") as other:
        enter(other, gas(9.0, "2020-01-01T00:00:00Z"))
        assert at(other, "2021-01-01T00:00:00Z") == [9.0]
    with site.client("viewer", "HEFA-BT") as mine:
        assert at(mine, "2021-01-01T00:00:00Z") == []


def test_a_key_for_all_sites_gets_the_settings_of_this_one(site: Any, client: TestClient) -> None:
    """As it enters them: another site's version of the same name neither hides nor joins what holds here."""
    enter(client, gas(3.1, "2029-01-01T00:00:00Z"))
    with site.client("engineer", "ELSEWHERE") as other:
        enter(other, gas(9.9, "2029-01-01T00:00:00Z"))  # of the same moment, and later
        enter(other, gas(9.8, "2029-02-01T00:00:00Z"))
    assert at(client, "2029-03-01T00:00:00Z") == [3.1]
    history = client.get("/v1/settings/price?name=gas&history=true").json()["items"]
    assert (history[0]["value"]["value"], history[0]["valid_from"]) == (3.1, "2029-01-01T00:00:00Z")
    held = client.get("/v1/settings/price?name=gas&from=2029-01-10T00:00:00Z&to=2029-04-01T00:00:00Z").json()["items"]
    assert [item["value"]["value"] for item in held] == [3.1]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("price", gas(1, "2026-01-01T00:00:00"), "no offset"),
        ("price", gas(1, "2026-01-01T00:00:00Z", valid_to="2026-01-01T00:00:00Z"), "later than valid_from"),
        ("price", {"name": "gas", "valid_from": "2026-01-01T00:00:00Z"}, "Send a value"),
        ("price", gas(1, "2026-01-01T00:00:00Z", withdrawn=True), "Send a value"),
        ("price", {**gas(1, "2026-01-01T00:00:00Z"), "value": {"group": "energy"}}, "a price has group, value"),
        ("tariff", {**gas(1, "2026-01-01T00:00:00Z"), "value": {"carrier": "electricity"}}, "a tariff has carrier"),
        ("party", gas(1, "2026-01-01T00:00:00Z"), "'tariff'"),
    ],
)
def test_a_bad_setting_is_told_what_to_do(client: TestClient, path: str, body: Any, says: str) -> None:
    answer = client.post(f"/v1/settings/{path}", json=body)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("query", ["to=2026-01-01T00:00:00Z", "history=true&at=2026-01-01T00:00:00Z",
    "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "cursor=WzVd", "colour=red"])  # fmt: skip
def test_a_bad_question_is_told_what_to_do(client: TestClient, query: str) -> None:
    assert client.get(f"/v1/settings/price?{query}").status_code == 422


def test_seeds_are_loaded_once_and_people_win(site: Any, seeds_dir: Path, client: TestClient) -> None:
    texts = {p.relative_to(seeds_dir).as_posix(): p.read_text("utf-8") for p in seeds_dir.rglob("*.toml")}
    seeds = load(texts, "Asia/Shanghai")

    def loaded(*chosen: Seed) -> store.Seeded:
        with psycopg.connect(site.admin) as connection:
            return store.load(connection, "HEFA-BT", chosen)

    entered = loaded(*seeds)
    assert (entered.entered, entered.kept) == (len(seeds) - 1, ("price gas",)), "gas was entered by the tests above"
    assert loaded(*seeds).entered == 0
    water = next(seed for seed in seeds if (seed.kind, seed.name) == ("price", "water"))
    dearer = Seed(water.kind, water.name, water.valid_from, None, {**water.value, "value": 6.0}, water.source, True)
    assert loaded(dearer).entered == 1, "changed seeds come in as a correction"
    assert at(client, "2026-01-01T00:00:00Z", "water") == [6.0]
    enter(client, {"name": "water", "valid_from": "2026-03-01T00:00:00Z", "value": {**water.value, "value": 7.0}})
    later = Seed(water.kind, water.name, datetime(2026, 4, 1, tzinfo=UTC), None, water.value, water.source, True)
    assert loaded(water, later).kept == ("price water",), "from now on it is a person's"
    assert at(client, "2026-05-01T00:00:00Z", "water") == [7.0]
    shown = client.get("/v1/settings/price?name=HCl").json()["items"][0]
    assert (shown["example"], shown["by"], shown["value"]["strength"]) == (True, "seeds", 0.31)
