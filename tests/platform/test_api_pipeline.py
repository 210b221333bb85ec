"""The accounting identity, freshness, readiness and metrics by REST, with the database there and away."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hefa_platform.api import Limits, create_app
from hefa_platform.store.database import Database
from hefa_platform.store.pipeline import quantile


@pytest.fixture
def away() -> Iterator[TestClient]:
    """The API on a database that is not there."""
    with Database("postgresql://nobody@127.0.0.1:1/none", patience_s=0.2) as database:
        app = create_app(database)
        yield TestClient(app, headers={"Authorization": "Bearer hefa_000000000000_" + "A" * 43})


def test_accounts_balance_and_add_up(site: Any, client: TestClient) -> None:
    for edge, worker, figures in (
        ("gw-a1", "w1", (100, 90, 6, 1, 3, 2)),
        ("gw-a1", "w2", (10, 10, 0, 0, 0, 0)),
        ("gw-a2", "w1", (5, 4, 1, 0, 0, 0)),
    ):
        site.execute(
            """
            INSERT INTO intake_counter (edge_id, worker, received, stored, duplicate, conflict, quarantined, undecodable)
            SELECT edge_id, %s, %s, %s, %s, %s, %s, %s FROM edge WHERE name = %s
            """,
            worker,
            *figures,
            edge,
        )
    site.execute("INSERT INTO undecodable_counter VALUES ('w1', 3), ('w2', 1)")
    answer = client.get("/v1/pipeline").json()
    accounts = {account.pop("edge"): account for account in answer["edges"]}
    assert accounts["gw-a1"] == {
        "received": 110, "stored": 100, "duplicate": 6, "conflict": 1, "quarantined": 3, "undecodable": 2,
    }  # fmt: skip
    assert accounts["gw-guest"]["received"] == 0
    assert answer["totals"] == {
        "received": 115, "stored": 104, "duplicate": 7, "conflict": 1, "quarantined": 3, "undecodable": 2,
    }  # fmt: skip
    assert (answer["identity_holds"], answer["unattributed"]) == (True, 4)
    metrics = client.get("/v1/metrics").text
    assert 'hefa_intake_readings_total{edge="gw-a1",outcome="stored"} 100.0' in metrics
    assert "hefa_database_up 1.0" in metrics
    assert 'hefa_http_requests_total{method="GET",route="/v1/pipeline",status="200"} 1.0' in metrics


def test_workers_say_how_they_are(site: Any, client: TestClient) -> None:
    site.execute(
        """
        INSERT INTO worker (task, name, ready, detail, seen_at)
        VALUES ('ingest', 'w1', true, '', now() - interval '3 s'), ('maintain', 'm1', false, 'waiting', now())
        """
    )
    ingest, maintain = client.get("/v1/pipeline").json()["workers"]
    assert (ingest["task"], ingest["name"], ingest["ready"]) == ("ingest", "w1", True)
    assert 3 <= ingest["age_s"] < 60
    assert (maintain["ready"], maintain["detail"]) == (False, "waiting")


def test_edges(site: Any, client: TestClient) -> None:
    site.execute(
        "UPDATE edge SET online = true, status_at = now(), seen_at = now() - interval '30 s' WHERE name = 'gw-a3'"
    )
    site.execute(
        """
        INSERT INTO gap (edge_id, epoch, seq, from_seq, to_seq, readings, reason)
        SELECT edge_id, 'e', 9, 1, 8, 4000, 'outbox full' FROM edge WHERE name = 'gw-a3'
        """
    )
    edges = {edge["edge"]: edge for edge in client.get("/v1/edges").json()["items"]}
    assert set(edges) == {*(f"gw-a{n}" for n in range(1, 7)), "gw-guest", "api"}
    assert 30 <= edges["gw-a3"]["age_s"] < 120
    assert (edges["gw-a3"]["online"], edges["gw-a3"]["lost"]) == (True, 4000)
    assert (edges["gw-a4"]["online"], edges["gw-a4"]["seen_at"], edges["gw-a4"]["age_s"]) == (None, None, None)
    assert sum(edge["tags"] for edge in edges.values()) == 1103
    assert edges["gw-guest"]["tags"] == 0


@pytest.mark.parametrize(
    ("histogram", "share", "expected"),
    [
        ([], 0.5, None),
        ([(0, 1)], 0.5, 1.1),
        ([(7, 10)], 0.99, 2.0),
        ([(47, 50), (79, 50)], 0.5, 64.0),
        ([(47, 50), (79, 50)], 0.51, 1024.0),
        ([(47, 99), (79, 1)], 0.99, 64.0),
    ],
)
def test_quantile(histogram: list[tuple[int, int]], share: float, expected: float | None) -> None:
    assert quantile(histogram, share) == expected


def test_freshness_of_the_last_minutes(site: Any, client: TestClient) -> None:
    assert client.get("/v1/pipeline").json()["freshness"]["p50_ms"] is None
    site.execute("INSERT INTO freshness VALUES (now(), 'w1', 47, 60), (now(), 'w2', 47, 38), (now(), 'w1', 79, 2)")
    site.execute("INSERT INTO freshness VALUES (now() - interval '10 min', 'w1', 100, 1000)")
    assert client.get("/v1/pipeline").json()["freshness"] == {
        "p50_ms": 64.0, "p95_ms": 64.0, "p99_ms": 1024.0, "readings": 100, "minutes": 5,
    }  # fmt: skip


def test_ready(client: TestClient) -> None:
    answer = client.get("/v1/ready", headers={"Authorization": ""})
    assert answer.status_code == 200, answer.text
    assert answer.json()["ready"] is True
    assert answer.json()["engine"]["kind"] in ("postgresql", "timescaledb-apache", "timescaledb-community")
    assert [check["name"] for check in answer.json()["checks"]] == ["database", "schema", "plant"]
    assert client.get("/v1/health", headers={"Authorization": ""}).json()["status"] == "ok"


def test_not_ready_without_a_plant_model(database: Any) -> None:
    with Database(database.api) as store:
        answer = TestClient(create_app(store)).get("/v1/ready")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert "hefa-platform load" in answer.json()["checks"][-1]["detail"]


def test_not_ready_without_a_schema(postgres: str) -> None:
    with Database(postgres) as store:
        answer = TestClient(create_app(store)).get("/v1/ready")
        asked = TestClient(create_app(store)).get("/v1/tags", headers={"Authorization": "Bearer hefa_abcd_" + "A" * 43})
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert "hefa-platform migrate" in answer.json()["checks"][-1]["detail"]
    assert (asked.status_code, asked.headers["retry-after"]) == (503, "5")
    assert "hefa-platform migrate" in asked.json()["detail"]


def test_a_database_that_is_away(away: TestClient) -> None:
    assert away.get("/v1/health").status_code == 200
    ready = away.get("/v1/ready")
    assert (ready.status_code, ready.json()["engine"]) == (503, None)
    assert "127.0.0.1" not in ready.text
    asked = away.get("/v1/tags")
    assert (asked.status_code, asked.headers["retry-after"]) == (503, "5")
    assert asked.json()["type"] == "urn:hefa:problem:unavailable"


def test_a_query_that_takes_too_long_is_given_up(site: Any, role_passwords: dict[str, str]) -> None:
    with Database(site.api._dsn, statement_timeout_ms=1) as slow:
        key = site.key("viewer")
        answer = TestClient(create_app(slow)).get("/v1/assets", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 503
    assert answer.json()["type"] in ("urn:hefa:problem:timeout", "urn:hefa:problem:unavailable")


def test_a_key_that_asks_too_often_waits(site: Any) -> None:
    with site.client("viewer", limits=Limits(rate=0.5, burst=2)) as client:
        answers = [client.get("/v1/tags?limit=1") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "2"
    assert "wait 2 s" in answers[2].json()["detail"]


@pytest.mark.parametrize(("path", "inline"), [("/v1/health", False), ("/v1/nothing", False), ("/docs", True)])
def test_browsers_are_told_to_trust_nothing(client: TestClient, path: str, inline: bool) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert ("'unsafe-inline'" in headers["content-security-policy"]) is inline
    assert "script-src 'self'" in headers["content-security-policy"] or not inline


def test_the_docs_page_needs_no_other_host(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "http" not in page.replace("<!doctype html>", "")
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "docs.js"):
        assert f"/docs/static/{name}" in page
        assert client.get(f"/docs/static/{name}").status_code == 200
