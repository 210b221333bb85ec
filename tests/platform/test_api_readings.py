"""Readings entered by REST: the rules of every message, the same answer to the same request, nothing twice."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hefa_contract.plant import Plant
from hefa_platform.api import Limits
from hefa_platform.retry import retry
from hefa_platform.store.intake import Intake

PH = "A2-SX.SXA.MS-A01.ph"
NOW = datetime.now(UTC).replace(microsecond=0)


def reading(minutes: float, value: Any = 3.0, tag: Any = PH, **more: Any) -> dict[str, Any]:
    return {"tag": tag, "ts": (NOW - timedelta(minutes=minutes)).isoformat(), "value": value, **more}


def post(client: TestClient, *readings: Any, key: str | None = None) -> Any:
    return client.post("/v1/readings", json={"readings": readings}, headers={"Idempotency-Key": key} if key else {})


def account(client: TestClient) -> dict[str, int]:
    answer = client.get("/v1/pipeline").json()
    assert answer["identity_holds"]
    return next(edge for edge in answer["edges"] if edge["edge"] == "api")


def test_what_is_entered_is_stored_told_and_counted_for_a_gateways_tag_too(client: TestClient) -> None:
    before = account(client)
    answer = post(client, reading(10), reading(9, 3.25, quality=64))
    assert answer.status_code == 201
    told = {"received": 2, "stored": 2, "duplicate": 0, "conflict": 0, "quarantined": 0}
    assert answer.json() == told | {"refused": [], "unknown_tags": []}
    after = account(client)
    assert {name: after[name] - before[name] for name in told} == told
    at = NOW - timedelta(minutes=10)
    rows = client.get("/v1/series", params={"tag": PH, "from": at, "to": NOW, "step": "raw"}).json()["series"][0]
    assert (rows["value"], rows["quality"]) == ([3.0, 3.25], [192, 64])


def test_the_first_value_stays(client: TestClient) -> None:
    post(client, reading(20, 1.0))
    answer = post(client, reading(20, 1.0), reading(20, 2.0)).json()
    assert (answer["received"], answer["stored"], answer["duplicate"], answer["conflict"]) == (2, 0, 1, 1)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (reading(-60 * 24), "TS_FUTURE"),
        (reading(60 * 24 * 200), "TS_TOO_OLD"),
        (reading(1) | {"ts": "2026-11-22T08:00:00"}, "TS_NOT_INTEGER"),
        (reading(1) | {"ts": 1.5}, "TS_NOT_INTEGER"),
        (reading(1) | {"ts": None}, "TS_NOT_INTEGER"),
        (reading(1) | {"ts": 10**30}, "TS_FUTURE"),
        (reading(1, "3.0"), "VALUE_TYPE"),
        (reading(1, True), "VALUE_TYPE"),
        (reading(1, None), "VALUE_TYPE"),
        (reading(1, quality=300), "SCHEMA"),
        (reading(1, quality="good"), "SCHEMA"),
        (reading(1, tag="a+b"), "SCHEMA"),
        (reading(1, tag=""), "SCHEMA"),
        (reading(1, tag=7), "SCHEMA"),
        (reading(1, tag="x" * 300), "SCHEMA"),
        (reading(1, tag="nul\x00"), "SCHEMA"),
        ({"tag": PH, "ts": NOW.isoformat()}, "SCHEMA"),
        ({}, "SCHEMA"),
        (7, "SCHEMA"),
        ([[]], "SCHEMA"),
    ],
)
def test_what_cannot_be_stored_is_in_quarantine_and_told(client: TestClient, row: Any, code: str) -> None:
    before = account(client)
    answer = post(client, row)
    assert answer.status_code == 201
    told = answer.json()
    assert (told["received"], told["quarantined"]) == (1, 1)
    assert [(one["i"], one["code"]) for one in told["refused"]] == [(0, code)]
    kept = client.get("/v1/quarantine", params={"edge": "api", "limit": 1}).json()["items"][0]
    assert (kept["code"], kept["detail"]) == (code, told["refused"][0]["detail"])
    assert account(client)["quarantined"] == before["quarantined"] + 1


def test_good_rows_beside_bad_ones_are_stored_and_indices_are_those_sent(client: TestClient) -> None:
    answer = post(client, reading(31, "x"), reading(30), 5, reading(29), reading(-60 * 24)).json()
    assert (answer["stored"], answer["quarantined"]) == (2, 3)
    assert [one["i"] for one in answer["refused"]] == [0, 2, 4]


def test_a_number_beyond_double_is_refused_and_a_nan_is_no_json(client: TestClient) -> None:
    at = NOW.isoformat()
    body = f'{{"readings":[{{"tag":"{PH}","ts":"{at}","value":1e999,"quality":0}}]}}'
    assert client.post("/v1/readings", content=body).json()["refused"][0]["code"] == "VALUE_RANGE"
    assert client.post("/v1/readings", content=body.replace("1e999", "NaN")).status_code == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"readings":[]}', b'{"readings":7}', b"\xff", b"[" * 100_000, b'{"a":1,"a":2}', b"null"],
)
def test_a_body_that_is_no_list_of_readings_is_refused_as_a_whole(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/readings", content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


def test_the_same_request_again_gets_the_same_answer_and_nothing_is_twice(client: TestClient) -> None:
    first = post(client, reading(40), reading(41, "x"), key="again-1")
    before = account(client)
    again = post(client, reading(40), reading(41, "x"), key="again-1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert account(client) == before
    other = post(client, reading(40), reading(42), key="again-1")
    assert (other.status_code, other.json()["type"]) == (409, "urn:hefa:problem:idempotency-key")
    assert account(client) == before
    # An event may be entered under the same Idempotency-Key.
    note = {"type": "note", "ts": NOW.isoformat(), "subject": "A2-SX.SXA", "text": "hello"}
    assert client.post("/v1/events", json=note, headers={"Idempotency-Key": "again-1"}).status_code == 201


def test_the_same_request_at_the_same_time_is_entered_once(client: TestClient) -> None:
    answers: list[Any] = []

    def ask() -> None:
        answers.append(post(client, *[reading(200 + n / 10) for n in range(300)], key="race"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert [answer.json()["stored"] for answer in answers] == [300] * 4


def test_unknown_tags_are_registered_and_named(client: TestClient) -> None:
    answer = post(client, reading(1, tag="LAB.silica"), reading(2, tag="LAB.silica")).json()
    assert (answer["stored"], answer["unknown_tags"]) == (2, ["LAB.silica"])
    assert post(client, reading(3, tag="LAB.silica")).json()["unknown_tags"] == []


def test_many_tags_and_readings_are_several_envelopes_of_one_transaction(client: TestClient, plant: Plant) -> None:
    names = list(plant.tags)[:450]
    rows = [reading(100 + n / 100, float(n), tag=names[n % 450]) for n in range(2500)]
    answer = post(client, *rows, "bad").json()
    assert (answer["stored"], answer["quarantined"], answer["refused"][0]["i"]) == (2500, 1, 2500)


def test_limits_and_roles(site: Any) -> None:
    with site.client("operator") as operator:
        assert post(operator, reading(1)).status_code == 403
    with site.client("engineer", site="elsewhere") as stranger:
        assert post(stranger, reading(1)).status_code == 403
    with site.client("engineer", limits=Limits(rate=1e6, burst=1e6, body=3000, readings=10)) as engineer:
        assert post(engineer, reading(50)).status_code == 201
        assert post(engineer, *[reading(n) for n in range(11)]).status_code == 413
        assert post(engineer, *[reading(n) for n in range(100)]).status_code == 413


def test_every_entry_is_audited(site: Any, client: TestClient) -> None:
    post(client, reading(70), key="audited")
    rows = site.execute("SELECT body FROM audit WHERE action = 'readings.post' ORDER BY audit_id DESC LIMIT 1")
    assert rows[0][0] == {"received": 1, "stored": 1, "duplicate": 0, "conflict": 0, "quarantined": 0}


def test_late_readings_have_their_rollups_computed_anew(site: Any, client: TestClient) -> None:
    site.watermark(NOW - timedelta(hours=1))
    before = site.execute("SELECT count(*) FROM rollup_dirty")
    post(client, reading(300.5), reading(299.5))
    assert site.execute("SELECT count(*) FROM rollup_dirty") > before


def test_what_people_entered_can_be_tried_again(
    site: Any, client: TestClient, postgres: str, role_passwords: dict[str, str]
) -> None:
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from hefa_platform.store.database import Database

    moment = NOW - timedelta(days=100)
    post(client, {"tag": PH, "ts": moment.isoformat(), "value": 3.5})
    kept = client.get("/v1/quarantine", params={"edge": "api", "code": "TS_TOO_OLD", "limit": 1}).json()["items"][0]
    assert client.post(f"/v1/quarantine/{kept['id']}/retry", json={"reason": "kept longer now"}).status_code == 202
    name = conninfo_to_dict(site.admin)["dbname"]
    dsn = make_conninfo(postgres, dbname=name, user="hefa_ingest", password=role_passwords["hefa_ingest"])
    with Database(dsn, max_size=2) as database:
        assert retry(database, Intake(database, "w", raw_retention_days=200)) == 1
    stored = site.execute("SELECT count(*) FROM reading WHERE ts = %s AND value = 3.5", moment)
    assert stored == [(1,)]
