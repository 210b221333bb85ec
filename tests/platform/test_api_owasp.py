"""The API as an attacker looks at it, after OWASP's API Security Top 10 of 2023. What is general is asked of every route.

Keys that are expired, revoked or garbled (API2) are in test_access.py, bodies and rates beyond the limit (API4) in
test_api_readings.py and test_api_pipeline.py, SQL where it does not belong in test_api_openapi.py's random requests.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hefa_platform.api import Limits
from hefa_platform.store.keys import ROLES

TAG = "A2-SX.SXA.MS-A01.ph"
OPEN = {"/v1/health", "/v1/ready"}

# API5: the least role of every route that is not for viewers. A new route must be added here.
LEAST = {
    ("POST", "/v1/events"): "operator",
    ("POST", "/v1/notes"): "operator",
    ("POST", "/v1/notes/{note}"): "operator",
    ("POST", "/v1/alarms/{id}/ack"): "operator",
    ("POST", "/v1/alarms/{id}/reset"): "operator",
    ("POST", "/v1/alarms/{id}/shelve"): "operator",
    ("POST", "/v1/alarms/{id}/unshelve"): "operator",
    ("POST", "/v1/alarms/out-of-service"): "engineer",
    ("POST", "/v1/alarms/out-of-service/{id}/end"): "engineer",
    ("POST", "/v1/lots"): "operator",
    ("POST", "/v1/meters/{tag}/swap"): "operator",
    ("DELETE", "/v1/meters/{tag}/swap"): "operator",
    ("POST", "/v1/readings"): "engineer",
    ("POST", "/v1/tags"): "engineer",
    ("POST", "/v1/import"): "engineer",
    ("POST", "/v1/settings/{kind}"): "engineer",
    ("POST", "/v1/quarantine/{id}/retry"): "engineer",
    ("POST", "/v1/quarantine/{id}/discard"): "engineer",
    ("GET", "/v1/audit"): "admin",
    ("GET", "/v1/keys"): "admin",
    ("POST", "/v1/keys"): "admin",
    ("DELETE", "/v1/keys/{id}"): "admin",
}


@pytest.fixture(scope="module")
def described(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def routes(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of everything that can be asked."""
    return [
        (method.upper(), path, operation)
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    ]


@pytest.fixture(scope="module")
def filled(site: Any) -> str:
    """A plant with something in it to steal, and the start of a range that has it."""
    now = datetime.now(UTC).replace(microsecond=0)
    site.record(TAG, [(now - timedelta(minutes=n), 3.0, 192) for n in range(1, 5)])
    with site.client("admin", "HEFA-BT") as own:
        event = {"type": "note", "ts": stamp(now), "subject": "A2-SX", "text": "secret recipe"}
        assert own.post("/v1/events", json=event).status_code == 201
    return stamp(now - timedelta(hours=1))


def stamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def test_api1_another_sites_key_reads_nothing_anywhere(site: Any, routes: Any, filled: str) -> None:
    """Every GET route, asked for what exists, by the highest role of another site: 404 or an empty list."""
    asked = {"tag": TAG, "from": filled, "kind": "tariff"}
    seen: dict[str, int] = {}
    with site.client("admin", "ELSEWHERE") as other, site.client("admin", "HEFA-BT") as own:
        for method, path, operation in routes:
            if method != "GET" or path in OPEN | {"/v1/stream", "/v1/metrics"}:
                continue
            query = {
                p["name"]: asked.get(p["name"], "x")
                for p in operation.get("parameters", [])
                if p["in"] == "query" and p["required"]
            }
            url = (
                path.replace("{tag}", TAG)
                .replace("{kind}", "tariff")
                .replace("{id}", "1")
                .replace("{lot}", "L")
                .replace("{note}", "1")
            )
            answer = other.get(url, params=query)
            seen[path] = own.get(url, params=query).status_code
            assert answer.status_code in (200, 404, 422), (path, answer.text)
            text = answer.text.replace(TAG, "what was asked for")
            assert "A2-SX" not in text, (path, answer.text)
            assert "HEFA-BT" not in text, (path, answer.text)
            assert "secret" not in text, (path, answer.text)
    assert sum(status == 200 for status in seen.values()) >= 15, seen  # the owner does see it


NOW = "2026-03-10T00:00:00Z"
LOT = {"lot": "X", "action": "received", "ts": NOW, "material": "REO", "equipment": "E"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/events", {"type": "note", "ts": NOW, "subject": "E", "text": "x"}),
        ("/v1/notes", {"subject": "E", "from": NOW, "text": "x"}),
        ("/v1/lots", LOT),
        (f"/v1/meters/{TAG}/swap", {"ts": "2026-03-10T00:00:00Z", "old_register": 1, "new_register": 0}),
        ("/v1/alarms/1/ack", {}),
        ("/v1/quarantine/1/discard", {"reason": "x"}),
        ("/v1/quarantine/1/retry", None),
    ],
)
def test_api1_another_sites_key_changes_nothing(site: Any, path: str, body: object) -> None:
    before = site.execute("SELECT count(*) FROM event")
    with site.client("admin", "ELSEWHERE") as other:
        answer = other.post(path, json=body)
    assert answer.status_code in (403, 404, 422), answer.text
    assert "HEFA-BT" not in answer.text
    assert site.execute("SELECT count(*) FROM event") == before


