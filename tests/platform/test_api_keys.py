"""Keys by REST: who may what, what is shown once, what is audited."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

EVENT = {"type": "note", "ts": "2026-03-10T00:00:00Z", "subject": "A2-SX", "text": "x"}


@pytest.mark.parametrize(
    ("method", "path", "body", "allowed"),
    [
        ("GET", "/v1/tags?limit=1", None, ("viewer", "operator", "engineer", "admin")),
        ("GET", "/v1/metrics", None, ("viewer", "operator", "engineer", "admin")),
        ("POST", "/v1/events", EVENT, ("operator", "engineer", "admin")),
        ("GET", "/v1/keys", None, ("admin",)),
        ("POST", "/v1/keys", {"name": "n"}, ("admin",)),
        ("DELETE", "/v1/keys/000000000000", None, ("admin",)),
    ],
)
def test_roles(site: Any, method: str, path: str, body: object, allowed: tuple[str, ...]) -> None:
    found = []
    for role in ("viewer", "operator", "engineer", "admin"):
        with site.client(role) as client:
            answer = client.request(method, path, json=body)
        if answer.status_code == 403:
            assert answer.json()["title"] == "Not allowed"
        else:
            assert answer.status_code < 500
            found.append(role)
    assert tuple(found) == allowed


@pytest.mark.parametrize(
    "path",
    ["latest", "series?tag=a&from=x", "stream", "consumption", "assets", "tags", "tags/x", "events", "edges", "pipeline",
     "quarantine", "keys", "me", "metrics"],
)  # fmt: skip
def test_every_path_but_health_and_ready_needs_a_key(site: Any, path: str) -> None:
    with site.client() as client:
        answer = client.get(f"/v1/{path}", headers={"Authorization": ""})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="hefa"')
        assert answer.json()["type"] == "urn:hefa:problem:key"


@pytest.mark.parametrize("role", ["viewer", "operator", "engineer", "admin"])
def test_a_key_may_ask_who_it_is(site: Any, role: str) -> None:
    with site.client(role) as client:
        answer = client.get("/v1/me")
    assert answer.status_code == 200
    assert answer.json()["role"] == role
    assert answer.json().keys() == {"id", "name", "role", "site"}


def test_a_key_is_shown_once_works_and_ends_when_revoked(site: Any, client: TestClient) -> None:
    made = client.post("/v1/keys", json={"name": "wall", "expires_at": "2199-01-01T00:00:00+08:00"})
    assert made.status_code == 201, made.text
    key = made.json()
    assert (key["role"], key["site"], key["state"]) == ("viewer", "*", "valid")
    assert key["expires_at"] == "2198-12-31T16:00:00Z"
    assert made.headers["location"] == f"/v1/keys/{key['id']}"
    headers = {"Authorization": f"Bearer {key['key']}"}
    assert client.get("/v1/tags?limit=1", headers=headers).status_code == 200

    listed = next(item for item in client.get("/v1/keys").json()["items"] if item["id"] == key["id"])
    assert listed.keys() == key.keys() - {"key"}
    assert key["key"] not in client.get("/v1/keys").text

    gone = client.delete(f"/v1/keys/{key['id']}")
    assert (gone.status_code, gone.json()["state"]) == (200, "revoked")
    assert client.delete(f"/v1/keys/{key['id']}").json()["revoked_at"] == gone.json()["revoked_at"]
    refused = client.get("/v1/tags?limit=1", headers=headers)
    assert (refused.status_code, "revoked" in refused.json()["detail"]) == (401, True)

    audited = site.execute("SELECT action FROM audit WHERE subject = %s ORDER BY audit_id", key["id"])
    assert [action for (action,) in audited] == ["key.create", "key.revoke", "key.revoke"]
    assert site.execute("SELECT count(*) FROM audit WHERE body::text LIKE '%%' || %s || '%%'", key["key"]) == [(0,)]


def test_a_key_of_a_site_makes_keys_for_that_site_only(site: Any) -> None:
    with site.client("admin", "HEFA-BT") as client:
        assert client.post("/v1/keys", json={"name": "n"}).json()["site"] == "HEFA-BT"
        assert client.post("/v1/keys", json={"name": "n", "site": "*"}).status_code == 403
        assert {key["site"] for key in client.get("/v1/keys").json()["items"]} == {"HEFA-BT"}


def test_nobody_revokes_the_key_he_stands_on(site: Any, client: TestClient) -> None:
    key = site.key("admin")
    headers = {"Authorization": f"Bearer {key}"}
    answer = client.delete(f"/v1/keys/{key.split('_')[1]}", headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:hefa:problem:own-key")
    assert client.get("/v1/keys", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "a\x00b"}, "control"),
        ({"name": "n", "role": "root"}, "'admin'"),
        ({"name": "n", "key_id": "mine"}, "key_id: is not a parameter"),
        ({"name": "n", "expires_at": "2020-01-01T00:00:00Z"}, "over already"),
        ({"name": "n", "expires_at": "2199-01-01T00:00:00"}, "no offset"),
        ({"name": "n", "expires_at": 1}, "RFC 3339"),
    ],
)  # fmt: skip
def test_a_bad_key_is_refused(client: TestClient, body: object, says: str) -> None:
    answer = client.post("/v1/keys", json=body)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["detail"]
