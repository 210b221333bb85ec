"""The audit by REST: every write with its key, for administrators."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

PRICE = {
    "name": "gas",
    "valid_from": "2026-01-01T00:00:00Z",
    "value": {"group": "energy", "value": 3, "currency": "CNY", "per": "m3{n}"},
}


def test_every_write_is_there_with_who_did_it(site: Any, client: TestClient) -> None:
    with site.client("engineer", "HEFA-BT") as engineer:
        assert engineer.post("/v1/settings/price", json=PRICE).status_code == 201
        assert engineer.get("/v1/audit").status_code == 403
    note = {"subject": "A2-SX", "from": "2026-03-10T00:00:00Z", "text": "x"}
    assert client.post("/v1/notes", json=note).status_code == 201
    latest = client.get("/v1/audit?action=setting.").json()["items"][0]
    assert (latest["name"], latest["action"], latest["subject"]) == ("test engineer", "setting.enter", "price gas")
    assert (latest["body"]["before"], latest["body"]["after"]["value"]) == (None, 3)
    assert client.get("/v1/audit?subject=A2-SX").json()["items"][0]["action"] == "event.post"
    assert {item["by"] for item in client.get("/v1/audit", params={"by": latest["by"]}).json()["items"]} == {
        latest["by"]
    }
    with site.client("admin", "HEFA-BT") as mine:
        assert {item["name"] for item in mine.get("/v1/audit").json()["items"]} == {"test engineer"}
    ids: list[int] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get("/v1/audit", params=query).json()
        ids += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == len(client.get("/v1/audit").json()["items"]) > 3
    assert client.get("/v1/audit?to=2020-01-01T00:00:00Z").json()["items"] == []
    assert client.get("/v1/audit?cursor=Wy0xXQ").status_code == 422