def test_api2_every_route_but_health_and_ready_asks_who_it_is(site: Any, routes: Any) -> None:
    with site.client() as client:
        client.headers.pop("authorization")
        for method, path, _ in routes:
            if path not in OPEN:
                answer = client.request(method, path.replace("{", "").replace("}", ""), json={})
                assert answer.status_code == 401, (method, path, answer.status_code)


def test_api3_what_a_body_does_not_have_is_refused(described: dict[str, Any], routes: Any) -> None:
    """Mass assignment: no route takes a field that it does not name."""
    schemas = described["components"]["schemas"]
    for method, path, operation in routes:
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            if kind != "application/json" or path == "/v1/events":  # an event's fields depend on its type: below
                continue
            named = content["schema"]
            options = [named, *named.get("anyOf", []), *named.get("oneOf", [])]
            for option in options:
                if "$ref" in option:
                    found = schemas[option["$ref"].rsplit("/", 1)[1]]
                    assert found.get("additionalProperties") is False or "properties" not in found, (method, path)


def test_api3_an_event_takes_no_fields_of_ours(site: Any) -> None:
    event = {"type": "note", "ts": stamp(datetime.now(UTC)), "subject": "A2-SX", "text": "x"}
    ours = {"id": 999_999, "edge": "gw-a1", "site": "ELSEWHERE", "received": "2000-01-01T00:00:00Z", "evil": 1}
    with site.client("operator", "HEFA-BT") as client:
        answer = client.post("/v1/events", json=event | ours)
    if answer.status_code != 422:
        told = answer.json()
        assert (told["edge"], told["body"]) == ("api", {"text": "x"})
        assert told["id"] != 999_999
        assert not told["received"].startswith("2000")


def test_api4_who_tries_keys_is_slowed_down(site: Any) -> None:
    """429 with Retry-After, before the database is asked."""
    limits = Limits(rate=1e6, burst=1e6, guess_rate=0.1, guess_burst=5)
    with site.client("viewer", limits=limits) as client:
        assert client.get("/v1/me").status_code == 200
        wrong = [{"Authorization": f"Bearer hefa_{n:012x}_{'A' * 43}"} for n in range(6)]
        answers = [client.get("/v1/me", headers=header) for header in wrong]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 10
        assert "were not valid" in answers[-1].json()["detail"]
        assert client.get("/v1/me").status_code == 200  # who was let in before goes on


def test_api5_each_route_has_its_least_role(site: Any, routes: Any) -> None:
    clients = {role: site.client(role) for role in ROLES}
    found = {}
    for method, path, _ in routes:
        if path in OPEN | {"/v1/stream"}:
            continue
        url = path.replace("{kind}", "tariff").replace("{id}", "0").replace("{", "").replace("}", "")
        passed = [role for role in ROLES if clients[role].request(method, url, json={}).status_code != 403]
        assert passed == list(ROLES[ROLES.index(passed[0]) :]), (method, path, passed)
        if passed[0] != "viewer":
            found[method, path] = passed[0]
    assert found == LEAST


def test_api7_no_parameter_is_an_address_that_we_would_call(described: dict[str, Any]) -> None:
    text = str(described)
    assert "'format': 'uri'" not in text
    assert "callback" not in text.lower()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/me", 200), ("GET", "/v1/tags/none", 404), ("GET", "/v1/series", 422), ("PUT", "/v1/me", 405),
     ("GET", "/nothing", 404), ("GET", "/v1/health", 200), ("TRACE", "/v1/me", 405), ("OPTIONS", "/v1/me", 405)],
)  # fmt: skip
def test_api8_browsers_are_told_to_expect_data_only(client: TestClient, method: str, path: str, status: int) -> None:
    """Also on errors; and no other origin is let in, nor does the answer tell what software it is."""
    answer = client.request(
        method, path, headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    )
    assert answer.status_code == status
    expected = {
        "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }  # fmt: skip
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers


def test_api9_there_is_one_version_and_all_of_it_is_described(routes: Any, client: TestClient) -> None:
    assert {path.split("/")[1] for _, path, _ in routes} == {"v1"}
    undescribed = {getattr(route, "path", "") for route in client.app.routes} - {path for _, path, _ in routes}
    assert {path for path in undescribed if path.startswith("/v1")} == set()
