"""Events and refused data by REST."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

NOTE = {"type": "note", "ts": "2026-03-10T08:00:00.5+08:00", "subject": "A2-SX.SXA", "text": "crud", "author": "B"}


def test_an_event_is_kept_listed_and_audited(site: Any, client: TestClient) -> None:
    made = client.post("/v1/events", json=NOTE)
    assert made.status_code == 201, made.text
    event = made.json()
    assert event["body"] == {"text": "crud", "author": "B"}
    assert (event["edge"], event["type"], event["ts"]) == ("api", "note", "2026-03-10T00:00:00.500000Z")
    assert event in client.get("/v1/events", params={"subject": "A2-SX.SXA"}).json()["items"]
    assert site.execute("SELECT body->>'text' FROM audit WHERE action = 'event.post'") == [("crud",)]
    edge = next(edge for edge in client.get("/v1/edges").json()["items"] if edge["edge"] == "api")
    assert edge["events"] == 1
    assert edge["age_s"] < 120


def test_the_same_request_again_enters_nothing_twice(client: TestClient) -> None:
    headers = {"Idempotency-Key": "shift-note-17"}
    first, second = (client.post("/v1/events", json=NOTE | {"subject": "twice"}, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert len(client.get("/v1/events?subject=twice").json()["items"]) == 1
    other = client.post("/v1/events", json=NOTE | {"subject": "other"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (409, "urn:hefa:problem:idempotency-key")
    assert client.get("/v1/events?subject=other").json()["items"] == []


def test_the_same_idempotency_key_of_another_caller_is_another_one(site: Any, client: TestClient) -> None:
    headers = {"Idempotency-Key": "mine"}
    assert client.post("/v1/events", json=NOTE, headers=headers).status_code == 201
    with site.client("operator") as other:
        assert other.post("/v1/events", json=NOTE, headers=headers).status_code == 201


def test_lists_are_filtered_and_paged_latest_first(client: TestClient) -> None:
    for hour in range(5):
        for kind in ("start", "end"):
            fault = {
                "type": "fault",
                "ts": f"2026-03-11T0{hour}:00:00Z",
                "subject": "paged",
                "fault": "drift",
                "action": kind,
            }
            assert client.post("/v1/events", json=fault).status_code == 201
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"subject": "paged", "type": "fault", "limit": 3}
    while True:
        page = client.get("/v1/events", params=query).json()
        found += page["items"]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert [event["ts"][11:13] for event in found] == ["04", "04", "03", "03", "02", "02", "01", "01", "00", "00"]
    assert len({event["id"] for event in found}) == 10
    inside = client.get("/v1/events?subject=paged&from=2026-03-11T01:00:00Z&to=2026-03-11T03:00:00Z").json()["items"]
    assert [event["ts"][11:13] for event in inside] == ["02", "02", "01", "01"]
    assert client.get("/v1/events?subject=paged&type=note").json()["items"] == []


def test_a_lab_result_says_when_it_was_entered(client: TestClient) -> None:
    sent = {"type": "lab_result", "ts": "2026-03-10T00:00:00Z", "subject": "PN-1", "sample": "S1", "quantity": "LOI",
            "value": 0.35, "unit": "%", "entered": "2026-03-10T06:00:00+02:00"}  # fmt: skip
    made = client.post("/v1/events", json=sent)
    assert made.status_code == 201, made.text
    assert made.json()["body"]["entered"] == "2026-03-10T04:00:00Z"


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"type": "party"}, 422, "'note'"),
        ({"ts": "2026-03-10T00:00:00"}, 422, "no offset"),
        ({"ts": 1773100800}, 422, "RFC 3339"),
        ({"ts": (datetime.now(UTC) + timedelta(days=1)).isoformat()}, 422, "five minutes ahead"),
        ({"subject": ""}, 422, "subject"),
        ({"subject": "x" * 201}, 422, "subject"),
        ({"text": None}, 422, "text"),
        ({"text": 7}, 422, "text"),
        ({"text": "a\x00b"}, 422, ""),
        ({"text": "\ud800"}, 422, ""),
        ({"text": "x" * 300_000}, 422, ""),
        ({"colour": "red"}, 422, "note has no field 'colour'"),
        ({"text": [[]] * 9}, 422, "text"),
        ({"type": "lab_result", "sample": "s", "quantity": "q", "value": 1, "unit": "1", "entered": "noon"}, 422, "entered"),
    ],
)  # fmt: skip
def test_a_bad_event_is_told_what_to_do(client: TestClient, change: dict[str, Any], status: int, says: str) -> None:
    body = json.dumps(NOTE | change)
    answer = client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"[1,2]", 422),
        (b"\xff\xfe", 400),
        (b'{"type":"note","ts":"2026-03-10T00:00:00Z","subject":"s","text":"t","n":' + b"9" * 5000 + b"}", 400),
        (b"[" * 100_000, 400),
        (b'{"type":"note","ts":"2026-03-10T00:00:00Z","subject":"s","text":"t","n":NaN}', 422),
        (b"x" * (1 << 20), 400),
        (b"x" * ((1 << 20) + 1), 413),
    ],
)
def test_a_body_that_cannot_be_read(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_without_a_length_is_measured_too(client: TestClient) -> None:
    parts = (b"x" * 65_536 for _ in range(17))
    answer = client.post("/v1/events", content=parts, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["title"]) == (413, "Body too large")


def test_refused_data_is_listed_newest_first(site: Any, client: TestClient) -> None:
    for i in range(5):
        site.execute(
            """
            INSERT INTO quarantine (edge, epoch, seq, i, code, detail, topic, reading)
            VALUES ('gw-a1', 'e', %s, 3, 'TS_FUTURE', 'too far', 'hefa/v1/gw-a1/data', '{"tag":"t","value":1}')
            """,
            i,
        )
    site.execute(
        "INSERT INTO quarantine (edge, code, detail, topic, size) VALUES ('stranger', 'JSON_SYNTAX', 'x', 't', 9)"
    )
    page = client.get("/v1/quarantine?limit=4").json()
    assert [item["edge"] for item in page["items"]] == ["stranger", "gw-a1", "gw-a1", "gw-a1"]
    rest = client.get(f"/v1/quarantine?limit=4&cursor={page['next']}").json()
    assert ([item["seq"] for item in rest["items"]], rest["next"]) == ([1, 0], None)
    assert rest["items"][0] | {"id": 0, "received": ""} == {
        "id": 0, "edge": "gw-a1", "epoch": "e", "seq": 1, "i": 3, "code": "TS_FUTURE", "detail": "too far",
        "received": "", "topic": "hefa/v1/gw-a1/data", "reading": {"tag": "t", "value": 1},
        "payload": None, "size": None, "state": "open",
    }  # fmt: skip
    assert len(client.get("/v1/quarantine?code=JSON_SYNTAX").json()["items"]) == 1
    assert client.get("/v1/quarantine?state=discarded").json()["items"] == []
    assert client.get("/v1/quarantine?code=BORED").status_code == 422
    with site.client("viewer", "HEFA-BT") as mine:
        assert {item["edge"] for item in mine.get("/v1/quarantine").json()["items"]} == {"gw-a1"}
