"""Notes and meter swaps by REST: events with rules of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient

NOTE = {"subject": "A2-SX.SXA.MS-A07", "from": "2026-03-10T07:00:00Z", "to": "2026-03-10T08:00:00Z", "text": "high"}


def leave(
    client: TestClient, status: int = 201, headers: dict[str, str] | None = None, **change: Any
) -> dict[str, Any]:
    answer = client.post("/v1/notes", json=NOTE | change, headers=headers)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def texts(client: TestClient, **query: Any) -> list[str]:
    answer = client.get("/v1/notes", params=query)
    assert answer.status_code == 200, answer.text
    return [note["text"] for note in answer.json()["items"]]


def test_a_note_is_edited_and_nothing_is_lost(site: Any, client: TestClient) -> None:
    first = leave(client, kind="shift")
    assert (first["version"], first["author"], first["to"], first["versions"]) == (1, "test admin", NOTE["to"], [])
    with site.client("operator") as other:
        answer = other.post(f"/v1/notes/{first['note']}", json={"text": "normal again", "to": "2026-03-10T09:00:00Z"})
    assert answer.status_code == 201, answer.text
    now = client.get(f"/v1/notes/{first['note']}").json()
    assert now == answer.json()
    assert (now["text"], now["version"], now["kind"], now["to"], now["author"]) == (
        "normal again", 2, "shift", "2026-03-10T09:00:00Z", "test operator",
    )  # fmt: skip
    assert [(v["version"], v["text"], v["author"]) for v in now["versions"]] == [(1, "high", "test admin")]
    assert texts(client, subject=NOTE["subject"]) == ["normal again"]
    assert [e["body"]["text"] for e in client.get("/v1/events?type=note").json()["items"]] == ["normal again", "high"]


def test_sent_twice_it_is_left_once(client: TestClient) -> None:
    key = {"Idempotency-Key": "once"}
    first = leave(client, headers=key, subject="twice")
    assert leave(client, 200, key, subject="twice") == first
    assert texts(client, subject="twice") == ["high"]


def test_notes_stay_with_what_they_speak_of(site: Any, client: TestClient) -> None:
    leave(client, subject="A4-CALC.TK1", text="line")
    leave(client, subject="A4-CALC.TK1.TKN-401.draft", text="tag", **{"from": "2026-03-10T07:30:00Z"})
    leave(client, subject="PN-20260310-01", text="lot", to=None)
    leave(client, subject="A4-CALC", text="later", **{"from": "2026-03-12T00:00:00Z", "to": None})
    assert texts(client, asset="A4-CALC") == ["later", "tag", "line"]
    assert texts(client, asset="A4-CALC.TK1") == ["tag", "line"]
    assert texts(client, subject=["A4-CALC", "PN-20260310-01"]) == ["later", "lot"]
    over = {"from": "2026-03-10T07:45:00Z", "to": "2026-03-10T07:50:00Z"}
    assert texts(client, asset="A4-CALC", **over) == ["tag", "line"], "the range is inside what they speak of"
    assert texts(client, subject="PN-20260310-01", **over) == []
    page = client.get("/v1/notes?asset=A4-CALC&limit=2").json()
    rest = client.get("/v1/notes", params={"asset": "A4-CALC", "limit": 2, "cursor": page["next"]}).json()
    assert [n["text"] for n in page["items"] + rest["items"]] == ["later", "tag", "line"]
    assert rest["next"] is None
    with site.client("viewer", "ELSEWHERE") as other:
        assert texts(other) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"to": "2026-03-10T06:00:00Z"}, "ends before it begins"),
        ({"text": ""}, "text"),
        ({"text": "x" * 10_001}, "text"),
        ({"text": "a\x00b"}, ""),
        ({"subject": ""}, "subject"),
        ({"from": "2199-01-01T00:00:00Z", "to": None}, "ahead of now"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_note_is_told_what_to_do(client: TestClient, change: dict[str, Any], says: str) -> None:
    assert says in leave(client, 422, **change)["detail"]


def test_a_note_nobody_left(client: TestClient) -> None:
    assert client.get("/v1/notes/none").status_code == 404
    assert client.post("/v1/notes/none", json={"text": "x"}).status_code == 404


METER = "/v1/meters/A6-UTIL.METER.WM-MAIN.tot/swap"
TODAY = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
SWAP = {"ts": (TODAY - timedelta(days=2)).isoformat(), "final": 1234.5, "initial": 0, "reason": "calibration"}


def test_a_swap_is_an_event_of_the_meter(site: Any, client: TestClient) -> None:
    answer = client.post(METER, json=SWAP, headers={"Idempotency-Key": "swap"})
    assert answer.status_code == 201, answer.text
    assert client.post(METER, json=SWAP, headers={"Idempotency-Key": "swap"}).status_code == 200
    (event,) = client.get("/v1/events?type=meter_swap").json()["items"]
    assert (event["subject"], event["edge"], event["body"]) == (
        "A6-UTIL.METER.WM-MAIN.tot", "api", {"final": 1234.5, "initial": 0.0, "reason": "calibration"},
    )  # fmt: skip
    with site.client("viewer") as viewer:
        assert viewer.post(METER, json=SWAP).status_code == 403
    with site.client("operator", "ELSEWHERE") as other:
        assert other.post(METER, json=SWAP).status_code == 404


def test_a_swap_is_withdrawn(site: Any, client: TestClient) -> None:
    day = TODAY - timedelta(days=1)
    ts, in_utc = day.astimezone(ZoneInfo("Asia/Shanghai")).isoformat(), f"{day:%Y-%m-%dT%H:%M:%SZ}"
    assert client.post(METER, json=SWAP | {"ts": ts}).status_code == 201
    with site.client("viewer") as viewer:
        assert viewer.delete(METER, params={"ts": ts}).status_code == 403
    with site.client("operator", "ELSEWHERE") as other:
        assert other.delete(METER, params={"ts": ts}).status_code == 404
    answer = client.delete(METER, params={"ts": ts, "reason": "another meter"})
    assert answer.status_code == 200, answer.text
    said = {"final": 1234.5, "initial": 0.0, "reason": "another meter", "withdrawn": True}
    assert (answer.json()["ts"], answer.json()["body"]) == (in_utc, said)
    (entry,) = client.get("/v1/audit?action=event.post&limit=1").json()["items"]
    assert entry["body"]["withdrawn"] is True
    again = client.delete(METER, params={"ts": ts})
    assert (again.status_code, again.json()["type"].rpartition(":")[2]) == (404, "swap-unknown")
    assert in_utc in again.json()["detail"]
    assert client.delete(METER).status_code == 422


@pytest.mark.parametrize(
    ("tag", "change", "status", "says"),
    [
        ("A6-UTIL.METER.WM-MAIN.tot", {"ts": "2199-01-01T00:00:00Z"}, 422, "ahead of now"),
        ("A6-UTIL.METER.WM-MAIN.tot", {"final": None}, 422, "final"),
        ("A6-UTIL.METER.WM-MAIN.tot", {"final": "lots"}, 422, "final"),
        ("A6-UTIL.METER.WM-MAIN.flow", {}, 422, "is a gauge"),
        ("A6-UTIL.METER.WM-NONE.tot", {}, 404, "Did you mean"),
        ("A6-UTIL.METER.WM-MAIN.tot", {"ts": (TODAY - timedelta(days=366)).isoformat()}, 422, "check its year"),
    ],
)
def test_a_swap_that_cannot_be(client: TestClient, tag: str, change: dict[str, Any], status: int, says: str) -> None:
    before = client.get("/v1/events").json(), client.get("/v1/audit").json(), client.get("/v1/quarantine").json()
    answer = client.post(f"/v1/meters/{tag}/swap", json=SWAP | change)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    told = client.get("/v1/events").json(), client.get("/v1/audit").json(), client.get("/v1/quarantine").json()
    assert told == before


@pytest.mark.parametrize(
    ("subject", "more", "code"),
    [("A6-UTIL.METER.WM-MAIN.flow", {}, "TAG_UNKNOWN"), ("A6-UTIL.METER.WM-MAIN.tot", {"withdrawn": True}, "SCHEMA")],
)
def test_an_event_that_declares_nothing_is_refused(
    client: TestClient, subject: str, more: dict[str, Any], code: str
) -> None:
    event = {"type": "meter_swap", "subject": subject, "ts": TODAY.isoformat(), "final": 1, "initial": 0} | more
    answer = client.post("/v1/events", json=event)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (422, code), answer.text
