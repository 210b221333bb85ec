"""Alarms by REST, on alarms that maintain's round has found: states, people, figures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from hefa_platform.store import alarm_watch
from hefa_platform.store.alarm_figures import chattering, floods

LEVEL, PH = "A1-FEED.DISS.TK-121.lvl", "A2-SX.SXA.MS-A01.ph"


class Site:
    """A site on which alarms are raised and ended by readings, as of now."""

    def __init__(self, site: Any, connection: Any) -> None:
        self.site, self.connection = site, connection
        self.begun = datetime.now(UTC) - timedelta(hours=2)
        site.execute("UPDATE alarm_progress SET checkpoint = %s", self.begun)
        self.at = self.begun

    def show(self, tag: str, value: float, minutes: float = 1) -> None:
        """A reading, a while later, and what maintain makes of it."""
        self.at += timedelta(minutes=minutes)
        self.site.watermark(self.begun)
        self.site.record(tag, [(self.at, value, 192)])
        self.watch()

    def watch(self, ahead: timedelta = timedelta(seconds=50)) -> None:
        alarm_watch.watch(self.connection, self.at + ahead)


@pytest.fixture(scope="module")
def plant_(site: Any, role_passwords: dict[str, str]) -> Iterator[Site]:
    dsn = make_conninfo(site.admin, user="hefa_jobs", password=role_passwords["hefa_jobs"])
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield Site(site, connection)


def newest(client: TestClient, **query: Any) -> dict[str, Any]:
    answer = client.get("/v1/alarms", params={"limit": 1, **query})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["items"][0])


def post(client: TestClient, alarm: dict[str, Any], verb: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/alarms/{alarm['id']}/{verb}", json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def test_seen_then_over(plant_: Site, client: TestClient) -> None:
    plant_.show(LEVEL, 55)
    assert client.get("/v1/alarms").json() == {"items": [], "next": None}
    plant_.show(LEVEL, 87)
    alarm = newest(client)
    assert (alarm["tag"], alarm["limit"], alarm["state"], alarm["active"], alarm["priority"]) == (
        LEVEL,
        "h",
        "UNACK",
        True,
        "low",
    )
    assert (alarm["value"], alarm["limit_value"], alarm["unit"], alarm["area"]) == (87, 85, "%", "A1-FEED")
    with site_client(plant_, "operator") as operator:
        seen = post(operator, alarm, "ack", comment="pump started")
    assert (seen["state"], seen["acked"] is not None) == ("ACKED", True)
    assert post(client, alarm, "ack") == seen, "again changes nothing"
    plant_.show(LEVEL, 55)
    over = client.get(f"/v1/alarms/{alarm['id']}").json()
    assert (over["state"], over["active"], over["returned"] is not None) == ("NORM", False, True)
    assert [(c["from"], c["to"], c["by"] == "system", c["comment"]) for c in over["changes"]] == [
        (None, "UNACK", True, ""), ("UNACK", "ACKED", False, "pump started"), ("ACKED", "NORM", True, "returned"),
    ]  # fmt: skip
    assert post(client, alarm, "ack", 409)["detail"] == "The alarm is NORM: there is nothing to acknowledge."
    ((action, subject),) = plant_.site.execute("SELECT action, subject FROM audit WHERE action LIKE 'alarm%%'")
    assert (action, subject) == ("alarm.ack", LEVEL)


def site_client(plant_: Site, role: Any, site: str = "*") -> TestClient:
    return plant_.site.client(role, site)


def test_over_before_it_was_seen(plant_: Site, client: TestClient) -> None:
    plant_.show(LEVEL, 87)
    plant_.show(LEVEL, 55)
    first = newest(client)
    assert first["state"] == "RTN_UNACK"
    plant_.show(LEVEL, 88)
    second = newest(client)
    assert (second["id"] != first["id"], second["state"]) == (True, "UNACK")
    assert post(client, second, "ack")["state"] == "ACKED"
    assert client.get(f"/v1/alarms/{first['id']}").json()["state"] == "NORM", "older ones are seen with it"
    plant_.show(LEVEL, 55)


def test_shelved_and_announced_again(plant_: Site, client: TestClient) -> None:
    plant_.show(LEVEL, 87)
    alarm = newest(client)
    shelved = post(client, alarm, "shelve", until=(plant_.at + timedelta(days=1)).isoformat(), reason="cleaning")
    assert (shelved["state"], shelved["shelved_until"] is not None) == ("SHELVED", True)
    plant_.show(LEVEL, 55)
    assert newest(client)["state"] == "NORM"
    plant_.show(LEVEL, 87)
    again = newest(client)
    assert (again["id"] != alarm["id"], again["state"]) == (True, "SHELVED"), "still on the shelf"
    plant_.site.execute("UPDATE alarm_shelf SET until = %s", plant_.at)
    plant_.watch()
    expired = client.get(f"/v1/alarms/{again['id']}").json()
    assert (expired["state"], expired["changes"][-1]["comment"]) == ("UNACK", "the shelving ran out")
    assert post(client, again, "shelve", minutes=30, reason="cleaning")["state"] == "SHELVED"
    assert post(client, again, "unshelve")["state"] == "UNACK"
    assert post(client, again, "unshelve", 409)["title"] == "Not in this state"
    plant_.show(LEVEL, 55)
    assert post(client, again, "shelve", 409, minutes=30, reason="x")["detail"].endswith(
        "only what is active can be shelved."
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"reason": "x"}, "Give minutes or until"),
        ({"reason": "x", "minutes": 5, "until": "2099-01-01T00:00:00Z"}, "Give minutes or until"),
        ({"reason": "x", "until": "2099-01-01T00:00:00Z"}, "at most 30 days"),
        ({"reason": "x", "until": "2020-01-01T00:00:00Z"}, "must lie ahead"),
        ({"reason": "x", "minutes": -1}, "greater than 0"),
        ({"minutes": 5}, "reason"),
    ],
)
def test_a_bad_shelving_is_told_what_to_do(plant_: Site, client: TestClient, body: Any, says: str) -> None:
    assert says in post(client, newest(client), "shelve", 422, **body)["detail"]


def test_who_may_and_what_is_there(plant_: Site, client: TestClient) -> None:
    alarm = newest(client)
    with site_client(plant_, "viewer") as viewer:
        post(viewer, alarm, "ack", 403)
    with site_client(plant_, "operator", "ELSEWHERE") as other:
        assert other.get("/v1/alarms").json()["items"] == []
        post(other, alarm, "ack", 404)
        post(other, alarm, "shelve", 404, minutes=1, reason="x")
        post(other, alarm, "unshelve", 404)
    assert client.get("/v1/alarms/9223372036854775807").status_code == 404


def test_alarms_are_filtered_and_paged(plant_: Site, client: TestClient) -> None:
    plant_.show(PH, 3.0)
    plant_.show(PH, 3.5)
    assert newest(client, area="A2-SX")["tag"] == PH
    every = [item["id"] for item in client.get("/v1/alarms").json()["items"]]
    paged: list[int] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get("/v1/alarms", params=query).json()
        paged += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert paged == every
    assert [item["tag"] for item in client.get("/v1/alarms?active=true").json()["items"]] == [PH]
    assert {item["state"] for item in client.get("/v1/alarms?state=NORM&state=UNACK").json()["items"]} == {
        "NORM",
        "UNACK",
    }
    assert client.get("/v1/alarms?priority=high").json()["items"] == []
    assert client.get("/v1/alarms", params={"to": plant_.begun.isoformat()}).json()["items"] == []
    assert client.get("/v1/alarms?tag=none").json()["items"] == []
    assert client.get("/v1/alarms?state=LOUD").status_code == 422


def test_an_alarm_is_explained_by_its_readings(plant_: Site, client: TestClient) -> None:
    alarm = newest(client, tag=LEVEL)
    found = client.get(f"/v1/explain/alarms/{alarm['id']}").json()
    assert (found["alarm"]["id"], found["unit"], found["lasted_s"]) == (alarm["id"], "%", 5)
    assert found["formula"].startswith("raised: value > 85 for the on-delay")
    shown = {reading["ts"]: reading["value"] for reading in found["readings"]}
    assert shown[alarm["crossed"]] == 87
    assert 55 in shown.values()
    assert found["count"] == found["usable"] == 2
    assert client.get("/v1/explain/alarms/999999999").status_code == 404


def test_figures(plant_: Site, client: TestClient) -> None:
    found = client.get("/v1/alarms/kpi").json()
    alarms = client.get("/v1/alarms").json()["items"]
    assert (found["raised"], found["active"], found["per_hour"]) == (len(alarms), 1, pytest.approx(len(alarms) / 24))
    assert found["top"][0] == {"tag": LEVEL, "limit": "h", "alarms": 5, "share": 5 / 6}
    assert (found["top_share"], found["priorities"]["low"]["share"], found["priorities"]["low"]["goal"]) == (1, 1, 0.8)
    assert (found["floods"], found["chattering"], found["stale"]) == ([], [], [])
    empty = client.get("/v1/alarms/kpi?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z").json()
    assert (empty["raised"], empty["top_share"], empty["priorities"]["high"]["share"]) == (0, None, None)
    assert client.get("/v1/alarms/kpi?from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z").status_code == 422
    plant_.site.execute("UPDATE alarm SET raised_at = raised_at - interval '25 hours' WHERE returned_at IS NULL")
    assert [alarm["tag"] for alarm in client.get("/v1/alarms/kpi").json()["stale"]] == [PH]


def rules(plant_: Site, *rules: dict[str, Any]) -> None:
    plant_.site.execute("DELETE FROM setting WHERE kind = 'alarm'")
    if rules:
        plant_.site.execute(
            """
            INSERT INTO setting (site, kind, name, valid_from, value, entered_by)
            VALUES ('HEFA-BT', 'alarm', 'site', '2026-01-01Z', %s, 'test')
            """,
            Jsonb({"rules": rules}),
        )


def test_a_latched_alarm_stays_until_it_is_reset(plant_: Site, client: TestClient) -> None:
    rules(plant_, {"suffix": "lvl", "latching": True})
    plant_.show(LEVEL, 87)
    alarm = newest(client, tag=LEVEL)
    assert (alarm["state"], alarm["latching"]) == ("UNACK", True)
    assert post(client, alarm, "reset", 409)["detail"] == "The alarm is UNACK: only what is latched can be reset."
    post(client, alarm, "ack")
    plant_.show(LEVEL, 55)
    assert newest(client, tag=LEVEL)["state"] == "LATCHED"
    plant_.show(LEVEL, 88)
    plant_.show(LEVEL, 55)
    second = newest(client, tag=LEVEL)
    assert (second["id"] != alarm["id"], second["state"]) == (True, "RTN_UNACK")
    assert post(client, second, "ack")["state"] == "LATCHED"
    assert post(client, second, "reset", comment="tank checked")["changes"][-1]["comment"] == "tank checked"
    assert client.get(f"/v1/alarms/{alarm['id']}").json()["state"] == "NORM", "older ones with it"
    rules(plant_)


def test_suppressed_while_the_rules_say_so(plant_: Site, client: TestClient) -> None:
    other = "A1-FEED.DISS.R-101.temp"
    rules(plant_, {"suffix": "lvl", "suppressed_while": {"tag": other, "values": [0]}})
    plant_.site.record(other, [(plant_.at, 0.0, 192)])
    plant_.show(LEVEL, 87)
    alarm = newest(client, tag=LEVEL)
    assert alarm["state"] == "SUPPRESSED_BY_DESIGN"
    post(client, alarm, "shelve", 409, minutes=5, reason="x")
    plant_.site.record(other, [(plant_.at + timedelta(seconds=5), 75.0, 192)])
    plant_.watch()
    shown = client.get(f"/v1/alarms/{alarm['id']}").json()
    assert [c["to"] for c in shown["changes"]] == ["SUPPRESSED_BY_DESIGN", "UNACK"]
    assert shown["changes"][0]["comment"] == f"{other} shows 0"
    plant_.show(LEVEL, 55)
    rules(plant_)


def test_out_of_service_is_announced_to_nobody(plant_: Site, client: TestClient) -> None:
    url = "/v1/alarms/out-of-service"
    plant_.show(LEVEL, 87)
    alarm = newest(client, tag=LEVEL)
    with site_client(plant_, "operator") as operator:
        assert operator.post(url, json={"tag": LEVEL, "minutes": 5, "reason": "x"}).status_code == 403
    made = client.post(url, json={"equipment": "A1-FEED", "minutes": 600, "reason": "overhaul"})
    assert made.status_code == 201, made.text
    (outage,) = made.json()["items"]
    assert (outage["equipment"], outage["tag"], outage["limit"], outage["active"]) == ("A1-FEED", None, None, True)
    plant_.watch()
    assert newest(client, tag=LEVEL)["state"] == "OUT_OF_SERVICE"
    assert client.get(url, params={"active": True}).json()["items"] == [outage]
    ended = client.post(f"{url}/{outage['id']}/end", json={"comment": "done"}).json()
    assert (ended["active"], ended["ended"] is not None) == (False, True)
    assert client.post(f"{url}/{outage['id']}/end", json={}).json() == ended, "again changes nothing"
    assert outage["by_name"].startswith("test ")
    plant_.watch()
    assert client.get(f"/v1/alarms/{alarm['id']}").json()["changes"][-1]["comment"] == "in service again"
    assert newest(client, tag=LEVEL)["state"] == "UNACK"
    two = client.post(url, json={"edge": "gw-a1", "limits": ["stale", "bad"], "minutes": 1, "reason": "x"}).json()
    assert [(o["edge"], o["limit"]) for o in two["items"]] == [("gw-a1", "bad"), ("gw-a1", "stale")]
    page = client.get(url, params={"limit": 2}).json()
    assert [o["id"] for o in page["items"]] == [o["id"] for o in reversed(two["items"])]
    rest = client.get(url, params={"limit": 2, "cursor": page["next"]}).json()
    assert ([o["id"] for o in rest["items"]], rest["next"]) == ([outage["id"]], None)
    audited = plant_.site.execute("SELECT action FROM audit WHERE action LIKE 'alarm.%%service' ORDER BY audit_id")
    assert [action for (action,) in audited] == ["alarm.out-of-service", "alarm.in-service", "alarm.out-of-service"]
    with site_client(plant_, "engineer", "ELSEWHERE") as other:
        assert other.get(url).json()["items"] == []
        assert other.post(f"{url}/{outage['id']}/end", json={}).status_code == 404
        assert other.post(url, json={"tag": LEVEL, "minutes": 1, "reason": "x"}).status_code == 404
    plant_.show(LEVEL, 55)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"minutes": 5}, 422, "Give one of tag, equipment and edge"),
        ({"tag": LEVEL, "edge": "gw-a1", "minutes": 5}, 422, "Give one of"),
        ({"tag": LEVEL}, 422, "Give minutes or until"),
        ({"tag": LEVEL, "until": "2020-01-01T00:00:00Z"}, 422, "must lie ahead"),
        ({"tag": LEVEL, "until": "2199-01-01T00:00:00Z"}, 422, "at most 366 days"),
        ({"tag": LEVEL, "minutes": 5, "limits": ["loud"]}, 422, "limits"),
        ({"tag": LEVEL + "x", "minutes": 5}, 404, f"Did you mean {LEVEL}"),
        ({"equipment": "A1-FED", "minutes": 5}, 404, "Did you mean A1-FEED"),
        ({"edge": "gw-x", "minutes": 5}, 404, "There is no edge 'gw-x'"),
    ],
)
def test_a_bad_outage_is_told_what_to_do(client: TestClient, body: Any, status: int, says: str) -> None:
    answer = client.post("/v1/alarms/out-of-service", json={"reason": "x", **body})
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text


def test_an_alarm_of_a_gateway_is_handled_like_any(plant_: Site, client: TestClient) -> None:
    ((id_,),) = plant_.site.execute(
        """
        INSERT INTO alarm (edge_id, level, priority, state, crossed_at, raised_at, late)
        SELECT edge_id, 'silent', 'medium', 'UNACK', now(), now(), false FROM edge WHERE name = 'gw-a1' RETURNING alarm_id
        """
    )
    alarm = newest(client, of="silent")
    assert (alarm["id"], alarm["tag"], alarm["edge"], alarm["value"]) == (id_, None, "gw-a1", None)
    assert newest(client, edge="gw-a1", active=True)["id"] == id_
    assert "took its leave" in client.get(f"/v1/explain/alarms/{id_}").json()["text"]
    assert post(client, alarm, "ack")["state"] == "ACKED"
    assert post(client, alarm, "shelve", minutes=5, reason="moved")["shelved_until"] is not None
    plant_.watch(timedelta(0))
    assert post(client, alarm, "unshelve")["state"] == "UNACK", "on the shelf until then"
    assert client.get("/v1/alarms/kpi").status_code == 200
    assert site_client(plant_, "viewer", "ELSEWHERE").get(f"/v1/alarms/{id_}").status_code == 404
    plant_.site.execute("UPDATE alarm SET returned_at = now(), state = 'NORM' WHERE alarm_id = %s", id_)


T = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (range(0, 600, 60), []),  # ten in ten minutes
        (range(0, 601, 60), []),  # the eleventh ten minutes after the first
        (range(0, 600, 59), [(0, 590, 11, 11)]),
        ([*range(0, 300, 20), *range(5000, 5300, 20)], [(0, 280, 15, 15), (5000, 5280, 15, 15)]),
        (range(0, 3600, 50), [(0, 3550, 72, 12)]),
    ],
)
def test_a_flood_is_more_than_ten_in_ten_minutes(seconds: Any, expected: list[tuple]) -> None:
    times = [T + timedelta(seconds=s) for s in seconds]
    found = [((f.start - T).seconds, (f.end - T).seconds, f.alarms, f.peak) for f in floods(times)]
    assert found == expected


def test_chattering_is_three_within_a_minute() -> None:
    raised = [("a", 0), ("b", 1), ("a", 20), ("b", 40), ("a", 59), ("b", 61), ("c", 62), ("b", 62)]
    found = chattering([(point, T + timedelta(seconds=s)) for point, s in raised])
    assert found == {"a": (3, 3), "b": (4, 3)}
